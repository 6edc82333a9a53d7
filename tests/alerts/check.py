"""What needs no running daemon: every alert has its paragraph and its promtool tests, rules and dashboard ask
for metrics that exist, and the tools of Prometheus accept the files."""

import json
import re
import shutil
import subprocess
from pathlib import Path

from prometheus import FILES, RULES, names

HERE = Path(__file__).resolve().parent
METRICS = HERE.parent.parent / "daemon" / "METRICS.md"
RUNBOOK = FILES / "RUNBOOK.md"
DASHBOARD = FILES / "godwit-dashboard.json"
PROMTOOL_TESTS = HERE / "rules_test.yml"
TOOL_SECONDS_MAX = 60
PARAGRAPH = re.compile(r"^## (\w+)\n\n(.*?)(?=^## |\Z)", re.M | re.S)


def known():
    """Names of all samples, from the generated table."""
    found = set()
    for name, kind in re.findall(r"^\| `(\w+)` \| (\w+) \|", METRICS.read_text(), re.M):
        found.add(name)
        if kind == "histogram":
            found |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    return found


def asked(expression):
    """Names of metrics in an expression: ours, and those of every process."""
    return set(re.findall(r"\b(?:godwit|process)_\w+", re.sub(r'"[^"]*"', "", expression)))


def expressions():
    """Of all rules and all panels, with where they stand."""
    for rule in re.finditer(r"- alert: (\w+)\n\s+expr: (.+)", RULES.read_text()):
        yield rule[1], rule[2]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"]


def metrics_exist():
    """Rules and panels ask for metrics that the daemon has."""
    there = known()
    assert len(there) > 60, "the table was not read"
    found = list(expressions())
    missing = {where: asked(text) - there for where, text in found if asked(text) - there}
    assert not missing, missing
    assert len(found) > len(names()) + 10, "the dashboard has panels"


def runbook_is_complete():
    """Each alert links to a paragraph that says what it means, what to look at and what to do."""
    paragraphs = dict(PARAGRAPH.findall(RUNBOOK.read_text()))
    assert set(paragraphs) == set(names()), set(paragraphs) ^ set(names())
    for name, text in paragraphs.items():
        text = " ".join(text.split())
        for part in ("**Means:**", "**Look at:**", "**Do:**"):
            assert part in text, f"{name} lacks {part}"
    links = re.findall(r"runbook: RUNBOOK\.md#(\w+)", RULES.read_text())
    assert links == [name.lower() for name in names()], "links follow the alerts"


def tool(*command):
    """Runs a tool of Prometheus, which must be content."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS_MAX)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def promtool_accepts_the_rules():
    """Syntax, and promtool's own lint."""
    tool("promtool", "check", "rules", str(RULES))


def promtool_tests_every_rule():
    """For each a case in which it fires and one in which it does not."""
    text = PROMTOOL_TESTS.read_text()
    for name in names():
        cases = re.findall(rf"alertname: {name}, exp_alerts: (.)(.)", text)
        assert ("[", "]") in cases, f"{name}: no case in which it is silent"
        assert any(case != ("[", "]") for case in cases), f"{name}: no case in which it fires"
    tool("promtool", "test", "rules", str(PROMTOOL_TESTS))


def alertmanager_accepts_the_example():
    """And sends a critical alert to whoever is on duty."""
    config = str(FILES / "alertmanager.yml")
    tool("amtool", "check-config", config)
    routed = tool("amtool", "config", "routes", "test", f"--config.file={config}", "severity=critical")
    assert routed.strip() == "duty", routed


CHECKS = [metrics_exist, runbook_is_complete]
WITH_TOOLS = [promtool_accepts_the_rules, promtool_tests_every_rule, alertmanager_accepts_the_example]


def missing_tools():
    """Programs that are not installed."""
    return [name for name in ("prometheus", "promtool", "amtool") if not shutil.which(name)]
