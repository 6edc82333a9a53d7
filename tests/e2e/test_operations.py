"""Running it: configuration check, godwitctl, orderly stop, the chat script, limits, a full configuration."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import harness
import pytest
from conftest import PASSWORD
from harness import RawClient

CHAT = Path(__file__).resolve().parent / "chat.py"
SECONDS_MAX = 20


def godwitd(*args):
    """Runs godwitd to its end."""
    return subprocess.run(
        [harness.binary("godwitd"), *args], capture_output=True, text=True, timeout=SECONDS_MAX
    )


def test_sigterm_closes_streams_with_system_shutdown_and_exits_0(own_daemon):
    daemon = own_daemon()
    daemon.add_account("ann@localhost", PASSWORD)
    with RawClient(daemon) as raw:
        raw.login("ann", PASSWORD)
        daemon.process.terminate()
        assert raw.stream_error() == ("system-shutdown", True)
    assert daemon.process.wait(SECONDS_MAX) == 0


def test_check_accepts_a_good_configuration(daemon):
    done = godwitd("--config", str(daemon.config), "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_names_every_error(tmp_path):
    config = tmp_path / "bad.toml"
    config.write_text(
        '[server]\ndomains = []\ndata_dir = 7\nmotto = "x"\n[listen]\nc2s = ["nowhere"]\n'
        '[tls]\ncertificate = "/no/such/file"\n[unknown]\na = 1\n'
    )
    done = godwitd("--config", str(config), "--check")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    for path in (
        "server.domains",
        "server.data_dir",
        "server.motto",
        "listen.c2s",
        "tls.certificate",
        "unknown",
    ):
        assert path in said, f"{path} is not named in:\n{said}"


def test_the_example_configuration_is_accepted_but_for_its_files(tmp_path):
    example = godwitd("--example-config")
    assert example.returncode == 0 and "[server]" in example.stdout
    config = tmp_path / "example.toml"
    config.write_text(example.stdout)
    said = godwitd("--config", str(config), "--check")
    assert "unknown" not in said.stdout + said.stderr


def test_accounts_with_the_daemon_running(daemon):
    jid = "operator@localhost"
    daemon.add_account(jid, "first")
    assert jid in daemon.ctl("account", "list").stdout.split()
    assert daemon.ctl("account", "add", jid, stdin="again\n", check=False).returncode != 0
    daemon.ctl("account", "passwd", jid, stdin="second\n")
    with RawClient(daemon) as raw:
        raw.login("operator", "second")
        daemon.ctl("account", "remove", jid)
        raw.stream_error()
    with RawClient(daemon) as raw:
        raw.open_stream()
        assert raw.plain("operator", "second").tag.endswith("}failure")
    assert daemon.ctl("account", "remove", jid, check=False).returncode != 0


def roster(raw):
    """The roster as {contact: subscription}."""
    items = raw.iq("get", "<query xmlns='jabber:iq:roster'/>", ident="roster").iter("{jabber:iq:roster}item")
    return {item.get("jid"): item.get("subscription") for item in items}


def befriend(one, other):
    """Both see each other's presence; returns when both rosters say so."""
    names = [raw.jid.split("/")[0] for raw in (one, other)]
    for kind in ("subscribe", "subscribed"):
        for raw, to in ((one, names[1]), (other, names[0])):
            raw.send(f"<presence to='{to}' type='{kind}'/>")
            raw.sync()


@pytest.mark.parametrize("running", [True, False], ids=["through-the-daemon", "in-the-store"])
def test_contacts_lose_an_account_that_is_removed(own_daemon, running):
    daemon = own_daemon()
    for name in ("ann", "ben"):
        daemon.add_account(f"{name}@localhost", PASSWORD)
    with RawClient(daemon) as ann, RawClient(daemon) as ben:
        for name, raw in (("ann", ann), ("ben", ben)):
            raw.jid = raw.login(name, PASSWORD)
            roster(raw)
            raw.send("<presence/>")
            raw.sync()
        befriend(ann, ben)
        assert roster(ben) == {"ann@localhost": "both"}
        if running:
            daemon.ctl("account", "remove", "ann@localhost")
            gone = ben.until(lambda e: e.get("from") == ann.jid and e.get("type") == "unavailable")
            assert gone is not None
            ann.stream_error()
            assert roster(ben) == {"ann@localhost": "none"}
    if not running:
        daemon.stop()
        said = daemon.ctl("account", "remove", "ann@localhost").stderr
        assert "no daemon is running" in said
        daemon.start()
    with RawClient(daemon) as ben:
        ben.login("ben", PASSWORD)
        assert roster(ben) == {"ann@localhost": "none"}
    assert daemon.ctl("account", "list").stdout.split().count("ann@localhost") == 0


def test_where_a_message_is_can_be_asked_with_and_without_the_daemon(own_daemon):
    daemon = own_daemon()
    for name in ("ann", "ben"):
        daemon.add_account(f"{name}@localhost", PASSWORD)
    with RawClient(daemon) as ann:
        ann.login("ann", PASSWORD)
        for ident in ("m1", "m2"):
            text = f"<body>words for {ident}</body>"
            ann.send(f"<message to='ben@localhost' type='chat' id='{ident}'>{text}</message>")
        ann.sync()
        found = json.loads(daemon.ctl("account", "inspect", "ben@localhost", "--json").stdout)
        assert found["sessions"] == [] and found["pending"]["messages"] == 2
        assert [message["id"] for message in found["pending"]["first"]] == ["m1", "m2"]
        with RawClient(daemon) as ben:
            ben.login("ben", PASSWORD, resource="phone")
            ben.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
            ben.send("<presence/>")
            ben.until(lambda e: e.get("id") == "m2")
            said = daemon.ctl("account", "inspect", "ben@localhost").stdout
            assert said.count("sent to phone, not acknowledged") == 2 and "2 messages wait" in said
            ben.cut()
        deadline = time.monotonic() + SECONDS_MAX
        while "waits until" not in (said := daemon.ctl("account", "inspect", "ben@localhost").stdout):
            assert time.monotonic() < deadline, said
    daemon.stop()
    said = daemon.ctl("account", "inspect", "ben@localhost")
    assert "2 messages wait" in said.stdout and "m1" in said.stdout and "no daemon is running" in said.stdout
    assert "words for" not in said.stdout
    assert daemon.ctl("account", "inspect", "nobody@localhost", check=False).returncode == 4


def test_each_step_of_a_message_can_be_traced(own_daemon):
    daemon = own_daemon()
    for name in ("ann", "ben"):
        daemon.add_account(f"{name}@localhost", PASSWORD)
    with RawClient(daemon) as ann, RawClient(daemon) as ben:
        ann.login("ann", PASSWORD, resource="desk")
        ben.login("ben", PASSWORD, resource="phone")
        ben.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        ben.send("<presence/>")
        ben.sync()
        ann.send("<message to='ben@localhost' type='chat' id='m1'><body>words</body></message>")
        seen = ben.until(lambda e: e.get("id") == "m1")
        said = daemon.ctl("trace", "m1").stdout
        lines = ["received from ann@localhost/desk", "on the disk", "posted to ben@localhost/phone"]
        lines.append("written to ben@localhost/phone")
        assert [line for line in lines if line not in said] == [] and "it waits" in said, said
    found = seen.find("{urn:xmpp:sid:0}stanza-id").get("id")
    daemon.stop()
    said = daemon.ctl("trace", found).stdout
    assert "from ann@localhost to ben@localhost" in said and "words" not in said
    assert daemon.ctl("trace", "m1", "--account", "ann@localhost").stdout == said
    unknown = daemon.ctl("trace", "m1", check=False)
    assert unknown.returncode == 1 and "--account" in unknown.stderr


def test_a_generated_password_logs_in(daemon):
    printed = daemon.ctl("account", "add", "made@localhost", "--generate").stdout.split()
    logged_in = False
    for word in printed:
        with RawClient(daemon) as raw:
            raw.open_stream()
            logged_in = logged_in or raw.plain("made", word.strip("\"'.,")).tag.endswith("}success")
    assert logged_in, printed


def test_accounts_with_no_daemon_running(own_daemon):
    daemon = own_daemon()
    daemon.stop()
    daemon.add_account("late@localhost", PASSWORD)
    assert "late@localhost" in daemon.ctl("account", "list").stdout.split()
    assert daemon.ctl("status", check=False).returncode != 0
    daemon.start()
    with RawClient(daemon) as raw:
        assert raw.login("late", PASSWORD)


def test_status_and_sessions(daemon, account):
    jid = account()
    with RawClient(daemon) as raw:
        full = raw.login(jid.split("@")[0], PASSWORD)
        assert isinstance(json.loads(daemon.ctl("status", "--json").stdout), dict)
        assert daemon.ctl("status").stdout.strip()
        assert full in daemon.ctl("sessions").stdout


def test_the_admin_socket_is_the_owners_alone(daemon):
    mode = os.stat(daemon.dir / "data" / "admin.sock").st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


def test_the_log_holds_no_password_and_no_body(own_daemon):
    daemon = own_daemon(settings={"log": {"level": "trace"}})
    daemon.add_account("ann@localhost", PASSWORD)
    with RawClient(daemon) as raw:
        raw.login("ann", PASSWORD)
        raw.send("<message to='ann@localhost' type='chat'><body>a very private remark</body></message>")
        raw.sync()
    with RawClient(daemon) as raw:
        raw.open_stream()
        raw.plain("ann", "a wrong secret guess")
    daemon.stop()
    log = daemon.read_log()
    assert "ann@localhost" in log
    for secret in (PASSWORD, "a very private remark", "a wrong secret guess"):
        assert secret not in log


def test_a_port_in_use_is_said_clearly():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        daemon = harness.Daemon(ports=(holder.getsockname()[1], harness.free_port()))
        done = subprocess.run(daemon.command(), capture_output=True, text=True, timeout=SECONDS_MAX)
        daemon.close()
    assert done.returncode != 0 and str(daemon.port) in done.stdout + done.stderr


def test_a_second_daemon_on_the_same_data_is_refused(own_daemon):
    daemon = own_daemon()
    text = daemon.config.read_text()
    for port in (daemon.port, daemon.tls_port):
        text = text.replace(str(port), str(harness.free_port()))
    other = daemon.dir / "second.toml"
    other.write_text(text)
    done = subprocess.run(
        [harness.binary("godwitd"), "--config", str(other)],
        capture_output=True,
        text=True,
        timeout=3 * SECONDS_MAX,  # it waits for the store for half of one
    )
    assert done.returncode != 0
    daemon.add_account("still@localhost", PASSWORD)
    with RawClient(daemon) as raw:
        assert raw.login("still", PASSWORD)


@pytest.fixture
def chatter():
    """A factory of chat.py processes."""
    processes = []

    def start(daemon, me, peer):
        environment = {**os.environ, "GODWIT_PASSWORD": PASSWORD}
        command = [sys.executable, "-u", str(CHAT), me, peer, "--port", str(daemon.tls_port), "--insecure"]
        process = subprocess.Popen(
            command, text=True, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        os.set_blocking(process.stdout.fileno(), False)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def read_until(process, text):
    """What the process printed, once `text` is in it."""
    output, deadline = "", time.monotonic() + SECONDS_MAX
    while text not in output:
        assert time.monotonic() < deadline, f"{text!r} is not in {output!r}"
        try:
            output += os.read(process.stdout.fileno(), 65536).decode()
        except BlockingIOError:
            time.sleep(0.02)
    return output


def test_the_chat_script_talks_both_ways(daemon, account, chatter):
    ann, ben = account(), account()
    one, two = chatter(daemon, ann, ben), chatter(daemon, ben, ann)
    read_until(one, f"* {ben}/")
    two.stdin.write("hello <ann> & co\n")
    two.stdin.flush()
    assert f"<{ben}> hello <ann> & co" in read_until(one, "co\n")
    one.stdin.write("hello ben\n")
    one.stdin.flush()
    read_until(two, f"<{ann}> hello ben")
    one.stdin.close()
    assert one.wait(SECONDS_MAX) == 0
    read_until(two, "is gone")
