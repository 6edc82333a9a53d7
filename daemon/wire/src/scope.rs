//! The namespaces that a stream header puts in force for the stanzas inside it.
//!
//! Every connection holds one, so the ordinary one (`jabber:client`, prefix `stream`) allocates nothing.

use crate::ns;
use std::sync::Arc;

/// A prefix and its namespace name.
pub(crate) type Prefix = (Box<str>, Box<str>);

/// Namespaces that the peer declared on its stream header (default namespace and prefixes); inherited by
/// stanzas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The content namespace is `jabber:server`.
    server: bool,
    /// Prefixes besides `stream` and `xml` with their namespace names.
    prefixes: Option<Arc<Vec<Prefix>>>,
}

impl Scope {
    /// Default namespace `jabber:client`, prefix `stream`, nothing else.
    pub fn client() -> Self {
        Scope::default()
    }

    /// Default namespace `jabber:server`, prefix `stream`, nothing else.
    pub fn server() -> Self {
        Scope { server: true, prefixes: None }
    }

    /// With these prefixes declared as well.
    pub(crate) fn with_prefixes(self, prefixes: Vec<Prefix>) -> Self {
        Scope { prefixes: if prefixes.is_empty() { None } else { Some(Arc::new(prefixes)) }, ..self }
    }

    /// What [`Scope::content`] and [`Scope::extra_prefixes`] said of another one.
    pub fn of(content: &str, prefixes: Vec<(Box<str>, Box<str>)>) -> Self {
        Scope { server: content == ns::SERVER, prefixes: None }.with_prefixes(prefixes)
    }

    /// True if the header declared prefixes besides `stream` and `xml`.
    pub fn has_extra_prefixes(&self) -> bool {
        self.prefixes.is_some()
    }

    /// Those prefixes with their namespace names.
    pub fn extra_prefixes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.prefixes.iter().flat_map(|list| list.iter()).map(|(prefix, uri)| (&**prefix, &**uri))
    }

    /// The content namespace, which is also the default one: `jabber:client` or `jabber:server`.
    pub fn content(&self) -> &'static str {
        if self.server { ns::SERVER } else { ns::CLIENT }
    }

    /// Where `prefix` stands among the extra ones.
    pub(crate) fn position(&self, prefix: &str) -> Option<usize> {
        self.extra_prefixes().position(|(p, _)| p == prefix)
    }

    /// Namespace name of the extra prefix at `position`.
    pub(crate) fn uri_at(&self, position: usize) -> &str {
        self.extra_prefixes().nth(position).map_or("", |(_, uri)| uri)
    }
}
