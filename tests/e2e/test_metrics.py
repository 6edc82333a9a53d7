"""Metrics and health over HTTP: the text is OpenMetrics, the values move, trouble is seen."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request

import harness
import pytest
from conftest import PASSWORD
from harness import RawClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families

SECONDS_MAX = 20
# A store of its own fits into this, and nothing else does.
DEVICE_BYTES = 64 << 20
BODY_BYTES = 100_000
MESSAGES_MAX = 2_000


def get(port, path):
    """Status, content type and body of a page."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=SECONDS_MAX) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"], error.read().decode()


def scrape(port):
    """All samples as {name{label="value"}: value}; the strict parser refuses what is not OpenMetrics."""
    status, content_type, text = get(port, "/metrics")
    assert status == 200 and content_type.startswith("application/openmetrics-text; version=1.0.0")
    samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sample.labels.items())
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


def until(what, condition):
    """Waits until a condition holds; returns its value."""
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {SECONDS_MAX} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def measured(own_daemon):
    """A factory of daemons with metrics: returns daemon and port."""

    def make(**settings):
        port = harness.free_port()
        settings.setdefault("listen", {})["metrics"] = f"127.0.0.1:{port}"
        return own_daemon(settings=settings), port

    return make


def test_values_move_with_a_chat(measured):
    daemon, port = measured()
    daemon.add_account("ann@localhost", PASSWORD)
    daemon.add_account("ben@localhost", PASSWORD)
    before = scrape(port)
    with RawClient(daemon) as ann, RawClient(daemon) as ben:
        ann.login("ann", PASSWORD)
        ben.login("ben", PASSWORD)
        ben.send("<presence/>")
        ben.sync()
        for number in range(5):
            ann.send(f"<message to='ben@localhost' type='chat'><body>{number}</body></message>")
        ann.sync()
        until("ben has them", lambda: scrape(port)["godwit_delivery_seconds_count"] >= 5)
        during = scrape(port)
        assert (during["godwit_sessions"], during["godwit_connections"]) == (2, 2)
        assert during['godwit_connection_states{state="session"}'] == 2
        assert during['godwit_connection_tls_versions{version="1.3"}'] == 2
    with RawClient(daemon) as stranger:
        stranger.open_stream()
        assert stranger.plain("ann", "wrong").tag.endswith("}failure")
    after = scrape(port)

    def grown(name):
        return after[name] - before[name]

    assert grown('godwit_messages_total{stored="yes"}') == 5
    assert grown("godwit_logins_total") == 2
    assert grown('godwit_login_failures_total{condition="not-authorized"}') == 1
    assert grown('godwit_stanzas_total{kind="message"}') == 5
    assert 1 <= grown("godwit_store_fsyncs_total") == grown("godwit_store_fsync_seconds_count")
    assert grown("godwit_store_commit_seconds_count") >= 5
    assert grown("godwit_store_written_bytes_total") > 0
    assert grown('godwit_stanza_fates_total{kind="message",fate="handled"}') == 5
    assert grown("godwit_delivery_seconds_count") == 5, "ben got them as they came"
    assert grown('godwit_tls_handshakes_total{version="1.3"}') == 3
    for name, kind in before.items():
        assert not name.endswith("_total") or after[name] >= kind, f"{name} fell"
    assert after["process_resident_memory_bytes"] > 1 << 20 and after["process_cpu_seconds_total"] > 0
    assert 0 < after["process_open_fds"] <= after["process_max_fds"]
    assert after['godwit_store_state{state="ok"}'] == 1 and after["godwit_ready"] == 1
    assert after['godwit_connection_states{state="handshake"}'] == 0, "nothing is left behind"
    status = json.loads(daemon.ctl("status", "--json").stdout)
    assert status["store"]["syncs"] == after["godwit_store_fsyncs_total"]
    assert status["ceiling"]["connections_max"] == after["godwit_connections_max"]
    expiry = [value for name, value in after.items() if name.startswith("godwit_certificate_expiry_")]
    assert expiry and all(at > time.time() + 86_400 for at in expiry)


def test_health_pages(measured):
    _, port = measured()
    assert get(port, "/healthz") == (200, "text/plain; charset=utf-8", "alive\n")
    status, content_type, body = get(port, "/readyz")
    assert (status, content_type, json.loads(body)) == (
        200,
        "application/json",
        {"ready": True, "reasons": []},
    )
    assert get(port, "/")[0] == 404


def test_an_expired_certificate_is_a_reason_not_to_be_ready(measured):
    daemon, port = measured()
    daemon.install_certificate("expired")
    daemon.reload()
    reasons = until("not ready", lambda: json.loads(get(port, "/readyz")[2])["reasons"])
    assert [reason["what"] for reason in reasons] == ["certificate"]
    assert "expired" in reasons[0]["why"] and get(port, "/readyz")[0] == 503
    assert scrape(port)["godwit_ready"] == 0
    daemon.install_certificate("main")
    daemon.reload()
    until("ready again", lambda: get(port, "/readyz")[0] == 200)


def test_no_address_means_no_metrics(own_daemon):
    daemon = own_daemon()
    assert "metrics" not in daemon.read_log()


def test_a_taken_port_for_metrics_is_said_clearly():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        daemon = harness.Daemon(settings={"listen": {"metrics": f"127.0.0.1:{port}"}})
        done = subprocess.run(daemon.command(), capture_output=True, text=True, timeout=SECONDS_MAX)
        daemon.close()
    assert done.returncode != 0 and f"listen.metrics: 127.0.0.1:{port}" in done.stdout + done.stderr


def test_another_address_waits_for_a_restart_and_an_open_one_is_warned_of(measured):
    daemon, port = measured()
    other = harness.free_port()
    daemon.write_config({"listen": {"metrics": f"0.0.0.0:{other}"}})
    daemon.reload()
    until("the reload", lambda: "listen.metrics takes effect at the next restart" in daemon.read_log())
    assert get(port, "/healthz")[0] == 200
    checked = subprocess.run(
        [*daemon.command(), "--check"], capture_output=True, text=True, timeout=SECONDS_MAX
    )
    assert checked.returncode == 0 and "a firewall must say who does" in checked.stderr
    daemon.restart()
    assert get(other, "/healthz")[0] == 200


@pytest.fixture
def small_device(tmp_path):
    """A file system that a test can fill."""
    path = tmp_path / "device"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DEVICE_BYTES}", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount the small file system that this test fills")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_seen_in_log_status_metrics_and_readiness(measured, small_device):
    # RocksDB takes writes again once there is room for its memtables.
    store = {"memtable_mb": 1}
    daemon, port = measured(server={"data_dir": str(small_device / "data")}, store=store)
    daemon.add_account("ann@localhost", PASSWORD)
    ballast = small_device / "ballast"
    with RawClient(daemon) as ann:
        ann.login("ann", PASSWORD)
        free = os.statvfs(small_device)
        ballast.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - (2 << 20))))
        body = "x" * BODY_BYTES
        for _ in range(MESSAGES_MAX):
            ann.send(f"<message to='ann@localhost' type='chat'><body>{body}</body></message>")
            ann.sync()
            if scrape(port)['godwit_store_state{state="full"}'] == 1:
                break
        samples = scrape(port)
        assert samples['godwit_store_state{state="full"}'] == 1 and samples["godwit_ready"] == 0
        assert samples["godwit_store_write_failures_total"] >= 1
        assert samples["godwit_stanza_write_failures_total"] >= 1
        status, _, answer = get(port, "/readyz")
        assert status == 503 and json.loads(answer)["reasons"][0]["what"] == "store"
        assert "NO SPACE since" in daemon.ctl("status").stdout
        store = json.loads(daemon.ctl("status", "--json").stdout)["store"]
        assert not store["ok"] and store["full"] and "No space" in store["last_error"]
        until("the log says it", lambda: "the store takes no writes" in daemon.read_log())
        ballast.unlink()
        until("writes again", lambda: scrape(port)['godwit_store_state{state="ok"}'] == 1)
        until("ready again", lambda: get(port, "/readyz")[0] == 200)
        until("the log says that too", lambda: "the store takes writes again" in daemon.read_log())
