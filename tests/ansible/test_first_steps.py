"""What the collection's README tells a first-time operator to type, typed so, until two people chat."""

import asyncio
import os
import re
import shutil
import subprocess
import time

import playbook
import pytest
import test_collection
from conftest import package
from hosts import CACHE, SSH_OPTIONS

README = playbook.COLLECTION / "README.md"
SECONDS_MAX = 1200
# The editor of an operator whose box has this address and key, and who changes nothing else.
EDITOR = """#!/bin/sh
sed -i "s|^    chat.example.org:$|&\\n\\
      ansible_host: {address}\\n\\
      ansible_ssh_private_key_file: {key}\\n\\
      ansible_ssh_common_args: {options}|" "$1"
"""


def indented(text):
    """The blocks of code of a text in Markdown."""
    found = re.findall(r"\n\n((?:    .*\n)+)", text)
    return [re.sub("^    ", "", block, flags=re.MULTILINE) for block in found]


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_what_the_readme_says_to_type_leads_to_two_people_chatting(fabric, suite, monkeypatch):
    host = fabric.host("box", suite)
    section = README.read_text().split("## From nothing to two people chatting")[1].split("\n## ")[0]
    commands, accounts = indented(section)[:2]
    assert commands.startswith("make deb "), commands
    checkout = fabric.dir / "checkout"
    shutil.copytree(playbook.COLLECTION, checkout / "ansible")
    # As `make deb` leaves it, which needs many minutes on a machine that has built nothing yet.
    (checkout / "dist").mkdir()
    shutil.copy(package("first"), checkout / "dist")
    (checkout / "ansible" / "accounts.yml").write_text(accounts)
    editor = fabric.dir / "editor"
    options = " ".join(f"-o{option}" for option in SSH_OPTIONS)
    editor.write_text(EDITOR.format(address=host.address, key=fabric.key, options=options))
    editor.chmod(0o755)

    environment = {**os.environ, "EDITOR": str(editor), "ANSIBLE_HOME": str(CACHE / "ansible-home")}
    environment |= {"LANG": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"}
    environment |= {"ANSIBLE_SSH_CONTROL_PATH_DIR": str(fabric.dir / "cp")}
    environment["PATH"] = f"{CACHE / 'ansible-venv' / 'bin'}:{os.environ['PATH']}"
    script = 'set -ex\nmake() { echo not here: make "$@"; }\n' + commands
    started = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
    )
    print(f"{commands}{time.monotonic() - started:.0f} s on {suite}\n{done.stdout[-3500:]}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    people = dict(re.findall(r"^  (\S+@\S+): (.+)$", accounts, re.MULTILINE))
    assert len(people) == 2
    monkeypatch.setattr(test_collection, "PASSWORDS", people)
    asyncio.run(test_collection.chat_over(host, lambda: None))
