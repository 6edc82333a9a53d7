"""A Prometheus of the test: loopback, a directory that goes away, rules with their times scaled down."""

import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

FILES = Path(__file__).resolve().parent.parent.parent / "ansible" / "roles" / "monitoring" / "files"
RULES = FILES / "godwit.rules.yml"
# Alerts that wait for minutes fire within seconds here. Ranges keep enough samples for a rate.
SCALE = 30
RANGE_S_MIN = 6
SECONDS = {"s": 1, "m": 60, "h": 3600}
READY_SECONDS_MAX = 20


def scaled(text):
    """The rules with `for` and ranges divided; thresholds stay."""

    def duration(found, least):
        return f"{max(least, int(found[1]) * SECONDS[found[2]] // SCALE)}s"

    text = re.sub(r"(?<=for: )(\d+)([smh])$", lambda found: duration(found, 1), text, flags=re.M)
    return re.sub(r"(?<=\[)(\d+)([smh])(?=\])", lambda found: duration(found, RANGE_S_MIN), text)


def names():
    """All alerts."""
    return re.findall(r"- alert: (\w+)", RULES.read_text())


class Prometheus:
    """Scrapes targets given as {instance: port} every second."""

    def __init__(self, port, targets):
        self.dir = Path(tempfile.mkdtemp(prefix="godwit-prometheus-"))
        self.address = f"127.0.0.1:{port}"
        (self.dir / "rules.yml").write_text(scaled(RULES.read_text()))
        each = "".join(
            f"      - targets: ['127.0.0.1:{target}']\n        labels: {{instance: {name}}}\n"
            for name, target in targets.items()
        )
        (self.dir / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
            "rule_files: [rules.yml]\n"
            f"scrape_configs:\n  - job_name: godwit\n    static_configs:\n{each}"
        )
        self.process = None

    def __enter__(self):
        options = {
            "config.file": self.dir / "prometheus.yml",
            "storage.tsdb.path": self.dir / "data",
            "web.listen-address": self.address,
            "log.level": "warn",
        }
        command = ["prometheus", *(f"--{name}={value}" for name, value in options.items())]
        with open(self.dir / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.get("/-/ready")
                return self
            except OSError:
                time.sleep(0.1)
        said = (self.dir / "log").read_text()[-2000:]
        self.__exit__()
        raise RuntimeError(f"prometheus does not start: {said}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def get(self, path):
        """The body of an answer."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
            return answer.read()

    def firing(self):
        """Pairs of alert and instance that fire now."""
        alerts = json.loads(self.get("/api/v1/alerts"))["data"]["alerts"]
        labels = [one["labels"] for one in alerts if one["state"] == "firing"]
        return {(one["alertname"], one["instance"]) for one in labels}

    def range(self, query, start, end, step):
        """Series of a query over a time: [(labels, [(time, value)])]."""
        asked = urllib.parse.urlencode({"query": query, "start": start, "end": end, "step": step})
        found = json.loads(self.get(f"/api/v1/query_range?{asked}"))["data"]["result"]
        return [(one["metric"], [(float(at), float(value)) for at, value in one["values"]]) for one in found]
