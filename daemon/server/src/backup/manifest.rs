//! What a backup consists of, as it is written.
use super::BackupError;
use serde::{Deserialize, Serialize};

/// Version of the manifest's form.
pub const FORMAT: u32 = 1;
/// The same with encrypted files, which the first version did not know.
pub const FORMAT_SEALED: u32 = 2;

/// Longest manifest read, in bytes: a million files.
pub(super) const BYTES_MAX: u64 = 256 << 20;

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`] or [`FORMAT_SEALED`]; later ones are refused.
    pub format: u32,
    /// Its name: the time, in UTC.
    pub id: String,
    /// When the checkpoint was made; what was acknowledged before is in it.
    pub created_ms: u64,
    /// Version of Godwit.
    pub version: String,
    /// Layout of the store.
    pub schema: u32,
    /// Host on which it was made.
    pub host: String,
    /// Domains that were served.
    pub domains: Vec<String>,
    /// Largest sequence number that it holds at least.
    pub head: u64,
    /// Public keys of those who can decrypt its files; empty: they are not encrypted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// Its files.
    pub files: Vec<Entry>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path below the data directory.
    pub path: String,
    /// Length.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// What holds it, if it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
    /// When the file was last written, in nanoseconds since 1970: with its name and length it tells whether a
    /// later backup finds the same file.
    pub written_ns: u64,
}

/// An encrypted file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Length of what is encrypted.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal: whether it is whole can be told without being able to decrypt it.
    pub sha256: String,
}

impl Entry {
    /// The object that holds it: its checksum, which is its name, and its length.
    pub fn object(&self) -> (&str, u64) {
        match &self.sealed {
            Some(sealed) => (&sealed.sha256, sealed.bytes),
            None => (&self.sha256, self.bytes),
        }
    }
}

/// A path of a backup's file: nothing that leads elsewhere.
pub(super) fn is_plain(path: &str) -> bool {
    let in_store = |name: &str| !name.contains('/') && !name.is_empty() && name != ".." && name != ".";
    path == super::SECRET || path.strip_prefix("store/").is_some_and(in_store)
}

impl Manifest {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// From its text; refuses what this version does not know, and paths that lead elsewhere.
    pub fn read(text: &[u8], name: &str) -> Result<Manifest, BackupError> {
        let damaged = |why: String| BackupError::Damaged(format!("{name} is no manifest of a backup: {why}"));
        let manifest: Manifest = serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
        if !(FORMAT..=FORMAT_SEALED).contains(&manifest.format) {
            let most = FORMAT_SEALED;
            return Err(damaged(format!(
                "its format is {}, this version reads up to {most}",
                manifest.format
            )));
        }
        for file in &manifest.files {
            let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_plain(&file.path) || !is_hash(&file.sha256) || !is_hash(file.object().0) {
                return Err(damaged(format!("{:?} is not a file of a store", file.path)));
            }
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(file: Entry) -> Manifest {
        Manifest {
            format: FORMAT,
            id: "x".into(),
            created_ms: 0,
            version: "0".into(),
            schema: 1,
            host: "h".into(),
            domains: Vec::new(),
            head: 0,
            recipients: Vec::new(),
            files: vec![file],
        }
    }

    fn entry(path: &str) -> Entry {
        Entry { path: path.into(), bytes: 1, sha256: "0".repeat(64), sealed: None, written_ns: 0 }
    }

    fn read(manifest: &Manifest) -> Result<Manifest, BackupError> {
        Manifest::read(&serde_json::to_vec(manifest).expect("JSON"), "x.json")
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        for good in ["store/CURRENT", "secret.key"] {
            assert_eq!(read(&manifest(entry(good))).expect(good), manifest(entry(good)));
        }
        for bad in ["../x", "store/../../x", "/etc/passwd", "store/", "store/.", "store/..", "tickets.key"] {
            let read = read(&manifest(entry(bad)));
            assert!(read.is_err(), "{bad}: {read:?}");
        }
    }

    #[test]
    fn a_later_format_and_names_that_are_no_checksums_are_refused() {
        let sealed = |sha256: &str| {
            let sealed = Some(Sealed { bytes: 300, sha256: sha256.into() });
            let (format, recipients) = (FORMAT_SEALED, vec!["age1x".to_owned()]);
            Manifest { format, recipients, ..manifest(Entry { sealed, ..entry("secret.key") }) }
        };
        let good = sealed(&"a".repeat(64));
        assert_eq!(read(&good).expect("good"), good);
        assert_eq!(good.files[0].object(), ("a".repeat(64).as_str(), 300));
        assert!(read(&sealed("../../x")).is_err());
        assert!(read(&manifest(Entry { sha256: "../x".into(), ..entry("secret.key") })).is_err());
        for format in [0, FORMAT_SEALED + 1] {
            let why = read(&Manifest { format, ..good.clone() }).expect_err("refused").to_string();
            assert!(why.contains(&format!("its format is {format}, this version reads up to 2")), "{why}");
        }
        assert!(Manifest::read(b"{", "x.json").expect_err("no JSON").to_string().contains("x.json is no"));
    }
}
