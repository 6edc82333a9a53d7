//! Random bytes from the operating system, by way of aws-lc's generator.

/// Fills a slice.
///
/// # Panics
/// If the kernel gives no randomness: nothing that this program does would be safe then.
#[allow(clippy::expect_used)] // see above
pub fn fill(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the kernel gives random bytes");
}

/// A password of 100 random bits, in groups that can be read out.
pub fn password() -> String {
    // 32 characters: none that is taken for another.
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 20];
    fill(&mut bytes);
    let characters = bytes.iter().filter_map(|b| ALPHABET.get(usize::from(b % 32)).copied().map(char::from));
    let mut text = String::new();
    for (i, c) in characters.enumerate() {
        if i > 0 && i % 5 == 0 {
            text.push('-');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn passwords_differ_and_have_their_form() {
        let (a, b) = (super::password(), super::password());
        assert_ne!(a, b);
        assert_eq!(a.len(), 23);
        assert_eq!(a.split('-').map(str::len).collect::<Vec<_>>(), [5, 5, 5, 5]);
    }
}
