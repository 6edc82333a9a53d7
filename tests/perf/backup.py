"""What a backup costs: time, size, what clients notice meanwhile, and whether everything comes back.

    backup.py                        1,000,000 messages
    backup.py --messages 20000       a short one

A store is filled by pairs, with texts that do not compress, as encrypted ones; each message lies in two
archives. Then, in this order: a light load
(open loop: a message counts from when it was due) alone, and the same while full backups are made one after
another; a full backup by itself; 10,000 more messages and the next backup into the same directory; a stream,
encrypted; a verification, and one that restores aside; a restoring of the directory, and of the stream, each
into a configuration of its own on a host of another name (needs the right to make a UTS namespace). At the
end the daemon is stopped and all stores are read: each has to hold as many rows of every family as the first
one, as many archived rows as messages were sent, and some accounts, as `account export` gives them, the same.

One JSON line for each figure, a table at the end. Everything runs on the same cores and the same disk; files
that are read were mostly written a moment ago, so they are in the page cache.
"""

import argparse
import base64
import json
import os
import resource
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.daemon import to_toml  # noqa: E402
from harness.rawxmpp import RawClient  # noqa: E402

from perf.peers import Godwit, PeerError  # noqa: E402
from perf.upgrades import Load  # noqa: E402

PAIRS = 100
# Pairs that write at once while the store is filled, so that they share syncs; messages in one piece.
WRITERS = 100
CHUNK_MESSAGES = 100
TEXT_CHARACTERS = 100
LIGHT_PAIRS = 20
LIGHT_MESSAGES_PER_SECOND = 200
LIGHT_SECONDS = 20
MORE_MESSAGES = 10_000
FILL_SECONDS_MAX = 3600
LOGIN_SECONDS_MAX = 60
COMMAND_SECONDS_MAX = 1800
# For the flushes and compactions that the filling left to do.
REST_SECONDS = 10
EXPORTED = [0, 1, 2 * PAIRS - 1, 2 * PAIRS]
MIB = 1 << 20
# A test vector that age publishes.
RECIPIENT = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"
IDENTITY = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33"
ELSEWHERE = ["unshare", "--uts", "--", "sh", "-c", 'hostname elsewhere.invalid && exec "$@"', "sh"]
# All at once would outlast the daemon's limit for a login on a machine at work.
LOGINS = threading.Semaphore(4)


class Figures:
    """Said at once as JSON, and once more as a table."""

    def __init__(self):
        self.rows = []

    def add(self, figure, **values):
        """One line."""
        values = {name: round(one, 3) if isinstance(one, float) else one for name, one in values.items()}
        print(json.dumps({"figure": figure, **values}), flush=True)
        self.rows.append((figure, ", ".join(f"{name} {one}" for name, one in values.items())))

    def table(self):
        """All of them, for people."""
        width = max(len(figure) for figure, _ in self.rows)
        return "\n".join(f"{figure:{width}}  {text}" for figure, text in self.rows)


class Elsewhere(Godwit):
    """A daemon on a host of another name, without a store."""

    def __init__(self):
        super().__init__(0)
        self.config.write_text(to_toml(self.settings()))

    def command(self):
        return [*ELSEWHERE, *super().command()]


def ctl(peer, *args, prefix=(), **more):
    """Runs godwitctl; wall and CPU seconds, and what it printed."""
    command = [*prefix, str(peer.bin / "godwitctl"), "--config", str(peer.config), *args]
    more = {"stdout": subprocess.PIPE} | more
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, stderr=subprocess.PIPE, timeout=COMMAND_SECONDS_MAX, **more)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise PeerError(f"godwitctl {' '.join(args)}: {done.stderr.decode(errors='replace')[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu}, done.stdout


def create(peer, place):
    """A backup into a directory."""
    cost, printed = ctl(peer, "backup", "create", str(place), "--json")
    made = json.loads(printed)
    return cost | {"mib": made["bytes"] / MIB, "new_mib": made["new_bytes"] / MIB}


def texts(count):
    """So many messages' bodies: 100 characters that nothing compresses below three quarters."""
    text = base64.b64encode(os.urandom(TEXT_CHARACTERS * 3 // 4 * count)).decode()
    return (text[at : at + TEXT_CHARACTERS] for at in range(0, TEXT_CHARACTERS * count, TEXT_CHARACTERS))


def drain(client, heard):
    """Reads what comes and forgets it, until `heard` comes; returns whether an error came before that."""
    kept, failed = b"", False
    while heard not in kept:
        data = client.sock.recv(1 << 18)
        if not data:
            raise PeerError("the daemon closed a connection while the store was filled")
        kept = kept[-64:] + data
        failed = failed or b"type='error'" in kept or b'type="error"' in kept
    return failed


def write(peer, pair, count):
    """One account of a pair writes to the other one, which reads, until all is acknowledged and there."""
    place = SimpleNamespace(domain="localhost", address="127.0.0.1", tls_port=peer.port)
    clients = []
    with LOGINS:
        for number in (2 * pair, 2 * pair + 1):
            client = RawClient(place, timeout=LOGIN_SECONDS_MAX)
            clients.append(client)
            client.login(f"user{number}", f"secret{number}")
            client.send("<presence/>")
            client.sync()
            client.sock.settimeout(FILL_SECONDS_MAX)
    writer, reader = clients
    hearing = threading.Thread(target=drain, args=(reader, b"<body>last</body>"), daemon=True)
    hearing.start()
    to = f"to='user{2 * pair + 1}@localhost' type='chat'"
    for at in range(0, count - 1, CHUNK_MESSAGES):
        some = texts(min(CHUNK_MESSAGES, count - 1 - at))
        writer.send("".join(f"<message {to} id='{at}'><body>{text}</body></message>" for text in some))
    writer.send(f"<message {to}><body>last</body></message><iq type='get' id='all' to='localhost'>")
    writer.send("<ping xmlns='urn:xmpp:ping'/></iq>")
    # Answers do not overtake: with this one everything before it is on the disk.
    if drain(writer, b"id='all'"):
        raise PeerError("a message was refused while the store was filled")
    hearing.join(FILL_SECONDS_MAX)
    for client in clients:
        client.cut()


def fill(peer, messages):
    """Archives so many messages, divided among the pairs."""
    began = time.monotonic()
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda pair: write(peer, pair, messages // PAIRS), range(PAIRS)))
    return messages // PAIRS * PAIRS, time.monotonic() - began


def light(peer, name, meanwhile):
    """The light load, until `meanwhile` is done."""
    options = ["--server-pid", str(peer.process.pid)]
    load = Load(peer, name, 2 * PAIRS, LIGHT_PAIRS, LIGHT_MESSAGES_PER_SECOND, options)
    try:
        load.until_online()
        made = meanwhile()
        phase = load.end()
    finally:
        load.close()
    if not phase["ok"]:
        raise PeerError(f"the load generator: {phase['counts']}, {phase['error']}")
    latency = phase["latency_us"]["delivery"]
    told = {f"{one}_ms": latency[one] / 1000 for one in ("p50", "p99", "max")}
    cores = phase["server"]["cores_busy"]
    return phase, {"messages_per_second": phase["per_second"], **told, "daemon_cores": cores, **made}


def backups_for_a_while(peer):
    """Full ones, one after another, each into a directory of its own."""
    began, made = time.monotonic(), []
    while time.monotonic() - began < LIGHT_SECONDS:
        made.append(create(peer, peer.dir / f"meanwhile-{len(made)}"))
    mean = {name: sum(one[name] for one in made) / len(made) for name in ("seconds", "cpu_seconds")}
    return {"backups": len(made), "backup_seconds": mean["seconds"], "backup_cpu_s": mean["cpu_seconds"]}


def rest():
    """Nothing but the load."""
    time.sleep(LIGHT_SECONDS)
    return {}


def rows(peer):
    """Rows of a store that no daemon has, by family; it has to be whole."""
    counts = json.loads(ctl(peer, "store", "verify", "--json")[1])["rows"]
    # A restored store has no sessions: its clients log in anew.
    counts.pop("sessions")
    return counts


def exported(peer):
    """Archives of some accounts."""
    users = (f"user{number}@localhost" for number in EXPORTED)
    return [json.loads(ctl(peer, "account", "export", user)[1])["messages"] for user in users]


def restore(figures, name, *args, **more):
    """On a host of another name; the daemon there, stopped after it answered."""
    there = Elsewhere()
    try:
        cost, _ = ctl(there, "backup", "restore", *args, prefix=ELSEWHERE, **more)
        began = time.monotonic()
        there.start()
        figures.add(name, **cost, start_seconds=time.monotonic() - began)
        there.stop()
    except BaseException:
        there.close()
        raise
    return there


def compare(figures, source, others, sent):
    """Every message is there."""
    wanted, archives = rows(source), exported(source)
    if wanted["archive"] != 2 * sent:
        raise PeerError(f"{wanted['archive']} rows in the archives of {sent} messages")
    for other in others:
        if (found := rows(other)) != wanted:
            raise PeerError(f"restored: {found}, wanted: {wanted}")
        if exported(other) != archives:
            raise PeerError("an account's archive is not what it was")
    compared = sum(len(one) for one in archives)
    figures.add("everything is there", messages=sent, rows=sum(wanted.values()), rows_compared=compared)


def measure(peer, figures, messages):
    """All of it; returns how many messages were sent, and the daemons of what was restored."""
    filled, seconds = fill(peer, messages)
    time.sleep(REST_SECONDS)
    figures.add("filled", messages=filled, seconds=seconds)
    quiet, before = light(peer, "quiet", rest)
    figures.add("light load alone", **before)
    busy, during = light(peer, "busy", lambda: backups_for_a_while(peer))
    figures.add("light load, full backups meanwhile", **during)
    place, stream, identity = peer.dir / "backups", peer.dir / "stream.age", peer.dir / "identity"
    figures.add("full backup", **create(peer, place))
    more, _ = fill(peer, MORE_MESSAGES)
    figures.add(f"the next one, {more} messages later", **create(peer, place))
    with stream.open("wb") as out:
        cost, _ = ctl(peer, "backup", "create", "-", "--encrypt-to", RECIPIENT, stdout=out)
    figures.add("encrypted stream", **cost, mib=stream.stat().st_size / MIB)
    figures.add("verify", **ctl(peer, "backup", "verify", str(place))[0])
    figures.add("verify --restoring", **ctl(peer, "backup", "verify", str(place), "--restoring")[0])
    identity.write_text(IDENTITY + "\n")
    restored = [restore(figures, "restore", str(place))]
    with stream.open("rb") as stdin:
        options = ["--identity", str(identity)]
        restored.append(restore(figures, "restore, encrypted stream", "-", *options, stdin=stdin))
    return filled + more + sum(phase["counts"]["arrived"] for phase in (quiet, busy)), restored


def main():
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000, help="messages in the store (1000000)")
    arguments = parser.parse_args()
    figures, restored = Figures(), []
    peer = Godwit(2 * (PAIRS + LIGHT_PAIRS))
    try:
        print(peer.version(), flush=True)
        peer.prepare()
        peer.start()
        sent, restored = measure(peer, figures, arguments.messages)
        peer.stop()
        compare(figures, peer, restored, sent)
        print("\n" + figures.table(), flush=True)
    finally:
        for one in [peer, *restored]:
            one.close()


if __name__ == "__main__":
    main()
