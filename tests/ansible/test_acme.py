"""Certificates of an ACME server (pebble, Let's Encrypt's own for tests): got by setup.yml, renewed under two
people who chat, whom that does not disconnect."""

import asyncio
import json
import os
import ssl
import subprocess
import time
import urllib.request

import pytest
from hosts import NET, run
from playbook import inventory, play
from test_collection import DOMAIN, PASSWORDS, chat_over, settings

SERVER_SECONDS_MAX = 20


def fetch(url):
    """What pebble's own port answers; its certificate is of an authority that nobody knows."""
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(url, context=unverified, timeout=5) as answer:
        return answer.read().decode()


@pytest.fixture
def acme(fabric):
    """Starts pebble and the DNS that it asks, where every name is the given address."""
    started = []

    def start(address):
        key, own = fabric.dir / "pebble.key", fabric.dir / "pebble.pem"
        request = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=pebble -addext".split()
        run(*request, f"subjectAltName=IP:{NET}.1", "-keyout", str(key), "-out", str(own))
        config = {
            "listenAddress": f"{NET}.1:14000",
            "managementListenAddress": "127.0.0.1:15000",
            "certificate": str(own),
            "privateKey": str(key),
            "httpPort": 80,
            "tlsPort": 443,
        }
        (fabric.dir / "pebble.json").write_text(json.dumps({"pebble": config}))
        log = open(fabric.dir / "pebble.log", "ab")
        names = ["pebble-challtestsrv", "-defaultIPv4", address, "-defaultIPv6", ""]
        names += ["-dns01", "127.0.0.1:8053"]
        names += ["-http01", "", "-https01", "", "-tlsalpn01", "", "-management", "127.0.0.1:8055"]
        server = ["pebble", "-config", str(fabric.dir / "pebble.json"), "-dnsserver", "127.0.0.1:8053"]
        environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        for command in (names, server):
            started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        deadline = time.monotonic() + SERVER_SECONDS_MAX
        while True:
            try:
                return own, fetch("https://127.0.0.1:15000/roots/0")
            except OSError:
                assert time.monotonic() < deadline, (fabric.dir / "pebble.log").read_text()
                time.sleep(0.2)

    yield start
    for process in started:
        process.terminate()
        process.wait()


def served(host, authority):
    """The serial number of the certificate that the daemon shows, by an authority that must have made it."""
    path = host.fabric.dir / "acme-root.pem"
    path.write_text(authority)
    ask = f"openssl s_client -connect {host.address}:5223 -servername {DOMAIN} -verify_return_error"
    shown = run("sh", "-c", f"{ask} -verify_hostname {DOMAIN} -CAfile {path} </dev/null 2>&1")
    return run("openssl", "x509", "-noout", "-serial", input=shown)


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_certificate_of_an_acme_server_is_got_and_renewed_under_people_who_chat(fabric, acme, suite):
    host = fabric.host("box", suite)
    own, authority = acme(host.address)
    server = {"tls_acme_server": f"https://{NET}.1:14000/dir", "tls_acme_authority": str(own)}
    where = inventory(fabric, [host], **settings(tls_certificate="acme", **server))
    predicted = play("setup", where, "--check")
    first = play("setup", where)
    assert first.changes == predicted.changes, f"did {first.changes}, predicted {predicted.changes}"
    before = served(host, authority)
    second = play("setup", where)
    assert (second.changed["box"], second.changes) == (0, [])
    (fabric.dir / "accounts.yml").write_text(json.dumps({"godwit_accounts": PASSWORDS}))
    play("accounts", where, "-e", f"@{fabric.dir / 'accounts.yml'}")

    # What certbot.timer does, with its unit's environment, but that the certificate is not due.
    renew = "export $(systemctl show --value -p Environment certbot.service)"
    renew += " && certbot renew --force-renewal --no-random-sleep-on-renew 2>&1"
    process = host.run("systemctl show -p MainPID,NRestarts godwit").stdout
    asyncio.run(chat_over(host, lambda: host.run(renew), authority))
    assert host.run("systemctl show -p MainPID,NRestarts godwit").stdout == process
    assert served(host, authority) != before
    assert json.loads(host.run("godwitctl status --json").stdout)["reload"]["ok"]
    assert host.run("systemctl is-enabled certbot.timer").stdout == "enabled\n"

    play("remove", where)
    assert "No certificates found" in host.run("certbot certificates 2>&1").stdout
    host.run("test ! -e /usr/local/sbin/godwit-certificate")
