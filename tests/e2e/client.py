"""A slixmpp client that keeps what it receives, so that a test can wait for a stanza or for silence."""

import asyncio
from contextlib import asynccontextmanager
from xml.etree import ElementTree

from slixmpp import ClientXMPP
from slixmpp.xmlstream.stanzabase import StanzaBase

SECONDS_MAX = 10


class Client(ClientXMPP):
    """Connects to a daemon of the harness by address, verifies its certificate, answers no request."""

    def __init__(self, daemon, jid, password, plugins=(), direct=False, mechanism=None, tls_version=None):
        super().__init__(jid, password, sasl_mech=mechanism)
        self.daemon = daemon
        self.enable_direct_tls = direct
        self.enable_starttls = not direct
        self.enable_plaintext = False
        self.port = daemon.tls_port if direct else daemon.port
        self.roster.auto_authorize = None
        self.roster.auto_subscribe = False
        self.ca_certs = daemon.certificate
        if tls_version is not None:
            self.ssl_context.minimum_version = self.ssl_context.maximum_version = tls_version
        for plugin in plugins:
            self.register_plugin(plugin)
        self.inbox = []
        self.changed = asyncio.Event()
        self.events = []
        self.add_filter("in", self._keep)
        for name in (
            "session_start",
            "session_resumed",
            "failed_auth",
            "failed_all_auth",
            "disconnected",
            "stream_error",
            "stanza_acked",
            "sm_enabled",
            "sm_failed",
            "tls_success",
            "killed",
        ):
            self.add_event_handler(name, self._event_keeper(name))

    def _keep(self, stanza):
        if isinstance(stanza, StanzaBase):
            self.inbox.append(stanza)
            self.changed.set()
        return stanza

    def _event_keeper(self, name):
        def keep(data):
            self.events.append((name, data))
            self.changed.set()

        return keep

    def dial(self):
        """Opens the connection (again)."""
        return self.connect(self.daemon.address, self.port)

    async def _wait(self, find, what, seconds):
        deadline = asyncio.get_running_loop().time() + seconds
        while (found := find()) is None:
            self.changed.clear()
            left = deadline - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self.changed.wait(), max(left, 0))
            except TimeoutError:
                got = [str(stanza)[:300] for stanza in self.inbox]
                events = [name for name, _ in self.events]
                raise AssertionError(
                    f"{self.requested_jid}: no {what} in {seconds} s; have {got} {events}"
                ) from None
        return found

    async def event_named(self, *names, seconds=SECONDS_MAX):
        """Waits for one of the events, takes it out and returns (name, data)."""

        def find():
            for index, (name, _) in enumerate(self.events):
                if name in names:
                    return self.events.pop(index)
            return None

        return await self._wait(find, f"event {names}", seconds)

    async def expect(self, kind, match=lambda stanza: True, seconds=SECONDS_MAX):
        """Waits for the first stanza of `kind` (message, presence, iq) that matches and takes it out."""

        def find():
            for index, stanza in enumerate(self.inbox):
                if stanza.name == kind and match(stanza):
                    return self.inbox.pop(index)
            return None

        return await self._wait(find, kind, seconds)

    async def message(self, body, seconds=SECONDS_MAX):
        """Waits for the message with this body."""
        return await self.expect("message", lambda m: m["body"] == body, seconds)

    async def presence(self, sender, kind="available", seconds=SECONDS_MAX):
        """Waits for presence of type `kind` from the JID (bare or full) `sender`."""

        def match(p):
            return str(sender) in (p["from"].full, p["from"].bare) and p.xml.get("type", "available") == kind

        return await self.expect("presence", match, seconds)

    async def push(self, jid, seconds=SECONDS_MAX):
        """Waits for a roster push about `jid`; returns its item element."""

        def item_of(iq):
            items = iq.xml.findall("{jabber:iq:roster}query/{jabber:iq:roster}item")
            return next((i for i in items if i.get("jid") == jid), None) if iq["type"] == "set" else None

        return item_of(await self.expect("iq", lambda iq: item_of(iq) is not None, seconds))

    def bodies(self):
        """Bodies of the messages received and not yet taken, in order."""
        return [s["body"] for s in self.inbox if s.name == "message" and s["body"]]

    async def settle(self):
        """Round trip to the server: what it had sent us by now has arrived."""
        iq = self.make_iq_get(ito=self.boundjid.domain)
        iq.xml.append(ElementTree.Element("{urn:xmpp:ping}ping"))
        await iq.send(timeout=SECONDS_MAX)

    def subscription(self, kind, to):
        """Sends a subscription stanza to a bare JID."""
        self.send_presence(pto=to, ptype=kind)

    async def login(self, presence=True, priority=None):
        """Connects, waits for the session and, unless told not to, fetches the roster and goes available."""
        self.dial()
        name, data = await self.event_named("session_start", "failed_all_auth")
        assert name == "session_start", data
        if presence:
            await self.get_roster(timeout=SECONDS_MAX)
            self.send_presence(ppriority=priority)
            await self.settle()
            await self.presence(self.boundjid.full)
        return self

    def cut(self):
        """The network is gone: the socket is closed without a word of TLS or XMPP."""
        self.transport.abort()

    async def leave(self):
        """Ends the stream in order."""
        if self.transport is not None:
            await self.disconnect(wait=1)


@asynccontextmanager
async def clients(*all_clients, **login):
    """Logs all in, one after the other, and takes them down at the end."""
    try:
        for client in all_clients:
            await client.login(**login)
        yield all_clients
    finally:
        for client in all_clients:
            try:
                async with asyncio.timeout(3):
                    await client.leave()
            except TimeoutError:
                client.abort()


async def befriend(one, other):
    """Mutual subscription between two logged-in clients; what it sent is taken out of the inboxes."""
    for asker, asked in ((one, other), (other, one)):
        asker.subscription("subscribe", asked.boundjid.bare)
        await asked.presence(asker.boundjid.bare, "subscribe")
        asked.subscription("subscribed", asker.boundjid.bare)
        await asker.presence(asked.boundjid.bare, "subscribed")
        await asker.presence(asked.boundjid.full)
    for client in (one, other):
        await client.settle()
        client.inbox.clear()
