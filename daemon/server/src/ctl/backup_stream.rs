//! `godwitctl backup create|verify|restore -`: one backup as a stream, to standard output or from standard
//! input.
use super::args::Ctl;
use super::backup::{about, clear, progress};
use super::backup_args::{Create, Restore, Verify};
use super::exit::Failed;
use super::odd;
use super::table::bytes;
use super::way::{self, Way};
use crate::admin::protocol::{Answer, Checkpoint, Request};
use crate::backup::restore::restore_stream;
use crate::backup::{BackupError, Done, Identities, Manifest, Recipients, STREAM, seal, stream};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

/// Bytes written or read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Whether a stream is meant and no directory.
pub(super) fn is_stream(place: &Path) -> bool {
    place == Path::new("-")
}

pub(super) fn create(ctl: &Ctl, args: &Create, recipients: &Recipients) -> Result<(), Failed> {
    if args.keep.is_some() || args.form.json {
        return Err(Failed::usage(
            "a stream holds one backup and nothing else: --keep and --json need a directory",
        ));
    }
    if io::stdout().is_terminal() {
        return Err(Failed::usage(
            "standard output is a terminal: send the stream to a file or another program",
        ));
    }
    let way = way::any(ctl)?;
    if let Way::Done(code) = way {
        return super::done(code);
    }
    let Answer::Checkpoint(checkpoint) = way.call(Request::Checkpoint)? else { return Err(odd()) };
    let made = send(&checkpoint, recipients);
    let done = made.as_ref().ok().map(|made| Done {
        id: made.id.clone(),
        place: STREAM.into(),
        at_ms: made.created_ms,
        bytes: made.bytes(),
        new_bytes: made.bytes(),
    });
    let told = way.call(Request::CheckpointDone { backup: done });
    clear();
    let made = made?;
    told?;
    super::said(&format!("backup {} of {} written to {STREAM},", made.id, bytes(made.bytes())), &way);
    way.close()
}

fn send(checkpoint: &Checkpoint, recipients: &Recipients) -> Result<Manifest, BackupError> {
    // Without the line buffer of standard output, which looks for line ends in what is written.
    let out = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(unwritten)?);
    let (from, data_dir, about) = (&checkpoint.directory, &checkpoint.data_dir, about(checkpoint));
    let mut progress = progress("written");
    let mut out = BufWriter::with_capacity(CHUNK_BYTES, out);
    let made = if recipients.are_none() {
        stream::write(&mut out, from, data_dir, &about, &mut progress)?
    } else {
        let mut sealing = recipients.seal(&mut out).map_err(unwritten)?;
        let made = stream::write(&mut sealing, from, data_dir, &about, &mut progress)?;
        sealing.finish().map_err(unwritten)?;
        made
    };
    out.flush().map_err(unwritten)?;
    // A file is on its disk before the backup is noted as made; a pipe's other end is not ours to know.
    let out = out.get_ref();
    if out.metadata().map_err(unwritten)?.is_file() {
        out.sync_all().map_err(unwritten)?;
    }
    Ok(made)
}

#[allow(clippy::needless_pass_by_value)] // As `map_err` gives it.
fn unwritten(error: io::Error) -> BackupError {
    BackupError::Refused(format!("{STREAM}: {error}"))
}

pub(super) fn verify(args: &Verify, identities: &Identities) -> Result<(), Failed> {
    if args.restoring {
        return Err(Failed::usage("a stream is read once: restore it into an empty directory with --into"));
    }
    refuse_id(args.id.as_ref())?;
    let manifest = receive(identities, |input| stream::read(input, None, &mut progress("read")));
    clear();
    let manifest = manifest?;
    let (id, files, size) = (&manifest.id, manifest.files.len(), bytes(manifest.bytes()));
    let _ = writeln!(io::stderr(), "godwitctl: backup {id} ({files} files, {size}) read: it is whole");
    Ok(())
}

pub(super) fn restore(args: &Restore, into: &Path, identities: &Identities) -> Result<Manifest, Failed> {
    refuse_id(args.id.as_ref())?;
    Ok(receive(identities, |input| restore_stream(input, into, &mut progress("restored")))?)
}

fn refuse_id(id: Option<&String>) -> Result<(), Failed> {
    match id {
        Some(_) => Err(Failed::usage("a stream holds one backup: --id is for a directory of them")),
        None => Ok(()),
    }
}

/// Reads standard input, decrypted if it is encrypted.
fn receive<T>(
    identities: &Identities,
    read: impl FnOnce(&mut dyn Read) -> Result<T, BackupError>,
) -> Result<T, BackupError> {
    let unread = |error| BackupError::Refused(format!("standard input: {error}"));
    if io::stdin().is_terminal() {
        return Err(BackupError::Refused("standard input is a terminal: send a backup into it".into()));
    }
    let mut input = BufReader::with_capacity(CHUNK_BYTES, io::stdin().lock());
    if !seal::is_sealed(&mut input).map_err(unread)? {
        return read(&mut input);
    }
    read(&mut identities.open(input, "the stream")?)
}
