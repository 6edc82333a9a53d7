//! Each port of the configuration: whether it answers as a client expects, and whether the daemon listens
//! where the configuration says.
use super::finding::{Finding, Notes, needs_daemon, unseen};
use super::site::{Daemon, Site};
use super::starttls::{Step, connect, dial};
use crate::admin::protocol::ListenerRow;
use godwit_edge::tls::leaf;
use std::net::SocketAddr;

/// A port.
#[derive(Debug, Clone)]
struct Port {
    key: &'static str,
    address: SocketAddr,
    /// The certificate it showed is one of those on the disk (nothing: it shows none); or how far it came.
    reached: Result<Option<Shown>, (Step, String)>,
}

/// The certificate that a port shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    OnDisk,
    Other,
    /// Those on the disk cannot be read.
    Unknown,
}

pub(super) fn reachable(site: &Site) -> Finding {
    let Ok(config) = &site.config else {
        return unseen(
            "which there are says the configuration, which cannot be read",
            super::daemon::AS_ROOT,
        );
    };
    let leaves: Vec<_> = config.certificates.iter().map(|pair| leaf(&pair.certificate)).collect();
    let domain = site.domains().into_iter().next().unwrap_or_default();
    let client = |key, address: SocketAddr, direct| {
        let reached = dial(address, direct, &domain).map(|peer| {
            let known = leaves.iter().flatten().any(|leaf| *leaf == peer.leaf);
            let unreadable = leaves.iter().any(Result::is_err);
            Some(if known {
                Shown::OnDisk
            } else if unreadable {
                Shown::Unknown
            } else {
                Shown::Other
            })
        });
        Port { key, address, reached }
    };
    let mut work: Vec<Box<dyn FnOnce() -> Port + Send + '_>> = Vec::new();
    for address in &config.c2s {
        work.push(Box::new(|| client("listen.c2s", *address, false)));
    }
    for address in &config.c2s_tls {
        work.push(Box::new(|| client("listen.c2s_tls", *address, true)));
    }
    if let Some(address) = config.metrics {
        work.push(Box::new(move || {
            let reached = connect(address).map(|_| None).map_err(|error| (Step::Connect, error.to_string()));
            Port { key: "listen.metrics", address, reached }
        }));
    }
    let ports: Vec<Port> = std::thread::scope(|scope| {
        let threads: Vec<_> = work.into_iter().map(|one| scope.spawn(one)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    judge_ports(&ports, matches!(site.daemon, Daemon::Down))
}

fn judge_ports(ports: &[Port], down: bool) -> Finding {
    let mut notes = Notes::default();
    for Port { key, address, reached } in ports {
        let port = address.port();
        let taken = format!("find out who has it: ss -ltnp 'sport = :{port}'");
        match reached {
            // Without a daemon it is somebody else, whatever he says.
            Ok(_) | Err((Step::Stream | Step::Tls, _)) if down => {
                let text = format!("{key} {address}: another program listens there, no daemon runs");
                notes.red("taken", text, format!("{taken}; then: systemctl start godwit"));
            }
            Ok(None | Some(Shown::OnDisk)) => {}
            Ok(Some(Shown::Other)) => {
                let text = format!("{key} {address}: shows another certificate than the one on the disk");
                notes.yellow("certificate", text, "systemctl reload godwit");
            }
            Ok(Some(Shown::Unknown)) => {
                let text =
                    format!("{key} {address}: shakes hands; the certificates on the disk cannot be read");
                notes.unseen(text, super::daemon::AS_ROOT);
            }
            Err((Step::Connect, why)) => {
                let remedy =
                    if down { "systemctl start godwit" } else { "see the checks listeners and readiness" };
                notes.red("closed", format!("{key} {address}: no connection ({why})"), remedy);
            }
            Err((Step::Stream, why)) => {
                notes.red("silent", format!("{key} {address}: does not speak XMPP ({why})"), taken);
            }
            Err((Step::Tls, why)) => {
                let remedy = "see the daemon's log; openssl s_client -connect shows more";
                notes.red("handshake", format!("{key} {address}: no TLS handshake ({why})"), remedy);
            }
        }
    }
    let all: Vec<_> = ports.iter().map(|port| port.address.to_string()).collect();
    notes.finish(format!("{} answer", all.join(", ")))
}

pub(super) fn listeners(site: &Site) -> Finding {
    let (Ok(config), Some(health)) = (&site.config, site.health()) else { return needs_daemon() };
    let row = |direct_tls| move |address: &SocketAddr| ListenerRow { direct_tls, address: *address };
    let mut configured: Vec<_> = config.c2s.iter().map(row(false)).collect();
    configured.extend(config.c2s_tls.iter().map(row(true)));
    judge_listeners(&configured, &health.listeners)
}

/// Port 0 is any; where the box has no IPv6, `[::]` means `0.0.0.0`.
fn is_same(configured: &ListenerRow, found: &ListenerRow) -> bool {
    let (one, other) = (configured.address, found.address);
    let ip = one.ip().to_canonical() == other.ip().to_canonical()
        || (one.ip().is_unspecified() && other.ip().is_unspecified());
    configured.direct_tls == found.direct_tls && ip && (one.port() == 0 || one.port() == other.port())
}

fn judge_listeners(configured: &[ListenerRow], found: &[ListenerRow]) -> Finding {
    let mut notes = Notes::default();
    let text = |rows: Vec<&ListenerRow>| {
        let kind = |row: &ListenerRow| if row.direct_tls { "listen.c2s_tls" } else { "listen.c2s" };
        rows.iter().map(|row| format!("{} {}", kind(row), row.address)).collect::<Vec<_>>().join(", ")
    };
    let missing: Vec<_> =
        configured.iter().filter(|row| !found.iter().any(|other| is_same(row, other))).collect();
    let surplus: Vec<_> =
        found.iter().filter(|row| !configured.iter().any(|other| is_same(other, row))).collect();
    let remedy =
        "godwitctl upgrade, or a restart, opens them; sockets of a godwit.socket unit take their place";
    if !missing.is_empty() {
        notes.red("missing", format!("the daemon does not listen at {}", text(missing)), remedy);
    }
    if !surplus.is_empty() {
        let remedy = "godwitctl upgrade, or a restart, closes them";
        notes.yellow("surplus", format!("the daemon listens at {}, not configured", text(surplus)), remedy);
    }
    notes.finish(format!("all {} as configured", configured.len()))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn port(reached: Result<Option<Shown>, (Step, String)>) -> [Port; 1] {
        [Port { key: "listen.c2s", address: "127.0.0.1:5222".parse().expect("address"), reached }]
    }

    #[test]
    fn a_port_that_does_not_answer_is_red() {
        let judge = |reached, down| {
            let found = judge_ports(&port(reached), down);
            (found.level, found.causes.join(" "))
        };
        let red = |cause: &str| (Level::Red, cause.to_owned());
        assert_eq!(judge(Ok(Some(Shown::OnDisk)), false).0, Level::Green);
        assert_eq!(judge(Ok(None), false).0, Level::Green);
        assert_eq!(judge(Ok(Some(Shown::Other)), false), (Level::Yellow, "certificate".into()));
        assert_eq!(judge(Ok(Some(Shown::Unknown)), false), (Level::Yellow, "unseen".into()));
        assert_eq!(judge(Err((Step::Connect, "refused".into())), false), red("closed"));
        assert_eq!(judge(Err((Step::Stream, "no".into())), false), red("silent"));
        assert_eq!(judge(Err((Step::Tls, "no".into())), false), red("handshake"));
        assert_eq!(judge(Ok(Some(Shown::OnDisk)), true), red("taken"));
        assert_eq!(judge(Err((Step::Stream, "no".into())), true), red("taken"));
        assert_eq!(judge(Err((Step::Connect, "refused".into())), true), red("closed"));
    }

    #[test]
    fn a_listener_that_is_missing_is_red_and_one_too_many_yellow() {
        let row = |direct_tls, address: &str| ListenerRow {
            direct_tls,
            address: address.parse().expect("address"),
        };
        let judge =
            |configured: &[ListenerRow], found: &[ListenerRow]| judge_listeners(configured, found).level;
        let (any6, any4) = (row(false, "[::]:5222"), row(false, "0.0.0.0:5222"));
        assert_eq!(judge(&[any6], &[any4]), Level::Green, "a box without IPv6");
        assert_eq!(judge(&[row(true, "127.0.0.1:0")], &[row(true, "127.0.0.1:40000")]), Level::Green);
        assert_eq!(judge(&[any6], &[row(true, "[::]:5222")]), Level::Red);
        assert_eq!(judge(&[any6, row(true, "[::]:5223")], &[any6]), Level::Red);
        assert_eq!(judge(&[any6], &[any6, row(true, "[::]:5223")]), Level::Yellow);
    }
}
