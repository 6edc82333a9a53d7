//! The server under test: started, killed and started again in a directory of its own, on loopback ports.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use godwit_testclient::now;
use tempfile::TempDir;

/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(20);

/// Which server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `godwitd` at this path, with `godwitctl` beside it.
    Godwit(PathBuf),
    /// Prosody from the system's packages, to see the oracle fail: it acknowledges from memory.
    Prosody,
}

/// A server and its directory.
pub(crate) struct Server {
    kind: Kind,
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

/// Finds `godwitd`: `GODWITD` in the environment, or beside the test in the target directory.
///
/// # Errors
/// With a text that says how to build it.
pub fn find_godwitd() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("GODWITD") {
        let path = PathBuf::from(path);
        return if path.is_file() { Ok(path) } else { Err(format!("GODWITD={} is no file", path.display())) };
    }
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let found = exe.ancestors().skip(1).take(2).map(|dir| dir.join("godwitd")).find(|path| path.is_file());
    found.ok_or_else(|| {
        "no godwitd beside this test: build it with `cargo build -p godwit-server --bins` (same profile and \
         target directory), or set GODWITD=/path/to/godwitd"
            .to_owned()
    })
}

impl Server {
    /// Prepares the directory: certificate, configuration, accounts. Does not start yet.
    pub(crate) fn prepare(kind: Kind, accounts: &[(String, String)]) -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("godwit-crash-").tempdir().map_err(|e| e.to_string())?;
        let certified =
            rcgen::generate_simple_self_signed(vec!["localhost".into()]).map_err(|e| e.to_string())?;
        write(&dir.path().join("cert.pem"), &certified.cert.pem())?;
        write(&dir.path().join("key.pem"), &certified.signing_key.serialize_pem())?;
        fs::create_dir(dir.path().join("data")).map_err(|e| e.to_string())?;
        let (port, starttls) = (free_port()?, free_port()?);
        let server = Self { kind, dir, port, child: None };
        let text = match server.kind {
            Kind::Godwit(_) => server.godwit_config(starttls),
            Kind::Prosody => server.prosody_config(starttls),
        };
        write(&server.config(), &text)?;
        for (user, password) in accounts {
            server.add_account(user, password)?;
        }
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

    /// Starts the server and waits until it accepts connections.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        let log = OpenOptions::new().create(true).append(true).open(self.dir().join("server.log"));
        let log = log.map_err(|e| format!("server.log: {e}"))?;
        let copy = log.try_clone().map_err(|e| e.to_string())?;
        let mut command = match &self.kind {
            Kind::Godwit(godwitd) => Command::new(godwitd),
            Kind::Prosody => Command::new("prosody"),
        };
        if self.kind == Kind::Prosody {
            command.arg("-F");
        }
        command.arg("--config").arg(self.config()).stdin(Stdio::null()).stdout(log).stderr(copy);
        self.child = Some(command.spawn().map_err(|e| format!("starting the server: {e}"))?);
        let begin = now();
        while begin.elapsed() < START_MAX {
            if TcpStream::connect_timeout(&self.addr(), Duration::from_millis(200)).is_ok() {
                return Ok(());
            }
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                return Err(format!("the server ended at its start: {status}\n{}", self.log_tail()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("the server did not listen within {START_MAX:?}\n{}", self.log_tail()))
    }

    /// `kill -9`. An error means that it was dead already: it crashed on its own.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("the server died before it was killed: {status}\n{}", self.log_tail()));
        }
        child.kill().and_then(|()| child.wait()).map(drop).map_err(|e| format!("killing the server: {e}"))
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
        self.dir().join(if self.kind == Kind::Prosody { "prosody.cfg.lua" } else { "godwit.toml" })
    }

    fn godwit_config(&self, starttls: u16) -> String {
        let dir = self.dir().display();
        format!(
            "[server]\ndomains = [\"localhost\"]\ndata_dir = \"{dir}/data\"\n\
             [listen]\nc2s = [\"127.0.0.1:{starttls}\"]\nc2s_tls = [\"127.0.0.1:{}\"]\n\
             [tls]\ncertificate = \"{dir}/cert.pem\"\nkey = \"{dir}/key.pem\"\n",
            self.port
        )
    }

    fn prosody_config(&self, starttls: u16) -> String {
        let (dir, port) = (self.dir().display(), self.port);
        let ssl = format!("{{ certificate = \"{dir}/cert.pem\", key = \"{dir}/key.pem\" }}");
        format!(
            "run_as_root = true\ndata_path = \"{dir}/data\"\npidfile = \"{dir}/prosody.pid\"\n\
             modules_enabled = {{ \"roster\", \"saslauth\", \"tls\", \"disco\", \"smacks\", \"mam\" }}\n\
             modules_disabled = {{ \"s2s\" }}\ninterfaces = {{ \"127.0.0.1\" }}\n\
             c2s_ports = {{ {starttls} }}\nc2s_direct_tls_ports = {{ {port} }}\n\
             authentication = \"internal_hashed\"\nstorage = \"internal\"\nlog = {{ warn = \"*console\" }}\n\
             default_archive_policy = true\nsmacks_max_queue_size = 100000\n\
             ssl = {ssl}\nc2s_direct_tls_ssl = {ssl}\nVirtualHost \"localhost\"\n"
        )
    }

    fn add_account(&self, user: &str, password: &str) -> Result<(), String> {
        let mut command = match &self.kind {
            Kind::Godwit(godwitd) => {
                let mut command = Command::new(godwitd.with_file_name("godwitctl"));
                command.arg("--config").arg(self.config()).args(["account", "add"]);
                command.arg(format!("{user}@localhost"));
                command
            }
            Kind::Prosody => {
                let mut command = Command::new("prosodyctl");
                command.arg("--config").arg(self.config()).args(["register", user, "localhost", password]);
                command
            }
        };
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|e| format!("running {:?}: {e}", command.get_program()))?;
        if let Some(mut stdin) = child.stdin.take().filter(|_| self.kind != Kind::Prosody) {
            writeln!(stdin, "{password}").map_err(|e| e.to_string())?;
        }
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(format!("creating the account {user}: {}\n{}", output.status, String::from_utf8_lossy(&said)))
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
