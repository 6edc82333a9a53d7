"""A machine that a NoCloud volume configures, whose clock is wrong, and whose disk fills.
`make test-image ONLY=first_boot`."""

import datetime
import secrets
import ssl
import sys
import time

import pytest
from guest import ADMIN, DOMAIN, PASSWORD, ROOT, Guest, certificate, newest_image, tools

sys.path[:0] = [str(ROOT / "tests")]

from harness import RawClient  # noqa: E402

# Emulated: a login takes seconds.
SECONDS_MAX = 60
BODY_BYTES = 200_000
# More than what is preallocated of a log that has room.
MESSAGES_MAX = 400
PAST, FUTURE = "2001-01-01T00:00:00", "2037-01-01T00:00:00"

pytestmark = pytest.mark.skipif(newest_image() is None, reason="no image in image/out: make image")


def nocloud(guest, chain, key):
    """A volume with user-data, as a cloud attaches it; returns what QEMU is to be given."""
    folder = guest.folder / "cidata"
    folder.mkdir()
    text = f"#cloud-config\nhostname: box\nssh_authorized_keys:\n  - {(guest.folder / 'key.pub').read_text()}"
    text += f"godwit:\n  domain: {DOMAIN}\n  admin.jid: '{ADMIN}'\n  admin.password: \"{PASSWORD}\"\n"
    for name, file in (("certificate", chain), ("key", key)):
        block = "".join(f"    {line}\n" for line in file.read_text().splitlines())
        text += f"  tls.{name}: |\n{block}"
    (folder / "user-data").write_text(text)
    (folder / "meta-data").write_text("instance-id: one\n")
    disk = guest.folder / "cidata.img"
    tools("mkfs.vfat", "-C", "-n", "CIDATA", disk, "1440")
    tools("mcopy", "-i", disk, folder / "user-data", folder / "meta-data", "::/")
    return ["-drive", f"if=virtio,format=raw,readonly=on,file={disk}"]


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    """A guest with nothing but that volume, whose clock says 2001."""
    chain, key = certificate(tmp_path_factory.mktemp("tls"))
    with Guest("nocloud") as one:
        one.domain = DOMAIN
        one.extra = [*nocloud(one, chain, key), "-rtc", f"base={PAST}"]
        one.certificate = chain
        one.boot()
        one.ssh("godwit", "account", "add", f"bob@{DOMAIN}", data=PASSWORD)
        yield one


def client(guest, user):
    """A session of a user, logged in."""
    raw = RawClient(guest, "tls", domain=DOMAIN, timeout=SECONDS_MAX)
    raw.login(user, PASSWORD, "test")
    return raw


def sends(raw, body):
    """Sends it to bob; returns None once the server has acknowledged it, or the condition of its error."""
    ident = secrets.token_hex(4)
    raw.send(f"<message type='chat' to='bob@{DOMAIN}' id='{ident}'><body>{body}</body></message>")
    raw.send("<r xmlns='urn:xmpp:sm:3'/>")
    condition = None
    while True:
        element = raw.element()
        if element.tag.endswith("}a"):
            return condition
        if element.tag.endswith("}message") and element.get("type") == "error":
            condition = element.find("{jabber:client}error")[0].tag.split("}")[1]


def received(guest):
    """What waits for bob, oldest first; it is gone from there then."""
    got = []
    with client(guest, "bob") as raw:
        raw.send("<presence/>")
        try:
            while True:
                body = raw.element(10).find("{jabber:client}body")
                got += [body.text] if body is not None else []
        except TimeoutError:
            return got


def clock(guest):
    """The time in the guest."""
    return datetime.datetime.fromtimestamp(int(guest.ssh("operator", "date", "+%s")), datetime.UTC)


def test_a_nocloud_volume_configures_it_and_a_clock_of_2001_is_put_right(guest):
    assert "PROBLEMS" not in guest.console()
    assert f"Serving {DOMAIN} on" in guest.console()
    assert ADMIN in guest.ssh("godwit", "account", "list")
    context = ssl.create_default_context(cafile=str(guest.certificate))
    with RawClient(guest, "tls", domain=DOMAIN, context=context, timeout=SECONDS_MAX) as raw:
        assert raw.sock.version() == "TLSv1.3"
    # No time server answers here: no earlier than when the image was made.
    made = int(guest.ssh("operator", "stat", "-c", "%Y", "/usr/lib/clock-epoch"))
    assert clock(guest).timestamp() >= made > datetime.datetime(2026, 1, 1).timestamp()


def test_messages_keep_their_order_while_the_clock_jumps_and_the_volume_is_taken_away(guest):
    bodies = ["in the past", "in the future", "afterwards"]
    names = ("/var/lib/godwit-config/domain", "/var/lib/operator/authorized_keys", "/etc/machine-id")

    def state():
        return guest.ssh("operator", "cat", *names, check=False), guest.ssh("godwit", "account", "list")

    before = state()
    for number, rtc in enumerate((None, FUTURE, "utc")):
        if rtc:
            guest.extra = ["-rtc", f"base={rtc}"]
            guest.reboot()
            print(f"the machine's clock {rtc}: {clock(guest)} in the guest")
        with client(guest, "admin") as raw:
            raw.send("<enable xmlns='urn:xmpp:sm:3'/>")
            assert sends(raw, bodies[number]) is None
    assert received(guest) == bodies
    assert state() == before
    assert "PROBLEMS" not in guest.console()


def test_a_full_disk_refuses_messages_and_loses_none(guest):
    pid = guest.ssh("operator", "systemctl", "show", "-P", "MainPID", "godwit.service")
    fill = "fallocate -l $(df --output=avail -B1 . | tail -n 1) fill; cat /dev/zero >>fill"
    guest.ssh("operator", f"cd /var/lib/godwit-update && {fill}", check=False, seconds=300)
    free = guest.ssh("operator", "df --output=avail -B1 /var/lib | tail -n 1")
    taken, refused = [], None
    with client(guest, "admin") as raw:
        raw.send("<enable xmlns='urn:xmpp:sm:3'/>")
        while refused is None and len(taken) < MESSAGES_MAX:
            body = secrets.token_hex(BODY_BYTES // 2)
            refused = sends(raw, body)
            taken += [body] if refused is None else []
        print(f"disk full ({free.strip()} bytes free): {len(taken)} messages taken, then {refused}")
        assert refused == "resource-constraint"
        # The machine is still there, and the operator makes room.
        assert "disk" in guest.ssh("godwit", "doctor", check=False).lower()
        guest.ssh("operator", "rm", "/var/lib/godwit-update/fill")
        deadline = time.monotonic() + SECONDS_MAX
        while sends(raw, "there is room again") is not None:
            assert time.monotonic() < deadline, "messages are still refused"
            time.sleep(2)
    assert guest.ssh("operator", "systemctl", "show", "-P", "MainPID", "godwit.service") == pid
    guest.kill()
    guest.boot()
    assert received(guest) == [*taken, "there is room again"]
