//! The server under test: started, killed and started again in a directory of its own, on loopback ports.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use godwit_testclient::now;
use tempfile::TempDir;

use crate::peers;
use crate::power::Power;

/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(60);

/// Which server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `godwitd` at this path, with `godwitctl` beside it.
    Godwit(PathBuf),
    /// Prosody from the system's packages, to see the oracle fail: it acknowledges from memory.
    Prosody,
    /// ejabberd, likewise.
    Ejabberd,
}

/// The daemon with fail points.
const FAILING: &str = "godwitd-failpoints";
/// No sync does anything.
const UNSYNCED: &str = "store::unsynced=return";
/// What `abort` sends.
const SIGABRT: i32 = 6;

/// A server and its directory.
pub(crate) struct Server {
    kind: Kind,
    dir: TempDir,
    port: u16,
    child: Option<Child>,
    /// It dies on its own at a fail point.
    armed: bool,
    /// It runs on a layer that can lose what was not synced.
    pub(crate) power: Option<Power>,
    /// It acknowledges without syncing.
    pub(crate) unsynced: bool,
}

/// Finds the daemon with fail points: `GODWITD` in the environment, or beside the test in the target
/// directory.
///
/// # Errors
/// With a text that says how to build it.
pub fn find_godwitd() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("GODWITD") {
        let path = PathBuf::from(path);
        return if path.is_file() { Ok(path) } else { Err(format!("GODWITD={} is no file", path.display())) };
    }
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let found = exe.ancestors().skip(1).take(2).map(|dir| dir.join(FAILING)).find(|path| path.is_file());
    found.ok_or_else(|| {
        format!(
            "no {FAILING} beside this test: build it with `cargo build -p godwit-server --bins --features \
             failpoints` (same profile and target directory), or set GODWITD=/path/to/it"
        )
    })
}

impl Server {
    /// Prepares the directory: certificate, configuration, accounts. Does not start yet.
    pub(crate) fn prepare(kind: Kind, accounts: &[(String, String)]) -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("godwit-crash-").tempdir().map_err(|e| e.to_string())?;
        let (certificate, key) = peers::certificate().map_err(|e| e.to_string())?;
        write(&dir.path().join("cert.pem"), &certificate)?;
        write(&dir.path().join("key.pem"), &key)?;
        fs::create_dir(dir.path().join("data")).map_err(|e| e.to_string())?;
        let (port, starttls) = (free_port()?, free_port()?);
        let server = Self { kind, dir, port, child: None, armed: false, power: None, unsynced: false };
        let text = match server.kind {
            Kind::Godwit(_) => server.godwit_config(starttls),
            Kind::Prosody => peers::prosody_config(server.dir(), starttls, port),
            Kind::Ejabberd => peers::ejabberd_config(server.dir(), starttls, port),
        };
        write(&server.config(), &text)?;
        server.add_accounts(accounts)?;
        Ok(server)
    }

    /// Where clients connect, direct TLS.
    pub(crate) fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where logs and data are.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// True if it dies at fail points.
    pub(crate) fn has_fail_points(&self) -> bool {
        matches!(&self.kind, Kind::Godwit(path) if path.ends_with(FAILING))
    }

    /// Starts the server and waits until it accepts connections; `fail_points` as in `FAILPOINTS`, empty for
    /// none. With some it may be dead again when this returns.
    pub(crate) fn start(&mut self, fail_points: &str) -> Result<(), String> {
        self.armed = !fail_points.is_empty();
        let mut command = self.command()?;
        let unsynced = if self.unsynced { UNSYNCED } else { "" };
        command.env("FAILPOINTS", [unsynced, fail_points].join(";"));
        self.child = Some(command.spawn().map_err(|e| format!("starting the server: {e}"))?);
        let begin = now();
        while begin.elapsed() < START_MAX {
            if TcpStream::connect_timeout(&self.addr(), Duration::from_millis(200)).is_ok() {
                return Ok(());
            }
            if self.has_died()? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("the server did not listen within {START_MAX:?}\n{}", self.log_tail()))
    }

    fn command(&self) -> Result<Command, String> {
        let log = OpenOptions::new().create(true).append(true).open(self.dir().join("server.log"));
        let log = log.map_err(|e| format!("server.log: {e}"))?;
        let copy = log.try_clone().map_err(|e| e.to_string())?;
        let mut command = match &self.kind {
            Kind::Godwit(godwitd) => {
                let mut command = Command::new(godwitd);
                command.arg("--config").arg(self.config());
                command
            }
            Kind::Prosody => peers::prosody(&self.config()),
            Kind::Ejabberd => peers::ejabberd(self.dir(), &[]),
        };
        command.stdin(Stdio::null()).stdout(log).stderr(copy);
        if let Some(power) = &self.power {
            power.preload(&mut command);
        }
        Ok(command)
    }

    /// True if it died at a fail point. An error means that it ended in another way: it crashed on its own.
    pub(crate) fn has_died(&mut self) -> Result<bool, String> {
        match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(Some(status))) if self.armed && status.signal() == Some(SIGABRT) => Ok(true),
            Some(Ok(Some(status))) => {
                Err(format!("the server died before it was killed: {status}\n{}", self.log_tail()))
            }
            _ => Ok(false),
        }
    }

    /// `kill -9`, unless it died at a fail point; then the power goes, if that is part of the run.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        let died = self.has_died()?;
        if let Some(mut child) = self.child.take().filter(|_| !died) {
            let killed = child.kill().and_then(|()| child.wait());
            killed.map_err(|e| format!("killing the server: {e}"))?;
        }
        self.power.as_mut().map_or(Ok(()), Power::lose)
    }

    /// Keeps the directory for whoever looks into a failure.
    pub(crate) fn keep(&mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.dir().to_owned()
    }

    /// The last lines of the server's log.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.dir().join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn config(&self) -> PathBuf {
        self.dir().join(match self.kind {
            Kind::Godwit(_) => "godwit.toml",
            Kind::Prosody => "prosody.cfg.lua",
            Kind::Ejabberd => "ejabberd.yml",
        })
    }

    fn godwit_config(&self, starttls: u16) -> String {
        let dir = self.dir().display();
        format!(
            "[server]\ndomains = [\"localhost\"]\ndata_dir = \"{dir}/data\"\n\
             [listen]\nc2s = [\"127.0.0.1:{starttls}\"]\nc2s_tls = [\"127.0.0.1:{}\"]\n\
             [tls]\ncertificate = \"{dir}/cert.pem\"\nkey = \"{dir}/key.pem\"\n\
             [limits]\noffline_messages_per_account_max = 1000000\n\
             offline_bytes_per_account_max = 10000000000\n",
            self.port
        )
    }

    fn add_accounts(&self, accounts: &[(String, String)]) -> Result<(), String> {
        match &self.kind {
            Kind::Ejabberd => peers::run(peers::ejabberd(self.dir(), accounts), ""),
            Kind::Prosody => accounts
                .iter()
                .try_for_each(|account| peers::run(peers::prosody_account(&self.config(), account), "")),
            Kind::Godwit(godwitd) => accounts.iter().try_for_each(|(user, password)| {
                let mut command = Command::new(godwitd.with_file_name("godwitctl"));
                command.arg("--config").arg(self.config()).args(["account", "add"]);
                command.arg(format!("{user}@localhost"));
                peers::run(command, password)
            }),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to tell anybody here; what matters is that no server stays behind.
        let _ = self.kill();
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let file = File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    file.map_err(|e| format!("{}: {e}", path.display()))
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
    listener.local_addr().map(|addr| addr.port()).map_err(|e| e.to_string())
}
