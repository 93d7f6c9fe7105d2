#!/usr/bin/env python3
"""Checks that the client in Python comes back at its time, whatever the server does: check_pump.py

Against a server that never answers `flush` and `pump` return with the handshake still going on, and go on with it when they
are called again; a stream of PINGs that does not end keeps nobody in `pump`. Nothing is measured: what must not have happened
meanwhile is looked at.
"""

import pathlib
import select
import signal
import socket
import struct
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "python"))
from check_auth import LOG, Peer  # noqa: E402
from sluice_client import Client  # noqa: E402

PINGS = 100_000  # more than the buffers of two sockets take


def begin():
    listener, events = socket.create_server(("127.0.0.1", 0)), []
    client = Client("127.0.0.1", listener.getsockname()[1], "press-7", on_event=lambda *event: events.append(event))
    return listener, client, events


def welcome(peer):
    peer.next(1)
    body = struct.pack("<HBBBBHIIIIQqQQHHI", 112, 1, 1, 0, 0, 1, 0, 1 << 20, (1 << 19), 60_000, 0, 0, 4 << 20,
                       10_000, 6, 1, 0)  # fmt: skip
    peer.send(4, body + LOG + bytes(32) + b"events\0\0")


def silent():
    listener, client, events = begin()
    assert not client.flush(0.2) and client.first is None
    client.pump(0)
    assert not events, f"it gave the connection up: {events}"
    peer = Peer(listener.accept()[0])
    while not select.select([peer.connection], [], [], 0.01)[0]:
        client.pump(0)
    welcome(peer)
    while client.first is None:
        client.pump(1.0)
    assert [event[0] for event in events] == ["connected"], events


def endless():
    peer, pings, is_over = Peer(None), bytearray(), threading.Event()
    # Before there is a client: it waits for an answer for 10 s at most.
    for _ in range(PINGS):
        pings += peer.framed(12, bytes(8))
        peer.frames = b""
    listener, client, events = begin()
    client.pump(0.01)
    peer.connection = listener.accept()[0]
    peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)

    def send():
        try:
            peer.connection.sendall(pings)
            is_over.set()
        except OSError:
            pass  # the client has left

    sender = threading.Thread(target=send)
    sender.start()
    client.pump(0.1)
    assert not is_over.is_set(), "it stayed until the last PING"
    assert not events, events
    client.close()
    sender.join()


def main():
    signal.alarm(250)  # who does not come back is killed
    silent()
    endless()
    print("back in time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
