//! Encryption of backups in the format of age (age-encryption.org/v1), so that `age -d` opens them too.
//!
//! To recipients, by their public keys; whoever makes a backup needs no secret, and cannot read it again.
use super::{BackupError, at};
use age::{DecryptError, Decryptor, Encryptor, IdentityFile, x25519};
use std::collections::BTreeSet;
use std::io::{self, BufRead, Read, Write};
use std::path::PathBuf;

/// What an encrypted stream begins with.
const MARK: &[u8] = b"age-encryption.org/";
/// Longest list of recipients, in bytes.
const LIST_BYTES_MAX: u64 = 1 << 20;

/// Who may read a backup.
#[derive(Debug, Clone, Default)]
pub struct Recipients(Vec<x25519::Recipient>);

impl Recipients {
    /// From public keys (`age1…`), and from files with one in each line; `#` begins a remark.
    pub fn new(keys: &[String], files: &[PathBuf]) -> Result<Recipients, BackupError> {
        let mut all = Vec::new();
        for key in keys {
            all.push(recipient(key, "--encrypt-to")?);
        }
        for file in files {
            let mut text = String::new();
            let opened = std::fs::File::open(file).map_err(at(file))?;
            opened.take(LIST_BYTES_MAX).read_to_string(&mut text).map_err(at(file))?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            let before = all.len();
            for line in lines {
                all.push(recipient(line, &file.display().to_string())?);
            }
            if all.len() == before {
                return Err(BackupError::Refused(format!("{} names no recipient", file.display())));
            }
        }
        Ok(Recipients(all))
    }

    /// Nothing is encrypted.
    pub fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Their public keys, each once, in order.
    pub fn keys(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Encrypts what is written; end it with `finish`.
    pub fn seal<W: Write>(&self, out: W) -> io::Result<age::stream::StreamWriter<W>> {
        let recipients = self.0.iter().map(|one| one as &dyn age::Recipient);
        Encryptor::with_recipients(recipients).map_err(io::Error::other)?.wrap_output(out)
    }
}

fn recipient(key: &str, place: &str) -> Result<x25519::Recipient, BackupError> {
    key.parse().map_err(|why: &str| {
        let hint = if key.starts_with("AGE-SECRET-KEY-") {
            "that is the secret key, which stays with whoever restores: write the public one (age-keygen -y)"
        } else {
            "write a public key as age-keygen prints it, age1…"
        };
        // Never the text: it may be a secret.
        BackupError::Refused(format!("{place}: not a recipient ({why}): {hint}"))
    })
}

/// Secret keys to read backups with.
#[derive(Default)]
pub struct Identities(Vec<Box<dyn age::Identity + Send + Sync>>);

impl Identities {
    /// From files as `age-keygen` makes them.
    pub fn read(files: &[PathBuf]) -> Result<Identities, BackupError> {
        let mut all = Vec::new();
        for file in files {
            let bad = |why: &dyn std::fmt::Display| {
                BackupError::Refused(format!(
                    "{}: not an identity file of age ({why}): name the one that age-keygen made",
                    file.display()
                ))
            };
            let read = IdentityFile::from_file(file.to_string_lossy().into_owned());
            let read = read.map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => bad(&error),
                _ => at(file)(error),
            })?;
            let found = read.into_identities().map_err(|error| bad(&error))?;
            if found.is_empty() {
                return Err(bad(&"it holds no secret key"));
            }
            all.extend(found);
        }
        Ok(Identities(all))
    }

    /// There is none.
    pub fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Decrypts what is read. `name` says what it is, for errors.
    pub fn open<R: BufRead>(
        &self,
        input: R,
        name: &str,
    ) -> Result<age::stream::StreamReader<R>, BackupError> {
        if self.are_none() {
            return Err(BackupError::Refused(format!(
                "{name} is encrypted: name the identity of one of its recipients with --identity FILE"
            )));
        }
        let identities = self.0.iter().map(|one| &**one as &dyn age::Identity);
        Decryptor::new_buffered(input).and_then(|sealed| sealed.decrypt(identities)).map_err(|error| {
            match error {
                DecryptError::NoMatchingKeys => BackupError::Refused(format!(
                    "{name} is encrypted to others: none of the identities named with --identity opens it"
                )),
                error => BackupError::Damaged(format!("{name} is DAMAGED, it cannot be decrypted: {error}")),
            }
        })
    }
}

/// Whether what follows is encrypted.
pub fn is_sealed(input: &mut impl BufRead) -> io::Result<bool> {
    Ok(input.fill_buf()?.starts_with(MARK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDir;
    use age::secrecy::ExposeSecret;
    use std::path::Path;

    fn said<T>(result: Result<T, BackupError>) -> String {
        result.err().expect("refused").to_string()
    }

    fn file(dir: &Path, name: &str, text: &str) -> Vec<PathBuf> {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("file");
        vec![path]
    }

    /// A pair of keys: who may read, and a file with the secret.
    fn pair(dir: &Path, name: &str) -> (String, Vec<PathBuf>) {
        let identity = x25519::Identity::generate();
        let public = identity.to_public().to_string();
        (public, file(dir, name, identity.to_string().expose_secret()))
    }

    fn sealed(recipients: &Recipients, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut sealing = recipients.seal(&mut out).expect("sealing");
        sealing.write_all(content).expect("written");
        sealing.finish().expect("finished");
        out
    }

    fn opened(bytes: &[u8], identities: &Identities) -> Result<Vec<u8>, BackupError> {
        let mut content = Vec::new();
        identities.open(bytes, "it")?.read_to_end(&mut content).map_err(at(Path::new("it")))?;
        Ok(content)
    }

    #[test]
    fn each_recipient_opens_it_alone_and_nobody_else() {
        let dir = TestDir::new("seal-open");
        let ((ann, of_ann), (ben, of_ben), (_, of_eve)) =
            (pair(dir.path(), "ann"), pair(dir.path(), "ben"), pair(dir.path(), "eve"));
        let list = file(dir.path(), "list", &format!("# who restores\n\n  {ben}\n{ann}\n"));
        let recipients = Recipients::new(std::slice::from_ref(&ann), &list).expect("recipients");
        let mut keys = vec![ann, ben];
        keys.sort();
        assert_eq!(recipients.keys(), keys, "each once");
        let bytes = sealed(&recipients, b"content");
        assert!(
            is_sealed(&mut bytes.as_slice()).expect("read") && !is_sealed(&mut &b"age"[..]).expect("read")
        );
        for files in [&of_ann, &of_ben] {
            let identities = Identities::read(files).expect("identities");
            assert_eq!(opened(&bytes, &identities).expect("opened"), b"content");
        }
        let eve = Identities::read(&of_eve).expect("identities");
        assert!(said(opened(&bytes, &eve)).contains("it is encrypted to others"));
        assert!(said(opened(&bytes, &Identities::default())).contains("name the identity"));
    }

    #[test]
    fn what_was_cut_or_changed_is_not_opened() {
        let dir = TestDir::new("seal-damaged");
        let (key, files) = pair(dir.path(), "ann");
        let identities = Identities::read(&files).expect("identities");
        let bytes = sealed(&Recipients::new(&[key], &[]).expect("recipients"), &[7; 200_000]);
        for cut in [10, 100, bytes.len() / 2, bytes.len() - 1] {
            assert!(opened(&bytes[..cut], &identities).is_err(), "{cut}");
        }
        for place in [30, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert!(opened(&changed, &identities).is_err(), "{place}");
        }
        assert!(said(opened(&bytes[..100], &identities)).contains("it is DAMAGED"));
    }

    #[test]
    fn what_is_no_recipient_is_refused_and_never_told() {
        let dir = TestDir::new("seal-recipients");
        let secret = x25519::Identity::generate().to_string();
        let secret = secret.expose_secret();
        let of_key = |key: &str| said(Recipients::new(&[key.to_owned()], &[]));
        let of_file = |text: &str| said(Recipients::new(&[], &file(dir.path(), "list", text)));
        for why in [of_key(secret), of_file(secret)] {
            assert!(why.contains("that is the secret key") && !why.contains(secret), "{why}");
        }
        for why in [of_key("age1nobody"), of_key(""), of_file("ssh-ed25519 AAAA")] {
            assert!(why.contains("write a public key"), "{why}");
        }
        assert!(of_file("# nobody\n").contains("names no recipient"));
        assert!(said(Recipients::new(&[], &[dir.path().join("nowhere")])).contains("nowhere"));
        assert!(Recipients::new(&[], &[]).expect("none").are_none());
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        let dir = TestDir::new("seal-identities");
        let of = |text: &str| said(Identities::read(&file(dir.path(), "identity", text)));
        assert!(of("age1nobody").contains("not an identity file of age"));
        assert!(of("# nothing\n").contains("it holds no secret key"));
        assert!(said(Identities::read(&[dir.path().join("nowhere")])).contains("nowhere"));
        assert!(Identities::read(&[]).expect("none").are_none());
    }
}
