"""Runs the collection's playbooks as an operator does, and reads what they say."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from hosts import CACHE, SSH_OPTIONS

COLLECTION = Path(__file__).resolve().parent.parent.parent / "ansible"
SECONDS_MAX = 1200
# So far into a task it is interrupted.
INTO_TASK_SECONDS = 0.5


class Run:
    """What a run said: its counts by host, and which tasks changed something."""

    def __init__(self, done):
        self.status, self.output = done.returncode, done.stdout + done.stderr
        recap = re.findall(r"^(\S+) +: ok=(\d+) +changed=(\d+) .*failed=(\d+)", self.output, re.M)
        self.changed = {host: int(changed) for host, _, changed, _ in recap}
        self.changes = []
        task = ""  # handlers follow from tasks, and are not predicted
        for line in self.output.splitlines():
            if found := re.match(r"(TASK|RUNNING HANDLER) \[(.*)\] \*+$", line):
                # In check mode what stands in for a task has its name, and says so in brackets.
                task = re.sub(r" \(check mode.*\)$", "", found[2]) if found[1] == "TASK" else ""
            elif re.match(r"changed: \[", line) and task not in ("", *self.changes[-1:]):
                self.changes.append(task)


def inventory(fabric, hosts, **variables):
    """Writes an inventory of the hosts; returns its path. A host's own variables: host.variables."""
    rows = {host.name: {"ansible_host": host.address, **getattr(host, "variables", {})} for host in hosts}
    common = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(fabric.key),
        "ansible_ssh_common_args": " ".join(f"-o{option}" for option in SSH_OPTIONS),
        **variables,
    }
    path = fabric.dir / "inventory.yml"
    path.write_text(json.dumps({"godwit": {"hosts": rows, "vars": common}}))
    return path


def invocation(name, where, *options):
    """Command line and environment of a playbook with an inventory."""
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(COLLECTION / "ansible.cfg"),
        "ANSIBLE_HOME": str(CACHE / "ansible-home"),
        "ANSIBLE_NOCOLOR": "1",
        # Other runs have hosts at the same addresses.
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(Path(where).parent / "cp"),
        "LANG": "C.UTF-8",
        "PATH": f"{CACHE / 'ansible-venv' / 'bin'}:{os.environ['PATH']}",
    }
    command = ["ansible-playbook", "-i", str(where), str(COLLECTION / "playbooks" / f"{name}.yml"), *options]
    return command, environment


def interrupt(name, where, task):
    """Runs a playbook and kills it in the middle of a task."""
    command, environment = invocation(name, where)
    # Else ansible names a task only when it is over, because it might turn out to be skipped.
    environment["ANSIBLE_DISPLAY_SKIPPED_HOSTS"] = "true"
    process = subprocess.Popen(
        command,
        cwd=COLLECTION,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = ""
    try:
        for line in process.stdout:
            said += line
            if line.startswith("TASK [") and task in line:
                time.sleep(INTO_TASK_SECONDS)
                return
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    raise AssertionError(f"{name} has no task {task}: {said[-3000:]}")


def play(name, where, *options, good=True):
    """Runs a playbook with an inventory; it must succeed, or must not."""
    command, environment = invocation(name, where, *options)
    started = time.monotonic()
    done = subprocess.run(
        command,
        cwd=COLLECTION,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        stdin=subprocess.DEVNULL,
    )
    ran = Run(done)
    print(f"{name} {' '.join(options)}: {time.monotonic() - started:.0f} s, changed {ran.changed}")
    assert (ran.status == 0) == good, ran.output[-6000:]
    return ran
