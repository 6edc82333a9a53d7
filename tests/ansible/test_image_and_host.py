"""What the image has under /etc and /usr/lib, and what setup.yml makes of a Debian 13, are the same settings:
each difference is listed with its reason in image_and_host.toml, and each that is listed is there.

Settings are compared, not files: a sysctl is the same in whichever file it stands. The image's are read from
image/mkosi.extra, the unit, and what `godwitctl limits` writes at its boot; the host's from its disk: all
that is not a Debian package's, or was changed.
"""

import subprocess
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

from playbook import inventory, play
from test_collection import settings

from harness.daemon import binary

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXTRA = ROOT / "image" / "mkosi.extra"
UNIT = ROOT / "daemon" / "server" / "systemd" / "godwit.service"
MEMORY, CORES = "8G", 4
# Where the image's own script and the role put what `godwitctl limits` prints.
LIMITS = {
    "sysctl": "sysctl.d/60-godwit.conf",
    "tmpfiles": "tmpfiles.d/godwit.conf",
    "systemd": "systemd/system/godwit.service.d/50-limits.conf",
}
# Settings that stand in any file of a directory: the file's name is left out.
TOGETHER = ("sysctl.d", "tmpfiles.d", "sysusers.d", "modprobe.d", "apt/apt.conf.d")

# No settings: what the operator gives (role godwit writes it, from variables), accounts, caches, names.
NO_SETTINGS = ["/etc/godwit/*", "/etc/*passwd*", "/etc/*group*", "/etc/*shadow*", "*/__pycache__/*"]
NO_SETTINGS += ["/etc/.updated", "/etc/hostname", "/etc/machine-id", "/etc/ld.so.cache"]


def name_of(path):
    """What a file's settings belong to: `/usr/lib/systemd/system/x.service.d/y.conf` is about x.service."""
    parts = path.removeprefix("/usr/lib/").removeprefix("/etc/").split("/")
    if "/".join(parts[:-1]) in TOGETHER:
        return "/".join(parts[:-1])
    if parts[-2:-1] and parts[-2].endswith(".d") and parts[0] in ("systemd", "ssh"):
        parts = [*parts[:-2], parts[-2].removesuffix(".d")]
    return "/".join(parts)


def items(path, text):
    """A file's settings: `NAME: SECTION.LINE`, without comments and blanks."""
    section = ""
    for line in text.replace("\\\n", " ").splitlines():
        line = " ".join(line.split())
        if line.startswith("[") and line.endswith("]"):
            section = f"{line[1:-1]}."
        elif line and not line.startswith(("#", ";", "//")):
            yield f"{name_of(path)}: {section}{line}"


def of_image():
    """All settings of the image."""
    found = set(items("/usr/lib/systemd/system/godwit.service", UNIT.read_text()))
    for path in sorted(EXTRA.rglob("*")):
        where = "/" + str(path.relative_to(EXTRA))
        if path.is_file() and not where.startswith("/usr/lib/godwit/"):
            found.update(items(where, path.read_text()))
    for form, path in LIMITS.items():
        command = [binary("godwitctl"), "limits", "--format", form, "--ram", MEMORY, "--cores", str(CORES)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found.update(items(f"/usr/lib/{path}", said))
    return found


def of_host(host):
    """All settings of a host that are not as Debian's packages bring them."""
    upper = host.dir / "up"
    owned = set()
    for listed in (host.root / "var/lib/dpkg/info").glob("*.list"):
        if listed.name != "godwit.list":
            owned.update(listed.read_text().splitlines())
    changed = {line.split()[-1] for line in host.run("dpkg --verify", check=False).stdout.splitlines()}
    found = set()
    for path in sorted([*(upper / "etc").rglob("*"), *(upper / "usr/lib").rglob("*")]):
        where = "/" + str(path.relative_to(upper))
        if not path.is_file() or path.is_symlink() or any(fnmatchcase(where, no) for no in NO_SETTINGS):
            continue
        if where not in owned or where in changed:
            found.update(items(where, path.read_text()))
    return found


def test_the_image_and_a_converged_host_differ_only_where_there_is_a_reason(fabric):
    host = fabric.host("box", "trixie")
    own = {"limits_memory": MEMORY, "limits_cores": CORES, "hardening_apparmor": "enforce"}
    play("setup", inventory(fabric, [host], **settings(**own)))
    compare(of_image(), of_host(host))


def compare(image, converged):
    """Every difference has its reason, every reason its difference."""
    differences = {"image": image - converged, "host": converged - image}
    listed = tomllib.loads((HERE / "image_and_host.toml").read_text())["difference"]
    assert all(entry["reason"] for entry in listed)
    unused = []
    for entry in listed:
        for pattern in entry["settings"]:
            matched = {item for item in differences[entry["only"]] if fnmatchcase(item, pattern)}
            if not matched:
                unused.append(f"{entry['only']}: {pattern}")
            entry["matched"] = entry.get("matched", set()) | matched
    reasoned = {only: set() for only in differences}
    for entry in listed:
        reasoned[entry["only"]] |= entry["matched"]
    print(f"{len(image & converged)} settings are the same; differences:")
    for entry in listed:
        print(f"{len(entry['matched']):>4} only in the {entry['only']}: {entry['reason']}")
    left = {only: sorted(differences[only] - reasoned[only]) for only in differences}
    unexplained = [f"{only}: {item}" for only in left for item in left[only]]
    assert unexplained == [], "differences without a reason:\n" + "\n".join(unexplained)
    assert unused == [], f"listed, and no difference: {unused}"
    assert len(image & converged) > 100
