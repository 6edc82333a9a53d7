//! The program's version, in a place of its own within the binary.
//!
//! Tests of the in-place upgrade need two binaries that differ in nothing but this: they change these bytes
//! in a copy (`tests/upgrade`). So it must be read where it stands, and nothing may be derived from it
//! earlier.

const LENGTH: usize = 48;
const MARK: &str = "godwit-version:";

static PLACE: [u8; LENGTH] = place();

const fn place() -> [u8; LENGTH] {
    let mut place = [0; LENGTH];
    let text = concat!("godwit-version:", env!("CARGO_PKG_VERSION")).as_bytes();
    let mut at = 0;
    while at < text.len() {
        place[at] = text[at];
        at += 1;
    }
    place
}

/// Like `0.1.0`.
pub fn version() -> &'static str {
    let place: &'static [u8; LENGTH] = std::hint::black_box(&PLACE);
    let text = place.get(MARK.len()..).unwrap_or_default();
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    text.get(..end).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_packages() {
        assert_eq!(super::version(), env!("CARGO_PKG_VERSION"));
    }
}
