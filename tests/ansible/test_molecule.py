"""The collection's molecule scenario, on a host of these tests."""

import re
import subprocess

import playbook
from hosts import CACHE
from test_collection import settings

SECONDS_MAX = 1200


def test_the_scenario_of_molecule_converges_changes_nothing_again_and_finds_the_box_well(fabric):
    host = fabric.host("box", "trixie")
    where = playbook.inventory(fabric, [host], **settings())
    _, environment = playbook.invocation("setup", where)
    del environment["ANSIBLE_CONFIG"]  # molecule writes its own
    environment |= {
        "GODWIT_INVENTORY": str(where),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(fabric.dir / "molecule"),
    }
    environment |= {"NO_COLOR": "1"}
    done = subprocess.run(
        [CACHE / "ansible-venv" / "bin" / "molecule", "test", "--destroy=never"],
        cwd=playbook.COLLECTION,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
    )
    said = done.stdout + done.stderr
    print(said[-4000:])
    assert done.returncode == 0, said[-6000:]
    first, second = re.findall(r"^box +: ok=\d+ +changed=(\d+)", said, re.M)[:2]
    assert int(first) > 0 and int(second) == 0
    assert "port 5223      answers" in said
    assert host.run("systemctl is-active godwit").stdout == "active\n"
