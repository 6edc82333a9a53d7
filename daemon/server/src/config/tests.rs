//! Configurations that are wrong, and what is said about them.
use super::check::Config;
use super::probe::probe;
use super::problem::{Problem, Problems};
use crate::testing::TestDir;

const LEAST: &str = "[server]\ndomains = [\"example.org\"]\n";

fn problems(text: &str) -> Vec<Problem> {
    Config::parse(text).expect_err("is wrong")
}

fn lines(text: &str) -> Vec<String> {
    problems(text).iter().map(ToString::to_string).collect()
}

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let config = Config::parse(LEAST).expect("is fine");
    assert_eq!(config.c2s, ["[::]:5222".parse().expect("address")]);
    assert_eq!(config.c2s_tls, ["[::]:5223".parse().expect("address")]);
    assert_eq!(config.socket.to_str(), Some("/var/lib/godwit/admin.sock"));
    assert_eq!(config.domains, ["example.org".into()]);
    assert!(!config.raw.registration.in_band);
    let settings = config.settings(Vec::new());
    assert_eq!(settings.limits.stanza_bytes_max, 262_144);
    assert_eq!(settings.ping_after_ms, 240_000);
    assert_eq!(settings.resume_s_max, 600);
}

#[test]
fn metrics_have_an_address_only_if_one_is_written() {
    let with = |address: &str| format!("{LEAST}[listen]\nmetrics = \"{address}\"\n");
    assert_eq!(Config::parse(LEAST).expect("is fine").metrics, None);
    assert_eq!(Config::parse(&with("")).expect("is fine").metrics, None);
    let config = Config::parse(&with("127.0.0.1:9522")).expect("is fine");
    assert_eq!(config.metrics, Some("127.0.0.1:9522".parse().expect("address")));
    for (wrong, why) in [("9522", "not an address"), ("127.0.0.1:0", "port 0"), ("[::]:5222", "clients")] {
        let said = lines(&with(wrong));
        assert!(said.len() == 1 && said[0].contains("listen.metrics") && said[0].contains(why), "{said:?}");
    }
}

#[test]
fn the_example_is_fine() {
    Config::parse(&super::example()).expect("is fine");
}

#[test]
fn names_are_normalised() {
    let text =
        "[server]\ndomains = [\"EXAMPLE.org\", \"xn--bcher-kva.example\"]\nadmins = [\"Admin@example.ORG\"]";
    let config = Config::parse(text).expect("is fine");
    assert_eq!(config.admins[0].as_str(), "admin@example.org");
    assert_eq!(&*config.domains[0], "example.org");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let text = r#"
[server]
domains = ["example.org", "exa mple"]
data_dir = "var/lib/godwit"
admins = ["admin@elsewhere.example", "admin"]
[listen]
c2s = ["[::]:5222", "localhost"]
c2s_tls = ["[::]:5222"]
[registration]
inband = true
[limits]
stanza_bytes_max = 100
sessions_per_account_max = "many"
[stream]
ping_after = "soon"
[logs]
level = "info"
"#;
    let found = problems(text);
    let paths: Vec<_> = found.iter().map(|p| (p.line, p.path.as_str())).collect();
    let want = [
        (Some(3), "server.domains[1]"),
        (Some(4), "server.data_dir"),
        (Some(5), "server.admins[1]"),
        (Some(7), "listen.c2s[1]"),
        (Some(8), "listen.c2s_tls[0]"),
        (Some(10), "registration.inband"),
        (Some(12), "limits.stanza_bytes_max"),
        (Some(13), "limits.sessions_per_account_max"),
        (Some(15), "stream.ping_after"),
        (Some(16), "logs"),
    ];
    assert_eq!(paths, want);
    let text: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert!(
        text[0].starts_with("line 3: server.domains[1] = \"exa mple\": not a domain name; write"),
        "{}",
        text[0]
    );
    assert!(text[5].ends_with("unknown key; did you mean in_band?"), "{}", text[5]);
    assert!(text[7].contains("= \"many\": write a whole number"), "{}", text[7]);
    assert!(text[9].ends_with("unknown section; did you mean log?"), "{}", text[9]);
}

#[test]
fn an_admin_of_another_domain_is_named() {
    let found = lines(
        "[server]\ndomains = [\"example.org\"]\nadmins = [\"a@other.example\", \"a@example.org/phone\"]",
    );
    assert_eq!(found.len(), 2);
    assert!(
        found[0].contains("server.admins[0]") && found[0].ends_with("write one at example.org"),
        "{}",
        found[0]
    );
    assert!(found[1].contains("not a bare address"), "{}", found[1]);
}

#[test]
fn syntax_errors_have_line_and_column() {
    let found = lines("[server]\ndomains = [\"example.org\"\n\n[listen]\nc2s = = 1\n");
    assert!(!found.is_empty());
    assert!(found.iter().all(|line| line.starts_with("line ") && line.contains("column ")), "{found:?}");
    assert!(found.iter().any(|line| line.starts_with("line 5, column 7")), "{found:?}");
}

#[test]
fn a_missing_domain_is_said_once() {
    for text in ["", "[server]", "[server]\ndomains = []"] {
        let found = lines(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("domains = [\"example.org\"]"), "{found:?}");
    }
}

#[test]
fn the_kind_of_a_value_is_said_with_its_index() {
    let found = lines(
        "[server]\ndomains = [\"example.org\", 5]\n[limits]\nconnections_max = -1\nstanza_depth_max = 1.5",
    );
    assert!(found[0].contains("server.domains[1] = 5: write a string"), "{found:?}");
    assert!(found[1].contains("limits.connections_max = -1"), "{found:?}");
    assert!(found[2].contains("limits.stanza_depth_max = 1.5"), "{found:?}");
    assert_eq!(found.len(), 3);
}

#[test]
fn further_certificates_are_read_and_checked() {
    let sni = |rest: &str| format!("{LEAST}[[tls.sni]]\n{rest}");
    let config = Config::parse(&sni("certificate = \"/a.pem\"\nkey = \"/b.pem\"")).expect("is fine");
    assert_eq!(config.certificates.len(), 2);
    assert_eq!(config.certificates[1].path, "tls.sni[0]");
    let found = lines(&sni("certificat = \"/a.pem\"\nkey = \"b.pem\""));
    assert!(
        found.iter().any(|l| l.contains("tls.sni[0].certificat ") && l.contains("certificate?")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|l| l.contains("tls.sni[0].key = \"b.pem\": not an absolute path")),
        "{found:?}"
    );
    assert!(found.iter().any(|l| l.contains("tls.sni[0].certificate = \"\"")), "{found:?}");
}

#[test]
fn times_and_levels_must_make_sense() {
    let text =
        format!("{LEAST}[stream]\nhandshake_timeout = \"1m\"\n[log]\nlevel = \"info,,=x\"\nformat = \"xml\"");
    let found = lines(&text);
    assert!(
        found.iter().any(|l| l.contains("stream.handshake_timeout") && l.contains("at most \"30s\"")),
        "{found:?}"
    );
    assert!(found.iter().any(|l| l.contains("log.level")), "{found:?}");
    assert!(found.iter().any(|l| l.contains("log.format = \"xml\": write \"auto\"")), "{found:?}");
}

#[test]
fn the_machine_is_looked_at() {
    let dir = TestDir::new("config-probe");
    let missing = dir.path().join("no/such/data");
    let text = format!(
        "[server]\ndomains = [\"example.org\"]\ndata_dir = {:?}\n[tls]\ncertificate = \"/nowhere/c.pem\"\n\
         key = \"/nowhere/k.pem\"",
        missing
    );
    let config = Config::parse(&text).expect("is fine as text");
    let mut problems = Problems::default();
    probe(&config, &mut problems);
    let found: Vec<_> = problems.into_sorted().iter().map(ToString::to_string).collect();
    assert!(found.iter().any(|l| l.starts_with("server.data_dir") && l.contains("mkdir -p")), "{found:?}");
    assert!(found.iter().any(|l| l.starts_with("tls.certificate = \"/nowhere/c.pem\"")), "{found:?}");
    assert!(found.iter().any(|l| l.starts_with("tls.key = \"/nowhere/k.pem\"")), "{found:?}");
    assert!(!missing.exists(), "looking makes nothing");
}
