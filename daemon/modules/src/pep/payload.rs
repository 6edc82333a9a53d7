//! A payload as it is kept: an element that means the same wherever it is put.
use godwit_wire::Node;
use godwit_wire::writer::write_attr;

/// The bytes of `node` with the namespaces that it has from its `ancestors` (innermost first) and the stream
/// (`outer`) declared on itself.
pub fn standalone<'a>(
    node: Node<'a>,
    ancestors: &[Node<'a>],
    content: &'a str,
    outer: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<u8> {
    let raw = node.raw();
    let mut declared: Vec<&str> = node.declarations().map(|(prefix, _)| prefix).collect();
    let mut added = Vec::new();
    let inherited = ancestors.iter().flat_map(|ancestor| ancestor.declarations());
    for (prefix, uri) in inherited.chain(outer).chain([("", content)]) {
        if declared.contains(&prefix) {
            continue;
        }
        declared.push(prefix);
        if prefix.is_empty() {
            write_attr(&mut added, "xmlns", uri);
        } else if is_used(raw, prefix) {
            write_attr(&mut added, &["xmlns:", prefix].concat(), uri);
        }
    }
    let (head, rest) = raw.split_at(raw.len().min(1 + node.qualified_name().len()));
    [head, &added, rest].concat()
}

/// The prefix may be in use: then its declaration has to come along.
fn is_used(raw: &[u8], prefix: &str) -> bool {
    let mark = [prefix.as_bytes(), b":"].concat();
    raw.windows(mark.len()).any(|window| window == mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_wire::element::Header;
    use godwit_wire::{Element, Scope, ns};

    fn kept(raw: &str, scope: &Scope) -> String {
        let element = Element::parse(raw.as_bytes(), scope).expect(raw);
        let item = element.root().children().next().expect("an item");
        let payload = item.children().next().expect("a payload");
        let outer = element.scope().extra_prefixes();
        let bytes = standalone(payload, &[item, element.root()], ns::CLIENT, outer);
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn what_declares_its_own_namespace_stays_as_it_is() {
        let raw = "<iq><item xmlns='urn:i'><x xmlns='urn:x' a='1'><y/></x></item></iq>";
        assert_eq!(kept(raw, &Scope::client()), "<x xmlns='urn:x' a='1'><y/></x>");
    }

    #[test]
    fn inherited_namespaces_come_along() {
        let scope = Header::parse(
            b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
              xmlns:h='urn:h' xmlns:i='urn:hidden'>",
        )
        .expect("a header")
        .scope;
        let raw = "<iq xmlns:q='urn:q'><item xmlns='urn:i' xmlns:i='urn:ii'><i:x/></item></iq>";
        assert_eq!(kept(raw, &scope), "<i:x xmlns='urn:i' xmlns:i='urn:ii'/>");
        let raw = "<iq xmlns:q='urn:&quot;q'><item><x><h:y/><q:z i:a='1'/></x></item></iq>";
        let out = kept(raw, &scope);
        assert_eq!(
            out,
            "<x xmlns:q='urn:&quot;q' xmlns:h='urn:h' xmlns:i='urn:hidden' xmlns='jabber:client'>\
             <h:y/><q:z i:a='1'/></x>"
        );
        let again = Element::parse(format!("<o xmlns='urn:o'>{out}</o>").as_bytes(), &Scope::client());
        let again = again.expect("complete in itself");
        let x = again.root().child("x", ns::CLIENT).expect("its namespace");
        assert!(x.child("y", "urn:h").is_some() && x.child("z", "urn:\"q").is_some());
    }
}
