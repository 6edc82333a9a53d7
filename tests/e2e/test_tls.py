"""TLS as other implementations see it: openssl s_client and gnutls-cli, versions, ALPN, SNI, certificates."""

import os
import re
import shutil
import subprocess
import time

import harness
import pytest
from conftest import PASSWORD
from harness import RawClient

SECONDS_MAX = 15
HEADER = (
    "<stream:stream to='localhost' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)


@pytest.fixture(scope="module")
def daemon():
    certs = harness.Certificates()
    further = [
        {"certificate": str(certs.chain(kind)), "key": str(certs.key(kind))} for kind in ("second", "rsa")
    ]
    with harness.Daemon(
        domains=["localhost", "one.test", "two.test", "rsa.test"], settings={"tls.sni": further}
    ) as one:
        yield one


def s_client(daemon, *args, tls=True, stdin=""):
    """openssl s_client; everything it printed. -brief is not used: it hides the certificate."""
    port = daemon.tls_port if tls else daemon.port
    command = ["openssl", "s_client", "-connect", f"{daemon.address}:{port}", *args]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=SECONDS_MAX)
    return done.stdout + done.stderr


def fingerprint(output):
    """SHA-256 of the certificate in s_client's output, '' without one."""
    found = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", output, re.S)
    if not found:
        return ""
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256"],
        input=found.group(),
        text=True,
        capture_output=True,
        timeout=SECONDS_MAX,
    )
    return done.stdout.strip().split("=", 1)[1]


@pytest.mark.parametrize("tls", [True, False], ids=["direct", "starttls"])
@pytest.mark.parametrize("option, version", [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_versions_served(daemon, option, version, tls):
    way = [] if tls else ["-starttls", "xmpp", "-xmpphost", "localhost"]
    output = s_client(daemon, option, *way, tls=tls)
    assert re.search(rf"New, {re.escape(version)}, Cipher is \S*(GCM|CHACHA)", output), output
    assert fingerprint(output) == daemon.certs.fingerprint("main")


def test_older_versions_are_refused(daemon):
    """The client is allowed everything old, so that it is the server who refuses."""
    for option in ("-tls1_1", "-tls1"):
        output = s_client(daemon, option, "-cipher", "DEFAULT@SECLEVEL=0")
        assert "alert protocol version" in output or "alert handshake failure" in output, output
        assert fingerprint(output) == ""


@pytest.mark.parametrize(
    "cipher",
    ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"],
)
def test_ciphers_of_tls_1_2(daemon, cipher):
    assert f"Cipher is {cipher}" in s_client(daemon, "-tls1_2", "-cipher", cipher)


@pytest.mark.parametrize("cipher", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "NULL-SHA", "DES-CBC3-SHA"])
def test_weak_ciphers_are_refused(daemon, cipher):
    assert fingerprint(s_client(daemon, "-tls1_2", "-cipher", f"{cipher}@SECLEVEL=0")) == ""


@pytest.mark.parametrize(
    "suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
)
def test_each_suite_of_tls_1_3_carries_data_both_ways(daemon, suite):
    """The record layer is ours: a stream header goes in, the features come out."""
    command = [
        "openssl",
        "s_client",
        "-connect",
        f"{daemon.address}:{daemon.tls_port}",
        "-tls1_3",
        "-ciphersuites",
        suite,
        "-quiet",
        "-servername",
        "localhost",
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as client:
        try:
            client.stdin.write(HEADER.encode())
            client.stdin.flush()
            os.set_blocking(client.stdout.fileno(), False)
            output, deadline = b"", time.monotonic() + SECONDS_MAX
            while b"</stream:features>" not in output:
                assert time.monotonic() < deadline and client.poll() is None, output
                output += client.stdout.read() or b""
                time.sleep(0.02)
        finally:
            client.kill()


@pytest.mark.parametrize(
    "asked, chosen",
    [
        ("TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
        ("TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"),
        ("TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    ],
)
def test_the_cheapest_suite_unless_the_client_prefers_chacha20(daemon, asked, chosen):
    assert f"Cipher is {chosen}" in s_client(daemon, "-tls1_3", "-ciphersuites", asked)


@pytest.mark.parametrize(
    "asked, chosen",
    [
        ("AES256-GCM-SHA384:AES128-GCM-SHA256", "AES128-GCM-SHA256"),
        ("CHACHA20-POLY1305:AES128-GCM-SHA256", "CHACHA20-POLY1305"),
    ],
)
def test_the_same_with_tls_1_2(daemon, asked, chosen):
    names = ":".join(f"ECDHE-ECDSA-{suite}" for suite in asked.split(":"))
    assert f"Cipher is ECDHE-ECDSA-{chosen}" in s_client(daemon, "-tls1_2", "-cipher", names)


def test_alpn(daemon):
    assert "ALPN protocol: xmpp-client" in s_client(daemon, "-alpn", "xmpp-client")
    assert "ALPN protocol: xmpp-client" in s_client(daemon, "-alpn", "http/1.1,xmpp-client")
    none = s_client(daemon)
    assert "No ALPN negotiated" in none and fingerprint(none)
    other = s_client(daemon, "-alpn", "h2,http/1.1")
    assert "no application protocol" in other and not fingerprint(other), other


@pytest.mark.parametrize(
    "name, kind",
    [
        ("localhost", "main"),
        ("one.test", "main"),
        ("two.test", "second"),
        ("rsa.test", "rsa"),
        ("unknown.test", "main"),
        (None, "main"),
    ],
)
def test_the_certificate_follows_the_name_asked_for(daemon, name, kind):
    asked = ["-noservername"] if name is None else ["-servername", name]
    assert fingerprint(s_client(daemon, *asked)) == daemon.certs.fingerprint(kind)


def test_rsa_works_on_tls_1_2_too(daemon):
    output = s_client(daemon, "-servername", "rsa.test", "-tls1_2")
    assert "Cipher is ECDHE-RSA" in output and fingerprint(output) == daemon.certs.fingerprint("rsa")


def test_starttls_picks_by_name_too(daemon):
    way = ["-starttls", "xmpp", "-xmpphost", "two.test", "-servername", "two.test"]
    assert fingerprint(s_client(daemon, *way, tls=False)) == daemon.certs.fingerprint("second")


@pytest.mark.skipif(not shutil.which("gnutls-cli"), reason="gnutls-cli (package gnutls-bin) is not installed")
@pytest.mark.parametrize(
    "priority, version",
    [("NORMAL:-VERS-ALL:+VERS-TLS1.2", "TLS1.2"), ("NORMAL:-VERS-ALL:+VERS-TLS1.3", "TLS1.3")],
)
@pytest.mark.parametrize("tls", [True, False], ids=["direct", "starttls"])
def test_gnutls(daemon, priority, version, tls):
    port = daemon.tls_port if tls else daemon.port
    way = [] if tls else ["--starttls-proto=xmpp"]
    command = [
        "gnutls-cli",
        "--insecure",
        "--no-ca-verification",
        "--priority",
        priority,
        "-p",
        str(port),
        *way,
        "--sni-hostname=localhost",
        "--verify-hostname=localhost",
        "localhost" if not tls else daemon.address,
    ]
    done = subprocess.run(command, input=HEADER, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert f"({version}" in done.stdout, done.stdout + done.stderr


def test_sighup_changes_the_certificate_under_a_live_session(own_daemon):
    daemon = own_daemon()
    daemon.add_account("ann@localhost", PASSWORD)
    with RawClient(daemon) as raw:
        raw.login("ann", PASSWORD)
        assert fingerprint(s_client(daemon)) == daemon.certs.fingerprint("main")
        daemon.install_certificate("renewed")
        daemon.reload()
        deadline = time.monotonic() + 10
        while fingerprint(s_client(daemon)) != daemon.certs.fingerprint("renewed"):
            assert time.monotonic() < deadline, "the new certificate is not served"
            time.sleep(0.1)
        assert raw.sync() == "result"


def test_a_broken_certificate_at_reload_changes_nothing(own_daemon):
    daemon = own_daemon()
    daemon.certificate.write_text("not a certificate\n")
    daemon.reload()
    deadline = time.monotonic() + 10
    while str(daemon.certificate) not in daemon.read_log():
        assert time.monotonic() < deadline, "nothing in the log about the broken certificate"
        time.sleep(0.1)
    assert daemon.running()
    assert fingerprint(s_client(daemon)) == daemon.certs.fingerprint("main")


def test_check_says_that_a_certificate_has_expired(own_daemon):
    daemon = own_daemon()
    daemon.install_certificate("expired")
    done = subprocess.run([*daemon.command(), "--check"], capture_output=True, text=True, timeout=SECONDS_MAX)
    assert "expired" in (done.stdout + done.stderr).lower()
