"""Updates of the booted image: signatures, versions that do not come up, one that does. `make test-image`."""

import functools
import gzip
import http.server
import os
import re
import shutil
import subprocess
import threading
import time
import uuid

import pytest
from guest import CACHE, OUT, SECOND, configured, newest_image, second_image, tools

KEYS = CACHE / "keys"
BROKEN, BAD_DAEMON = "9.1", "9.2"
# In the kernel's command line of a made-up version, something else of the same length stands here.
REPLACED = b"page_alloc.shuffle=1 randomize_kstack_offset=on"
# A boot that fails waits for a device, for a moment on the console, or for a daemon that does not serve.
FALLBACK_SECONDS_MAX = 1_800
TRIES = 3

pytestmark = [
    pytest.mark.skipif(newest_image() is None, reason="no image in image/out: make image"),
    pytest.mark.timeout(FALLBACK_SECONDS_MAX + 900),
]


def sign(folder, home=KEYS):
    """Checksums of what is in a folder, and a signature with the key of a GnuPG home."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("SHA256SUMS"))
    sums = subprocess.run(["sha256sum", *names], cwd=folder, check=True, capture_output=True, text=True)
    (folder / "SHA256SUMS").write_text(sums.stdout)
    (folder / "SHA256SUMS.gpg").unlink(missing_ok=True)
    command = ["gpg", "--homedir", home, "--batch", "--quiet", "--detach-sign"]
    env = {**os.environ, "GODWIT_BIND": f"{home} {folder}"}
    tools(*command, "--output", folder / "SHA256SUMS.gpg", folder / "SHA256SUMS", env=env)


def version():
    """That of the built image."""
    return newest_image().stem.removeprefix("godwit_")


def made_up(folder, number, instead, roothash=None):
    """The built image's files as another version: its kernel image with another command line."""
    folder.mkdir(parents=True)
    old = version()
    for kind in ("root", "verity"):
        # Another partition UUID: the root that runs must not be found in the other slot too.
        [path] = OUT.glob(f"godwit_{old}_*.{kind}.gz")
        os.link(path, folder / f"godwit_{number}_{uuid.uuid4().hex}.{kind}.gz")
    data = bytearray(gzip.decompress((OUT / f"godwit_{old}.efi.gz").read_bytes()))
    assert data.count(REPLACED) == 1 and len(instead) <= len(REPLACED)
    at = data.index(REPLACED)
    data[at : at + len(REPLACED)] = instead.encode().ljust(len(REPLACED))
    if roothash:
        at = data.index(b"roothash=") + len(b"roothash=")
        data[at : at + 64] = roothash.encode()
    (folder / f"godwit_{number}.efi.gz").write_bytes(gzip.compress(data, 1))
    sign(folder)
    return folder


def bind(folder):
    """The environment with which a tool sees a folder."""
    return {**os.environ, "GODWIT_BIND": str(folder)}


@pytest.fixture(scope="module")
def served():
    """A folder that the guest sees at http://10.0.2.2:PORT/: its name, and the URL."""
    folder = CACHE / "updates"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://10.0.2.2:{server.server_port}"
    server.shutdown()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    """A guest that runs the built image, with something on /var."""
    with configured("update", tmp_path_factory.mktemp("tls")) as one:
        one.boot()
        yield one


def update(guest, source):
    """The operator asks for an update from there ("": as configured); returns what the service says."""
    ask = "/run/operator/update"
    guest.ssh("operator", f"echo '{source}' >{ask}.new && mv {ask}.new {ask}")

    def state():
        gone = guest.ssh("operator", f"test -e {ask} || cat /run/godwit-update.state")
        return re.match("done|failed", gone) and gone

    said = guest.until(state, 900)
    print(f"update from {source or 'the folder'}: {said!r}")
    return said


def restarted(guest, seconds=FALLBACK_SECONDS_MAX):
    """Restarts again and again, as a machine would, until one boot is ready; returns how many it took."""
    guest.ssh("operator", "touch", "/run/operator/reboot", check=False)
    guest.ended()
    deadline = time.monotonic() + seconds
    boots = 0
    while time.monotonic() < deadline:
        boots += 1
        guest.start()
        if guest.ready_or_ended(deadline - time.monotonic()):
            return boots
    raise AssertionError(f"not ready in {seconds} s: {guest.console()[-3000:]}")


def accounts(guest):
    """What must survive."""
    return guest.ssh("godwit", "account", "list"), guest.ssh("operator", "cat", "/etc/machine-id")


def test_what_another_key_has_signed_is_refused(guest, served):
    folder, url = served
    made_up(folder / "foreign", BROKEN, "quiet")
    home = CACHE / "foreign-key"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700)
    command = ["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", ""]
    tools(*command, "--quick-generate-key", "Somebody else", "ed25519", "sign", "never", env=bind(home))
    sign(folder / "foreign", home)
    shutil.rmtree(home)
    said = update(guest, f"{url}/foreign")
    assert said.startswith("failed"), said
    (folder / "foreign" / "SHA256SUMS.gpg").unlink()
    said = update(guest, f"{url}/foreign")
    assert said.startswith("failed"), said


def test_godwitctl_asks_for_it_and_says_what_came_of_it(guest):
    said = guest.ssh("godwit", "image update --from /var/lib/nothing", check=False, seconds=300, stderr=True)
    assert "godwitctl: failed" in said, said
    assert "--from takes" in guest.ssh("godwit", "image update --from file:x", check=False, stderr=True)


def test_a_root_hash_that_fits_no_slot_falls_back(guest, served):
    folder, url = served
    instead = "systemd.default_device_timeout_sec=15"
    made_up(folder / "broken", BROKEN, instead, roothash="0123456789abcdef" * 4)
    before = accounts(guest)
    said = update(guest, f"{url}/broken")
    assert "next restart" in said, said
    assert restarted(guest) == TRIES + 1
    assert "roothash=0123456789abcdef" not in guest.ssh("operator", "cat", "/proc/cmdline")
    assert accounts(guest) == before


def test_a_daemon_that_does_not_serve_falls_back(guest, served):
    folder, url = served
    made_up(folder / "mute", BAD_DAEMON, "systemd.mask=godwit.service")
    before = accounts(guest)
    said = update(guest, f"{url}/mute")
    assert "next restart" in said, said
    assert restarted(guest) == TRIES + 1
    assert "systemd.mask" not in guest.ssh("operator", "cat", "/proc/cmdline")
    assert accounts(guest) == before


def test_a_newer_version_is_taken_from_the_operators_folder_and_kept(guest):
    second = second_image().parent
    before = accounts(guest)
    files = [*second.glob("*.root.gz"), *second.glob("*.verity.gz"), *second.glob("*.efi.gz")]
    guest.put([*files, second / "SHA256SUMS", second / "SHA256SUMS.gpg"], "/var/lib/godwit-update", 900)
    said = update(guest, "")
    assert "next restart" in said, said
    old = guest.ssh("operator", "cat", "/proc/cmdline")
    assert restarted(guest) == 1
    assert guest.ssh("operator", "cat", "/proc/cmdline") != old
    assert f"IMAGE_VERSION={SECOND}" in guest.ssh("operator", "cat", "/usr/lib/os-release").replace('"', "")
    assert accounts(guest) == before
    # Kept: after a good boot no tries are counted any more, so many restarts later it is still this one.
    good = "systemctl is-active godwit-boot-check.service systemd-bless-boot.service"
    guest.until(lambda: guest.ssh("operator", good, check=False).split() == ["active", "active"], 120)
    assert restarted(guest) == 1
    assert f"IMAGE_VERSION={SECOND}" in guest.ssh("operator", "cat", "/usr/lib/os-release").replace('"', "")
