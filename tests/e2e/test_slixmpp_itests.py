"""slixmpp's own integration tests, from its source package, against the daemon.

slixmpp_expected.toml says which pass and which cannot yet, and why. A test that fails although it should pass
fails here; so does one that passes although the list says that it cannot, so that the list stays true.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness
import pytest
from conftest import PASSWORD
from harness.certs import HOME

HERE = Path(__file__).resolve().parent
VERSION = re.search(r"^slixmpp==(\S+)", (HERE / "requirements.txt").read_text(), re.M)[1]
SOURCE = HOME / f"slixmpp-{VERSION}"
EXPECTED = tomllib.loads((HERE / "slixmpp_expected.toml").read_text())
# The tests insist on the standard ports; on a loopback address of their own nobody else has them.
ADDRESS = "127.77.0.1"
MODULE_SECONDS_MAX = 100
AT_ONCE = 4


def standard_ports_free():
    """Whether 5222 and 5223 can be bound on ADDRESS (a server on 0.0.0.0 has them everywhere)."""
    for port in (5222, 5223):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, port))
            except OSError:
                return False
    return True


def run_module(daemon, module, accounts):
    """Outcomes of one file; its tests have two accounts of their own. Its stderr is kept for the report."""
    output = daemon.dir / f"{module}.json"
    environment = {
        **os.environ,
        "SSL_CERT_FILE": str(daemon.certificate),
        "CI_MUC_SERVER": f"muc.{daemon.domain}",
        "CI_ACCOUNT1": accounts[0],
        "CI_ACCOUNT1_PASSWORD": PASSWORD,
        "CI_ACCOUNT2": accounts[1],
        "CI_ACCOUNT2_PASSWORD": PASSWORD,
    }
    command = [sys.executable, str(HERE / "itests_main.py"), str(SOURCE), module, ADDRESS, str(output)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=MODULE_SECONDS_MAX
        )
        error = done.stderr
    except subprocess.TimeoutExpired:
        error = f"{module} did not end within {MODULE_SECONDS_MAX} s"
    return (json.loads(output.read_text()) if output.exists() else {f"{module}.did.not_end": "fail"}), error


@pytest.mark.timeout(600)
def test_outcomes_are_as_listed():
    if not (SOURCE / "itests").is_dir():
        pytest.skip(f"the source package of slixmpp {VERSION} is not in {SOURCE}: make deps fetches it")
    if not standard_ports_free():
        pytest.skip(f"ports 5222 and 5223 are taken on {ADDRESS}: a server listens on every address")
    modules = sorted(path.stem for path in (SOURCE / "itests").glob("test_*.py"))
    outcomes, errors = {}, {}
    with harness.Daemon(address=ADDRESS, ports=(5222, 5223)) as daemon:
        accounts = {}
        for number, module in enumerate(modules):
            accounts[module] = [f"one{number}@{daemon.domain}", f"two{number}@{daemon.domain}"]
            for jid in accounts[module]:
                daemon.add_account(jid, PASSWORD)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            runs = {module: pool.submit(run_module, daemon, module, accounts[module]) for module in modules}
            for module, run in runs.items():
                outcome, errors[module] = run.result()
                outcomes.update(outcome)
        log = daemon.read_log()
    wrong = differences(outcomes)
    for module in sorted({line.split(".")[0] for line in wrong if "must pass" in line}):
        print(f"--- {module}\n{errors[module]}")
    if wrong:
        print("--- log of the daemon", log[-8000:], sep="\n")
    assert not wrong, "\n".join(wrong)


def differences(outcomes):
    """Lines that say what is not as the list has it."""
    wrong = []
    for test, outcome in sorted(outcomes.items()):
        if outcome == "fail" and test in EXPECTED["pass"]["tests"]:
            wrong.append(f"{test} must pass and fails")
        elif outcome == "pass" and test in EXPECTED["cannot"]:
            wrong.append(f"{test} passes: move it to [pass] in slixmpp_expected.toml")
        elif test not in [*EXPECTED["pass"]["tests"], *EXPECTED["cannot"], *EXPECTED["skipped"]]:
            wrong.append(f"{test} is not listed in slixmpp_expected.toml; it is: {outcome}")
        elif outcome.startswith("skip") and test not in EXPECTED["skipped"]:
            wrong.append(f"{test} was skipped ({outcome}) and is not listed so")
    listed = [*EXPECTED["pass"]["tests"], *EXPECTED["cannot"], *EXPECTED["skipped"]]
    return wrong + [f"{test} is listed and did not run" for test in listed if test not in outcomes]
