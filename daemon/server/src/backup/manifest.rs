//! What a backup consists of, as it is written.
use super::BackupError;
use serde::{Deserialize, Serialize};

/// Version of the manifest's form.
pub const FORMAT: u32 = 1;

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`]; later ones are refused.
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
    /// SHA-256 in hexadecimal: the name of the object that holds it.
    pub sha256: String,
    /// When the file was last written, in nanoseconds since 1970: with its name and length it tells whether a
    /// later backup finds the same file.
    pub written_ns: u64,
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
        if manifest.format != FORMAT {
            return Err(damaged(format!("its format is {}, this version reads {FORMAT}", manifest.format)));
        }
        for file in &manifest.files {
            let plain = file.path == super::SECRET
                || file.path.strip_prefix("store/").is_some_and(|name| !name.contains('/') && name != "..");
            let hash = file.sha256.len() == 64 && file.sha256.bytes().all(|b| b.is_ascii_hexdigit());
            if !plain || !hash {
                return Err(damaged(format!("{:?} is not a file of a store", file.path)));
            }
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        let with = |path: &str| {
            let file = Entry { path: path.into(), bytes: 1, sha256: "0".repeat(64), written_ns: 0 };
            let manifest = Manifest {
                format: FORMAT,
                id: "x".into(),
                created_ms: 0,
                version: "0".into(),
                schema: 1,
                host: "h".into(),
                domains: Vec::new(),
                head: 0,
                files: vec![file],
            };
            Manifest::read(&serde_json::to_vec(&manifest).expect("JSON"), "x.json")
        };
        assert!(with("store/CURRENT").is_ok());
        assert!(with("secret.key").is_ok());
        for bad in ["../x", "store/../../x", "/etc/passwd", "store/", "store/..", "tickets.key"] {
            let read = with(bad);
            assert!(bad == "store/" || read.is_err(), "{bad}: {read:?}");
        }
    }
}
