"""godwitctl top: a frame as text, and the live view in a terminal of its own."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import harness
import pytest
from conftest import PASSWORD
from harness import RawClient

SECONDS_MAX = 20
ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"


def top(daemon):
    """The command."""
    return [harness.binary("godwitctl"), "--config", str(daemon.config), "top"]


class Terminal:
    """A terminal of 80×24 in which godwitctl top runs."""

    def __init__(self, daemon, *args, environment=None):
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(self.theirs)
        self.output = b""
        self.process = subprocess.Popen(
            [*top(daemon), "--interval", "100ms", *args],
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            env={**os.environ, "TERM": "xterm-256color", **(environment or {})},
            start_new_session=True,
        )

    def wait_for(self, text):
        """Reads until the text has been drawn, in one piece, since the last wait."""
        deadline, wanted = time.monotonic() + SECONDS_MAX, text if isinstance(text, bytes) else text.encode()
        while wanted not in self.output:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} was not drawn: {self.output[-3000:]!r}"
            if select.select([self.ours], [], [], left)[0]:
                self.output += os.read(self.ours, 65536)
        seen, self.output = self.output, b""
        return seen

    def key(self, key):
        """Somebody presses it."""
        os.write(self.ours, key.encode())

    def end(self):
        """Waits for the end; the exit status, and whether the terminal is as it was."""
        self.wait_for(LEFT)
        status = self.process.wait(SECONDS_MAX)
        return status, termios.tcgetattr(self.theirs) == self.before

    def close(self):
        """Ends what still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(SECONDS_MAX)
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def terminal():
    """A factory of terminals."""
    made = []

    def make(*args, **kwargs):
        made.append(Terminal(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_once_prints_a_frame_of_80_by_24_with_what_happens(own_daemon):
    daemon = own_daemon().answering()
    daemon.add_account("ann@localhost", PASSWORD)
    with RawClient(daemon) as ann:
        ann.login("ann", PASSWORD)
        ann.send("<presence/>")
        ann.sync()
        looking = subprocess.Popen(
            [*top(daemon), "--once", "--interval", "2s"],
            stdout=subprocess.PIPE,
            text=True,
        )
        while looking.poll() is None:
            ann.send("<message to='ann@localhost' type='chat'><body>secret words</body></message>")
            time.sleep(0.05)
        frame, status = looking.stdout.read(), looking.returncode
    assert status == 0
    lines = frame.splitlines()
    assert len(lines) == 24 and max(map(len, lines)) == 80, frame
    assert lines[0].rstrip().endswith("ready"), frame
    assert float(re.search(r"messages/s +([\d.]+)", frame)[1]) > 1, frame
    assert re.search(r"connected +1 ", frame) and re.search(r"TLS 1.3 +1 ", frame), frame
    assert re.search(r"delivery +\S+ [mµ]?s +\S+ [mµ]?s", frame), frame
    assert re.search(r"fsyncs/s +[1-9]", frame), frame
    assert "there is no backup" in frame and "\x1b" not in frame and "secret" not in frame, frame


def test_without_a_daemon_or_a_terminal_it_says_so(own_daemon):
    daemon = own_daemon().answering()
    done = daemon.ctl("top", check=False)
    assert done.returncode == 2 and "--once" in done.stderr
    daemon.stop()
    done = daemon.ctl("top", "--once", check=False)
    assert done.returncode == 3 and "no daemon is running" in done.stderr


def test_the_live_view_follows_a_daemon_that_goes_and_comes_back(own_daemon, terminal):
    daemon = own_daemon().answering()
    view = terminal(daemon)
    seen = view.wait_for("q quit")
    assert ENTERED in seen and b" ready " in seen, seen
    view.key("?")
    view.wait_for("this help")
    view.key("?")
    view.key("p")
    view.wait_for("PAUSED")
    view.key("p")
    daemon.kill()
    view.wait_for("NO DAEMON for")
    daemon.start()
    view.wait_for(" ready ")
    view.key("q")
    assert view.end() == (0, True)


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(own_daemon, terminal, told):
    view = terminal(own_daemon().answering())
    view.wait_for("messages/s")
    assert not termios.tcgetattr(view.theirs)[3] & termios.ECHO, "it is in raw mode"
    view.process.send_signal(told)
    assert view.end() == (0, True)


def test_without_colours_if_told(own_daemon, terminal):
    daemon = own_daemon().answering()
    colour = re.compile(rb"\x1b\[(?:[\d;]*;)?38;5;\d")
    assert colour.search(terminal(daemon).wait_for("alerts"))
    plain = terminal(daemon, environment={"NO_COLOR": "1"})
    assert not colour.search(plain.wait_for("alerts"))
