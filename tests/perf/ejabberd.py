"""ejabberd for the benchmark, with Mnesia and with PostgreSQL; all in the foreground, none as a service."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

from harness.daemon import free_port

from .peers import READY_SECONDS_MAX, STOP_SECONDS_MAX, Peer, PeerError, run

ERL_LIBS = "/usr/lib/x86_64-linux-gnu"
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


class Ejabberd(Peer):
    """ejabberd with Mnesia, as its package comes."""

    name = "ejabberd-mnesia"

    @classmethod
    def missing(cls):
        return None if shutil.which("ejabberdctl") else "ejabberd is not installed"

    def version(self):
        return run(["dpkg-query", "-W", "-f", "ejabberd ${Version}", "ejabberd"]) + self.database_version()

    def database_version(self):
        """What stores its data."""
        return ", Mnesia"

    def database(self):
        """Lines of the configuration that choose the storage."""
        return "auth_method: internal\ndefault_db: mnesia\n"

    def prepare(self):
        (self.dir / "both.pem").write_text(
            (self.dir / "cert.pem").read_text() + (self.dir / "key.pem").read_text()
        )
        (self.dir / "ejabberd.yml").write_text(
            f"""hosts: [localhost]
loglevel: warning
auth_password_format: scram
{self.database()}certfiles: ["{self.dir}/both.pem"]
acl: {{local: {{user_regexp: ""}}}}
listen:
  - {{port: {self.port}, ip: "127.0.0.1", module: ejabberd_c2s, tls: true, backlog: 4096,
      protocol_options: [no_sslv3, no_tlsv1, no_tlsv1_1, no_tlsv1_2]}}
modules:
  mod_disco: {{}}
  mod_roster: {{versioning: true}}
  mod_carboncopy: {{}}
  mod_client_state: {{}}
  mod_blocking: {{}}
  mod_privacy: {{}}
  mod_ping: {{}}
  mod_offline: {{access_max_user_messages: max_user_offline_messages}}
  mod_mam: {{default: always, assume_mam_usage: false}}
  mod_muc: {{host: conference.localhost}}
  mod_stream_mgmt: {{resend_on_timeout: true, max_ack_queue: 100000}}
access_rules: {{c2s: {{allow: all}}}}
shaper_rules: {{max_user_offline_messages: {{1000000: all}}}}
"""
        )
        self.create_accounts()

    def create_accounts(self):
        """By its own function, in one process that ends."""
        evaluated = (
            "application:ensure_all_started(ejabberd), "
            "lists:foreach(fun(I) -> N = integer_to_binary(I), ok = ejabberd_auth:try_register("
            '<<"user", N/binary>>, <<"localhost">>, <<"secret", N/binary>>) end, '
            f"lists:seq(0, {self.accounts - 1})), catch mnesia:dump_log(), init:stop()."
        )
        run([*self.command(), "-eval", evaluated], env=self.environment(), cwd=self.dir)

    def command(self):
        erlang = ["erl", "-noinput", "+K", "true", "+P", "250000", "-mnesia", "dir", f'"{self.data}"']
        return [*erlang, "-s", "ejabberd"]

    def environment(self):
        return {
            **os.environ,
            "ERL_LIBS": ERL_LIBS,
            "EJABBERD_CONFIG_PATH": str(self.dir / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.dir / "ejabberd.log"),
            "ERL_CRASH_DUMP": "/dev/null",
            "ERL_MAX_PORTS": "250000",
        }


class EjabberdPostgres(Ejabberd):
    """ejabberd with PostgreSQL, both on this machine; the database's CPU and memory are the server's too."""

    name = "ejabberd-postgresql"

    def __init__(self, accounts):
        super().__init__(accounts)
        self.postgres = None
        self.database_port = free_port()
        self.bin = POSTGRES[-1] if POSTGRES else None

    @classmethod
    def missing(cls):
        return super().missing() or (None if POSTGRES else "postgresql is not installed")

    def database_version(self):
        return run(
            ["dpkg-query", "-W", "-f", ", PostgreSQL ${Version}", f"postgresql-{self.bin.parent.name}"]
        )

    def database(self):
        return (
            "auth_method: sql\ndefault_db: sql\nsql_type: pgsql\nsql_server: 127.0.0.1\n"
            f"sql_port: {self.database_port}\nsql_username: postgres\nsql_database: postgres\n"
            "sql_password: unused\nsql_pool_size: 10\n"
        )

    def as_postgres(self, *command):
        """The database refuses to run as root."""
        return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else list(command)

    def start_database(self):
        """The cluster is made at the first call; synchronous commit stays on, as everybody runs it."""
        if self.postgres is not None:
            return
        cluster = self.dir / "postgresql"
        fresh = not cluster.exists()
        if fresh:
            cluster.mkdir()
            self.dir.chmod(0o755)
            if os.geteuid() == 0:
                owner = pwd.getpwnam("postgres")
                os.chown(cluster, owner.pw_uid, owner.pw_gid)
            initdb = [str(self.bin / "initdb"), "-D", str(cluster), "-U", "postgres", "-A", "trust"]
            run(self.as_postgres(*initdb), cwd="/")
        options = ["-p", str(self.database_port), "-c", "listen_addresses=127.0.0.1"]
        tuning = ["-c", "shared_buffers=1GB", "-c", f"unix_socket_directories={cluster}"]
        with open(self.dir / "postgresql.log", "ab") as log:
            self.postgres = subprocess.Popen(
                self.as_postgres(str(self.bin / "postgres"), "-D", str(cluster), *options, *tuning),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        self.wait_for_database()
        if fresh:
            schema = Path("/usr/share/ejabberd/sql/pg.sql").read_text()
            run(self.psql(), input=schema)

    def psql(self):
        """Reads statements on standard input."""
        address = ["-h", "127.0.0.1", "-p", str(self.database_port), "-U", "postgres"]
        return [str(self.bin / "psql"), "-q", *address]

    def wait_for_database(self):
        """Until it answers."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        ready = [str(self.bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.database_port)]
        while subprocess.run(ready).returncode != 0:
            if self.postgres.poll() is not None or time.monotonic() > deadline:
                raise PeerError(
                    f"PostgreSQL did not start: {(self.dir / 'postgresql.log').read_text()[-2000:]}"
                )
            time.sleep(0.1)

    def create_accounts(self):
        self.start_database()
        super().create_accounts()

    def start(self):
        self.start_database()
        return super().start()

    def pids(self):
        """Its own and every process of the database."""
        parents = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                # The name in parentheses may hold spaces; the parent is the second field after it.
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
        family = [self.postgres.pid]
        for pid in family:
            family += [child for child, parent in parents.items() if parent == pid]
        return [*super().pids(), *family]

    def close(self):
        self.stop()
        if self.postgres is not None:
            os.killpg(self.postgres.pid, signal.SIGINT)
            try:
                self.postgres.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                os.killpg(self.postgres.pid, signal.SIGKILL)
        super().close()
