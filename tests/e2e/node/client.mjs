// The second client: @xmpp/client over STARTTLS or direct TLS, driven by test_second_client.py.
//
//   node client.mjs SERVICE DOMAIN USER PASSWORD
//
// It reads one JSON command per line from standard input and prints one JSON event per line:
//   {"do": "start"} {"do": "send", "to", "body"} {"do": "roster"} {"do": "cut"} {"do": "stop"}
//   {"do": "carbons"} {"do": "state", "state"}
//   {"event": "copy", "kind", "from", "body"}
//   {"event": "online", "jid"} "message" {"from", "body"} "presence" "roster" "resumed" "error" "offline"

import { client, xml } from "@xmpp/client";
import { createInterface } from "node:readline";

const [service, domain, username, password] = process.argv.slice(2);
const xmpp = client({ service, domain, username, password, resource: "node" });
const say = (event, data = {}) => console.log(JSON.stringify({ event, ...data }));

xmpp.on("online", (jid) => say("online", { jid: jid.toString() }));
xmpp.on("offline", () => say("offline"));
xmpp.on("disconnect", () => say("disconnect"));
xmpp.on("error", (error) => say("error", { text: String(error) }));
xmpp.streamManagement.on("resumed", () => say("resumed"));
xmpp.streamManagement.on("ack", () => say("ack"));
xmpp.on("stanza", (stanza) => {
  const from = stanza.attrs.from;
  for (const kind of ["sent", "received"]) {
    const copy = stanza.getChild(kind, "urn:xmpp:carbons:2");
    const message = copy?.getChild("forwarded", "urn:xmpp:forward:0")?.getChild("message");
    if (copy) return say("copy", { kind, from, body: message?.getChildText("body") });
  }
  if (stanza.is("message")) say("message", { from, body: stanza.getChildText("body") });
  if (stanza.is("presence")) say("presence", { from, type: stanza.attrs.type ?? "available" });
});

const commands = {
  start: () => xmpp.start(),
  presence: () => xmpp.send(xml("presence")),
  send: ({ to, body }) => xmpp.send(xml("message", { to, type: "chat" }, xml("body", {}, body))),
  subscription: ({ to, type }) => xmpp.send(xml("presence", { to, type })),
  roster: async () => {
    const query = await xmpp.iqCaller.get(xml("query", "jabber:iq:roster"));
    say("roster", { items: query.getChildren("item").map((item) => item.attrs) });
  },
  carbons: async () => {
    await xmpp.iqCaller.set(xml("enable", "urn:xmpp:carbons:2"));
    say("carbons");
  },
  state: ({ state }) => xmpp.send(xml(state, "urn:xmpp:csi:0")),
  // The network is gone: no close, no stream end; the client's own reconnection takes over.
  cut: () => (xmpp.socket.socket ?? xmpp.socket).destroy(),
  stop: () => xmpp.stop(),
};

createInterface({ input: process.stdin }).on("line", async (line) => {
  const command = JSON.parse(line);
  try {
    await commands[command.do](command);
  } catch (error) {
    say("error", { text: String(error) });
  }
});
