//! What clients find in the DNS: SRV records (RFC 6120 §3.2.1, XEP-0368) and addresses. Asked once for both
//! checks, of the name servers in `/etc/resolv.conf`.
use super::finding::{Finding, Notes, unseen};
use super::site::Site;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

/// For one answer, and how often it is asked for.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
/// For everything.
const ALL_WAIT: Duration = Duration::from_secs(8);
/// Domains and targets of one service that are asked for.
const ASKED_MAX: usize = 16;
/// The port of clients that find no SRV record (RFC 6120 §3.2.2).
const PORT: u16 = 5222;
const RESOLVER: &str = "see /etc/resolv.conf; ask elsewhere: host -t srv _xmpp-client._tcp.DOMAIN";

type Builder = ResolverBuilder<TokioRuntimeProvider>;

/// What there is under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply<T> {
    /// These.
    Found(Vec<T>),
    /// Nothing.
    Nothing,
    /// No answer: why.
    Silent(String),
}

/// An SRV record; an empty target says that there is no such service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Srv {
    target: String,
    port: u16,
}

/// A domain.
#[derive(Debug, Clone)]
pub(super) struct Named {
    domain: String,
    /// `_xmpp-client._tcp`.
    srv: Reply<Srv>,
    /// `_xmpps-client._tcp`.
    srv_tls: Reply<Srv>,
    /// Names to connect to: targets, or the domain itself where there are none; with their addresses.
    hosts: Vec<(String, Reply<IpAddr>)>,
}

/// All domains.
#[derive(Debug)]
pub(super) struct Dns(Result<Vec<Named>, String>);

/// Domains that the DNS knows nothing of by definition (RFC 6761, 6762).
fn is_special(domain: &str) -> bool {
    let end = domain.rsplit('.').next().unwrap_or(domain);
    matches!(end, "localhost" | "local" | "test" | "invalid" | "example") || domain.parse::<IpAddr>().is_ok()
}

fn asked(site: &Site) -> &Dns {
    site.dns.get_or_init(|| {
        let domains: Vec<_> =
            site.domains().into_iter().filter(|domain| !is_special(domain)).take(ASKED_MAX).collect();
        if domains.is_empty() {
            return Dns(Ok(Vec::new()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Dns(runtime.map_err(|error| error.to_string()).and_then(|runtime| {
            let builder = TokioResolver::builder_tokio().map_err(|error| no_resolver(&error))?;
            let done =
                runtime.block_on(async { tokio::time::timeout(ALL_WAIT, ask(domains, builder)).await });
            done.unwrap_or_else(|_| Err(format!("no answer within {} s", ALL_WAIT.as_secs())))
        }))
    })
}

fn no_resolver(error: &dyn std::fmt::Display) -> String {
    format!("no name server can be asked: {error}")
}

async fn ask(domains: Vec<String>, mut builder: Builder) -> Result<Vec<Named>, String> {
    let options = builder.options_mut();
    options.timeout = ANSWER_WAIT;
    options.attempts = ATTEMPTS;
    let resolver = builder.build().map_err(|error| no_resolver(&error))?;
    let mut all = Vec::new();
    for domain in domains {
        let (starttls, direct) =
            (format!("_xmpp-client._tcp.{domain}."), format!("_xmpps-client._tcp.{domain}."));
        let (srv, srv_tls) = tokio::join!(services(&resolver, &starttls), services(&resolver, &direct));
        let mut names: Vec<String> = Vec::new();
        for reply in [&srv, &srv_tls] {
            let Reply::Found(records) = reply else { continue };
            let targets = records.iter().map(|record| record.target.clone());
            names.extend(targets.filter(|target| !target.is_empty()));
        }
        if names.is_empty() {
            names.push(domain.clone());
        }
        names.sort_unstable();
        names.dedup();
        let mut hosts = Vec::new();
        for name in names.into_iter().take(ASKED_MAX) {
            let found = match (&srv, &srv_tls) {
                // Nobody answers: not asked, and not waited for, again.
                (Reply::Silent(why), Reply::Silent(_)) => Reply::Silent(why.clone()),
                _ => host(&resolver, &name).await,
            };
            hosts.push((name, found));
        }
        all.push(Named { domain, srv, srv_tls, hosts });
    }
    Ok(all)
}

async fn services(resolver: &TokioResolver, name: &str) -> Reply<Srv> {
    records(resolver, name, RecordType::SRV, |data| match data {
        RData::SRV(srv) => {
            Some(Srv { target: srv.target.to_string().trim_end_matches('.').to_owned(), port: srv.port })
        }
        _ => None,
    })
    .await
}

async fn host(resolver: &TokioResolver, name: &str) -> Reply<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    let name = format!("{name}.");
    let (v4, v6) = tokio::join!(
        records(resolver, &name, RecordType::A, address),
        records(resolver, &name, RecordType::AAAA, address)
    );
    match (v4, v6) {
        (Reply::Found(mut v4), Reply::Found(v6)) => {
            v4.extend(v6);
            Reply::Found(v4)
        }
        (Reply::Found(found), _) | (_, Reply::Found(found)) => Reply::Found(found),
        (Reply::Silent(why), _) | (_, Reply::Silent(why)) => Reply::Silent(why),
        (Reply::Nothing, Reply::Nothing) => Reply::Nothing,
    }
}

async fn records<T>(
    resolver: &TokioResolver,
    name: &str,
    kind: RecordType,
    read: impl Fn(&RData) -> Option<T>,
) -> Reply<T> {
    match resolver.lookup(name, kind).await {
        Ok(found) => match found.answers().iter().filter_map(|record| read(&record.data)).collect::<Vec<_>>()
        {
            none if none.is_empty() => Reply::Nothing,
            some => Reply::Found(some),
        },
        Err(error) if error.is_no_records_found() => Reply::Nothing,
        Err(error) => Reply::Silent(error.to_string()),
    }
}

/// Whether clients of a kind are listened to, and where.
#[derive(Debug, Clone, Default)]
struct Ports {
    starttls: Vec<u16>,
    direct: Vec<u16>,
}

pub(super) fn srv(site: &Site) -> Finding {
    let Ok(config) = &site.config else {
        return unseen("the domains are in the configuration, which cannot be read", super::daemon::AS_ROOT);
    };
    let ports = |all: &[SocketAddr]| all.iter().map(SocketAddr::port).collect::<Vec<_>>();
    judge_srv(&asked(site).0, &Ports { starttls: ports(&config.c2s), direct: ports(&config.c2s_tls) })
}

fn judge_srv(dns: &Result<Vec<Named>, String>, ports: &Ports) -> Finding {
    let mut notes = Notes::default();
    let named = match dns {
        Ok(named) => named,
        Err(why) => return unseen(why.clone(), RESOLVER),
    };
    for one in named {
        let (starttls, direct) = ("_xmpp-client._tcp", "_xmpps-client._tcp");
        let kinds = [(starttls, &one.srv, &ports.starttls), (direct, &one.srv_tls, &ports.direct)];
        let none = kinds.iter().all(|(_, reply, _)| **reply == Reply::Nothing);
        for (service, reply, ports) in kinds {
            let name = format!("{service}.{}", one.domain);
            match reply {
                Reply::Silent(why) => notes.unseen(format!("{name}: {why}"), RESOLVER),
                Reply::Nothing => {}
                Reply::Found(records) => lead(&mut notes, &name, records, ports),
            }
        }
        if none {
            let domain = &one.domain;
            let remedy = match (ports.starttls.first(), ports.direct.first()) {
                (Some(port), _) => format!("add: {starttls}.{domain}. 3600 IN SRV 0 5 {port} {domain}."),
                (None, Some(port)) => format!("add: {direct}.{domain}. 3600 IN SRV 0 5 {port} {domain}."),
                (None, None) => String::new(),
            };
            if ports.starttls.contains(&PORT) {
                let text =
                    format!("{domain} has no SRV record: clients try port {PORT} of the domain itself");
                notes.yellow("none", text, remedy);
            } else {
                let text = format!("{domain} has no SRV record, and nothing listens at port {PORT}");
                notes.red("unreachable", text, remedy);
            }
        }
    }
    notes.finish(if named.is_empty() { LOCAL } else { "they lead to ports that are listened at" })
}

const LOCAL: &str = "no domain that the DNS would know";

/// Whether records lead to a port that is listened at.
fn lead(notes: &mut Notes, name: &str, records: &[Srv], ports: &[u16]) {
    let shown = |record: &Srv| match record.target.as_str() {
        "" => "says that there is none".to_owned(),
        target => format!("leads to {target}:{}", record.port),
    };
    let lost: Vec<_> = records.iter().filter(|record| !ports.contains(&record.port)).collect();
    let Some(first) = lost.first() else { return };
    let listened = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let listened = if listened.is_empty() { "no port".to_owned() } else { listened };
    let text = format!("{name} {}, and such clients are listened to at {listened}", shown(first));
    let remedy = "correct the record, or [listen]; fine if a firewall or balancer maps the port";
    if lost.len() == records.len() {
        notes.red("port", text, remedy);
    } else {
        notes.yellow("port", text, remedy);
    }
}

pub(super) fn addresses(site: &Site) -> Finding {
    // An address can be bound if it is this machine's.
    let own = |address: &IpAddr| UdpSocket::bind((*address, 0)).is_ok();
    if site.config.is_err() {
        return unseen("the domains are in the configuration, which cannot be read", super::daemon::AS_ROOT);
    }
    judge_addresses(&asked(site).0, &own)
}

fn judge_addresses(dns: &Result<Vec<Named>, String>, own: &dyn Fn(&IpAddr) -> bool) -> Finding {
    let mut notes = Notes::default();
    let named = match dns {
        Ok(named) => named,
        Err(why) => return unseen(why.clone(), RESOLVER),
    };
    let mut good = Vec::new();
    for (name, reply) in named.iter().flat_map(|one| &one.hosts) {
        match reply {
            Reply::Found(addresses) => {
                let text = addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
                let here = if addresses.iter().any(own) { "" } else { " (not this machine's: a NAT?)" };
                good.push(format!("{name} is {text}{here}"));
            }
            Reply::Nothing => {
                let remedy = format!("add A and AAAA records for {name}");
                notes.red("nowhere", format!("{name} has no address: clients do not find the box"), remedy);
            }
            Reply::Silent(why) => notes.unseen(format!("{name}: {why}"), RESOLVER),
        }
    }
    notes.finish(if named.is_empty() { LOCAL.into() } else { good.join("; ") })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn record(target: &str, port: u16) -> Srv {
        Srv { target: target.into(), port }
    }

    fn named(srv: Reply<Srv>, srv_tls: Reply<Srv>, addresses: Reply<IpAddr>) -> Vec<Named> {
        let hosts = vec![("xmpp.example.org".into(), addresses)];
        vec![Named { domain: "example.org".into(), srv, srv_tls, hosts }]
    }

    fn ports(starttls: &[u16], direct: &[u16]) -> Ports {
        Ports { starttls: starttls.into(), direct: direct.into() }
    }

    #[test]
    fn a_record_that_leads_nowhere_is_red() {
        let judge =
            |srv, srv_tls, ports: &Ports| judge_srv(&Ok(named(srv, srv_tls, Reply::Nothing)), ports).level;
        let found = |port| Reply::Found(vec![record("xmpp.example.org", port)]);
        let usual = ports(&[5222], &[5223]);
        assert_eq!(judge(found(5222), found(5223), &usual), Level::Green);
        assert_eq!(judge(found(5222), Reply::Nothing, &usual), Level::Green);
        assert_eq!(judge(found(5299), found(5223), &usual), Level::Red);
        let both = Reply::Found(vec![record("a", 5222), record("b", 5299)]);
        assert_eq!(judge(both, Reply::Nothing, &usual), Level::Yellow);
        let refused = Reply::Found(vec![record("", 0)]);
        assert_eq!(judge(refused, found(5223), &usual), Level::Red);
    }

    #[test]
    fn without_records_only_the_usual_port_is_found() {
        let judge =
            |ports: &Ports| judge_srv(&Ok(named(Reply::Nothing, Reply::Nothing, Reply::Nothing)), ports);
        let usual = judge(&ports(&[5222], &[5223]));
        assert_eq!(usual.level, Level::Yellow);
        assert!(usual.remedy.is_some_and(|text| text.contains("IN SRV 0 5 5222 example.org.")));
        assert_eq!(judge(&ports(&[5299], &[])).level, Level::Red);
        assert_eq!(judge(&ports(&[], &[5223])).level, Level::Red);
    }

    #[test]
    fn no_answer_is_not_seen() {
        let ports = ports(&[5222], &[]);
        assert_eq!(judge_srv(&Err("no name server".into()), &ports).causes, ["unseen"]);
        let silent = named(Reply::Silent("late".into()), Reply::Nothing, Reply::Silent("late".into()));
        assert_eq!(judge_srv(&Ok(silent.clone()), &ports).causes, ["unseen"]);
        assert_eq!(judge_addresses(&Ok(silent), &|_| true).causes, ["unseen"]);
        assert_eq!(judge_srv(&Ok(Vec::new()), &ports).found, LOCAL);
    }

    #[test]
    fn a_name_without_address_is_red() {
        let judge =
            |reply, own: bool| judge_addresses(&Ok(named(Reply::Nothing, Reply::Nothing, reply)), &|_| own);
        let found = || Reply::Found(vec!["192.0.2.1".parse().expect("address")]);
        assert_eq!(judge(found(), true).found, "xmpp.example.org is 192.0.2.1");
        assert!(judge(found(), false).found.ends_with("(not this machine's: a NAT?)"));
        assert_eq!(judge(Reply::Nothing, true).level, Level::Red);
    }

    /// A name server that knows some names, with a type and the answer's data.
    fn served(zone: Vec<(&'static str, u16, Vec<u8>)>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let address = socket.local_addr().expect("address");
        std::thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((n, from)) = socket.recv_from(&mut packet) {
                let question = &packet[12..n];
                let (mut name, mut at) = (String::new(), 0);
                while question[at] != 0 {
                    let end = at + 1 + usize::from(question[at]);
                    name += &String::from_utf8_lossy(&question[at + 1..end]);
                    name.push('.');
                    at = end;
                }
                let end = at + 5;
                let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
                let known: Vec<_> = zone.iter().filter(|one| one.0 == name && one.1 == kind).collect();
                let exists = zone.iter().any(|one| one.0 == name);
                let mut reply = packet[..2].to_vec();
                // An answer of a recursive server; its code is NXDOMAIN where there is nothing of that name.
                reply.extend([
                    0x81,
                    if exists { 0x80 } else { 0x83 },
                    0,
                    1,
                    0,
                    u8::try_from(known.len()).unwrap_or(u8::MAX),
                    0,
                    0,
                    0,
                    0,
                ]);
                reply.extend(&question[..end]);
                for (_, kind, data) in known {
                    // The name is the question's; IN; an hour.
                    reply.extend([0xc0, 12]);
                    reply.extend(kind.to_be_bytes());
                    reply.extend([0, 1, 0, 0, 14, 16]);
                    reply.extend(u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
                    reply.extend(data);
                }
                let _ = socket.send_to(&reply, from);
            }
        });
        address
    }

    fn asked_of(server: SocketAddr) -> Vec<Named> {
        use hickory_resolver::config::{NameServerConfig, ResolverConfig};
        let mut server_config = NameServerConfig::udp(server.ip());
        server_config.connections[0].port = server.port();
        let mut config = ResolverConfig::default();
        config.name_servers.push(server_config);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(ask(vec!["example.org".into()], builder)).expect("asked")
    }

    #[test]
    fn a_name_server_is_asked() {
        let (srv, a) = (33, 1);
        let to = |target: &[u8], port: u16| {
            let mut data = vec![0, 0, 0, 5];
            data.extend(port.to_be_bytes());
            data.extend(target);
            data
        };
        let xmpp = b"\x04xmpp\x07example\x03org\0";
        let server = served(vec![
            ("_xmpp-client._tcp.example.org.", srv, to(xmpp, 5222)),
            ("_xmpps-client._tcp.example.org.", srv, to(b"\0", 0)),
            ("xmpp.example.org.", a, vec![192, 0, 2, 1]),
        ]);
        let found = asked_of(server);
        assert_eq!(found[0].srv, Reply::Found(vec![record("xmpp.example.org", 5222)]));
        assert_eq!(found[0].srv_tls, Reply::Found(vec![record("", 0)]), "says that there is none");
        let address = Reply::Found(vec!["192.0.2.1".parse().expect("address")]);
        assert_eq!(found[0].hosts, [("xmpp.example.org".to_owned(), address)]);

        let nothing = asked_of(served(Vec::new()));
        assert_eq!((&nothing[0].srv, &nothing[0].srv_tls), (&Reply::Nothing, &Reply::Nothing));
        assert_eq!(nothing[0].hosts, [("example.org".to_owned(), Reply::Nothing)]);

        // Nobody answers there.
        let silent = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let found = asked_of(silent.local_addr().expect("address"));
        assert!(matches!(found[0].srv, Reply::Silent(_)), "{found:?}");
    }

    #[test]
    fn some_names_are_never_in_the_dns() {
        for name in ["localhost", "chat.localhost", "box.local", "one.test", "127.0.0.1"] {
            assert!(is_special(name), "{name}");
        }
        assert!(!is_special("example.org") && !is_special("localhost.example.org"));
    }
}
