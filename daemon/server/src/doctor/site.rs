//! What all checks start from: the configuration, the running daemon's answers, this machine.
use super::dns::Dns;
use crate::admin::client::Client;
use crate::admin::protocol::{Answer, HealthStatus, Operations, Request, Status};
use crate::config::{CertificateFiles, Config, Problems};
use crate::limits::{Derived, Machine, Verdict, derive};
use godwit_edge::Clock;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// For the daemon to say how it is.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Where backups are if neither the option nor the daemon says it: as in `godwit-backup.service`.
const BACKUPS: &str = "/var/backups/godwit";

/// The daemon at the admin socket.
#[derive(Debug)]
pub enum Daemon {
    /// It answers.
    Up {
        /// Its status.
        status: Box<Status>,
        /// The rest; or why an older daemon does not know it.
        health: Result<Box<HealthStatus>, String>,
    },
    /// There is none.
    Down,
    /// It does not answer.
    Silent(String),
    /// The socket may not be used by this user.
    Forbidden(String),
}

/// What is looked at.
pub struct Site {
    /// The configuration's file.
    pub config_file: PathBuf,
    /// What it says; or what is wrong with it.
    pub config: Result<Config, Vec<String>>,
    /// The admin socket, if it is known.
    pub socket: Option<PathBuf>,
    /// Who answers there.
    pub daemon: Daemon,
    /// This machine's limits.
    pub machine: Machine,
    /// What is derived from them.
    pub derived: Derived,
    /// Now, in ms since 1970.
    pub now_ms: u64,
    /// Runs as root.
    pub root: bool,
    pub(super) backups: Option<PathBuf>,
    pub(super) dns: OnceLock<Dns>,
    pub(super) limits: OnceLock<Vec<Verdict>>,
}

impl Site {
    /// Looks.
    pub fn new(config_file: &Path, socket: Option<&Path>, backups: Option<&Path>, clock: &Clock) -> Site {
        let config = Config::load(config_file).map_err(|problems| {
            let named = |problem: &crate::config::Problem| format!("{}: {problem}", config_file.display());
            problems.iter().map(named).collect()
        });
        let of_config = || config.as_ref().ok().map(|config| config.socket.clone());
        let socket = socket.map(Path::to_owned).or_else(of_config);
        let machine = Machine::here();
        Site {
            daemon: socket.as_deref().map_or(Daemon::Down, ask),
            config_file: config_file.to_owned(),
            config,
            socket,
            machine,
            derived: derive(machine),
            now_ms: clock(),
            root: rustix::process::geteuid().is_root(),
            backups: backups.map(Path::to_owned),
            dns: OnceLock::new(),
            limits: OnceLock::new(),
        }
    }

    /// The running daemon's status.
    pub fn status(&self) -> Option<&Status> {
        match &self.daemon {
            Daemon::Up { status, .. } => Some(status),
            Daemon::Down | Daemon::Silent(_) | Daemon::Forbidden(_) => None,
        }
    }

    /// What it says beyond that.
    pub fn health(&self) -> Option<&HealthStatus> {
        match &self.daemon {
            Daemon::Up { health, .. } => health.as_deref().ok(),
            Daemon::Down | Daemon::Silent(_) | Daemon::Forbidden(_) => None,
        }
    }

    /// The daemon's `/proc/PID/…` file.
    pub fn of_process(&self, file: &str) -> Option<Result<String, String>> {
        let path = PathBuf::from(format!("/proc/{}", self.status()?.pid)).join(file);
        Some(std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display())))
    }

    /// The data directory.
    pub fn data_dir(&self) -> Option<&Path> {
        self.config.as_ref().ok().map(|config| config.data_dir.as_path())
    }

    /// The certificates of the configuration.
    pub fn certificates(&self) -> &[CertificateFiles] {
        self.config.as_ref().map_or(&[], |config| &config.certificates)
    }

    /// The domains served, as the DNS and certificates have them.
    pub fn domains(&self) -> Vec<String> {
        let all = self.config.as_ref().map_or(&[][..], |config| &config.domains);
        let ascii = |domain: &str| idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned());
        all.iter().map(|domain| ascii(domain)).collect()
    }

    /// Where backups are: what was told, or where the last one went, or the usual place.
    pub fn backups(&self) -> PathBuf {
        let told = self.backups.clone();
        let last = || self.last_backup().filter(|last| !last.is_stream());
        told.or_else(|| Some(PathBuf::from(last()?.place))).unwrap_or_else(|| BACKUPS.into())
    }

    /// The last backup that was noted.
    pub fn last_backup(&self) -> Option<crate::backup::Done> {
        let told = self.status().and_then(|status| status.backup.clone());
        told.or_else(|| crate::backup::last(self.data_dir()?))
    }

    /// What is wrong with the configuration on this machine, certificates left to their own checks.
    pub fn problems(&self) -> Vec<String> {
        let config = match &self.config {
            Ok(config) => config,
            Err(problems) => return problems.clone(),
        };
        let mut problems = Problems::default();
        // What only this user may not write says nothing about the daemon's.
        if self.root {
            crate::config::probe::data_dir(&config.data_dir, &mut problems);
        }
        problems.into_sorted().iter().map(ToString::to_string).collect()
    }
}

fn ask(socket: &Path) -> Daemon {
    let client = match Client::connect_for(socket, ANSWER_WAIT) {
        Ok(Some(client)) => client,
        Ok(None) => return Daemon::Down,
        Err(error) => return Daemon::Forbidden(format!("{}: {error}", socket.display())),
    };
    match client.call(Request::Status) {
        Ok(Answer::Status(status)) => {
            let health = match client.call(Request::Health) {
                Ok(Answer::Health(health)) => Ok(health),
                Ok(_) => Err("the daemon answered something else".into()),
                Err(failure) => Err(failure.message),
            };
            Daemon::Up { status, health }
        }
        Ok(_) => Daemon::Silent("the daemon answered something else".into()),
        Err(failure) => Daemon::Silent(failure.message),
    }
}

/// Asks the daemon once more, for what takes longer.
pub(super) fn call(site: &Site, request: Request, wait: Duration) -> Result<Answer, String> {
    let socket = site.socket.as_deref().ok_or("no admin socket is known")?;
    let client = Client::connect_for(socket, wait).map_err(|error| error.to_string())?;
    let client = client.ok_or("no daemon is running")?;
    client.call(request).map_err(|failure| failure.message)
}
