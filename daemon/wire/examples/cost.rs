//! What a stanza costs: time in framer and parser, bytes of heap. `cargo run --release --example cost -p
//! godwit-wire`.

use godwit_wire::{Element, Framer, Jid, Limits, Scan, Scope, Stanza};
use std::hint::black_box;
use std::time::Duration;

const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const MESSAGE: &str = "<message type='chat' to='romeo@example.net/orchard' from='juliet@example.com/balcony' \
    id='0f2a4c5e-77aa-4b0c-9d3e-0123456789ab' xml:lang='en'>\
    <body>Wherefore art thou, Romeo? Deny thy father.</body>\
    <active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>";
const ROUNDS: u32 = 200_000;

fn main() {
    let limits = Limits::default();
    let scope = Scope::client();
    println!(
        "message: {} bytes, framer: {} bytes, scope: {} bytes",
        MESSAGE.len(),
        size_of::<Framer>(),
        size_of::<Scope>()
    );

    let mut framer = Framer::new();
    framer.scan(HEADER.as_bytes(), &limits, limits.stanza_bytes_max).expect("header");
    report(
        "framer",
        time(|| {
            let scan = framer.scan(black_box(MESSAGE.as_bytes()), &limits, limits.stanza_bytes_max);
            assert!(matches!(scan, Ok(Scan::Frame { end, .. }) if end == MESSAGE.len()));
        }),
    );
    let long = MESSAGE.replace("Deny", &"Deny ".repeat(2_000));
    report(
        "framer, 10 kB body",
        time(|| {
            let scan = framer.scan(black_box(long.as_bytes()), &limits, limits.stanza_bytes_max);
            assert!(matches!(scan, Ok(Scan::Frame { end, .. }) if end == long.len()));
        }),
    );
    report("Element::parse", time(|| drop(black_box(Element::parse(black_box(MESSAGE.as_bytes()), &scope)))));

    let element = Element::parse(MESSAGE.as_bytes(), &scope).expect("well-formed");
    println!("element: {} bytes of heap besides {} on the stack", element.heap_bytes(), size_of::<Element>());
    report(
        "Stanza::from_element (and a clone)",
        time(|| {
            drop(black_box(Stanza::from_element(element.clone())));
        }),
    );
    let stanza = Stanza::from_element(element).ok().flatten().expect("a stanza");
    let mut out = Vec::new();
    report(
        "render",
        time(|| {
            out.clear();
            stanza.render(&mut out, stanza.from.as_ref(), stanza.to.as_ref(), &|_| false);
            black_box(&out);
        }),
    );
    report("Jid::parse", time(|| drop(black_box(Jid::parse(black_box("romeo@example.net/orchard"))))));
}

/// Time of one round: the best of some runs, because the machine may be busy.
fn time(mut round: impl FnMut()) -> Duration {
    let run = |round: &mut dyn FnMut()| {
        // An example measures; the crate itself has no clock.
        #[allow(clippy::disallowed_methods)]
        let start = std::time::Instant::now();
        (0..ROUNDS).for_each(|_| round());
        start.elapsed() / ROUNDS
    };
    (0..5).map(|_| run(&mut round)).min().unwrap_or_default()
}

fn report(what: &str, time: Duration) {
    println!("{what}: {} ns", time.as_nanos());
}
