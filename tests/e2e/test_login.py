"""Logging in: STARTTLS and direct TLS, every SASL mechanism, refusals, binding, conflict."""

import ssl

import pytest
from client import Client, clients
from conftest import PASSWORD
from harness import RawClient, StreamClosed
from harness.rawxmpp import NS, client_context
from tls_exporter import ExporterClient

MECHANISMS = ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]
PLUS = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"]


def condition(element):
    """Tag name of a SASL failure's condition, '' for anything else."""
    return element[0].tag.split("}")[1] if element.tag.endswith("}failure") else ""


@pytest.mark.parametrize("direct", [False, True], ids=["starttls", "direct"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_slixmpp_logs_in(daemon, account, mechanism, direct):
    async with clients(Client(daemon, account(), PASSWORD, direct=direct, mechanism=mechanism)) as (one,):
        assert one.boundjid.resource
        assert one.plugin["feature_mechanisms"].mech.name == mechanism


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_slixmpp_logs_in_with_its_own_choice(daemon, account, version):
    """On TLS 1.2 slixmpp tries tls-unique with any -PLUS; it must still get in by the next mechanism."""
    async with clients(Client(daemon, account(), PASSWORD, tls_version=version)) as (one,):
        assert one.socket.version() == version.name.replace("_", ".")


async def test_wrong_password_is_refused(daemon, account):
    one = Client(daemon, account(), "wrong")
    one.dial()
    name, failure = await one.event_named("failed_auth", "session_start")
    assert name == "failed_auth" and failure["condition"] == "not-authorized"
    one.abort()


def test_offered_before_tls_is_starttls_alone(daemon):
    with RawClient(daemon, "plain") as raw:
        features = raw.open_stream()
        assert [child.tag for child in features] == [f"{{{NS['tls']}}}starttls"]
        assert features.find(f"{{{NS['tls']}}}starttls/{{{NS['tls']}}}required") is not None


def test_offered_after_tls(daemon):
    with RawClient(daemon) as raw:
        features = raw.open_stream()
        assert set(raw.mechanisms(features)) == set(MECHANISMS + PLUS)
        bindings = [e.get("type") for e in features.iter("{urn:xmpp:sasl-cb:0}channel-binding")]
        assert "tls-exporter" in bindings


@pytest.mark.parametrize("mechanism", PLUS)
def test_channel_binding_tls_exporter(daemon, account, mechanism):
    user = account().split("@")[0]
    with ExporterClient(daemon) as raw:
        raw.open_stream()
        answer = raw.scram(mechanism, user, PASSWORD, ("tls-exporter", raw.exporter()))
        assert answer.tag.endswith("}success"), condition(answer)
        raw.open_stream()
        assert raw.bind()


@pytest.mark.parametrize("mechanism", PLUS)
def test_channel_binding_to_another_connection_is_refused(daemon, account, mechanism):
    user = account().split("@")[0]
    with ExporterClient(daemon) as other, ExporterClient(daemon) as raw:
        raw.open_stream()
        answer = raw.scram(mechanism, user, PASSWORD, ("tls-exporter", other.exporter()))
        assert condition(answer)


def test_channel_binding_server_end_point_on_tls_1_2(daemon, account):
    user = account().split("@")[0]
    with RawClient(daemon, context=client_context(ssl.TLSVersion.TLSv1_2)) as raw:
        features = raw.open_stream()
        bindings = [e.get("type") for e in features.iter("{urn:xmpp:sasl-cb:0}channel-binding")]
        assert "tls-server-end-point" in bindings
        binding = ("tls-server-end-point", raw.server_end_point())
        assert raw.scram("SCRAM-SHA-256-PLUS", user, PASSWORD, binding).tag.endswith("}success")


def test_a_client_that_could_bind_but_was_not_offered_it_notices_the_downgrade(daemon, account):
    """RFC 5802 section 6: flag y while the server does offer -PLUS means somebody removed the offer."""
    user = account().split("@")[0]
    with RawClient(daemon) as raw:
        raw.open_stream()
        assert condition(raw.scram("SCRAM-SHA-256", user, PASSWORD, "y"))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_unknown_user_looks_like_a_wrong_password(daemon, account, mechanism):
    known = account().split("@")[0]
    answers = []
    for user in (known, "nobody-has-this-name"):
        with RawClient(daemon) as raw:
            raw.open_stream()
            if mechanism == "PLAIN":
                answers.append(condition(raw.plain(user, "wrong")))
            else:
                answers.append(condition(raw.scram(mechanism, user, "wrong")))
    assert answers == ["not-authorized", "not-authorized"]


@pytest.mark.parametrize("authzid", ["own", "other"])
def test_authzid(daemon, account, authzid):
    jid, other = account(), account()
    with RawClient(daemon) as raw:
        raw.open_stream()
        answer = raw.plain(jid.split("@")[0], PASSWORD, jid if authzid == "own" else other)
        assert condition(answer) == ("" if authzid == "own" else "invalid-authzid")


def test_attempts_are_limited(daemon, account):
    """A guesser is cut off after a few tries on one connection, by a stream error or a plain end."""
    user = account().split("@")[0]
    with RawClient(daemon) as raw:
        raw.open_stream()
        with pytest.raises(StreamClosed):
            for _ in range(20):
                answer = raw.plain(user, "wrong")
                if answer.tag.endswith("}error"):
                    assert answer[0].tag.endswith("}policy-violation")
                    raw.element()
                assert condition(answer) == "not-authorized"


def test_the_server_makes_a_resource_when_none_is_asked_for(daemon, account):
    user = account().split("@")[0]
    resources = set()
    for _ in range(2):
        with RawClient(daemon) as raw:
            raw.open_stream()
            raw.plain(user, PASSWORD)
            raw.open_stream()
            resources.add(raw.bind().split("/", 1)[1])
    assert len(resources) == 2


async def test_same_resource_replaces_the_old_session_with_conflict(daemon, account):
    jid = account()
    old, new = Client(daemon, f"{jid}/phone", PASSWORD), Client(daemon, f"{jid}/phone", PASSWORD)
    async with clients(old, presence=False):
        async with clients(new):
            _, error = await old.event_named("stream_error")
            assert error["condition"] == "conflict"
            assert new.boundjid.full == f"{jid}/phone"
            await new.settle()
