//! Power loss: takes back what the killed process had not synced.
//!
//! The process runs with `power/power.c` preloaded, which says at its head what it keeps in the shadow
//! directory. After the kill, [`Power::lose`] undoes names, then content: all of it, or as much as chance
//! says. Names go in their order, as with every file system that has a journal: the later ones are lost
//! first.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use godwit_testclient::Rng;

/// What a disk writes at once, bytes.
const PAGE: u64 = 4_096;
/// How long a sync takes, microseconds: long enough that losses fall into it.
const SYNC_US: &str = "2000";
/// Head of an undo file (the synced size) and of each of its records (offset, length), bytes.
const HEAD: u64 = 8;
const RECORD_HEAD: u64 = 16;

/// How much of what was not synced is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of it.
    All,
    /// Content behind a random point of each file, names behind a random one.
    Tail,
    /// As `Tail`, and pages before that point read as zeros: they were not written in order. Often nothing
    /// but such holes.
    Pages,
}

/// What was taken back, summed up over the losses of a run.
#[derive(Debug, Default, Clone)]
pub(crate) struct Lost {
    losses: u32,
    bytes: u64,
    files: u64,
    names: u64,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { losses, bytes, files, names } = self;
        write!(f, "{losses} power losses took {bytes} bytes of {files} files and {names} names")
    }
}

/// The layer under one server.
#[derive(Debug)]
pub(crate) struct Power {
    root: PathBuf,
    shadow: PathBuf,
    layer: PathBuf,
    loss: Loss,
    rng: Rng,
    pub(crate) lost: Lost,
}

impl Power {
    /// Compiles the layer for a server whose data is in `dir/data`.
    pub(crate) fn prepare(dir: &Path, loss: Loss, rng: Rng) -> Result<Self, String> {
        let dir = dir.canonicalize().map_err(|e| e.to_string())?;
        let (shadow, layer) = (dir.join("shadow"), dir.join("power.so"));
        fs::create_dir(&shadow).map_err(|e| e.to_string())?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("power/power.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&layer).arg(source).args(["-ldl", "-lpthread"]);
        crate::peers::run(compiler, "")?;
        Ok(Self { root: dir.join("data"), shadow, layer, loss, rng, lost: Lost::default() })
    }

    /// The server runs on the layer.
    pub(crate) fn preload(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.layer).env("POWER_SYNC_US", SYNC_US);
        command.env("POWER_ROOT", &self.root).env("POWER_SHADOW", &self.shadow);
    }

    /// The server was killed, and now the power goes.
    pub(crate) fn lose(&mut self) -> Result<(), String> {
        self.lose_all().map_err(|e| format!("power loss in {}: {e}", self.shadow.display()))
    }

    fn lose_all(&mut self) -> io::Result<()> {
        self.lost.losses += 1;
        self.lose_names()?;
        let mut paths = BTreeMap::new();
        inodes(&self.root, &mut paths)?;
        for entry in fs::read_dir(&self.shadow)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "undo") {
                let inode = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
                if let Some(changed) = inode.and_then(|inode| paths.get(&inode)) {
                    self.lose_content(changed, &path)?;
                }
            }
            fs::remove_file(&path)?;
        }
        Ok(())
    }

    fn lose_names(&mut self) -> io::Result<()> {
        let entries = match fs::read_to_string(self.shadow.join("entries")) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let lines: Vec<&str> = entries.lines().collect();
        let kept = match self.loss {
            Loss::All => 0,
            Loss::Tail | Loss::Pages => self.rng.between(0, lines.len() as u64),
        };
        let kept = usize::try_from(kept).unwrap_or(0);
        for line in lines.iter().skip(kept).rev() {
            self.lost.names += 1;
            let fields: Vec<&str> = line.split('\t').collect();
            let saved = |number: &str| self.shadow.join(format!("saved.{number}"));
            match fields.as_slice() {
                ["C", _, path] => gone(fs::remove_file(path))?,
                ["M", _, path] => gone(fs::remove_dir_all(path))?,
                ["U", number, path] => fs::rename(saved(number), path)?,
                ["R", number, to, from] => {
                    fs::rename(to, from)?;
                    if *number != "0" {
                        fs::rename(saved(number), to)?;
                    }
                }
                _ => return Err(io::Error::other(format!("not an entry: {line}"))),
            }
        }
        Ok(())
    }

    fn lose_content(&mut self, path: &Path, undo: &Path) -> io::Result<()> {
        let undo = File::open(undo)?;
        if undo.metadata()?.len() < HEAD {
            // The process died when it had just begun with this file, and had not changed it.
            return Ok(());
        }
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let (synced, size) = (number(&undo, 0)?, file.metadata()?.len());
        let before = self.lost.bytes;
        if size > synced {
            let keep = match self.loss {
                Loss::All => synced,
                Loss::Pages if self.rng.chance(50) => size,
                Loss::Tail | Loss::Pages => self.rng.between(synced, size),
            };
            file.set_len(keep)?;
            self.lost.bytes += size - keep;
            if self.loss == Loss::Pages {
                self.lose_pages(&file, synced, keep)?;
            }
        }
        // The newest first, so that of several the oldest, which was synced, is there in the end.
        for (at, bytes) in records(&undo)?.into_iter().rev() {
            if self.loss == Loss::All || self.rng.chance(50) {
                file.write_all_at(&bytes, at)?;
                self.lost.bytes += bytes.len() as u64;
            }
        }
        self.lost.files += u64::from(self.lost.bytes > before);
        Ok(())
    }

    fn lose_pages(&mut self, file: &File, from: u64, to: u64) -> io::Result<()> {
        let mut at = from;
        while at < to {
            let end = ((at / PAGE + 1) * PAGE).min(to);
            if self.rng.chance(50) {
                let zeros = vec![0; usize::try_from(end - at).unwrap_or(0)];
                file.write_all_at(&zeros, at)?;
                self.lost.bytes += end - at;
            }
            at = end;
        }
        Ok(())
    }
}

/// What was overwritten, in the order in which it was.
fn records(undo: &File) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let (mut at, len) = (HEAD, undo.metadata()?.len());
    let mut records = Vec::new();
    while at + RECORD_HEAD <= len {
        let (offset, size) = (number(undo, at)?, number(undo, at + 8)?);
        at += RECORD_HEAD;
        // The process was killed while it kept this one: it had not written yet.
        if at + size > len {
            break;
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        undo.read_exact_at(&mut bytes, at)?;
        records.push((offset, bytes));
        at += size;
    }
    Ok(records)
}

fn number(file: &File, at: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u64::from_ne_bytes(bytes))
}

fn inodes(dir: &Path, paths: &mut BTreeMap<u64, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.is_dir() {
            inodes(&entry.path(), paths)?;
        } else {
            paths.insert(found.ino(), entry.path());
        }
    }
    Ok(())
}

/// A name that is not there needs no removal.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
