"""The image's files without building or booting it; and what was built, where something was."""

import base64
import gzip
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib

import pytest
from guest import CACHE, OUT, ROOT, tools

IMAGE = ROOT / "image"
EXTRA = IMAGE / "mkosi.extra"
UNITS = EXTRA / "usr" / "lib" / "systemd" / "system"
OWN = EXTRA / "usr" / "lib" / "godwit"
SCRIPTS = sorted(path for path in OWN.iterdir() if path.suffix != ".awk")
EXPOSURE_MAX = 1.2
SIZES = re.compile(r"^(Type|SizeM\w+Bytes)=(.*)", re.M)
# Written by anybody on purpose: temporary files, and devices.
WORLD_WRITABLE = {"/tmp", "/var/tmp", "/run/lock"}


def need(program):
    """A program of the host, or a skip with the reason."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    return found or pytest.skip(f"{program} is not installed")


def tree():
    """The tools tree, or a skip: these tests do not make it, which takes the network and a minute."""
    made = [path.parent for path in CACHE.glob("tools-*/.complete")]
    if not made or os.geteuid() != 0:
        pytest.skip("no tools tree yet, or not root: make image")
    return made[0]


def unpacked(source, target):
    """What a file of an update holds."""
    with gzip.open(source) as file, open(target, "wb") as to:
        shutil.copyfileobj(file, to, 1 << 20)


@pytest.fixture(scope="module")
def built():
    """The last built root file system, unpacked, or a skip."""
    tree()
    roots = sorted(OUT.glob("*.root.gz"), key=lambda path: path.stat().st_mtime)
    if not roots:
        pytest.skip("no image in image/out: make image")
    folder = CACHE / "unpacked"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    raw = folder / "root.raw"
    unpacked(roots[-1], raw)
    tools("fsck.erofs", f"--extract={folder}/root", raw)
    yield folder / "root"
    shutil.rmtree(folder)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse_and_are_executable(script):
    subprocess.run(["sh", "-n", script], check=True)
    assert script.stat().st_mode & 0o111


def test_each_enabled_unit_of_ours_exists_and_each_unit_is_enabled_or_started_by_another():
    preset = (EXTRA / "usr/lib/systemd/system-preset/00-godwit.preset").read_text()
    enabled = set(re.findall(r"^enable (\S+)", preset, re.M))
    assert preset.rstrip().endswith("disable *")
    ours = {path.name for path in UNITS.iterdir() if path.is_file()}
    text = "\n".join(path.read_text() for path in UNITS.rglob("*") if path.is_file())
    for name in enabled:
        assert not name.startswith("godwit") or name in ours | {"godwit.service"}, name
    rules = (EXTRA / "usr/lib/udev/rules.d/90-godwit.rules").read_text()
    for name in ours - enabled:
        started = f"Unit={name}" in text or f'ENV{{SYSTEMD_WANTS}}+="{name}"' in rules
        assert started, f"{name} is never started"


def test_a_boot_that_fails_restarts():
    named = r"systemd\.set_credential_binary=systemd\.unit-dropin\.emergency\.service:(\S+)"
    coded = re.search(named, (IMAGE / "mkosi.conf").read_text())
    text = base64.b64decode(coded[1], validate=True).decode()
    assert (
        text
        == """[Unit]
SuccessAction=reboot-force
FailureAction=reboot-force
[Service]
ExecStart=
ExecStart=/bin/sh -c 'echo "=== godwit: this boot failed, next try ===" >/dev/console; sleep 15'
"""
    )
    for name in ("godwit-boot-check.service", "systemd-boot-check-no-failures.service.d/10-image.conf"):
        assert "FailureAction=reboot\n" in (UNITS / name).read_text(), name


def test_exposure_of_the_daemon_is_low_with_the_images_settings(tmp_path):
    analyze = need("systemd-analyze")
    units = tmp_path / "usr/lib/systemd/system"
    shutil.copytree(UNITS, units)
    shutil.copy(ROOT / "daemon/server/systemd/godwit.service", units)
    done = subprocess.run(
        [analyze, "security", "--offline=true", f"--root={tmp_path}", "--no-pager", "godwit.service"],
        capture_output=True,
        text=True,
    )
    score = re.search(r"exposure level for godwit.service: ([\d.]+)", done.stdout)
    assert score, done.stdout + done.stderr
    assert float(score[1]) <= EXPOSURE_MAX
    print(f"exposure of godwit.service: {score[1]}")


def test_slot_b_is_as_large_as_slot_a_and_as_the_image():
    def sizes(path):
        return sorted(SIZES.findall(path.read_text()))

    there = EXTRA / "usr/lib/repart.d"
    for here, names in {
        "00-esp": ["00-esp"],
        "10-root": ["10-root-a", "20-root-b"],
        "11-root-verity": ["11-root-verity-a", "21-root-verity-b"],
    }.items():
        for name in names:
            assert sizes(IMAGE / f"mkosi.repart/{here}.conf") == sizes(there / f"{name}.conf"), name


def test_updates_are_compressed_by_what_a_machine_unpacks():
    build = (IMAGE / "bin/build").read_text()
    for path in (EXTRA / "usr/lib/sysupdate.d").iterdir():
        source = path.read_text().partition("[Source]")[2].partition("[Target]")[0]
        # systemd-pull 257 writes what zstd has compressed into the slot as it is.
        assert re.search(r"^MatchPattern=godwit_@v\S*\.(root|verity|efi)\.gz$", source, re.M), path
    assert '.$part.gz"' in build and '.efi.gz"' in build


def test_no_sysctl_is_set_both_here_and_by_the_derived_limits():
    hardening = (EXTRA / "usr/lib/sysctl.d/50-godwit-hardening.conf").read_text()
    here = re.findall(r"^([a-z][\w.]*) *=", hardening, re.M)
    assert len(here) == len(set(here))
    rows = (ROOT / "daemon/server/src/limits/rows.rs").read_text()
    derived = set(re.findall(r'"((?:net|fs|vm|kernel)\.[\w.]+)"', rows))
    assert derived, "rows.rs names no sysctl any more: adapt this test"
    assert not set(here) & derived


def user_data(folder, text):
    """The credentials that a machine makes of a NoCloud volume's user-data, and what it says."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    known = re.search(r'^known="(.*?)"$', (OWN / "nocloud").read_text().replace("\\\n", ""), re.M | re.S)
    awk = [need("mawk"), "-v", f"store={folder}", "-v", f"known={known[1]}", "-f", OWN / "user-data.awk"]
    done = subprocess.run(awk, input=text, capture_output=True, text=True)
    return {path.name: path.read_text() for path in folder.iterdir()}, done.stderr, known[1].split()


def test_user_data_becomes_credentials(tmp_path):
    given, said, _ = user_data(
        tmp_path / "store",
        """#cloud-config
# what a provider adds
hostname: box
packages: [vim]
ssh_authorized_keys:
  - ssh-ed25519 AAAA one@host
  - "ssh-ed25519 BBBB two"
godwit:
  domain: chat.example   # ours
  admin.password: "with # and: both"
  tls.key: |
    first
      deeper

    last
  ports: '443 5270'
runcmd:
  - domain: not ours
""",
    )
    assert said == ""
    assert given == {
        "godwit.ssh.authorized_keys": "ssh-ed25519 AAAA one@host\nssh-ed25519 BBBB two\n",
        "godwit.domain": "chat.example",
        "godwit.admin.password": "with # and: both",
        "godwit.tls.key": "first\n  deeper\n\nlast\n",
        "godwit.ports": "443 5270",
    }


@pytest.mark.parametrize(
    "text, problem",
    [
        ("#!/bin/sh\ngodwit:\n  domain: a.example\n", "line 1: the first line is not #cloud-config"),
        ("#cloud-config\ngodwit:\n  domian: a.example\n", "line 3: godwit has no domian"),
        ("#cloud-config\ngodwit:\n  domain: >\n    a.example\n", "line 3: of YAML, only plain values"),
        ("#cloud-config\ngodwit:\n  ports: [443]\n", "line 3: of YAML, only plain values"),
        ("#cloud-config\ngodwit:\n  domain: a.example\n     ports: 443\n", "line 4: no NAME: VALUE"),
        ("#cloud-config\ngodwit:\n\tdomain: a.example\n", "line 3: a tab"),
        ("#cloud-config\nssh_authorized_keys: ssh-ed25519 AAAA\n", "line 2: a list is to follow"),
    ],
)
def test_user_data_that_is_not_understood_is_named_and_not_taken(text, problem, tmp_path):
    given, said, _ = user_data(tmp_path / "store", text)
    assert given == {}
    assert f"user-data, {problem}" in said, said


def test_each_credential_is_in_the_readme_and_can_come_from_user_data(tmp_path):
    scripts = "".join((OWN / name).read_text() for name in ("setup", "var-plan", "var-open"))
    wanted = set(re.findall(r"(?:has |\$given/)(godwit(?:\.[a-z_]+)+)", scripts))
    assert len(wanted) >= 11
    readme = (IMAGE / "README.md").read_text()
    assert {name for name in wanted if f"`{name}`" not in readme} == set()
    assert {f"godwit.{name}" for name in user_data(tmp_path / "store", "")[2]} == wanted


def test_the_firewall_and_the_profile_are_accepted(tmp_path):
    tree()
    rules = (EXTRA / "etc/nftables.conf").read_text().replace("/run/nftables.d/", f"{CACHE}/nftables.d/")
    opened = CACHE / "nftables.d"
    opened.mkdir(parents=True, exist_ok=True)
    (opened / "ports.conf").write_text("add element inet godwit open_tcp { 22 }\n")
    (opened / "rules").write_text(rules)
    tools("unshare", "--net", "nft", "--check", "--file", opened / "rules")
    tools("apparmor_parser", "--skip-kernel-load", "--skip-cache", EXTRA / "etc/apparmor.d/godwitd")


def test_the_bill_of_materials_names_what_is_in_it(tmp_path):
    manifest = tmp_path / "manifest"
    manifest.write_text('{"packages": [{"name": "libc6", "version": "2.41-12", "architecture": "amd64"}]}')
    arguments = [sys.executable, IMAGE / "bin/sbom.py", manifest, ROOT / "Cargo.lock", "1.0", "1767225600"]
    first = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    assert '"pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=trixie"' in first
    crates = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    assert first.count("pkg:cargo/") == len(crates)
    assert subprocess.run(arguments, check=True, capture_output=True, text=True).stdout == first


def test_built_checksums_and_signature_hold():
    tree()
    sums = OUT / "SHA256SUMS"
    if not sums.exists():
        pytest.skip("no image in image/out: make image")
    for line in sums.read_text().splitlines():
        digest, name = line.split()
        with open(OUT / name, "rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == digest, name
    tools("gpgv", "--keyring", OUT / "godwit.pubring.gpg", f"{sums}.gpg", sums)


def test_built_root_has_nothing_setuid_nothing_writable_and_no_tools(built):
    odd = []
    for path in built.rglob("*"):
        mode = path.lstat().st_mode
        name = "/" + str(path.relative_to(built))
        if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
            odd.append(f"setuid {name}")
        if not stat.S_ISLNK(mode) and mode & stat.S_IWOTH and name not in WORLD_WRITABLE:
            odd.append(f"world-writable {name}")
    for tool in "apt apt-get dpkg perl python3 gcc cc ld sudo su pkexec curl wget gdb strace".split():
        if tool != "su" and any((built / folder / tool).exists() for folder in ("usr/bin", "usr/sbin")):
            odd.append(f"tool {tool}")
    assert odd == []


def test_built_root_can_mark_a_new_version_as_good(built):
    for name in ("systemd-bless-boot", "system-generators/systemd-bless-boot-generator"):
        assert (built / "usr/lib/systemd" / name).exists(), name


def test_built_root_has_no_keys_and_no_passwords(built):
    shadow = (built / "etc/shadow").read_text()
    assert all(line.split(":")[1] in ("*", "!", "!*", "!!") for line in shadow.splitlines()), shadow
    assert not list((built / "etc/ssh").glob("ssh_host_*"))
    assert (built / "etc/machine-id").read_text() == ""


def test_built_image_with_a_flipped_byte_is_refused(tmp_path):
    tree()
    roots = sorted(OUT.glob("*.root.gz"), key=lambda path: path.stat().st_mtime)
    if not roots:
        pytest.skip("no image in image/out: make image")
    name = roots[-1].name.removesuffix(".root.gz").rsplit("_", 1)[0]
    work = CACHE / "verity"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        verity = sorted(OUT.glob(f"{name}_*.verity.gz"))[0]
        for source, target in ((roots[-1], work / "root"), (verity, work / "verity")):
            unpacked(source, target)
        # Half of the root hash is each partition's UUID.
        half = [path.name.split("_")[-1].split(".")[0].replace("-", "") for path in (roots[-1], verity)]
        digest = half[0] + half[1]
        tools("veritysetup", "verify", work / "root", work / "verity", digest)
        with open(work / "root", "r+b") as file:
            file.seek(40_000_000)
            byte = file.read(1)[0]
            file.seek(40_000_000)
            file.write(bytes([byte ^ 1]))
        with pytest.raises(subprocess.CalledProcessError):
            tools("veritysetup", "verify", work / "root", work / "verity", digest)
    finally:
        shutil.rmtree(work)
