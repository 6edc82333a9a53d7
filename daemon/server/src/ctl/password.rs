//! Where a password comes from: a terminal (not shown, asked for twice), standard input (one line), or the
//! dice.
use super::args::WithPassword;
use super::exit::Failed;
use crate::admin::protocol::Secret;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{self, BufRead, IsTerminal, Read, Write};

/// Longest password, in bytes.
const BYTES_MAX: u64 = 1024;

/// The password for a command; prints it if it was made here.
pub(super) fn obtain(from: &WithPassword) -> Result<Secret, Failed> {
    if from.generate {
        return Ok(Secret::new(crate::random::password()));
    }
    if io::stdin().is_terminal() {
        return ask(&from.jid);
    }
    line()
}

fn ask(jid: &str) -> Result<Secret, Failed> {
    let _hidden = Hidden::new().map_err(Failed::because)?;
    prompt(&format!("Password for {jid}: "));
    let first = line()?;
    prompt("\nOnce more: ");
    let second = line()?;
    prompt("\n");
    if first != second {
        return Err(Failed::usage("the two passwords differ; nothing was done"));
    }
    Ok(first)
}

fn prompt(text: &str) {
    let mut error = io::stderr();
    // Without a prompt the terminal still waits for the line.
    let _ = error.write_all(text.as_bytes()).and_then(|()| error.flush());
}

fn line() -> Result<Secret, Failed> {
    let mut text = String::new();
    let read = io::stdin().lock().take(BYTES_MAX + 2).read_line(&mut text);
    read.map_err(|e| Failed::usage(format!("no password on standard input: {e}")))?;
    let password = text.trim_end_matches(['\n', '\r']).to_owned();
    zeroize::Zeroize::zeroize(&mut text);
    let password = Secret::new(password);
    if password.reveal().is_empty() {
        return Err(Failed::usage("no password on standard input: write one line, or use --generate"));
    }
    if u64::try_from(password.reveal().len()).unwrap_or(u64::MAX) > BYTES_MAX {
        return Err(Failed::usage(format!("a password has at most {BYTES_MAX} bytes")));
    }
    Ok(password)
}

/// The terminal without echo, for as long as this lives.
struct Hidden(Termios);

impl Hidden {
    fn new() -> io::Result<Hidden> {
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Hidden(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
    }
}
