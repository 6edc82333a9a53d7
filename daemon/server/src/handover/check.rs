//! The dry run: asks another binary, in a child process, whether it could take over. Nothing of the running
//! daemon is touched.
use super::format;
use crate::config::Config;
use godwit_store::schema::SCHEMA_VERSION;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// For the answer: it reads a configuration.
const WAIT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(5);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// What a binary says of itself, one line of JSON (`godwitd --handover-check`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Able {
    /// Its version.
    pub godwitd: String,
    /// Formats of hand-overs that it reads.
    pub reads: Vec<u16>,
    /// Version of the store that it reads and writes.
    pub schema: u32,
    /// Where its configuration says that the store is.
    pub store: PathBuf,
}

impl Able {
    /// This binary, with this configuration.
    pub fn here(config: &Config) -> Able {
        Able {
            godwitd: crate::version::version().to_owned(),
            reads: format::READS.to_vec(),
            schema: SCHEMA_VERSION,
            store: config.store_dir(),
        }
    }
}

/// Asks; the error says why it may not take over.
pub fn ask(binary: &Path, config_file: &Path, store: &Path) -> Result<Able, String> {
    let named = |what: &dyn std::fmt::Display| format!("{}: {what}", binary.display());
    machine(binary).map_err(|e| named(&e))?;
    let mut command = Command::new(binary);
    command.arg("--handover-check").arg("--config").arg(config_file).env_remove(super::VARIABLE);
    command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| named(&unable(&e)))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (out, err) = (drain(out), drain(err));
    let ended = wait(&mut child).map_err(|e| named(&e))?;
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if !ended {
        return Err(named(&format!(
            "does not answer --handover-check with success: {}",
            one_line(&err, &out)
        )));
    }
    let able: Able = serde_json::from_str(out.trim())
        .map_err(|_| named(&"does not answer --handover-check as a godwitd does"))?;
    if !able.reads.contains(&format::WRITES) {
        let why = format!(
            "version {} reads hand-overs of format {:?}, this one writes {}: stop and start it instead",
            able.godwitd,
            able.reads,
            format::WRITES
        );
        return Err(named(&why));
    }
    if able.schema < SCHEMA_VERSION {
        let why = format!(
            "version {} reads stores of version {}, this store has {SCHEMA_VERSION}: it is too old for it",
            able.godwitd, able.schema
        );
        return Err(named(&why));
    }
    if able.store != store {
        let (new, old) = (able.store.display(), store.display());
        return Err(named(&format!(
            "server.data_dir has changed, the store would be {new} instead of {old}"
        )));
    }
    Ok(able)
}

fn unable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such program".into(),
        io::ErrorKind::PermissionDenied => "may not be executed by the daemon's user".into(),
        _ => format!("cannot be executed: {error}"),
    }
}

/// A program for another machine gets its reason from its head, since the kernel's is vague.
fn machine(binary: &Path) -> Result<(), String> {
    let head = |path: &Path| -> io::Result<[u8; 20]> {
        let mut head = [0; 20];
        File::open(path)?.read_exact(&mut head)?;
        Ok(head)
    };
    let theirs = match head(binary) {
        Ok(theirs) => theirs,
        // Too short for a program, not for a script.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
        Err(e) => return Err(unable(&e)),
    };
    if !theirs.starts_with(b"\x7fELF") {
        return Ok(()); // a script, perhaps
    }
    let Ok(ours) = head(Path::new("/proc/self/exe")) else { return Ok(()) };
    // Class and byte order, then the machine (ELF: e_ident, e_machine).
    if theirs.get(4..6) == ours.get(4..6) && theirs.get(18..20) == ours.get(18..20) {
        return Ok(());
    }
    let number = |head: &[u8; 20]| u16::from_le_bytes([head[18], head[19]]);
    Err(format!("is for another machine (ELF machine {}, this is {})", number(&theirs), number(&ours)))
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What could be read is what there is to show.
            let _ = pipe.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child) -> Result<bool, String> {
    let looks = WAIT.as_millis() / LOOK.as_millis();
    for _ in 0..looks {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) => std::thread::sleep(LOOK),
            Err(e) => return Err(e.to_string()),
        }
    }
    // It may have ended just now.
    let _ = child.kill();
    let _ = child.wait();
    Err(format!("does not answer --handover-check within {} s", WAIT.as_secs()))
}

fn one_line(error: &str, output: &str) -> String {
    let lines = error.lines().chain(output.lines()).map(str::trim).filter(|line| !line.is_empty());
    let text = lines.take(5).collect::<Vec<_>>().join("; ");
    if text.is_empty() { "it said nothing".into() } else { text }
}
