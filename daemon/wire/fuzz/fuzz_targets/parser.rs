//! The parsers of elements, headers and declarations never panic, and see what rxml sees.
#![no_main]

#[path = "../../tests/oracle/mod.rs"]
mod oracle;

use godwit_wire::{Element, Jid, Scope, Stanza};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    oracle::parsers(data);
    if let Ok(jid) = str::from_utf8(data).map_err(drop).and_then(|text| Jid::parse(text).map_err(drop)) {
        assert_eq!(Jid::parse(jid.as_str()), Ok(jid));
    }
    let Ok(element) = Element::parse(data, &Scope::client()) else { return };
    let before = oracle::by_us(element.root());
    if let Ok(Some(stanza)) = Stanza::from_element(element) {
        let mut out = Vec::new();
        stanza.render(&mut out, None, None, &|_| false);
        let rendered = Element::parse(&out, &Scope::client()).expect("a rendered stanza is well-formed");
        oracle::same_but_for_addresses(before, oracle::by_us(rendered.root()));
    }
});
