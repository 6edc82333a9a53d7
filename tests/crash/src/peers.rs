//! Other servers from Debian's packages, for the same run: Prosody and ejabberd.
//!
//! Both with an archive (XEP-0313), offline storage and stream management with resumption on, in the storage
//! that their package comes with: Prosody's files, ejabberd's Mnesia. ejabberd is told to send again what a
//! lost session never acknowledged, which is off by default.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where Debian keeps ejabberd's and Erlang's libraries.
const ERL_LIBS: &str = "/usr/lib/x86_64-linux-gnu";

/// A self-signed certificate for localhost and its key. Erlang cannot read the year 4096 of rcgen's default.
pub(crate) fn certificate() -> Result<(String, String), rcgen::Error> {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".into()])?;
    params.not_after = rcgen::date_time_ymd(2049, 1, 1);
    let key = rcgen::KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Prosody in the foreground.
pub(crate) fn prosody(config: &Path) -> Command {
    let mut command = Command::new("prosody");
    command.arg("-F").arg("--config").arg(config);
    command
}

/// Creates an account.
pub(crate) fn prosody_account(config: &Path, (user, password): &(String, String)) -> Command {
    let mut command = Command::new("prosodyctl");
    command.arg("--config").arg(config).args(["register", user, "localhost", password]);
    command
}

/// For a directory with `cert.pem`, `key.pem` and `data`. Offline storage is always on.
pub(crate) fn prosody_config(dir: &Path, starttls: u16, port: u16) -> String {
    let dir = dir.display();
    let ssl = format!("{{ certificate = \"{dir}/cert.pem\", key = \"{dir}/key.pem\" }}");
    format!(
        "run_as_root = true\ndata_path = \"{dir}/data\"\npidfile = \"{dir}/prosody.pid\"\n\
         modules_enabled = {{ \"roster\", \"saslauth\", \"tls\", \"disco\", \"smacks\", \"mam\" }}\n\
         modules_disabled = {{ \"s2s\" }}\ninterfaces = {{ \"127.0.0.1\" }}\n\
         c2s_ports = {{ {starttls} }}\nc2s_direct_tls_ports = {{ {port} }}\n\
         authentication = \"internal_hashed\"\nstorage = \"internal\"\nlog = {{ warn = \"*console\" }}\n\
         default_archive_policy = true\nsmacks_max_queue_size = 100000\n\
         limits = {{ }}\nssl = {ssl}\nc2s_direct_tls_ssl = {ssl}\nVirtualHost \"localhost\"\n"
    )
}

/// ejabberd in the foreground, as one process without distribution; with accounts it creates them and stops.
pub(crate) fn ejabberd(dir: &Path, accounts: &[(String, String)]) -> Command {
    let mut command = Command::new("erl");
    command.args(["-noinput", "+K", "true", "-mnesia", "dir"]).arg(format!("\"{}/data\"", dir.display()));
    command.args(["-s", "ejabberd"]);
    if !accounts.is_empty() {
        let one = |(user, password): &(String, String)| format!("{{<<\"{user}\">>,<<\"{password}\">>}}");
        let all = accounts.iter().map(one).collect::<Vec<_>>().join(",");
        command.arg("-eval").arg(format!(
            "application:ensure_all_started(ejabberd), lists:foreach(fun({{U,P}}) -> ok = \
             ejabberd_auth:try_register(U, <<\"localhost\">>, P) end, [{all}]), mnesia:dump_log(), \
             init:stop()."
        ));
    }
    command.env("ERL_LIBS", ERL_LIBS).env("EJABBERD_CONFIG_PATH", dir.join("ejabberd.yml"));
    command.env("EJABBERD_LOG_PATH", dir.join("ejabberd.log")).env("ERL_CRASH_DUMP", "/dev/null");
    command.current_dir(dir);
    command
}

/// For a directory with `cert.pem`, `key.pem` and `data`.
pub(crate) fn ejabberd_config(dir: &Path, starttls: u16, port: u16) -> String {
    let dir = dir.display();
    format!(
        "hosts: [localhost]\nloglevel: warning\n\
         auth_method: internal\nauth_password_format: scram\n\
         certfiles: [\"{dir}/cert.pem\", \"{dir}/key.pem\"]\n\
         acl: {{local: {{user_regexp: \"\"}}}}\n\
         listen:\n\
         \x20 - {{port: {port}, ip: \"127.0.0.1\", module: ejabberd_c2s, tls: true}}\n\
         \x20 - {{port: {starttls}, ip: \"127.0.0.1\", module: ejabberd_c2s, starttls: true}}\n\
         modules:\n\
         \x20 mod_disco: {{}}\n\x20 mod_roster: {{}}\n\
         \x20 mod_offline: {{access_max_user_messages: max_user_offline_messages}}\n\
         \x20 mod_mam: {{default: always, assume_mam_usage: false}}\n\
         \x20 mod_stream_mgmt: {{resend_on_timeout: true, max_ack_queue: 100000}}\n\
         access_rules: {{c2s: {{allow: all}}}}\n\
         shaper_rules: {{max_user_offline_messages: {{1000000: all}}}}\n"
    )
}

/// Runs a command to its end, with a line of input if it is not empty.
pub(crate) fn run(mut command: Command, input: &str) -> Result<(), String> {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|e| format!("running {:?}: {e}", command.get_program()))?;
    if let Some(mut stdin) = child.stdin.take().filter(|_| !input.is_empty()) {
        writeln!(stdin, "{input}").map_err(|e| e.to_string())?;
    }
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{:?}: {}\n{}", command.get_program(), output.status, String::from_utf8_lossy(&said)))
}
