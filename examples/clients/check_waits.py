#!/usr/bin/env python3
"""Checks that no server keeps a client away for more than five minutes, whatever it asks for: check_waits.py COMMAND…

The command is run as COMMAND HOST PORT; it prints how many ms it would wait, and waits for none of them. Such commands are
waits.c and waits.py.
"""

import struct
import subprocess
import sys

from check_auth import Clients
from check_pump import welcome

GOAWAY, BYE, ERROR, BUSY, DRAINING, MOST = 14, 15, 16, 19, 18, 300_000
ASKED = 0xFFFFFFFF  # ms: 49 days


def refused(peer):
    peer.next(1)
    peer.end(ERROR, BUSY, ASKED, b"later")


def sent_away(peer):
    """By who has shown nothing yet."""
    peer.next(1)
    peer.end(GOAWAY, DRAINING, ASKED)
    peer.end(BYE)


def full(peer):
    welcome(peer)
    peer.send(10, struct.pack("<HHBBHQQII", 32, 3, 1, 0, 0, 1, 1, ASKED, 0))


def main():
    clients = Clients(sys.argv[1:])
    for case in refused, sent_away, full:
        client = subprocess.Popen([*sys.argv[1:], "127.0.0.1", str(clients.listener.getsockname()[1])], stdout=subprocess.PIPE)
        clients.started.append(client)
        peer = clients.accept()
        case(peer)
        output = client.communicate(timeout=120)[0]
        assert client.returncode == 0 and 0 < int(output) <= MOST, f"{case.__name__}: {output} ms"
    clients.close()
    print(f"at most {MOST} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
