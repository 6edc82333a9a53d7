//! Metrics of what clients notice: connections, TLS, logins, stanzas, messages.
use super::metric::{Metric, counter, gauge, histogram};
use std::sync::atomic::{AtomicU64, Ordering};

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// In the order in which they are told.
pub(super) const SERVICE: &[Metric] = &[
    counter("godwit_upgrades", "In-place upgrades that this process has been through.", |f, s| {
        s.one(f.upgrades)
    }),
    gauge(
        "godwit_upgrade_pause_seconds",
        "Pause of the last in-place upgrade, from the last read to the next; 0 if there was none.",
        |f, s| s.one(f.upgrade_pause_s),
    )
    .seconds(),
    gauge("godwit_connections", "Client connections.", |f, s| s.one(f.connections)),
    gauge(
        "godwit_connection_states",
        "Client connections by how far they have come: TLS handshake, login, bound session.",
        |f, s| {
            let (handshake, session) = (f.shards(|shard| &shard.handshaking), f.attached());
            let login = f.connections.saturating_sub(handshake + session);
            s.each([("handshake", handshake), ("login", login), ("session", session)])
        },
    )
    .by("state"),
    gauge("godwit_connection_tls_versions", "Client connections by the version of their TLS.", |f, s| {
        let (tls12, tls13) = (f.shards(|shard| &shard.open_tls12), f.shards(|shard| &shard.open_tls13));
        let none = f.connections.saturating_sub(tls12 + tls13);
        s.each([("none", none), ("1.2", tls12), ("1.3", tls13)])
    })
    .by("version"),
    counter("godwit_connections_accepted", "Connections accepted.", |f, s| {
        s.one(f.shards(|shard| &shard.accepted))
    }),
    counter("godwit_connections_refused", "Connections closed at once, by what refused them.", |f, s| {
        s.each([
            ("ceiling", f.shards(|shard| &shard.refused_full)),
            ("memory", f.shards(|shard| &shard.refused_memory)),
            ("address", f.shards(|shard| &shard.refused_host)),
        ])
    })
    .by("reason"),
    counter(
        "godwit_accept_failures",
        "Failed accepts: for want of descriptors or memory, or others.",
        |f, s| {
            s.each([
                ("starved", f.shards(|shard| &shard.accept_starved)),
                ("other", f.shards(|shard| &shard.accept_failed)),
            ])
        },
    )
    .by("reason"),
    counter(
        "godwit_accept_delays",
        "Times that a shard let nobody in for a moment, because enough were on their way to a session.",
        |f, s| s.one(f.overload.delayed),
    ),
    counter(
        "godwit_read_pauses",
        "Turns of shards that left clients unread, because enough of what was read was under way.",
        |f, s| s.one(f.overload.crowded),
    ),
    counter(
        "godwit_listen_overflows",
        "Connections that found the queue of a listener on this machine full.",
        |f, s| s.one(f.overload.backlog_overflows),
    ),
    counter("godwit_connections_closed", "Connections that ended, by why.", |f, s| {
        s.each([
            ("peer", f.shards(|shard| &shard.closed.by_peer)),
            ("server", f.shards(|shard| &shard.closed.by_us)),
            ("tls", f.shards(|shard| &shard.closed.tls_failed)),
            ("send_queue_full", f.shards(|shard| &shard.closed.send_queue_full)),
            ("io", f.shards(|shard| &shard.closed.io)),
            ("deadline", f.shards(|shard| &shard.closed.deadline)),
        ])
    })
    .by("reason"),
    counter("godwit_tls_handshakes", "TLS handshakes completed.", |f, s| {
        s.each([
            ("1.2", f.shards(|shard| &shard.handshakes_tls12)),
            ("1.3", f.shards(|shard| &shard.handshakes_tls13)),
        ])
    })
    .by("version"),
    counter("godwit_tls_handshakes_resumed", "TLS handshakes that resumed a session.", |f, s| {
        s.one(f.shards(|shard| &shard.handshakes_resumed))
    }),
    counter("godwit_tls_failures", "Connections whose TLS failed, in the handshake or later.", |f, s| {
        s.one(f.shards(|shard| &shard.tls_failures))
    }),
    counter("godwit_received_bytes", "Bytes read from clients.", |f, s| {
        s.one(f.shards(|shard| &shard.bytes_in))
    })
    .bytes(),
    counter("godwit_sent_bytes", "Bytes written to clients.", |f, s| {
        s.one(f.shards(|shard| &shard.bytes_out))
    })
    .bytes(),
    gauge("godwit_send_queue_bytes", "Bytes that wait to be sent.", |f, s| {
        s.one(f.shards(|shard| &shard.queued_bytes))
    })
    .bytes(),
    counter("godwit_slow_readers", "Times that a client read too slowly and its feed was held.", |f, s| {
        s.one(f.shards(|shard| &shard.congestions))
    }),
    gauge("godwit_slow_connections", "Connections whose client reads too slowly now.", |f, s| {
        s.one(f.shards(|shard| &shard.congested))
    }),
    counter("godwit_socket_calls", "System calls of the shards.", |f, s| {
        s.each([
            ("read", f.shards(|shard| &shard.reads)),
            ("write", f.shards(|shard| &shard.writes)),
            ("accept", f.shards(|shard| &shard.accepts)),
            ("wait", f.shards(|shard| &shard.waits)),
        ])
    })
    .by("call"),
    counter("godwit_shard_turns", "Turns of each shard's loop.", |f, s| {
        s.each((0u16..).zip(&f.shards).map(|(n, shard)| (n.to_string(), shard.turns.get())))
    })
    .by("shard"),
    gauge(
        "godwit_shard_silence_seconds",
        "Time since each shard's loop turned last; idle ones turn too.",
        |f, s| {
            let silence = |beat: u64| f.now_ms.saturating_sub(beat) as f64 / 1000.0;
            s.each(
                (0u16..).zip(&f.shards).map(|(n, shard)| (n.to_string(), silence(shard.heartbeat_ms.get()))),
            )
        },
    )
    .seconds()
    .by("shard"),
    gauge("godwit_sessions", "Sessions, those waiting for resumption included.", |f, s| {
        s.one(get(&f.hub.sessions))
    }),
    gauge("godwit_sessions_detached", "Sessions that wait for resumption.", |f, s| {
        s.one(get(&f.hub.detached))
    }),
    counter("godwit_sessions_resumed", "Sessions resumed.", |f, s| s.one(get(&f.hub.resumed))),
    counter("godwit_sessions_expired", "Sessions whose client did not come back in time.", |f, s| {
        s.one(get(&f.hub.expired))
    }),
    counter("godwit_resumption_failures", "Resumptions that failed: the client logs in anew.", |f, s| {
        s.one(get(&f.hub.resumptions_failed))
    }),
    counter(
        "godwit_messages_acknowledged",
        "Stored messages that clients acknowledged (XEP-0198).",
        |f, s| s.one(get(&f.hub.acked)),
    ),
    counter(
        "godwit_stanzas_shed",
        "Unstored stanzas dropped because their recipient had no room for them.",
        |f, s| s.one(get(&f.hub.shed)),
    ),
    counter("godwit_sessions_revived", "Sessions from before the start that were resumed.", |f, s| {
        s.one(get(&f.hub.revived))
    }),
    counter("godwit_logins", "Logins that succeeded.", |f, s| s.one(get(&f.hub.logins))),
    counter("godwit_login_failures", "Logins that failed, by SASL condition.", |f, s| {
        s.each(f.hub.logins_failed.each())
    })
    .by("condition"),
    counter("godwit_stanzas", "Stanzas taken from clients.", |f, s| {
        let stanzas = &f.hub.stanzas;
        s.each([
            ("message", get(&stanzas.messages)),
            ("presence", get(&stanzas.presences)),
            ("iq", get(&stanzas.iqs)),
        ])
    })
    .by("kind"),
    counter(
        "godwit_stanza_fates",
        "What became of them: handled, refused (a rule, a limit, nobody there), failed (by our fault).",
        |f, s| {
            let fates = [("handled", &f.hub.handled), ("refused", &f.hub.refused), ("failed", &f.hub.failed)];
            s.pairs(fates.into_iter().flat_map(|(fate, stanzas)| {
                [
                    ("message", fate, get(&stanzas.messages)),
                    ("presence", fate, get(&stanzas.presences)),
                    ("iq", fate, get(&stanzas.iqs)),
                ]
            }))
        },
    )
    .by("kind")
    .and("fate"),
    counter("godwit_messages", "Messages on their way to an account, by whether they are stored.", |f, s| {
        s.each([("yes", get(&f.hub.messages_stored)), ("no", get(&f.hub.messages_unstored))])
    })
    .by("stored"),
    counter("godwit_deliveries", "Stanzas posted to a session.", |f, s| s.one(get(&f.hub.delivered))),
    histogram(
        "godwit_delivery_seconds",
        "Time of a stored message from its receipt until its recipient's socket was written to.",
        |f, s| s.buckets(&f.deliveries(), 1e3),
    )
    .seconds(),
    counter(
        "godwit_slow_stanzas",
        "Stored messages slower than log.slow_stanza, by their last step: committed if no connection of the \
         recipient got them, written for each that did.",
        |f, s| s.each([("committed", get(&f.hub.slow_committed)), ("written", get(&f.hub.slow_written))]),
    )
    .by("last_step"),
    gauge(
        "godwit_offline_accounts",
        "Accounts that are offline and have messages waiting, of the 32,768 at most that are kept in memory.",
        |f, s| s.one(f.backlog.accounts),
    ),
    gauge("godwit_offline_messages", "Messages waiting for these accounts.", |f, s| {
        s.one(f.backlog.messages)
    }),
    gauge("godwit_offline_bytes", "Bytes of these messages.", |f, s| s.one(f.backlog.bytes)).bytes(),
    counter("godwit_stanza_errors", "Stanzas answered with an error.", |f, s| s.one(get(&f.hub.errors_sent))),
    counter("godwit_stanza_retries", "Stanzas decided again because what they read had changed.", |f, s| {
        s.one(get(&f.hub.conflicts))
    }),
    counter("godwit_stanza_write_failures", "Stanzas refused because the store could not write.", |f, s| {
        s.one(get(&f.hub.writes_failed))
    }),
    counter("godwit_module_panics", "Stanzas lost to a panic of a module.", |f, s| s.one(get(&f.hub.panics))),
];
