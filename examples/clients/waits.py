#!/usr/bin/env python3
"""How long the client in Python waits for a server's sake, in ms: waits.py HOST PORT, for check_waits.py."""

import pathlib
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "python"))
from sluice_client import Client  # noqa: E402

told = []
client = Client(sys.argv[1], int(sys.argv[2]), "press-7", on_event=lambda *event: told.append(event[0]))
while "disconnected" not in told and not client.hold_until:
    client.pump(1.0)
print(int(((client.hold_until or client.due) - time.monotonic()) * 1000))
client.close()
