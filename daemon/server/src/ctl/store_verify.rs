//! `godwitctl store verify [--json]`: JSON is a [`Verified`].
use super::args::{Ctl, Json};
use super::exit::Failed;
use super::print;
use super::table::table;
use super::way::{self, Found};
use crate::admin::client::Client;
use crate::admin::protocol::{Answer, Operations, Request, Verified, Verifying};
use crate::config::Config;
use crate::verify::{lock, verify, whole_from};
use godwit_store::{Options, Rocks, StoreError};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// How often a running daemon is asked how far it is.
const LOOK: Duration = Duration::from_millis(200);
/// Rows between two progress lines of our own.
const STEP_ROWS: u64 = 20_000;
/// Block cache and memtables, in bytes.
const CACHE_BYTES: usize = 8 << 20;

pub(super) fn run(ctl: &Ctl, args: &Json) -> Result<(), Failed> {
    let (verified, way) = match way::find(ctl)? {
        Found::Daemon(client) => (ask(&client)?, "by the running daemon".to_owned()),
        Found::Done(code) => return super::done(code),
        Found::Config(config) => {
            let place = format!("directly at {} (no daemon is running)", config.store_dir().display());
            (read(&config)?, place)
        }
    };
    clear();
    if args.json {
        print(&super::json(&verified)?)?;
    } else {
        let rows: Vec<_> = verified.rows.iter().map(|(f, n)| vec![f.clone(), n.to_string()]).collect();
        print(&table(&["FAMILY", "ROWS"], &rows))?;
        let _ = writeln!(io::stderr(), "godwitctl: {} rows read {way}", verified.count());
    }
    if verified.is_good() {
        let _ = writeln!(io::stderr(), "godwitctl: the store is whole");
        return Ok(());
    }
    let lines: Vec<String> = verified.lines().collect();
    Err(Failed::because(format!("the store is DAMAGED\n{}", lines.join("\n"))))
}

fn ask(client: &Client) -> Result<Verified, Failed> {
    let mut request = Request::StoreVerify;
    loop {
        let Answer::Verifying(Verifying { rows, done }) = client.call(request)? else {
            return Err(super::odd());
        };
        if let Some(verified) = done {
            return Ok(verified);
        }
        progress(rows);
        std::thread::sleep(LOOK);
        request = Request::StoreVerifying;
    }
}

/// Reads the store itself. Nothing in it is changed; a log that is damaged is reported, and what it still
/// holds is read all the same.
fn read(config: &Config) -> Result<Verified, Failed> {
    let directory = config.store_dir();
    let options =
        Options { block_cache_bytes: CACHE_BYTES, memtable_bytes: CACHE_BYTES, ..Options::default() };
    let _lock = lock(&directory.join("LOCK")).map_err(Failed::because)?;
    let open = |lenient| Rocks::open_to_examine(&directory, &options, lenient);
    let (store, refused) = match open(false) {
        Ok(store) => (store, None),
        Err(refused @ StoreError::Corrupt(_)) => match open(true) {
            Ok(store) => (store, Some(refused)),
            Err(_) => return Err(Failed::because(format!("the store is DAMAGED\n{refused}"))),
        },
        Err(error) => return Err(Failed::because(error)),
    };
    let archive = crate::run::hub_settings(config, [0; 32]).archive;
    let oldest = whole_from(&archive, (godwit_edge::clock::system())());
    let mut verified = verify(&store, oldest, &mut |rows| {
        if rows % STEP_ROWS == 0 {
            progress(rows);
        }
    });
    if let Some(refused) = refused {
        verified.damaged += 1;
        verified.damage.insert(0, refused.to_string());
    }
    Ok(verified)
}

fn progress(rows: u64) {
    let mut out = io::stderr();
    if out.is_terminal() {
        // Progress that cannot be shown is none.
        let _ = write!(out, "\r{rows} rows").and_then(|()| out.flush());
    }
}

fn clear() {
    let mut out = io::stderr();
    if out.is_terminal() {
        let _ = write!(out, "\r\x1b[K").and_then(|()| out.flush());
    }
}
