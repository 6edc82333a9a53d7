#!/usr/bin/env python3
"""Runs one file of slixmpp's own integration tests against a daemon on another loopback address.

    itests_main.py DIRECTORY MODULE ADDRESS OUTPUT

The tests dial the account's domain on ports 5222 and 5223; here that domain is found at ADDRESS, and no DNS
is asked. The outcome of each test goes to OUTPUT as JSON:
{"module.Class.test": "pass" | "fail" | "skip: why"}.
"""

import json
import sys
import unittest

from slixmpp.xmlstream import xmlstream
from slixmpp.xmlstream.xmlstream import XMLStream

WAIT_SECONDS_MAX = 8


def point_at(address):
    """Replaces name resolution, and shortens waits for events that will not come."""
    dial, wait_until = XMLStream._attempt_connection, XMLStream.wait_until

    async def no_records(self, domain):
        return []

    async def dial_address(self, host, port, tls, server_hostname):
        return await dial(self, address if host == self.default_domain else host, port, tls, server_hostname)

    async def wait_less(self, event, timeout=WAIT_SECONDS_MAX):
        return await wait_until(self, event, min(timeout, WAIT_SECONDS_MAX))

    xmlstream.XMLStream.get_dns_records = no_records
    XMLStream._attempt_connection = dial_address
    XMLStream.wait_until = wait_less


class Outcomes(unittest.TestResult):
    """Keeps one word per test."""

    def __init__(self):
        super().__init__()
        self.words = {}

    def _note(self, test, word):
        self.words.setdefault(test.id().removeprefix("itests."), word)

    def addSuccess(self, test):
        self._note(test, "pass")

    def addError(self, test, err):
        super().addError(test, err)
        self._note(test, "fail")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._note(test, "fail")

    def addSkip(self, test, reason):
        self._note(test, f"skip: {reason}")


def main():
    """Loads the module, runs it, writes what happened."""
    directory, module, address, output = sys.argv[1:]
    sys.path.insert(0, directory)
    point_at(address)
    result = Outcomes()
    unittest.defaultTestLoader.loadTestsFromName(f"itests.{module}").run(result)
    for test, trace in result.errors + result.failures:
        print(test, trace, sep="\n", file=sys.stderr)
    with open(output, "w") as file:
        json.dump(result.words, file)


if __name__ == "__main__":
    main()
