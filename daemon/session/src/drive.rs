//! Joins a connection and its host: feeds bytes and events, hands each request over before anything further
//! is read.
use crate::{ConnId, Connection, Cx, Event, Host};

/// Decrypted bytes arrived for `conn`.
pub fn bytes(at: ConnId, conn: &mut Connection, host: &mut dyn Host, input: &[u8], cx: &mut Cx<'_>) {
    let kept = conn.unstash();
    match kept {
        None => run(at, conn, host, input, cx),
        Some(mut kept) => {
            kept.extend_from_slice(input);
            run(at, conn, host, &kept, cx);
        }
    }
}

/// Something happened. An event that does not fit comes back, after which nothing has changed.
pub fn event(
    at: ConnId,
    conn: &mut Connection,
    host: &mut dyn Host,
    event: Event,
    cx: &mut Cx<'_>,
) -> Result<(), Event> {
    conn.event(event, cx)?;
    requests(at, conn, host, cx);
    if !conn.paused()
        && let Some(kept) = conn.unstash()
    {
        run(at, conn, host, &kept, cx);
    }
    Ok(())
}

fn run(at: ConnId, conn: &mut Connection, host: &mut dyn Host, mut input: &[u8], cx: &mut Cx<'_>) {
    while !input.is_empty() {
        if conn.paused() {
            conn.stash(input);
            return;
        }
        let used = conn.receive(input, cx);
        debug_assert!(used > 0 && used <= input.len(), "a machine that reads nothing would loop for ever");
        input = input.get(used..).unwrap_or_default();
        requests(at, conn, host, cx);
    }
}

fn requests(at: ConnId, conn: &mut Connection, host: &mut dyn Host, cx: &mut Cx<'_>) {
    // The host may answer at once, and the answer may bring further requests: until none is left, bounded by
    // the machine itself, which pauses after each one that awaits an answer.
    let mut at_once = std::mem::take(&mut cx.out.requests);
    while !at_once.is_empty() {
        for request in at_once.drain(..) {
            host.request(at, request, conn, cx);
        }
        std::mem::swap(&mut at_once, &mut cx.out.requests);
    }
    cx.out.requests = at_once;
    if !cx.out.sent.is_empty() {
        host.sent(at, &cx.out.sent, conn, cx.now);
        cx.out.sent.clear();
    }
}
