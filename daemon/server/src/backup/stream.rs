//! A backup as one stream: a tar archive of its files, with the manifest as the last one. What ends before it
//! is no backup. `tar` reads it too; if it is encrypted, after `age -d`.
use super::create::{About, files, free_id};
use super::manifest::{BYTES_MAX as MANIFEST_BYTES_MAX, is_plain};
use super::repository::{Digest, Hashing, counter, pour, private_file};
use super::{BackupError, Entry, Manifest, Progress, at};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Files in a stream.
const FILES_MAX: usize = 1_000_000;
/// What the manifest is called, behind its id.
const MANIFEST_END: &str = ".json";

/// Writes a checkpoint, and the server's secret from the data directory.
pub fn write(
    out: &mut dyn Write,
    checkpoint: &Path,
    data_dir: &Path,
    about: &About,
    progress: Progress<'_>,
) -> Result<Manifest, BackupError> {
    let found = files(checkpoint, data_dir)?;
    let (all, mut done) = (found.iter().map(|file| file.bytes).sum(), 0);
    let mut count = counter(&mut done, all, progress);
    let mut tar = tar::Builder::new(out);
    let mut entries = Vec::new();
    for file in &found {
        // A file that grows meanwhile would not have the length that the archive has promised.
        let from = File::open(&file.from).map_err(at(&file.from))?.take(file.bytes);
        let mut from = Hashing::new(Counting { inner: from, count: &mut count });
        append(&mut tar, &file.path, file.bytes, file.written_ns / 1_000_000_000, &mut from)?;
        let (sha256, bytes) = from.digest();
        if bytes != file.bytes {
            return Err(at(&file.from)(io::ErrorKind::UnexpectedEof.into()));
        }
        let (path, written_ns) = (file.path.clone(), file.written_ns);
        entries.push(Entry { path, bytes, sha256, sealed: None, written_ns });
    }
    let manifest = about.manifest(free_id(about.at_ms, &[]), Vec::new(), entries);
    let text = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other).map_err(unwritten)?;
    let name = manifest.id.clone() + MANIFEST_END;
    append(&mut tar, &name, text.len() as u64, about.at_ms / 1_000, &mut text.as_slice())?;
    tar.into_inner().and_then(Write::flush).map_err(unwritten)?;
    Ok(manifest)
}

fn append(
    tar: &mut tar::Builder<&mut dyn Write>,
    path: &str,
    bytes: u64,
    written_s: u64,
    from: &mut dyn Read,
) -> Result<(), BackupError> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(written_s);
    tar.append_data(&mut header, path, from).map_err(unwritten)
}

/// Reads a stream through, into a directory if one is given, which has a directory `store`. What it holds is
/// whole when this returns it.
pub fn read(
    input: &mut dyn Read,
    into: Option<&Path>,
    progress: Progress<'_>,
) -> Result<Manifest, BackupError> {
    let mut done = 0;
    let mut count = counter(&mut done, 0, progress);
    let (mut found, mut manifest) = (HashMap::new(), None);
    let mut archive = tar::Archive::new(input);
    for entry in archive.entries().map_err(unread)? {
        let mut entry = entry.map_err(unread)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if manifest.is_some() {
            return Err(damaged(&format!("{path:?} is behind its end")));
        }
        if found.len() >= FILES_MAX {
            return Err(damaged(&format!("it holds more than {FILES_MAX} files")));
        }
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(damaged(&format!("{path:?} is not a regular file")));
        }
        if path.ends_with(MANIFEST_END) && !path.contains('/') {
            let (length, mut text) = (entry.size(), Vec::new());
            entry.take(MANIFEST_BYTES_MAX).read_to_end(&mut text).map_err(unread)?;
            if text.len() as u64 != length {
                return Err(damaged("its manifest was cut short, or is longer than any"));
            }
            manifest = Some(Manifest::read(&text, &path)?);
            continue;
        }
        if !is_plain(&path) || found.contains_key(&path) {
            return Err(damaged(&format!("{path:?} is not a file of a store, or there twice")));
        }
        let digest = match into {
            None => pour(&mut entry, &unread, &mut io::sink(), Path::new("-"), &mut count)?,
            Some(directory) => {
                let path = directory.join(&path);
                let mut out = private_file().create_new(true).open(&path).map_err(at(&path))?;
                let digest = pour(&mut entry, &unread, &mut out, &path, &mut count)?;
                out.sync_all().map_err(at(&path))?;
                digest
            }
        };
        found.insert(path, digest);
    }
    let manifest = manifest.ok_or_else(|| damaged("it ends before its manifest: it was cut short"))?;
    drain(archive.into_inner())?;
    compare(&manifest, found)?;
    Ok(manifest)
}

/// Reads what is behind the archive's end: padding. The sender must not find a closed pipe, and age proves
/// only at the end that nothing was cut off.
fn drain(input: &mut dyn Read) -> Result<(), BackupError> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        match input.read(&mut chunk).map_err(unread)? {
            0 => return Ok(()),
            n if chunk.iter().take(n).all(|byte| *byte == 0) => {}
            _ => return Err(damaged("something follows its end")),
        }
    }
}

/// Each file of the manifest was there, as it should be, and nothing else.
fn compare(manifest: &Manifest, mut found: HashMap<String, Digest>) -> Result<(), BackupError> {
    for file in &manifest.files {
        match found.remove(&file.path) {
            Some((sha256, bytes)) if sha256 == file.sha256 && bytes == file.bytes => {}
            Some(_) => return Err(damaged(&format!("{} has not the content it was stored with", file.path))),
            None => return Err(damaged(&format!("{} is missing", file.path))),
        }
    }
    match found.keys().next() {
        Some(path) => Err(damaged(&format!("{path} is not in its manifest"))),
        None => Ok(()),
    }
}

fn damaged(why: &str) -> BackupError {
    BackupError::Damaged(format!("the stream is DAMAGED: {why}"))
}

/// What is no archive, was cut or cannot be decrypted ends up here.
#[allow(clippy::needless_pass_by_value)] // As `map_err` gives it.
fn unread(error: io::Error) -> BackupError {
    BackupError::Damaged(format!("the stream is DAMAGED or no backup: {error}"))
}

#[allow(clippy::needless_pass_by_value)] // As `map_err` gives it.
fn unwritten(error: io::Error) -> BackupError {
    BackupError::Refused(format!("the stream cannot be written: {error}"))
}

struct Counting<'a, R> {
    inner: R,
    count: &'a mut dyn FnMut(u64),
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        (self.count)(n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDir;

    fn about() -> About {
        About { at_ms: 1_700_000_000_000, domains: vec!["example.org".into()], head: 7, schema: 1 }
    }

    /// A stream of two files and the secret.
    fn stream(dir: &Path) -> Vec<u8> {
        let checkpoint = dir.join("checkpoint");
        std::fs::create_dir(&checkpoint).expect("directory");
        std::fs::write(checkpoint.join("CURRENT"), "MANIFEST-1\n").expect("file");
        std::fs::write(checkpoint.join("000007.sst"), vec![b'x'; 100_000]).expect("file");
        std::fs::write(dir.join("secret.key"), [9; 32]).expect("file");
        let mut out = Vec::new();
        let mut last = (0, 0);
        let mut progress = |done, of| last = (done, of);
        let written = write(&mut out, &checkpoint, dir, &about(), &mut progress).expect("written");
        assert_eq!((written.files.len(), last), (3, (100_043, 100_043)));
        out
    }

    #[test]
    fn a_stream_comes_back_as_it_was() {
        let dir = TestDir::new("stream-whole");
        let bytes = stream(dir.path());
        let into = dir.path().join("into");
        std::fs::create_dir_all(into.join("store")).expect("directory");
        let manifest = read(&mut bytes.as_slice(), Some(&into), &mut |_, _| {}).expect("whole");
        assert_eq!((manifest.id.as_str(), manifest.head), ("20231114T221320Z", 7));
        assert_eq!(std::fs::read(into.join("store/CURRENT")).expect("file"), b"MANIFEST-1\n");
        assert_eq!(std::fs::read(into.join("store/000007.sst")).expect("file"), vec![b'x'; 100_000]);
        assert_eq!(std::fs::read(into.join("secret.key")).expect("file"), [9; 32]);
    }

    #[test]
    fn one_that_was_cut_or_changed_is_damaged() {
        let dir = TestDir::new("stream-damaged");
        let bytes = stream(dir.path());
        let fails = |bytes: &[u8]| {
            let mut input = bytes;
            read(&mut input, None, &mut |_, _| {}).expect_err("damaged").to_string()
        };
        for cut in (0..bytes.len() - 1_024).step_by(511) {
            let why = fails(&bytes[..cut]);
            assert!(why.contains("DAMAGED"), "{cut}: {why}");
        }
        let x = bytes.windows(4).position(|part| part == b"xxxx").expect("the file");
        let mut changed = bytes.clone();
        changed[x + 5_000] = b'y';
        assert!(fails(&changed).contains("000007.sst has not the content"), "{}", fails(&changed));
        assert!(fails(b"not a tar archive").contains("no backup"));
        let twice = [bytes.as_slice(), bytes.as_slice()].concat();
        assert!(fails(&twice).contains("something follows its end"), "{}", fails(&twice));
        let padded = [bytes.as_slice(), &[0; 8_192]].concat();
        read(&mut padded.as_slice(), None, &mut |_, _| {}).expect("tar fills up to a record");
    }

    /// An archive of files with this content, whatever their names.
    fn archive(files: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, kind, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.as_gnu_mut().expect("GNU").name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, *content).expect("appended");
        }
        tar.into_inner().expect("bytes")
    }

    fn refused(files: &[(&str, tar::EntryType, &[u8])], into: Option<&Path>) -> String {
        read(&mut archive(files).as_slice(), into, &mut |_, _| {}).expect_err("refused").to_string()
    }

    #[test]
    fn nothing_is_written_elsewhere() {
        let dir = TestDir::new("stream-elsewhere");
        for bad in ["store/../../evil", "/store/evil", "tickets.key", "store/a/b"] {
            let why = refused(&[(bad, tar::EntryType::Regular, b"x")], Some(dir.path()));
            assert!(why.contains("not a file of a store"), "{why}");
        }
        for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Directory] {
            let why = refused(&[("store/CURRENT", kind, b"")], Some(dir.path()));
            assert!(why.contains("not a regular file"), "{why}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("directory").count(), 0);
    }

    #[test]
    fn what_the_manifest_does_not_say_is_damage() {
        let (dir, file) = (TestDir::new("stream-manifest"), tar::EntryType::Regular);
        std::fs::write(dir.path().join("secret.key"), [9; 32]).expect("file");
        let checkpoint = dir.path().join("empty");
        std::fs::create_dir(&checkpoint).expect("directory");
        let made =
            write(&mut Vec::new(), &checkpoint, dir.path(), &about(), &mut |_, _| {}).expect("written");
        let text = serde_json::to_vec(&made).expect("JSON");
        let (key, manifest) = (("secret.key", file, &[9; 32][..]), ("x.json", file, text.as_slice()));
        read(&mut archive(&[key, manifest]).as_slice(), None, &mut |_, _| {}).expect("whole");
        for (files, why) in [
            (vec![key], "it ends before its manifest"),
            (vec![manifest], "secret.key is missing"),
            (vec![key, key, manifest], "or there twice"),
            (vec![manifest, key], "is behind its end"),
            (vec![key, ("store/CURRENT", file, b"x"), manifest], "store/CURRENT is not in its manifest"),
            (vec![("secret.key", file, b"x"), manifest], "has not the content"),
            (vec![key, ("x.json", file, b"{")], "x.json is no manifest"),
        ] {
            let said = refused(&files, None);
            assert!(said.contains(why), "{said} is not: {why}");
        }
    }
}
