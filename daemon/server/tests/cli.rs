//! The two programs as an operator meets them: the real binaries, without a running daemon.
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Place(PathBuf);

impl Place {
    /// A directory with a configuration whose data directory is in it.
    fn new(name: &str) -> Place {
        let dir = std::env::temp_dir().join(format!("godwit-cli-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("directory");
        let place = Place(dir);
        fs::write(place.config(), place.text("")).expect("configuration");
        place
    }
    fn text(&self, rest: &str) -> String {
        let data = self.0.join("data");
        format!("[server]\ndomains = [\"example.org\"]\ndata_dir = {data:?}\n{rest}")
    }
    fn config(&self) -> PathBuf {
        self.0.join("godwit.toml")
    }
    fn ctl(&self, args: &[&str], input: &str) -> Output {
        let config = self.config();
        let config = config.to_str().expect("path");
        let mut child = Command::new(env!("CARGO_BIN_EXE_godwitctl"))
            .args(["--config", config])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("godwitctl starts");
        // It may end without reading its input.
        let _ = child.stdin.take().expect("stdin").write_all(input.as_bytes());
        child.wait_with_output().expect("godwitctl ends")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn daemon(config: &Path, args: &[&str]) -> Output {
    let command = Command::new(env!("CARGO_BIN_EXE_godwitd")).arg("--config").arg(config).args(args).output();
    command.expect("godwitd runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// Fails with everything the program said.
fn expect(output: &Output, want: i32) {
    assert_eq!(code(output), Some(want), "{}{}", text(&output.stdout), text(&output.stderr));
}

/// A certificate and its key, by the tool that operators use.
fn certificate(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
        ])
        .args(["-subj", "/CN=example.org", "-addext", "subjectAltName=DNS:example.org"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", text(&made.stderr));
    (cert, key)
}

#[test]
fn every_error_is_a_line() {
    let place = Place::new("errors");
    let wrong = r#"
[server]
domains = ["example.org", "exa mple"]
data_dir = "data"
admins = ["nobody@elsewhere", "x@y/z"]
[listen]
c2s = ["5222"]
[registration]
in_bnad = true
[limits]
stanza_bytes_max = 1
attributes_max = "x"
[stream]
resume_max = 600
[store]
queue_max = 0
[sever]
"#;
    fs::write(place.config(), wrong).expect("written");
    let output = daemon(&place.config(), &["--check"]);
    expect(&output, 1);
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 12, "{said}");
    let all_named = [
        "server.domains[1]",
        "server.data_dir",
        "server.admins[1]",
        "listen.c2s[0]",
        "registration.in_bnad",
        "limits.stanza_bytes_max",
        "limits.attributes_max",
        "stream.resume_max",
        "store.queue_max",
        "sever",
        // Not written there, so at their defaults, where there is nothing.
        "tls.certificate",
        "tls.key",
    ];
    for path in all_named {
        assert!(said.lines().any(|line| line.contains(path)), "{path} in\n{said}");
    }
    assert!(said.contains("did you mean in_band?") && said.contains("did you mean server?"), "{said}");
}

#[test]
fn check_says_fine_when_it_is_and_looks_at_the_files() {
    let place = Place::new("fine");
    let (cert, key) = certificate(&place.0, "one");
    let (_, other) = certificate(&place.0, "two");
    let tls = |key: &Path| place.text(&format!("[tls]\ncertificate = {cert:?}\nkey = {key:?}\n"));
    fs::write(place.config(), tls(&key)).expect("written");
    let fine = daemon(&place.config(), &["--check"]);
    expect(&fine, 0);
    assert!(text(&fine.stdout).contains("configuration is fine"));
    assert!(!place.0.join("data").exists(), "a check makes nothing");

    fs::write(place.config(), tls(&other)).expect("written");
    let mismatch = daemon(&place.config(), &["--check"]);
    expect(&mismatch, 1);
    assert!(text(&mismatch.stderr).contains("tls.key = "), "{}", text(&mismatch.stderr));
}

#[test]
fn a_missing_file_and_a_wrong_option_have_their_codes() {
    let place = Place::new("codes");
    let missing = daemon(&place.0.join("none.toml"), &["--check"]);
    expect(&missing, 1);
    assert!(text(&missing.stderr).contains("--example-config"));
    expect(&daemon(&place.config(), &["--frobnicate"]), 2);
    expect(&daemon(&place.config(), &["--version"]), 0);
}

#[test]
fn the_example_is_printed_and_is_fine_but_for_the_machine() {
    let place = Place::new("example");
    let example = daemon(&place.config(), &["--example-config"]);
    expect(&example, 0);
    let printed = text(&example.stdout);
    fs::write(place.config(), printed).expect("written");
    let check = daemon(&place.config(), &["--check"]);
    let said = text(&check.stderr);
    // Whatever this machine lacks, the text itself is right: only paths may be complained about.
    let only_paths = ["server.data_dir", "tls.certificate", "tls.key"];
    assert!(said.lines().all(|line| only_paths.iter().any(|path| line.contains(path))), "{said}");
}

#[test]
fn accounts_without_a_daemon() {
    let place = Place::new("accounts");
    let alice = "alice@example.org";
    let add = place.ctl(&["account", "add", alice], "correct horse\n");
    expect(&add, 0);
    let said = text(&add.stderr);
    assert!(said.contains("added alice@example.org directly in the store at"), "{said}");
    expect(&place.ctl(&["account", "add", alice], "again\n"), 5);

    let generated = place.ctl(&["account", "add", "Bob@Example.ORG", "--generate"], "");
    expect(&generated, 0);
    let password = text(&generated.stdout);
    assert_eq!(password.trim_end().len(), 23, "{password}");

    let list = place.ctl(&["account", "list"], "");
    expect(&list, 0);
    let shown = text(&list.stdout);
    let column: Vec<_> = shown.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(column, ["ADDRESS", alice, "bob@example.org"]);
    let json = place.ctl(&["account", "list", "--json"], "");
    let rows: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(rows[1]["jid"], "bob@example.org");
    assert!(rows[0]["created_ms"].as_u64().is_some_and(|ms| ms > 1_600_000_000_000), "{rows}");

    expect(&place.ctl(&["account", "passwd", alice], "battery staple\n"), 0);
    expect(&place.ctl(&["account", "passwd", "carol@example.org"], "x\n"), 4);
    expect(&place.ctl(&["account", "remove", alice], ""), 0);
    expect(&place.ctl(&["account", "remove", alice], ""), 4);
    let rest = text(&place.ctl(&["account", "list"], "").stdout);
    assert!(!rest.contains(alice) && rest.contains("bob@"), "{rest}");
}

#[test]
fn what_is_asked_the_wrong_way_is_usage() {
    let place = Place::new("usage");
    expect(&place.ctl(&["account", "add", "alice"], "x\n"), 2);
    expect(&place.ctl(&["account", "add", "alice@elsewhere.example"], "x\n"), 2);
    expect(&place.ctl(&["account", "add", "alice@example.org"], ""), 2);
    expect(&place.ctl(&["account", "dance"], ""), 2);
    expect(&place.ctl(&["limits", "--ram", "much"], ""), 2);
}

#[test]
fn what_needs_a_daemon_says_that_there_is_none() {
    let place = Place::new("nobody");
    for command in ["status", "sessions"] {
        let output = place.ctl(&[command], "");
        expect(&output, 3);
        assert!(text(&output.stderr).contains("no daemon is running"), "{}", text(&output.stderr));
    }
}

#[test]
fn limits_are_printed_in_every_form() {
    let place = Place::new("limits");
    let print = |format: &str| {
        let output = place.ctl(&["limits", "--ram", "64G", "--cores", "16", "--format", format], "");
        expect(&output, 0);
        text(&output.stdout)
    };
    let json: serde_json::Value = serde_json::from_str(&print("json")).expect("JSON");
    assert!(json["limits"]["descriptors_max"].as_u64().is_some_and(|n| n > 2_000_000), "{json}");
    assert!(print("sysctl").contains("\nfs.nr_open = "));
    assert!(print("systemd").contains("[Service]\n") && print("systemd").contains("\nLimitNOFILE="));
    assert!(print("table").contains("limits.connections_max"));
    assert!(print("tmpfiles").contains("\nw /sys/kernel/mm/transparent_hugepage/enabled - - - - madvise\n"));
    let rows = json["rows"].as_array().expect("rows");
    assert!(rows.iter().all(|row| row["why"].is_string() && row["source"].is_string()), "{json}");
    for name in ["tcp_mem", "tcp_rmem", "somaxconn", "conntrack_max", "swappiness", "ip_local_port_range"] {
        assert!(print("sysctl").lines().any(|line| !line.starts_with('#') && line.contains(name)), "{name}");
    }
}

#[test]
fn a_machine_is_compared_with_what_is_derived_for_it() {
    let place = Place::new("verify");
    // No kernel has as many descriptors as this machine would need.
    let output = place.ctl(&["limits", "--ram", "900T", "--cores", "16", "--verify"], "");
    expect(&output, 1);
    let said = text(&output.stdout);
    let line = |name: &str| {
        said.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {said}"))
    };
    assert!(line("fs.nr_open").starts_with("DIFFERS"), "{said}");
    assert!(line("ip_local_port_range").contains("10240 65535"), "{said}");
    assert!(line("LimitNOFILE").contains("no daemon is running"), "{said}");
    assert!(text(&output.stderr).contains("limits are not as derived"), "{}", text(&output.stderr));
}
