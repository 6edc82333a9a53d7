"""A second, independent client: @xmpp/client (JavaScript), which shares no code with slixmpp."""

import json
import os
import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from client import Client, clients
from conftest import PASSWORD

NODE_DIR = Path(__file__).resolve().parent / "node"
SECONDS_MAX = 20
NODE_MAJOR_MIN = 20


def why_not():
    """A reason not to run, or ''."""
    if not shutil.which("node"):
        return "node is not installed"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=10).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < NODE_MAJOR_MIN:
        return f"@xmpp/client needs node {NODE_MAJOR_MIN}, this is {version} (Debian 12 has 18)"
    return "" if (NODE_DIR / "node_modules").is_dir() else "its packages are not installed: make deps does it"


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


class NodeClient:
    """The program client.mjs and its conversation in lines of JSON."""

    def __init__(self, daemon, jid, direct):
        user, domain = jid.split("@")
        scheme, port = ("xmpps", daemon.tls_port) if direct else ("xmpp", daemon.port)
        environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(daemon.certificate)}
        self.process = subprocess.Popen(
            ["node", "client.mjs", f"{scheme}://localhost:{port}", domain, user, PASSWORD],
            cwd=NODE_DIR,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.events = queue.Queue()
        self.seen = []
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def _read(self):
        for line in self.process.stdout:
            self.events.put(json.loads(line))

    def do(self, what, **arguments):
        """Sends one command."""
        self.process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self.process.stdin.flush()

    def event(self, name, seconds=SECONDS_MAX, **wanted):
        """Waits for the first event of that name with those fields and takes it out; the others stay."""
        deadline = time.monotonic() + seconds
        while True:
            while not self.events.empty():
                self.seen.append(self.events.get())
            for event in self.seen:
                if event["event"] == name and all(event.get(key) == value for key, value in wanted.items()):
                    self.seen.remove(event)
                    return event
            assert time.monotonic() < deadline, f"no {name} {wanted} in {seconds} s, only {self.seen}"
            time.sleep(0.02)


@pytest.mark.parametrize("direct", [False, True], ids=["starttls", "direct"])
def test_login_and_roster(daemon, account, direct):
    with NodeClient(daemon, account(), direct) as node:
        node.do("start")
        assert node.event("online")["jid"].endswith("/node")
        node.do("roster")
        assert node.event("roster")["items"] == []


def test_wrong_password(daemon, account):
    jid = account()
    daemon.ctl("account", "passwd", jid, stdin="another one\n")
    with NodeClient(daemon, jid, True) as node:
        node.do("start")
        assert "not-authorized" in node.event("error")["text"]


async def test_chat_with_a_slixmpp_user(daemon, account):
    slix = Client(daemon, account(), PASSWORD)
    jid = account()
    async with clients(slix):
        with NodeClient(daemon, jid, False) as node:
            node.do("start")
            node.event("online")
            node.do("roster")
            node.event("roster")
            node.do("presence")
            node.do("subscription", to=slix.boundjid.bare, type="subscribe")
            await slix.presence(jid, "subscribe")
            slix.subscription("subscribed", jid)
            await slix.settle()
            node.event("presence", type="subscribed")
            node.do("send", to=slix.boundjid.bare, body="from node, grüße & <tags>")
            message = await slix.message("from node, grüße & <tags>")
            assert message["from"].full == f"{jid}/node"
            slix.send_message(mto=message["from"], mbody="from slixmpp 🦆", mtype="chat")
            await slix.settle()
            node.event("message", body="from slixmpp 🦆", **{"from": slix.boundjid.full})


async def test_resumption(daemon, account):
    slix = Client(daemon, account(), PASSWORD)
    jid = account()
    async with clients(slix):
        with NodeClient(daemon, jid, True) as node:
            node.do("start")
            node.event("online")
            node.do("presence")
            node.do("roster")
            node.event("roster")
            node.do("cut")
            for number in range(5):
                slix.send_message(mto=f"{jid}/node", mbody=f"meanwhile {number}", mtype="chat")
            await slix.settle()
            node.event("resumed")
            for number in range(5):
                node.event("message", body=f"meanwhile {number}")


async def test_carbons_and_client_state(daemon, account):
    jid = account()
    ann, phone = Client(daemon, account(), PASSWORD), Client(daemon, f"{jid}/phone", PASSWORD)
    async with clients(ann, phone):
        with NodeClient(daemon, jid, True) as node:
            node.do("start")
            node.event("online")
            node.do("carbons")
            node.event("carbons")
            node.do("presence")
            node.event("presence", **{"from": f"{jid}/node"})
            ann.send_message(mto=f"{jid}/phone", mbody="to the phone", mtype="chat")
            await phone.message("to the phone")
            node.event("copy", kind="received", body="to the phone", **{"from": jid})
            node.do("state", state="inactive")
            phone.send_presence(pshow="away", pstatus="held")
            phone.send_message(mto=ann.boundjid.full, mbody="from the phone", mtype="chat")
            await ann.message("from the phone")
            node.event("copy", kind="sent", body="from the phone", **{"from": jid})
            node.event("presence", **{"from": f"{jid}/phone"})
            node.do("state", state="active")
            node.do("roster")
            node.event("roster")
