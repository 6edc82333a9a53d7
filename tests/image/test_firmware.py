"""What the firmware gives and checks: Secure Boot, credentials by fw_cfg and from the EFI partition; and a
factory reset, which is asked for by an EFI variable. `make test-image`."""

import shutil

import pytest
from guest import CACHE, OUT, PASSWORD, Guest, configured, newest_image, second_image, tools

# The EFI partition is the first one.
ESP_OFFSET = 1 << 20
# One byte after four of attributes: whether the firmware checks signatures.
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

pytestmark = pytest.mark.skipif(newest_image() is None, reason="no image in image/out: make image")


def test_secure_boot_refuses_what_is_not_signed():
    with Guest("unsigned", secure_boot=True) as guest:
        guest.start().wait_for("Access Denied")


def test_secure_boot_starts_what_the_operators_key_has_signed(tmp_path_factory):
    image = second_image()
    with configured("signed", tmp_path_factory.mktemp("tls"), image=image, secure_boot=True) as guest:
        guest.boot()
        assert guest.ssh("operator", "od", "-An", "-tu1", "-j4", SECURE_BOOT).split() == ["1"]


def with_credential_on_the_esp(name, text):
    """The built image with a credential on its EFI partition."""
    folder = CACHE / "esp"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "plain").write_text(text)
    raw = folder / "image.raw"
    tools("zstd", "-q", "-d", next(OUT.glob(f"{newest_image().stem}.raw.zst")), "-o", raw)
    encrypted = folder / f"{name}.cred"
    tools("systemd-creds", "encrypt", "--with-key=null", f"--name={name}", folder / "plain", encrypted)
    esp = f"{raw}@@{ESP_OFFSET}"
    tools("mmd", "-D", "s", "-i", esp, "::/loader/credentials", check=False)
    tools("mcopy", "-i", esp, encrypted, "::/loader/credentials/")
    image = folder / "image.qcow2"
    tools("qemu-img", "convert", "-O", "qcow2", raw, image)
    raw.unlink()
    return image


def test_credentials_by_fw_cfg_and_from_the_esp_and_a_factory_reset(tmp_path_factory):
    image = with_credential_on_the_esp("godwit.admin.password", PASSWORD)
    with configured("firmware", tmp_path_factory.mktemp("tls"), image=image) as guest:
        domain = guest.credentials.pop("godwit.domain")
        del guest.credentials["godwit.admin.password"]
        guest.extra = ["-fw_cfg", f"name=opt/io.systemd.credentials/godwit.domain,string={domain}"]
        guest.boot()
        assert f"Serving {domain} on" in guest.console()
        assert "PROBLEMS" not in guest.console()
        # Made with the password from the EFI partition.
        assert f"admin@{domain}" in guest.ssh("godwit", "account", "list")

        # The reset takes everything on /var along, also what no credential gives again.
        guest.ssh("godwit", "account", "add", f"bob@{domain}", data=PASSWORD)
        assert f"bob@{domain}" in guest.ssh("godwit", "account", "list")
        made = guest.ssh("operator", "stat", "-c", "%W", "/var/lib")
        guest.ssh("operator", "touch", "/run/operator/reset", check=False)
        guest.ended()
        guest.boot()
        left = guest.ssh("godwit", "account", "list")
        assert f"admin@{domain}" in left and "bob" not in left
        assert guest.ssh("operator", "stat", "-c", "%W", "/var/lib") != made
        # Once: the variable is gone.
        guest.ssh("godwit", "account", "add", f"bob@{domain}", data=PASSWORD)
        guest.reboot()
        assert f"bob@{domain}" in guest.ssh("godwit", "account", "list")
