#!/usr/bin/env python3
"""Plays the server of the golden sessions to a client and compares every byte it sends: check_golden.py COMMAND…

The command is run as COMMAND HOST PORT SESSION and sends what that session of Tests/Golden/wire has, under its nonce; such
commands are golden.c and golden.py. The server's frames are those of the files, as they stand there.
"""

import pathlib
import socket
import subprocess
import sys

GOLDEN = pathlib.Path(__file__).resolve().parent.parent.parent / "Tests" / "Golden" / "wire"
# Of `plain` only what comes before the client's gap, which is a fault that no client is to make.
SESSIONS = {"plain": 4, "auth": 6}


def frame(path):
    lines = path.read_text().splitlines()
    return bytes.fromhex("".join(line.split("#")[0] for line in lines))


def read(connection, count):
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(120)
    for session, count in SESSIONS.items():
        client = subprocess.Popen([*sys.argv[1:], "127.0.0.1", str(listener.getsockname()[1]), session])
        connection = listener.accept()[0]
        connection.settimeout(120)
        for path in sorted(GOLDEN.glob(f"{session}-*.hex"))[:count]:
            data = frame(path)
            if "-server-" in path.name:
                connection.sendall(data)
                continue
            found = read(connection, len(data))
            assert found == data, f"{path.name}:\n{data.hex()} is expected,\n{found.hex()} came"
            print(path.name)
        assert client.wait(120) == 0, f"{session}: the client failed"
        connection.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
