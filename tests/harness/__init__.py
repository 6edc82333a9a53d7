"""Starts a real godwitd for tests: own directory, free loopback ports, certificates, accounts.

Standard library only, so that every suite (end to end, transcripts, crash, load) can use it without a venv.
Everything waits with a limit; a daemon that a test forgot is killed when the interpreter ends.
"""

from .certs import Certificates
from .daemon import Daemon, DaemonError, binary, free_port
from .rawxmpp import RawClient, StreamClosed

__all__ = ["Certificates", "Daemon", "DaemonError", "RawClient", "StreamClosed", "binary", "free_port"]
