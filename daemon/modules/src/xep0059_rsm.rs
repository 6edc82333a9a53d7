//! XEP-0059 Result Set Management: which page is asked for, and what its answer says of it.
//!
//! Items are known by their ids alone; pages by index (§2.6) are not offered.
use crate::module::{Info, Module};
use godwit_wire::{Condition, Node, StanzaError, Writer, ns};

/// The module.
#[derive(Debug)]
pub struct Rsm;

impl Module for Rsm {
    fn info(&self) -> Info {
        Info {
            name: "rsm",
            spec: "XEP-0059",
            title: "Result Set Management",
            version: "1.0",
            account_features: &[ns::RSM],
            ..Info::default()
        }
    }
}

/// What a request's `<set/>` says; without one, nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Items in the page; 0 asks for the count alone. More than a number can hold is the largest one.
    pub max: Option<usize>,
    /// The page begins behind this item.
    pub after: Option<Box<str>>,
    /// The page ends before this item; empty: at the end.
    pub before: Option<Box<str>>,
}

impl Request {
    /// From the element that may hold a `<set/>`.
    pub fn read(query: Node<'_>) -> Result<Request, StanzaError> {
        let Some(set) = query.child("set", ns::RSM) else { return Ok(Request::default()) };
        let bad = |why: &'static str| StanzaError::new(Condition::BadRequest).with_text(why);
        let mut request = Request::default();
        for child in set.children().filter(|child| child.ns() == ns::RSM) {
            let text = child.text();
            let twice = match child.name() {
                "max" => {
                    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                    if !digits {
                        return Err(bad("<max/> is a number"));
                    }
                    request.max.replace(text.parse().unwrap_or(usize::MAX)).is_some()
                }
                "after" => request.after.replace(text.into()).is_some(),
                "before" => request.before.replace(text.into()).is_some(),
                "index" => {
                    let error = StanzaError::new(Condition::FeatureNotImplemented);
                    return Err(error.with_text("pages are found by <after/> and <before/>, not by index"));
                }
                _ => false,
            };
            if twice {
                return Err(bad("an element of <set/> comes twice"));
            }
        }
        Ok(request)
    }
}

/// What an answer's `<set/>` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Ids of the first and the last item of the page.
    pub ends: Option<(String, String)>,
    /// Number of the first item in the whole set.
    pub index: Option<usize>,
    /// Items in the whole set.
    pub count: Option<usize>,
}

impl Answer {
    /// Writes the `<set/>`.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let number = |n: Option<usize>| n.map(|n| n.to_string());
        writer.start("set").attr("xmlns", ns::RSM);
        if let Some((first, last)) = &self.ends {
            writer.start("first").attr_opt("index", number(self.index).as_deref()).text(first).end();
            writer.start("last").text(last).end();
        }
        if let Some(count) = number(self.count) {
            writer.start("count").text(&count).end();
        }
        writer.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_wire::{Element, element::Scope};

    fn read(set: &str) -> Result<Request, StanzaError> {
        let xml = format!("<q><set xmlns='http://jabber.org/protocol/rsm'>{set}</set></q>");
        let element = Element::parse(xml.as_bytes(), &Scope::client()).expect("XML");
        Request::read(element.root())
    }

    #[test]
    fn pages() {
        let set = read("<max>10</max><after>x&amp;y</after><x xmlns='urn:other'/>").expect("a page");
        assert_eq!(set, Request { max: Some(10), after: Some("x&y".into()), before: None });
        assert_eq!(read("<before/>").expect("last page").before.as_deref(), Some(""));
        let most = read("<max>99999999999999999999999999</max>").expect("more than there can be");
        assert_eq!(most.max, Some(usize::MAX));
    }

    #[test]
    fn bad_pages_are_refused() {
        for set in
            ["<max/>", "<max>-1</max>", "<max>1e3</max>", "<max>1</max><max>2</max>", "<before/><before/>"]
        {
            let error = read(set).expect_err(set);
            assert_eq!((error.condition, error.text.is_some()), (Condition::BadRequest, true), "{set}");
        }
        let error = read("<index>3</index>").expect_err("index");
        assert_eq!(error.condition, Condition::FeatureNotImplemented);
    }

    #[test]
    fn answers() {
        let write = |answer: &Answer| {
            let mut out = Vec::new();
            answer.write(&mut Writer::new(&mut out));
            String::from_utf8(out).expect("UTF-8")
        };
        assert_eq!(write(&Answer::default()), "<set xmlns='http://jabber.org/protocol/rsm'/>");
        let ends = Some(("a".to_owned(), "b".to_owned()));
        assert_eq!(
            write(&Answer { ends, index: Some(0), count: Some(2) }),
            "<set xmlns='http://jabber.org/protocol/rsm'><first index='0'>a</first><last>b</last>\
             <count>2</count></set>"
        );
    }
}
