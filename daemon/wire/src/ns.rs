//! Namespace names, one constant each, grouped by specification, in the order of its number.

// RFC 6120: streams and stanzas.

/// Content namespace between client and server.
pub const CLIENT: &str = "jabber:client";
/// Content namespace between servers.
pub const SERVER: &str = "jabber:server";
/// The stream element itself; prefix `stream`.
pub const STREAMS: &str = "http://etherx.jabber.org/streams";
/// Stream error conditions.
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Stanza error conditions.
pub const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// STARTTLS.
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL.
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Resource binding.
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Namespaces in XML: prefix `xml`.
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// Namespaces in XML: prefix `xmlns`. No prefix can be bound to it.
pub const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

// RFC 3921 and RFC 6121: instant messaging and presence.

/// Session establishment, which RFC 6121 made optional.
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
/// Roster.
pub const ROSTER: &str = "jabber:iq:roster";
/// Stream feature: roster versioning.
pub const ROSTERVER: &str = "urn:xmpp:features:rosterver";
/// Stream feature: subscription pre-approval.
pub const PRE_APPROVAL: &str = "urn:xmpp:features:pre-approval";

// XEP-0004 Data Forms.

/// Forms.
pub const DATA_FORMS: &str = "jabber:x:data";

// XEP-0012 Last Activity.

/// Last activity.
pub const LAST_ACTIVITY: &str = "jabber:iq:last";

// XEP-0030 Service Discovery.

/// Identity and features.
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// Items.
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";

// XEP-0045 Multi-User Chat.

/// Entering a room.
pub const MUC: &str = "http://jabber.org/protocol/muc";
/// What an occupant sees.
pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
/// Affiliations and roles.
pub const MUC_ADMIN: &str = "http://jabber.org/protocol/muc#admin";
/// Configuration and destruction.
pub const MUC_OWNER: &str = "http://jabber.org/protocol/muc#owner";
/// Form type of a room's configuration.
pub const MUC_ROOMCONFIG: &str = "http://jabber.org/protocol/muc#roomconfig";
/// Form type of a room's description.
pub const MUC_ROOMINFO: &str = "http://jabber.org/protocol/muc#roominfo";

// XEP-0048 Bookmarks (superseded, still used).

/// Bookmarks in one item.
pub const BOOKMARKS_1: &str = "storage:bookmarks";

// XEP-0049 Private XML Storage.

/// Private storage.
pub const PRIVATE: &str = "jabber:iq:private";

// XEP-0050 Ad-Hoc Commands.

/// Commands.
pub const COMMANDS: &str = "http://jabber.org/protocol/commands";

// XEP-0054 vcard-temp.

/// vCard.
pub const VCARD: &str = "vcard-temp";

// XEP-0059 Result Set Management.

/// Paging.
pub const RSM: &str = "http://jabber.org/protocol/rsm";

// XEP-0060 Publish-Subscribe.

/// Requests.
pub const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// Notifications.
pub const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";
/// Owner's requests.
pub const PUBSUB_OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
/// Error conditions.
pub const PUBSUB_ERRORS: &str = "http://jabber.org/protocol/pubsub#errors";
/// Form type of publish options.
pub const PUBSUB_PUBLISH_OPTIONS: &str = "http://jabber.org/protocol/pubsub#publish-options";
/// Form type of a node's configuration.
pub const PUBSUB_NODE_CONFIG: &str = "http://jabber.org/protocol/pubsub#node_config";

// XEP-0066 Out of Band Data.

/// A link beside a message.
pub const OOB: &str = "jabber:x:oob";

// XEP-0077 In-Band Registration.

/// Registration requests.
pub const REGISTER: &str = "jabber:iq:register";
/// Stream feature.
pub const REGISTER_FEATURE: &str = "http://jabber.org/features/iq-register";

// XEP-0084 User Avatar.

/// The picture.
pub const AVATAR_DATA: &str = "urn:xmpp:avatar:data";
/// About the picture.
pub const AVATAR_METADATA: &str = "urn:xmpp:avatar:metadata";

// XEP-0085 Chat State Notifications.

/// Chat states.
pub const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";

// XEP-0092 Software Version.

/// Version.
pub const VERSION: &str = "jabber:iq:version";

// XEP-0114 Component Protocol.

/// Components that connect to us.
pub const COMPONENT_ACCEPT: &str = "jabber:component:accept";

// XEP-0115 Entity Capabilities.

/// Capabilities.
pub const CAPS: &str = "http://jabber.org/protocol/caps";

// XEP-0122 Data Forms Validation.

/// What the values of a field may be.
pub const DATA_VALIDATE: &str = "http://jabber.org/protocol/xdata-validate";

// XEP-0153 vCard-Based Avatars.

/// Avatar hash in presence.
pub const VCARD_UPDATE: &str = "vcard-temp:x:update";

// XEP-0160 Best Practices for Handling Offline Messages.

/// Disco feature: offline messages are kept.
pub const OFFLINE: &str = "msgoffline";

// XEP-0184 Message Delivery Receipts.

/// Receipts.
pub const RECEIPTS: &str = "urn:xmpp:receipts";

// XEP-0191 Blocking Command.

/// Block list.
pub const BLOCKING: &str = "urn:xmpp:blocking";
/// Error condition `blocked`.
pub const BLOCKING_ERRORS: &str = "urn:xmpp:blocking:errors";

// XEP-0198 Stream Management.

/// Acknowledgements and resumption.
pub const SM: &str = "urn:xmpp:sm:3";

// XEP-0199 XMPP Ping.

/// Ping.
pub const PING: &str = "urn:xmpp:ping";

// XEP-0202 Entity Time.

/// Time.
pub const TIME: &str = "urn:xmpp:time";

// XEP-0203 Delayed Delivery.

/// When and where it was delayed.
pub const DELAY: &str = "urn:xmpp:delay";

// XEP-0215 External Service Discovery.

/// STUN, TURN and the like.
pub const EXTERNAL_SERVICES: &str = "urn:xmpp:extdisco:2";

// XEP-0224 Attention.

/// Attention.
pub const ATTENTION: &str = "urn:xmpp:attention:0";

// XEP-0249 Direct MUC Invitations.

/// Invitation.
pub const CONFERENCE: &str = "jabber:x:conference";

// XEP-0280 Message Carbons.

/// Carbons.
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// Disco feature: the recommended rules are followed.
pub const CARBONS_RULES: &str = "urn:xmpp:carbons:rules:0";

// XEP-0297 Stanza Forwarding.

/// A forwarded stanza.
pub const FORWARD: &str = "urn:xmpp:forward:0";

// XEP-0300 Use of Cryptographic Hash Functions.

/// Hashes.
pub const HASHES: &str = "urn:xmpp:hashes:2";

// XEP-0308 Last Message Correction.

/// Correction.
pub const MESSAGE_CORRECT: &str = "urn:xmpp:message-correct:0";

// XEP-0313 Message Archive Management.

/// Archive.
pub const MAM: &str = "urn:xmpp:mam:2";
/// Disco feature: extended queries.
pub const MAM_EXTENDED: &str = "urn:xmpp:mam:2#extended";
/// Disco feature: queries may say whether they want groupchat messages.
pub const MAM_GROUPCHAT_FIELD: &str = "urn:xmpp:mam:2#groupchat-field";

// XEP-0317 Hats.

/// Hats.
pub const HATS: &str = "urn:xmpp:hats:0";

// XEP-0333 Displayed Markers.

/// Markers.
pub const CHAT_MARKERS: &str = "urn:xmpp:chat-markers:0";

// XEP-0334 Message Processing Hints.

/// Hints.
pub const HINTS: &str = "urn:xmpp:hints";

// XEP-0352 Client State Indication.

/// Active and inactive.
pub const CSI: &str = "urn:xmpp:csi:0";

// XEP-0357 Push Notifications.

/// Push.
pub const PUSH: &str = "urn:xmpp:push:0";
/// Form type of a summary.
pub const PUSH_SUMMARY: &str = "urn:xmpp:push:summary";

// XEP-0359 Unique and Stable Stanza IDs.

/// Stanza ids and origin ids.
pub const STANZA_IDS: &str = "urn:xmpp:sid:0";

// XEP-0363 HTTP File Upload.

/// Upload slots.
pub const HTTP_UPLOAD: &str = "urn:xmpp:http:upload:0";

// XEP-0368 SRV records for XMPP over TLS.

/// ALPN protocol of a client connection (no namespace).
pub const ALPN_CLIENT: &str = "xmpp-client";
/// ALPN protocol of a server connection (no namespace).
pub const ALPN_SERVER: &str = "xmpp-server";

// XEP-0377 Spam Reporting.

/// Reports.
pub const REPORTING: &str = "urn:xmpp:reporting:1";

// XEP-0384 OMEMO Encryption.

/// OMEMO.
pub const OMEMO: &str = "urn:xmpp:omemo:2";
/// The version that most clients use.
pub const OMEMO_LEGACY: &str = "eu.siacs.conversations.axolotl";

// XEP-0386 Bind 2.

/// Bind 2.
pub const BIND2: &str = "urn:xmpp:bind:0";

// XEP-0388 Extensible SASL Profile.

/// SASL 2.
pub const SASL2: &str = "urn:xmpp:sasl:2";

// XEP-0398 User Avatar to vCard-Based Avatars Conversion.

/// Disco feature.
pub const AVATAR_CONVERSION: &str = "urn:xmpp:pep-vcard-conversion:0";

// XEP-0402 PEP Native Bookmarks.

/// One bookmark an item.
pub const BOOKMARKS: &str = "urn:xmpp:bookmarks:1";

// XEP-0410 MUC Self-Ping.

/// Disco feature: the service answers itself.
pub const MUC_SELF_PING: &str = "http://jabber.org/protocol/muc#self-ping-optimization";

// XEP-0421 Occupant identifiers.

/// Occupant ids.
pub const OCCUPANT_ID: &str = "urn:xmpp:occupant-id:0";

// XEP-0424 Message Retraction.

/// Retraction.
pub const MESSAGE_RETRACT: &str = "urn:xmpp:message-retract:1";

// XEP-0425 Moderated Message Retraction.

/// Moderation.
pub const MESSAGE_MODERATE: &str = "urn:xmpp:message-moderate:1";

// XEP-0428 Fallback Indication.

/// Fallback.
pub const FALLBACK: &str = "urn:xmpp:fallback:0";

// XEP-0440 SASL Channel-Binding Type Capability.

/// Channel binding types.
pub const SASL_CB: &str = "urn:xmpp:sasl-cb:0";

// XEP-0444 Message Reactions.

/// Reactions.
pub const REACTIONS: &str = "urn:xmpp:reactions:0";

// XEP-0461 Message Replies.

/// Replies.
pub const REPLY: &str = "urn:xmpp:reply:0";

// XEP-0478 Stream Limits Advertisement.

/// Stream feature: limits.
pub const STREAM_LIMITS: &str = "urn:xmpp:stream-limits:0";

// XEP-0480 SASL Upgrade Tasks.

/// Upgrade tasks.
pub const SASL_UPGRADE: &str = "urn:xmpp:sasl:upgrade:0";

// XEP-0484 Fast Authentication Streamlining Tokens.

/// FAST.
pub const FAST: &str = "urn:xmpp:fast:0";

// XEP-0490 Message Displayed Synchronization.

/// Displayed state in PEP.
pub const MDS: &str = "urn:xmpp:mds:displayed:0";
/// Disco feature: the server publishes it for messages that say so.
pub const MDS_ASSIST: &str = "urn:xmpp:mds:server-assist:0";
