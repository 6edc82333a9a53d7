"""/var encrypted by the machine's TPM: another TPM does not open it, the recovery key does.
`make test-image ONLY=var`."""

import os

import pytest
from guest import PASSWORD, Guest, configured, newest_image, tools

RECOVERY = "a long passphrase that is kept elsewhere"
# A message on the console stands there for a while, then the machine restarts.
REFUSED_SECONDS_MAX = 600
LARGER = "12G"

pytestmark = [
    pytest.mark.skipif(newest_image() is None, reason="no image in image/out: make image"),
    pytest.mark.timeout(2_400),
]


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    """A guest with a TPM and an encrypted /var."""
    with configured("tpm", tmp_path_factory.mktemp("tls")).with_tpm("first") as one:
        one.credentials |= {"godwit.var.encrypt": "tpm2", "godwit.var.recovery": RECOVERY}
        one.boot()
        one.ssh("godwit", "account", "add", f"bob@{one.domain}", data=PASSWORD)
        yield one


def refused(guest, pattern):
    """The boot ends with that on the console, and not ready."""
    guest.start().wait_for(pattern, REFUSED_SECONDS_MAX)
    assert not guest.ready_or_ended(REFUSED_SECONDS_MAX)


def test_the_tpm_opens_var_at_each_boot_also_on_a_larger_disk(guest):
    assert "PROBLEMS" not in guest.console()
    assert guest.ssh("operator", "lsblk", "-n", "-o", "TYPE", "/dev/godwit/var").strip() == "crypt"
    assert guest.ssh("operator", "findmnt", "-n", "-o", "SOURCE", "/var").strip() == "/dev/mapper/godwit-var"
    before = int(guest.ssh("operator", "df", "--output=size", "-BM", "/var").split()[-1].rstrip("M"))
    # The recovery key may be taken away after the first boot.
    del guest.credentials["godwit.var.recovery"]
    guest.ssh("operator", "touch", "/run/operator/reboot", check=False)
    guest.ended()
    tools("qemu-img", "resize", "-q", guest.disk, LARGER)
    guest.boot()
    assert f"bob@{guest.domain}" in guest.ssh("godwit", "account", "list")
    after = int(guest.ssh("operator", "df", "--output=size", "-BM", "/var").split()[-1].rstrip("M"))
    print(f"/var: {before} MiB, and {after} MiB on a disk of {LARGER}")
    assert after > before + 3_000
    failed = guest.ssh("operator", "systemctl", "list-units", "--failed", "--plain", "--no-legend")
    assert failed.strip() == "", failed
    guest.ssh("operator", "touch", "/run/operator/reboot", check=False)
    guest.ended()


def test_the_disk_does_not_show_what_is_on_it(guest):
    raw = guest.folder / "disk.raw"
    tools("qemu-img", "convert", "-O", "raw", guest.disk, raw)
    try:
        for what, there in ((b"LUKS\xba\xbe", True), (guest.domain.encode(), False)):
            found = False
            with open(raw, "rb") as file:
                tail = b""
                while block := file.read(1 << 24):
                    found = found or what in tail + block
                    tail = block[-32:]
            assert found == there, what
    finally:
        os.unlink(raw)


def test_another_tpm_does_not_open_it_and_the_recovery_key_does(guest):
    guest.with_tpm("second")
    refused(guest, "neither this machine's TPM nor a credential godwit.var.recovery opens /var")
    guest.credentials["godwit.var.recovery"] = RECOVERY
    guest.boot()
    assert "this machine's TPM opens it from now on" in guest.console()
    assert f"bob@{guest.domain}" in guest.ssh("godwit", "account", "list")
    del guest.credentials["godwit.var.recovery"]
    guest.reboot()
    assert f"bob@{guest.domain}" in guest.ssh("godwit", "account", "list")


def test_without_a_tpm_nothing_is_made_in_the_clear():
    with Guest("no-tpm", credentials={"godwit.var.encrypt": "tpm2"}) as guest:
        refused(guest, r"this machine has no TPM 2\.0")
