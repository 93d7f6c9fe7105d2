#!/usr/bin/env python3
"""Sends each line of standard input as a record: send_lines.py HOST PORT PRODUCER [TOPIC]

With SLUICE_IDENTITY and SLUICE_SECRET (64 hexadecimal digits) it proves who it is; with SLUICE_CA (a PEM file) it speaks
TLS; SLUICE_WINDOW is how many bytes of records may be unanswered. Exit status 0 when every record is answered.
"""

import os
import ssl
import sys

from sluice_client import Client, SluiceError


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    host, port, producer, topic = (sys.argv[1:] + [""])[:4]
    environment = os.environ
    identity, authority = environment.get("SLUICE_IDENTITY", ""), environment.get("SLUICE_CA")
    secret = bytes.fromhex(environment["SLUICE_SECRET"]) if identity else None
    tls = ssl.create_default_context(cafile=authority) if authority else None
    window = int(environment.get("SLUICE_WINDOW", 1 << 20))
    tell = lambda *event: print(*event, file=sys.stderr)  # noqa: E731
    with Client(host, int(port), producer, identity=identity, secret=secret, tls=tls, window_bytes=window,
                on_event=tell) as client:  # fmt: skip
        try:
            for line in sys.stdin.buffer:
                client.send(line.removesuffix(b"\n"), topic=topic)
            done = client.flush(120)
        except (SluiceError, ValueError) as error:
            sys.exit(str(error))
        print(client.answered)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
