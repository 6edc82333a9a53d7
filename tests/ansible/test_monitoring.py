"""One of two boxes runs Prometheus and Alertmanager for both: it hears from both, knows the alerts."""

import json
import time

from playbook import inventory, play
from test_collection import settings

SECONDS_MAX = 60


def ask(host, path):
    """What Prometheus on a host answers."""
    url = f"http://127.0.0.1:9090/api/v1/{path}"
    code = f"import urllib.request as u; print(u.urlopen('{url}').read().decode())"
    said = host.run(f'python3 -c "{code}"', check=False)
    return json.loads(said.stdout)["data"] if said.returncode == 0 else {}


def test_one_box_watches_all_of_them(fabric):
    hosts = [fabric.host(f"box{number}", "trixie") for number in (1, 2)]
    hosts[0].variables = {"monitoring_server": True, "monitoring_grafana": True}
    hosts[1].variables = {
        "godwit_metrics_address": "0.0.0.0",
        "monitoring_listen": "0.0.0.0:9100",
        "hardening_ports_more": [9522, 9100],
    }
    where = inventory(fabric, hosts, **settings())
    predicted = play("setup", where, "--check")
    first = play("setup", where)
    assert first.changes == predicted.changes, f"did {first.changes}, predicted {predicted.changes}"
    assert play("setup", where).changes == []

    wanted = {("godwit", "box1"), ("godwit", "box2"), ("node", "box1"), ("node", "box2")}
    up = set()
    deadline = time.monotonic() + SECONDS_MAX
    while up != wanted and time.monotonic() < deadline:
        # Not `query=up`: for minutes it also has what the package's own configuration asked at first.
        rows = ask(hosts[0], "targets?state=active").get("activeTargets", [])
        up = {(row["labels"]["job"], row["labels"]["instance"]) for row in rows if row["health"] == "up"}
        time.sleep(1)
    assert up == wanted
    rules = [rule["name"] for group in ask(hosts[0], "rules")["groups"] for rule in group["rules"]]
    assert "GodwitDown" in rules
    assert "127.0.0.1:9093" in str(ask(hosts[0], "alertmanagers"))
    hosts[0].run("test -s /usr/local/share/godwit/godwit-dashboard.json")
