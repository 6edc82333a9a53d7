"""Profanity, a terminal client in C (libstrophe), driven through tmux as a person would."""

import shutil
import subprocess
import time
import uuid

import pytest
from client import Client, clients
from conftest import PASSWORD

SECONDS_MAX = 25
missing = [name for name in ("profanity", "tmux") if not shutil.which(name)]
pytestmark = pytest.mark.skipif(
    bool(missing), reason=f"not installed: {', '.join(missing)} (Debian packages)"
)


class Terminal:
    """Profanity in a tmux server of its own."""

    def __init__(self, directory):
        self.socket = f"godwit-{uuid.uuid4().hex[:8]}"
        home = f"HOME={directory} XDG_CONFIG_HOME={directory}/c XDG_DATA_HOME={directory}/d LANG=C.UTF-8"
        self.tmux("new-session", "-d", "-x", "150", "-y", "50", f"env {home} profanity")

    def tmux(self, *args):
        """One tmux command; its output."""
        done = subprocess.run(
            ["tmux", "-L", self.socket, "-f", "/dev/null", *args], capture_output=True, text=True, timeout=10
        )
        return done.stdout

    def type(self, line):
        """Types a line and Enter."""
        self.tmux("send-keys", "-l", line)
        time.sleep(0.2)
        self.tmux("send-keys", "Enter")

    def wait_for(self, *texts):
        """Waits until one of the texts is on the screen; returns the screen."""
        deadline = time.monotonic() + SECONDS_MAX
        while True:
            screen = self.tmux("capture-pane", "-p")
            if any(text in screen for text in texts):
                return screen
            assert time.monotonic() < deadline, f"{texts} did not appear on:\n{screen}"
            time.sleep(0.2)

    def close(self):
        """Ends tmux and what runs in it."""
        self.tmux("kill-server")


async def test_profanity_logs_in_and_chats(daemon, account, tmp_path):
    jid = account()
    slix = Client(daemon, account(), PASSWORD)
    password = "simple"
    daemon.ctl("account", "passwd", jid, stdin=password + "\n")
    terminal = Terminal(tmp_path)
    try:
        terminal.wait_for("/help")
        terminal.type(f"/connect {jid} server {daemon.address} port {daemon.port} tls trust")
        terminal.wait_for("password")
        terminal.type(password)
        terminal.wait_for("logged in successfully")
        async with clients(slix):
            terminal.type(f"/msg {slix.boundjid.bare} hello from the terminal")
            message = await slix.message("hello from the terminal", seconds=SECONDS_MAX)
            slix.send_message(mto=message["from"], mbody="hello from slixmpp", mtype="chat")
            await slix.settle()
            terminal.wait_for("hello from slixmpp")
        terminal.type("/quit")
    finally:
        terminal.close()
