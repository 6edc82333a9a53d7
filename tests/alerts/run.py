#!/usr/bin/env python3
"""The alerts as a test: files that fit together, then every alert fired by Prometheus and a running daemon.

Ends with `N passed, N failed`; in between the times: from the fault to the alert, and from the repair to its
end. The rules' own times are divided (see prometheus.py), so these are not those of a real box. With
`--picture FILE` nothing is broken: the dashboard's panels are drawn from a daemon under load.
"""

import argparse
import contextlib
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import harness  # noqa: E402

import check  # noqa: E402
import scenes  # noqa: E402
from prometheus import Prometheus, names  # noqa: E402

FIRE_SECONDS_MAX = 75
RESOLVE_SECONDS_MAX = 60
LOOK_SECONDS = 0.3


class Watch:
    """What fires, looked at all the time by a thread of its own."""

    def __init__(self, prometheus):
        self.prometheus = prometheus
        self.now = set()
        self.times = {}
        self.resolved = {}
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self):
        """Until told to stop."""
        while not self.stop.wait(LOOK_SECONDS):
            with contextlib.suppress(OSError):
                self.now = self.prometheus.firing()


class Scene:
    """One scene's hands: its daemon, and what it may ask of the watch."""

    def __init__(self, act):
        self.act, self.name, self.instance = act, act.__name__, act.__name__.replace("_", "-")
        self.port = harness.free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="godwit-scene-"))
        self.watch, self.ends, self.lines, self.error = None, [], [], None
        self.expected, self.fired, self.open = (), {}, set()

    def daemon(self, kind=harness.Daemon, environment=None, **settings):
        """Started, and ended with the scene."""
        listen = {"listen": {"metrics": f"127.0.0.1:{self.port}"}}
        one = kind(settings={**listen, **settings}, environment=environment)
        self.at_end(one.close)
        self.one = one.start()
        return one

    def at_end(self, what):
        """Done when the scene is over, the last first."""
        self.ends.append(what)

    def firing(self, alert):
        """It fires now, for this scene's daemon."""
        return (alert, self.instance) in self.watch.now

    def all_fired(self):
        """Those expected have all fired since the scene broke something."""
        for alert in self.expected:
            if alert not in self.fired and self.firing(alert):
                self.fired[alert] = time.monotonic()
        return len(self.fired) == len(self.expected)

    def wait(self):
        """Until they have."""
        end = time.monotonic() + FIRE_SECONDS_MAX
        while not self.all_fired() and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)

    @contextlib.contextmanager
    def broken(self, *alerts):
        """In here the fault happens; afterwards all of these must have fired."""
        self.expected, self.fired = alerts, {}
        early = [alert for alert in alerts if self.firing(alert)]
        assert not early, f"{early} fire before anything is broken"
        began = time.monotonic()
        yield
        self.wait()
        missing = set(alerts) - set(self.fired)
        assert not missing, f"{sorted(missing)} did not fire; {sorted(self.watch.now)} did"
        for alert, at in self.fired.items():
            self.watch.times[alert] = at - began
        self.open |= set(alerts)

    def resolved(self):
        """Called when it is repaired: all that fired stops."""
        began = time.monotonic()
        while self.open:
            for alert in sorted(self.open):
                if not self.firing(alert):
                    self.open.discard(alert)
                    self.watch.resolved[alert] = time.monotonic() - began
            assert time.monotonic() < began + RESOLVE_SECONDS_MAX, f"{sorted(self.open)} still fire"
            time.sleep(LOOK_SECONDS)

    def run(self):
        """The scene; its outcome is in `error`."""
        try:
            self.act(self)
        except Exception as error:
            self.error = error
            self.lines = traceback.format_exc().splitlines()[-12:]
            if hasattr(self, "one"):
                self.lines += self.one.read_log().splitlines()[-12:]
        finally:
            for end in reversed(self.ends):
                with contextlib.suppress(Exception):
                    end()
            scenes.clean(self.directory)


def test(name, what):
    """One check: 1 if it passed."""
    try:
        what()
        print(f"ok     {name}", flush=True)
        return 1
    except AssertionError as error:
        print(f"FAILED {name}: {error}", flush=True)
        return 0


def fire(picture):
    """All scenes at once; how many passed, failed and were skipped."""
    acts = [Scene(act) for act in ([scenes.busy] if picture else scenes.SCENES)]
    targets = {scene.instance: scene.port for scene in acts}
    began = time.time()
    with Prometheus(harness.free_port(), targets) as prometheus:
        watch = Watch(prometheus)
        watch.thread.start()
        threads = []
        for scene in acts:
            scene.watch = watch
            threads.append(threading.Thread(target=scene.run))
            threads[-1].start()
        for thread in threads:
            thread.join()
        watch.stop.set()
        watch.thread.join()
        if picture:
            import panels

            if not acts[0].error:
                panels.draw(prometheus, began, time.time(), picture)
            print(*acts[0].lines, sep="\n")
            return int(not acts[0].error), int(bool(acts[0].error))
    return outcome(acts, watch)


def outcome(acts, watch):
    """Prints it, and counts."""
    passed = failed = 0
    skipped = False
    for scene in acts:
        if isinstance(scene.error, scenes.Skipped):
            print(f"SKIPPED {scene.name}: {scene.error}")
            skipped = True
            continue
        word = "FAILED" if scene.error else "ok    "
        print(f"{word} {scene.name}", *scene.lines, sep="\n       ", flush=True)
        failed += bool(scene.error)
        passed += not scene.error
    print(f"\n{'alert':<30} fires after  resolves after (s, times divided)")
    for name in names():
        after, end = watch.times.get(name), watch.resolved.get(name)
        shown = [f"{value:11.1f}" if value is not None else " " * 10 + "-" for value in (after, end)]
        print(f"{name:<30} {shown[0]}  {shown[1]}")
    silent = set(names()) - set(watch.times)
    if silent and not skipped:
        print(f"FAILED never fired: {', '.join(sorted(silent))}")
        failed += 1
    return passed, failed


def main():
    """See the module's documentation."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--picture", metavar="FILE", help="draw the dashboard's panels (needs matplotlib)")
    picture = options.parse_args().picture
    checks = list(check.CHECKS)
    missing = check.missing_tools()
    checks += [] if missing else check.WITH_TOOLS
    passed = sum(test(one.__name__, one) for one in checks)
    failed = len(checks) - passed
    if missing:
        print(f"SKIPPED {', '.join(missing)} not installed: no alert is fired")
    else:
        more = fire(picture)
        passed, failed = passed + more[0], failed + more[1]
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
