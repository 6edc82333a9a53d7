//! Certificates chosen by name, reloaded, reported; tickets that outlive the process.
#![allow(clippy::unwrap_used, missing_docs)]

mod tls_support;

use godwit_edge::Entry;
use godwit_edge::tls::{
    CertificateError, CertificateFiles, Certificates, TicketKeys, Tls, TlsConfig, TlsError,
};
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use std::io::Write;
use std::sync::Arc;
use tls_support::{Dir, Kind, Pair, Server, certificate, read, suites};

fn client(roots: &[&rcgen::Certificate]) -> ClientConfig {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.der().clone()).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth()
}

fn server(certificates: &Arc<Certificates>) -> TlsConfig {
    TlsConfig::new(certificates, &Arc::new(TicketKeys::new(0).unwrap())).unwrap()
}

/// The certificate that a client asking for `name` gets.
fn shown(config: &TlsConfig, client: &ClientConfig, name: &str) -> CertificateDer<'static> {
    let tls = Tls::accept(config, Entry::DirectTls).unwrap();
    let mut pair = Pair::named(tls, Arc::new(client.clone()), name);
    // The client may not trust the certificate it gets; the test reads it all the same.
    while pair.client.peer_certificates().is_none() {
        let bytes = pair.client_bytes();
        pair.give(&bytes).unwrap();
        pair.client_reads().unwrap();
    }
    pair.client.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn the_name_chooses_the_certificate() {
    let dir = Dir::new();
    let names: [&[&str]; 3] = [&["example.org", "default.test"], &["*.example.org"], &["chat.example.com"]];
    let made: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, names)| certificate(&dir, &n.to_string(), Kind::Ecdsa, names))
        .collect();
    let files: Vec<_> = made.iter().map(|(files, _)| files.clone()).collect();
    let config = server(&Arc::new(Certificates::load(&files).unwrap()));
    let client = client(&made.iter().map(|(_, made)| made).collect::<Vec<_>>());
    for (name, number) in
        [("example.org", 0), ("muc.example.org", 1), ("MUC.Example.Org", 1), ("chat.example.com", 2)]
    {
        assert_eq!(shown(&config, &client, name), *made[number].1.der(), "{name}");
    }
    // Unknown, and none at all (an address is not sent as a name): the first one, which the client refuses.
    for name in ["unknown.test", "a.muc.example.org", "127.0.0.1"] {
        let tls = Tls::accept(&config, Entry::DirectTls).unwrap();
        let mut pair = Pair::named(tls, Arc::new(client.clone()), name);
        let bytes = pair.client_bytes();
        pair.give(&bytes).unwrap();
        let error = format!("{:?}", pair.client_reads().unwrap_err());
        assert!(error.contains("default.test"), "{name}: {error}");
        let alert = pair.client_bytes();
        assert!(matches!(pair.give(&alert), Err(TlsError::Alerted(_))), "{name}");
    }
}

#[test]
fn a_client_that_knows_only_rsa_gets_the_rsa_certificate() {
    let server = Server::new(&[Kind::Ecdsa, Kind::Rsa]);
    let rsa = tls_support::one(rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256);
    assert_eq!(server.pair(&rsa).facts.unwrap().suite, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
}

#[test]
fn a_reload_is_for_new_handshakes() {
    let dir = Dir::new();
    let (old_files, old) = certificate(&dir, "old", Kind::Ecdsa, &["localhost"]);
    let (new_files, new) = certificate(&dir, "new", Kind::Ecdsa, &["localhost"]);
    let certificates = Arc::new(Certificates::load(std::slice::from_ref(&old_files)).unwrap());
    let config = server(&certificates);
    let client = client(&[&old, &new]);
    let mut open = Pair::new(Tls::accept(&config, Entry::DirectTls).unwrap(), Arc::new(client.clone()));
    open.run().unwrap();
    let missing = CertificateFiles { chain: "/nonexistent/chain.pem".into(), key: new_files.key.clone() };
    certificates.reload(&[new_files.clone(), missing]).unwrap_err();
    assert_eq!(shown(&config, &client, "localhost"), *old.der());
    std::fs::write(&old_files.chain, read(&new_files.chain)).unwrap();
    std::fs::write(&old_files.key, read(&new_files.key)).unwrap();
    certificates.reload(&[old_files]).unwrap();
    let mut fresh = client;
    fresh.resumption = rustls::client::Resumption::disabled();
    assert_eq!(shown(&config, &fresh, "localhost"), *new.der());
    open.echo(b"the open connection goes on");
}

#[test]
fn errors_name_the_file_and_the_remedy() {
    let dir = Dir::new();
    let (good, _) = certificate(&dir, "good", Kind::Ecdsa, &["localhost"]);
    let (other, _) = certificate(&dir, "other", Kind::Rsa, &["localhost"]);
    let empty = dir.write("empty.pem", "no PEM here\n");
    let torn = dir.write("torn.pem", &read(&good.chain)[..200]);
    let junk = dir.write("junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let locked = dir.write(
        "locked.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let long = dir.write("long.pem", &"x".repeat((1 << 20) + 1));
    let many = dir.write("many.pem", &read(&good.chain).repeat(17));
    let bad_key = dir.write("bad.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let (chain, key) = (&good.chain, &good.key);
    let nowhere = dir.0.join("nowhere.pem");
    for (chain, key, file, words) in [
        (&nowhere, key, "nowhere.pem", "correct the path"),
        (chain, &nowhere, "nowhere.pem", "correct the path"),
        (&dir.0, key, "", "check the file"),
        (&empty, key, "empty.pem", "BEGIN CERTIFICATE"),
        (key, key, "good.key", "no certificate in it"),
        (&torn, key, "torn.pem", "write the file anew"),
        (&junk, key, "junk.pem", "issued anew"),
        (&long, key, "long.pem", "longer than"),
        (&many, key, "many.pem", "the chain of one certificate"),
        (chain, &empty, "empty.pem", "BEGIN PRIVATE KEY"),
        (chain, &locked, "locked.pem", "openssl pkey"),
        (chain, &bad_key, "bad.key", "ECDSA P-256"),
        (chain, &other.key, "other.key", "good.crt"),
    ] {
        let files = CertificateFiles { chain: chain.clone(), key: key.clone() };
        let errors = Certificates::load(&[files]).unwrap_err();
        let [error] = errors.as_slice() else { panic!("{errors:?}") };
        let text = error.to_string();
        assert!(text.contains(file) && text.contains(words), "{text}");
    }
    let bad = CertificateFiles { chain: nowhere.clone(), key: nowhere };
    assert_eq!(Certificates::load(&[bad.clone(), good, bad]).unwrap_err().len(), 4);
    assert!(matches!(Certificates::load(&[]).unwrap_err()[..], [CertificateError::NoneConfigured]));
}

#[test]
fn status_tells_names_and_dates() {
    let dir = Dir::new();
    let key = tls_support::key(Kind::Ecdsa);
    let mut parameters =
        rcgen::CertificateParams::new(vec!["Example.ORG".into(), "*.example.org".into()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let chain = dir.write("c", &parameters.self_signed(&key).unwrap().pem());
    let key = dir.write("k", &key.serialize_pem());
    let certificates = Certificates::load(&[CertificateFiles { chain: chain.clone(), key }]).unwrap();
    let [status] = &certificates.status()[..] else { panic!() };
    assert_eq!(status.chain, chain);
    assert_eq!(status.names, ["example.org", "*.example.org"]);
    assert_eq!((status.not_before, status.not_after), (1_577_836_800, 1_609_459_200));
    assert!(status.warning(1_609_459_200 + 10 * 86_400).unwrap().contains("expired 10 days ago"));
}

#[test]
fn server_end_point_is_the_hash_of_the_certificate() {
    use aws_lc_rs::digest::{SHA256, SHA384, digest};
    let dir = Dir::new();
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    for (key, algorithm) in [(tls_support::key(Kind::Ecdsa), &SHA256), (p384, &SHA384)] {
        let made =
            rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
        let files = CertificateFiles {
            chain: dir.write("chain", &made.pem()),
            key: dir.write("key", &key.serialize_pem()),
        };
        let config = server(&Arc::new(Certificates::load(&[files]).unwrap()));
        let mut pair = Pair::new(Tls::accept(&config, Entry::StartTls).unwrap(), Arc::new(client(&[&made])));
        pair.run().unwrap();
        let expected = digest(algorithm, made.der());
        assert_eq!(pair.facts.unwrap().server_end_point, expected.as_ref());
    }
}

#[test]
fn protocols() {
    let dir = Dir::new();
    let (files, made) = certificate(&dir, "c", Kind::Ecdsa, &["localhost"]);
    let config = server(&Arc::new(Certificates::load(&[files]).unwrap()));
    let connect = |entry, offered: &[&str]| {
        let mut client = client(&[&made]);
        client.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let mut pair = Pair::new(Tls::accept(&config, entry).unwrap(), Arc::new(client));
        let result = pair.run();
        match result {
            Ok(_) => Ok(pair.facts.unwrap().alpn.map(String::from)),
            Err(_) => Err(pair.client_reads().unwrap_err()),
        }
    };
    let client = Some("xmpp-client".to_string());
    assert_eq!(connect(Entry::DirectTls, &["xmpp-client"]).unwrap(), client);
    assert_eq!(connect(Entry::DirectTls, &["h2", "xmpp-client"]).unwrap(), client);
    assert_eq!(connect(Entry::DirectTls, &[]).unwrap(), None);
    let refused = rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol);
    assert_eq!(connect(Entry::DirectTls, &["h2", "xmpp-server"]), Err(refused));
    assert_eq!(connect(Entry::StartTls, &[]).unwrap(), None);
    assert_eq!(connect(Entry::StartTls, &["h2"]).unwrap(), None);
}

#[test]
fn tickets_resume_after_a_restart_and_a_rotation() {
    for suites in [suites(&TLS13), suites(&TLS12)] {
        let old = Server::new(&[Kind::Ecdsa]);
        let mut client = old.client_config(&suites);
        client.resumption = rustls::client::Resumption::in_memory_sessions(8);
        let client = Arc::new(client);
        let connect = |config: &TlsConfig| {
            let mut pair = Pair::new(Tls::accept(config, Entry::StartTls).unwrap(), Arc::clone(&client));
            pair.rebuild = true;
            // Data that waits for the handshake goes out in one segment with Finished.
            pair.client.writer().write_all(b"first words").unwrap();
            pair.run().unwrap();
            assert_eq!(std::mem::take(&mut pair.got), b"first words");
            for _ in 0..12 {
                pair.echo(b"resumed or not");
            }
            let exporter =
                pair.client.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[]));
            let facts = pair.facts.unwrap();
            assert_eq!(facts.exporter, exporter.ok());
            facts
        };
        let first = connect(&old.config);
        assert!(!first.resumed);
        assert!(connect(&old.config).resumed);
        // A new process, with the keys of the old one and a renewed certificate.
        let tickets = Arc::new(TicketKeys::from_bytes(&old.tickets.to_bytes()).unwrap());
        let renewed = Dir::new();
        let (files, _) = certificate(&renewed, "renewed", Kind::Ecdsa, &["localhost"]);
        let config = TlsConfig::new(&Arc::new(Certificates::load(&[files]).unwrap()), &tickets).unwrap();
        for round in 0..3 {
            let facts = connect(&config);
            assert!(facts.resumed, "round {round}");
            // The client never saw the new certificate: both sides bind to the old one.
            assert_eq!(facts.server_end_point, first.server_end_point);
        }
        tickets.rotate(12 * 3600).unwrap();
        assert!(connect(&config).resumed);
        // With keys of its own a server starts from nothing.
        let config = TlsConfig::new(&old.certificates, &Arc::new(TicketKeys::new(0).unwrap())).unwrap();
        assert!(!connect(&config).resumed);
    }
}
