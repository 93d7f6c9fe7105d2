#!/usr/bin/env python3
"""Sends what a golden session of Tests/Golden/wire has, for check_golden.py: golden.py HOST PORT plain|auth"""

import hashlib
import os
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "python"))
from sluice_client import Client  # noqa: E402

TIME = 1_700_000_000_000_000_000


def main():
    host, port, session = sys.argv[1:]
    os.urandom = lambda count: hashlib.sha256(b"client nonce").digest()[:count]  # the session's nonce
    who = {"identity": "press-7", "secret": bytes(range(32))} if session == "auth" else {}
    with Client(host, int(port), "press-7", stream="events", software="example/1", **who) as client:
        while client.first is None:  # the first number is the server's to say
            client.pump(1.0)
        for payload in [b"open"] if session == "auth" else [b"open", b"closed"]:
            client.send(payload, topic="press", event_time=TIME + client.last + 1)
        return 0 if client.flush(10) else 1


if __name__ == "__main__":
    sys.exit(main())
