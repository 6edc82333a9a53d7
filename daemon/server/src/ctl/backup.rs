//! `godwitctl backup create|list|verify|restore`.
use super::args::{Backup, Ctl};
use super::backup_args::{Create, List, Restore, Verify};
use super::backup_stream::{self, is_stream};
use super::exit::Failed;
use super::table::{bytes, table, time};
use super::way::{self, Way};
use super::{json, odd, print};
use crate::admin::protocol::{Answer, Checkpoint, Request};
use crate::backup::create::About;
use crate::backup::verify::verify_by_restoring;
use crate::backup::{self, BackupError, Created, Done, Identities, Manifest, Recipients, Repository};
use crate::verify::whole_from;
use godwit_store::schema::SCHEMA_VERSION;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

pub(super) fn run(ctl: &Ctl, command: &Backup) -> Result<(), Failed> {
    match command {
        Backup::Create(args) => create(ctl, args),
        Backup::List(args) => list(args),
        Backup::Verify(args) => verify(ctl, args),
        Backup::Restore(args) => restore(ctl, args),
    }
}

impl From<BackupError> for Failed {
    fn from(error: BackupError) -> Failed {
        Failed::because(error)
    }
}

fn create(ctl: &Ctl, args: &Create) -> Result<(), Failed> {
    let recipients = Recipients::new(&args.encrypt_to, &args.recipients_file)?;
    if is_stream(&args.dir) {
        return backup_stream::create(ctl, args, &recipients);
    }
    let way = way::any(ctl)?;
    if let Way::Done(code) = way {
        return super::done(code);
    }
    // Before anything is asked of the daemon: a directory that cannot be written is the usual mistake.
    let repository = Repository::open(&args.dir, true)?;
    let Answer::Checkpoint(checkpoint) = way.call(Request::Checkpoint)? else { return Err(odd()) };
    let made = copy(&repository, &checkpoint, &recipients);
    let done = made.as_ref().ok().map(|made| Done {
        id: made.manifest.id.clone(),
        place: std::path::absolute(&args.dir).unwrap_or_else(|_| args.dir.clone()).display().to_string(),
        at_ms: made.manifest.created_ms,
        bytes: made.manifest.bytes(),
        new_bytes: made.new_bytes,
    });
    let told = way.call(Request::CheckpointDone { backup: done.clone() });
    clear();
    made?;
    told?;
    let removed = args.keep.map(|keep| repository.prune(keep as usize)).transpose()?.unwrap_or(0);
    if let Some(done) = done {
        let (all, new) = (bytes(done.bytes), bytes(done.new_bytes));
        super::said(&format!("backup {} in {}: {all}, of which {new} were new,", done.id, done.place), &way);
        if removed > 0 {
            let _ = writeln!(io::stderr(), "godwitctl: {removed} older backups removed");
        }
        if args.form.json {
            print(&json(&done)?)?;
        }
    }
    way.close()
}

fn copy(
    repository: &Repository,
    checkpoint: &Checkpoint,
    recipients: &Recipients,
) -> Result<Created, BackupError> {
    let (from, data_dir) = (&checkpoint.directory, &checkpoint.data_dir);
    backup::create(repository, from, data_dir, &about(checkpoint), recipients, &mut progress("copied"))
}

pub(super) fn about(checkpoint: &Checkpoint) -> About {
    About {
        at_ms: checkpoint.at_ms,
        domains: checkpoint.domains.clone(),
        head: checkpoint.head,
        schema: SCHEMA_VERSION,
    }
}

fn list(args: &List) -> Result<(), Failed> {
    let all = Repository::open(&args.dir, false)?.manifests()?;
    if args.form.json {
        return print(&json(&all)?);
    }
    let row = |one: &Manifest| {
        let domains = one.domains.join(", ");
        vec![one.id.clone(), time(one.created_ms), bytes(one.bytes()), one.host.clone(), domains]
    };
    print(&table(&["ID", "MADE", "SIZE", "HOST", "DOMAINS"], &all.iter().map(row).collect::<Vec<_>>()))
}

fn verify(ctl: &Ctl, args: &Verify) -> Result<(), Failed> {
    let identities = Identities::read(&args.identity)?;
    if is_stream(&args.dir) {
        return backup_stream::verify(args, &identities);
    }
    let repository = Repository::open(&args.dir, false)?;
    let manifest = repository.manifest(args.id.as_deref())?;
    let mut wrong = backup::verify(&repository, &manifest, &identities, &mut progress("read"))?;
    if args.restoring && wrong.is_empty() {
        // Without a configuration nothing is taken to have expired.
        let archive = way::config(&ctl.config)
            .ok()
            .map(|config| crate::run::hub_settings(&config, [0; 32]).archive)
            .unwrap_or_default();
        let oldest = whole_from(&archive, (godwit_edge::clock::system())());
        let mut progress = progress("restored");
        wrong = verify_by_restoring(&repository, &manifest, oldest, &identities, &mut progress)?;
    }
    clear();
    if wrong.is_empty() {
        let (id, files, size) = (&manifest.id, manifest.files.len(), bytes(manifest.bytes()));
        let how = match (args.restoring, manifest.recipients.is_empty() || !identities.are_none()) {
            (true, _) => "restored and read: it",
            (false, true) => "read: it",
            (false, false) => "read, encrypted as it is: it",
        };
        let _ = writeln!(io::stderr(), "godwitctl: backup {id} ({files} files, {size}) {how} is whole");
        return Ok(());
    }
    Err(Failed::because(format!("backup {} is DAMAGED\n{}", manifest.id, wrong.join("\n"))))
}

/// Done by whoever runs it, so that root can read a directory of backups that only root may read; what was
/// restored then gets the data directory's owner.
fn restore(ctl: &Ctl, args: &Restore) -> Result<(), Failed> {
    let identities = Identities::read(&args.identity)?;
    let (into, served) = match &args.into {
        Some(into) => (into.clone(), None),
        None => {
            let config = way::config(&ctl.config)?;
            way::refuse_running(ctl, &config)?;
            let served: Vec<String> = config.domains.iter().map(ToString::to_string).collect();
            (config.data_dir.clone(), Some(served))
        }
    };
    let manifest = if is_stream(&args.dir) {
        backup_stream::restore(args, &into, &identities)?
    } else {
        let repository = Repository::open(&args.dir, false)?;
        let manifest = repository.manifest(args.id.as_deref())?;
        backup::restore(&repository, &manifest, &into, &identities, &mut progress("restored"))?;
        manifest
    };
    clear();
    let owned = give_to_owner(&into);
    let mut out = io::stderr();
    let (id, there, size) = (&manifest.id, into.display(), bytes(manifest.bytes()));
    let _ = writeln!(out, "godwitctl: backup {id} ({size}) restored into {there}");
    for domain in manifest.domains.iter().filter(|one| served.as_ref().is_some_and(|all| !all.contains(one)))
    {
        let _ = writeln!(
            out,
            "godwitctl: its accounts of {domain} cannot log in: server.domains has no {domain}"
        );
    }
    owned.map_err(|e| {
        Failed::because(format!(
            "restored, but {there} is not its owner's ({e}): chown -R godwit:godwit {there}"
        ))
    })
}

/// Root restores for somebody else, as a rule: the owner of the data directory.
fn give_to_owner(into: &Path) -> io::Result<()> {
    let owner = std::fs::metadata(into)?;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if owner.uid() == 0 {
        let hint = format!("chown -R godwit:godwit {}", into.display());
        let _ = writeln!(io::stderr(), "godwitctl: restored by root: if the daemon runs as godwit, {hint}");
        return Ok(());
    }
    let store = into.join("store");
    let files = std::fs::read_dir(&store)?.map(|entry| entry.map(|entry| entry.path()));
    let mut all: Vec<_> = files.collect::<io::Result<_>>()?;
    all.extend([store, into.join(backup::SECRET)].into_iter().filter(|path| path.exists()));
    all.iter().try_for_each(|path| chown(path, Some(owner.uid()), Some(owner.gid())))
}

/// Shows how far it is, on a terminal: in hundredths, or in steps of 16 MiB if the whole is not known.
pub(super) fn progress(what: &'static str) -> impl FnMut(u64, u64) {
    let mut shown = None;
    move |done, of| {
        let mut out = io::stderr();
        let (step, text) = match done.saturating_mul(100).checked_div(of) {
            Some(percent) => (percent, format!("{percent} % of {}", bytes(of))),
            None => (done >> 24, bytes(done)),
        };
        if shown != Some(step) && out.is_terminal() {
            shown = Some(step);
            // Progress that cannot be shown is none.
            let _ = write!(out, "\r{text} {what}").and_then(|()| out.flush());
        }
    }
}

pub(super) fn clear() {
    let mut out = io::stderr();
    if out.is_terminal() {
        let _ = write!(out, "\r\x1b[K").and_then(|()| out.flush());
    }
}
