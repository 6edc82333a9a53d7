#!/usr/bin/env python3
"""A chat client for two terminals, standard library only.

    python3 tests/e2e/chat.py alice bob        in one terminal
    python3 tests/e2e/chat.py bob alice        in the other

The password comes from .run/accounts (which `make run` writes), from $GODWIT_PASSWORD, or is asked for.
Both sides ask for each other's presence and approve it. A line you type is sent; Ctrl-D or Ctrl-C leaves.
"""

import argparse
import getpass
import os
import select
import ssl
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from harness import RawClient, StreamClosed  # noqa: E402
from harness.rawxmpp import NS, client_context  # noqa: E402

WAIT_SECONDS = 60


def password_of(jid):
    """From the environment, the file that `make run` keeps, or the keyboard."""
    if "GODWIT_PASSWORD" in os.environ:
        return os.environ["GODWIT_PASSWORD"]
    accounts = ROOT / ".run" / "accounts"
    if accounts.exists():
        known = dict(line.split(" ", 1) for line in accounts.read_text().splitlines())
        if jid in known:
            return known[jid]
    return getpass.getpass(f"password of {jid}: ")


def connect(args, jid):
    """A TLS connection, logged in; the certificate of `make run` is verified."""
    user, domain = jid.split("@")
    context = client_context()
    certificate = ROOT / ".run" / "tls.crt"
    if certificate.exists() and not args.insecure:
        context.load_verify_locations(certificate)
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
    where = SimpleNamespace(address=args.host, port=args.port, tls_port=args.port, domain=domain)
    raw = RawClient(where, "tls", context=context)
    offered = raw.mechanisms(raw.open_stream())
    mechanism = "SCRAM-SHA-256" if "SCRAM-SHA-256" in offered else "SCRAM-SHA-1"
    answer = raw.scram(mechanism, user, password_of(jid))
    if not answer.tag.endswith("}success"):
        sys.exit(f"login as {jid} failed: {answer[0].tag.split('}')[1]}")
    raw.open_stream()
    raw.bind()
    return raw


def show(element, peer, raw):
    """One line for what a person wants to know."""
    sender, kind = element.get("from", ""), element.get("type", "")
    if element.tag.endswith("}message"):
        body = element.find(f"{{{NS['c']}}}body")
        if kind == "error":
            print("* not delivered:", element.find(f"{{{NS['c']}}}error")[0].tag.split("}")[1])
        elif body is not None:
            late = element.find("{urn:xmpp:delay}delay")
            stamp = "" if late is None else f" (sent {late.get('stamp')})"
            print(f"<{sender.split('/')[0]}> {body.text}{stamp}")
    elif element.tag.endswith("}presence") and sender.split("/")[0] == peer:
        if kind == "subscribe":
            raw.send(f"<presence to='{peer}' type='subscribed'/>")
        elif kind in ("", "unavailable"):
            print(f"* {sender} is {'here' if kind == '' else 'gone'}")
    elif element.tag.endswith("}iq") and kind == "get":
        raw.send(
            f"<iq type='error' id='{escape(element.get('id', ''))}' to='{escape(sender)}'>"
            f"<error type='cancel'><service-unavailable xmlns='{NS['stanzas']}'/></error></iq>"
        )
    sys.stdout.flush()


def chat(raw, peer):
    """Passes lines both ways until the keyboard or the server ends."""
    raw.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq><presence/>")
    raw.send(f"<presence to='{peer}' type='subscribe'/>")
    print(f"* connected ({raw.sock.version()}); talking to {peer}, Ctrl-D leaves", flush=True)
    while True:
        if not (raw.waiting or raw.sock.pending()):
            ready, _, _ = select.select([sys.stdin, raw.sock], [], [], WAIT_SECONDS)
            if not ready:
                raw.send(" ")
            if sys.stdin in ready:
                line = sys.stdin.readline()
                if not line:
                    break
                if line.strip():
                    raw.send(
                        f"<message to='{peer}' type='chat'><body>{escape(line.rstrip())}</body></message>"
                    )
            if raw.sock not in ready:
                continue
        try:
            show(raw.element(timeout=0.2), peer, raw)
        except TimeoutError:
            pass
    raw.send("</stream:stream>")


def main():
    """Parses the command line and chats."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("me")
    parser.add_argument("peer")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5223, help="direct TLS port")
    parser.add_argument("--insecure", action="store_true", help="accept any certificate")
    args = parser.parse_args()
    me, peer = (name if "@" in name else f"{name}@localhost" for name in (args.me, args.peer))
    try:
        chat(connect(args, me), peer)
    except KeyboardInterrupt:
        pass
    except StreamClosed:
        sys.exit("* the server ended the connection")
    except ConnectionRefusedError:
        sys.exit(f"nobody listens on {args.host}:{args.port}: is `make run` running?")


if __name__ == "__main__":
    main()
