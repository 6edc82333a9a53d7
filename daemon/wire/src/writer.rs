//! Writes XML into a byte vector: escaping, attribute quoting, balanced tags.

/// A writer over a borrowed vector. Values are escaped; names are static strings of ours.
#[derive(Debug)]
pub struct Writer<'a> { out: &'a mut Vec<u8> }
impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self { Writer { out } }
    // `out` is used by the real implementation
    /// `<name` — attributes may follow until the next call that is not an attribute.
    pub fn start(&mut self, _name: &'static str) -> &mut Self { unimplemented!() }
    /// ` name='value'`, escaped.
    pub fn attr(&mut self, _name: &str, _value: &str) -> &mut Self { unimplemented!() }
    /// The attribute if there is a value.
    pub fn attr_opt(&mut self, _name: &str, _value: Option<&str>) -> &mut Self { unimplemented!() }
    /// Text content, escaped.
    pub fn text(&mut self, _text: &str) -> &mut Self { unimplemented!() }
    /// Bytes that are XML already.
    pub fn raw(&mut self, _xml: &[u8]) -> &mut Self { unimplemented!() }
    /// Closes the innermost open element (`/>` if it has no content).
    pub fn end(&mut self) -> &mut Self { unimplemented!() }
    /// `<name xmlns='ns'/>`.
    pub fn empty(&mut self, _name: &'static str, _ns: &str) -> &mut Self { unimplemented!() }
}
