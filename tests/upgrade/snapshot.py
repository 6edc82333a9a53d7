#!/usr/bin/env python3
"""Writes the hand-over of a daemon with sessions in many states to a file, for the tests of the format
(daemon/server/src/handover/FORMAT.md): `snapshot.py FILE`. Accounts and certificate are throw-away ones."""

import ssl
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.daemon import Daemon, binary  # noqa: E402
from harness.rawxmpp import RawClient, client_context  # noqa: E402

SM = "urn:xmpp:sm:3"
COPIES = """#!/bin/sh
if [ -n "$GODWIT_HANDOVER" ]; then cat "/proc/self/fd/$GODWIT_HANDOVER" > "{file}"; fi
exec "{program}" "$@"
"""


def bound(daemon, user, resource, version=None, mode="tls"):
    """A session that may be resumed."""
    client = RawClient(daemon, mode=mode, context=client_context(version))
    client.login(user, "secret", resource)
    client.send(f"<enable xmlns='{SM}' resume='true'/>")
    client.element()
    return client


def main():
    target = Path(sys.argv[1]).resolve()
    with Daemon(settings={"server": {"shards": 2}}) as daemon:
        for user in ("alice", "bob"):
            daemon.add_account(f"{user}@localhost", "secret")
        left = [bound(daemon, "alice", name) for name in ("gone", "lost")]
        left[0].send("<presence/>")
        left[0].sync()
        for client in left:
            client.cut()
        there = [bound(daemon, "alice", "a12", ssl.TLSVersion.TLSv1_2), bound(daemon, "alice", "a13")]
        there += [bound(daemon, "bob", name, mode="starttls") for name in ("b0", "b1", "b2")]
        for client in there[:4]:
            client.send("<presence/>")
            client.sync()
        there[0].send("<presence to='bob@localhost/b0'/>")
        there[2].send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
        there[2].send("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
        there[3].send("<inactive xmlns='urn:xmpp:csi:0'/>")
        for client in there:
            client.sync()
        # Unacknowledged, held, stored and refused.
        there[1].send("<message to='bob@localhost' type='chat' id='m'><body>kept</body></message>")
        there[1].send(
            "<message to='bob@localhost/b1' type='chat'><composing "
            "xmlns='http://jabber.org/protocol/chatstates'/></message>"
        )
        there[1].send("<message to='nobody@localhost' id='n'><body>nobody</body></message>")
        there[1].sync()
        there[4].send("<message to='alice@localhost'><body>in the mid")
        plain = [RawClient(daemon, mode="plain") for _ in range(3)]
        plain[1].send(plain[1].header())
        plain[2].send("<?xml version='1.0'?><stream:str")
        secure = [RawClient(daemon) for _ in range(3)]
        secure[1].open_stream()
        secure[2].open_stream()
        secure[2].auth("SCRAM-SHA-256", b"n,,n=alice,r=abc")
        simple = [RawClient(daemon) for _ in range(3)]
        for number, client in enumerate(simple):
            client.login("bob", "secret", f"s{number}")
        simple[0].send("<presence><priority>-1</priority></presence>")
        simple[0].sync()
        time.sleep(0.5)
        script = daemon.dir / "copies"
        script.write_text(COPIES.format(file=target, program=binary("godwitd")))
        script.chmod(0o755)
        print(daemon.ctl("upgrade", "--binary", str(script)).stdout, end="")
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
