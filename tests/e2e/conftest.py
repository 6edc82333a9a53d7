"""Fixtures of the end-to-end tests: daemons, fresh accounts, coroutine tests, logs of a failed test."""

import asyncio
import inspect
import itertools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import harness  # noqa: E402
import harness.daemon  # noqa: E402

TEST_SECONDS_MAX = 60
PASSWORD = "correct horse, battery=staple"
_numbers = itertools.count(1)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs `async def` tests, each in its own loop and within a limit."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def bounded():
        async with asyncio.timeout(TEST_SECONDS_MAX):
            await pyfuncitem.obj(**arguments)

    asyncio.run(bounded())
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test's report carries the logs of the daemons that ran."""
    report = yield
    if report.failed:
        for daemon in list(harness.daemon.running_daemons()):
            text = daemon.read_log()[-harness.daemon.LOG_BYTES_SHOWN_MAX :]
            report.sections.append((f"log of {daemon.config}", text))
    return report


@pytest.fixture(scope="module")
def daemon():
    """A daemon for one file of tests, which use accounts of their own."""
    with harness.Daemon() as one:
        yield one


@pytest.fixture
def own_daemon():
    """A factory of daemons that one test may kill or configure: `own_daemon(settings={...})`."""
    started = []

    def make(**kwargs):
        one = harness.Daemon(**kwargs)
        started.append(one)
        return one.start()

    yield make
    for one in started:
        one.close()


@pytest.fixture
def account(daemon):
    """A factory of fresh accounts on `daemon`: returns the bare JID; the password is PASSWORD."""

    def make(stem="user"):
        jid = f"{stem}{next(_numbers)}@{daemon.domain}"
        daemon.add_account(jid, PASSWORD)
        return jid

    return make
