#!/usr/bin/env python3
"""Plays a server of docs/wire-protocol.md with `auth` 2 and `hmac-sha256` to a client: check_auth.py COMMAND…

The secret is 00 01 … 1f, nonces are random, and all keys are computed here from the page, by nobody's client. The command
is run as COMMAND HOST PORT PRODUCER TOPIC with lines on its standard input. Checked: the proof, the tag and the checksums
of every frame, PING, a class 1 and a class 2 NACK, a connection that is cut, and that a client leaves a server that does
not know the secret, believes no ACK of one that has proved nothing and none that was captured, and outlives its flood of PINGs. `check_golden.py`
compares bytes with Tests/Golden/wire, `check_resume.py` plays what comes after a reconnect.
"""

import fcntl
import hashlib
import hmac
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import termios
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "Tests" / "Golden"))
from sluice_bytes import crc32c, pad8  # noqa: E402

SECRET = bytes(range(32))
LOG = bytes(range(16))


def sign(key, data):
    return hmac.digest(key, data, "sha256")


class Peer:
    def __init__(self, connection):
        self.connection, self.key, self.sent, self.received, self.frames = connection, None, 0, 0, b""
        self.said = []  # every frame that was sent, as an eavesdropper has it

    def read(self, count):
        data = b""
        while len(data) < count:
            more = self.connection.recv(count - len(data))
            assert more, "the client closed"
            data += more
        return data

    def frame(self):
        """The type, the count and the body of the client's next frame; all of it is checked."""
        head = self.read(24)
        length, kind, flags, channel, count, body_crc, zero, head_crc = struct.unpack("<IBBHIIII", head)
        assert (flags, channel, zero) == (0, 0, 0) and length % 8 == 0
        rest = self.read(length - 24)
        bound = struct.pack("<QQ", 1, self.received)
        self.received += 1
        assert crc32c(bound + head[:20]) == head_crc, "head_crc"
        if self.key:
            rest, tag = rest[:-32], rest[-32:]
            assert tag == sign(self.key, bound + head + rest), "tag"
        if kind == 8:
            covered, at = rest[:8], 8
            while at < len(rest):
                covered += rest[at : at + 8]
                size, crc = struct.unpack_from("<II", rest, at)
                assert crc32c(rest[at + 8 : at + 8 + size]) == crc, "the record's checksum"
                at += 8 + size
            assert crc32c(covered) == body_crc, "body_crc of DATA"
        else:
            assert crc32c(rest) == body_crc, "body_crc"
        self.frames += head + rest
        return kind, count, rest

    def next(self, wanted):
        """The next frame of a type; PINGs before it are answered."""
        while True:
            kind, count, body = self.frame()
            if kind == wanted:
                return count, body
            assert kind == 12, f"type {kind} instead of {wanted}"
            self.send(13, body)

    def send(self, kind, body):
        self.connection.sendall(self.framed(kind, body))

    def framed(self, kind, body):
        bound = struct.pack("<QQ", 2, self.sent)
        self.sent += 1
        head = struct.pack("<IBBHIII", 24 + len(body) + (32 if self.key else 0), kind, 0, 0, 0, crc32c(body), 0)
        frame = head + struct.pack("<I", crc32c(bound + head)) + body
        self.frames += frame
        self.said.append(frame + (sign(self.key, bound + frame) if self.key else b""))
        return self.said[-1]

    def nack(self, code, kind, sequence, expected):
        text = pad8(b"no")
        self.send(10, struct.pack("<HHBBHQQII", 32, code, kind, 0, 2, sequence, expected, 10, 0) + text)

    def end(self, kind, code=0, retry=0, text=b""):
        """GOAWAY, BYE or ERROR; `retry` in ms."""
        self.send(kind, pad8(struct.pack("<HHBBHIIQ", 24, code, 1, 0, len(text), retry, 0, 0) + text))

    def cut(self):
        """Ends the connection so that what was sent still arrives; nothing but PING and BYE may come meanwhile."""
        self.connection.shutdown(socket.SHUT_WR)
        self.leftovers()
        self.connection.close()

    def leftovers(self):
        """Reads until the client closes: the types of its frames."""
        kinds = []
        while self.connection.recv(1, socket.MSG_PEEK):
            kinds.append(self.frame()[0])
            assert kinds.count(12) < 3, "it stays"
        assert set(kinds) <= {12, 15} and 15 not in kinds[:-1], f"types {kinds}"
        return kinds

    def shake(self, last, secret=SECRET, log=LOG, largest=(1 << 20, 1 << 19)):
        """The handshake; the client's epoch. `largest`: `max_frame` and `max_part`."""
        _, hello = self.next(1)
        assert hello[:8] == b"SLUICE\r\n" and hello[12:14] == b"\x03\x02" and hello[40:72] != bytes(32)
        client_key, server_key = sign(SECRET, b"sluice client key 1"), sign(secret, b"sluice server key 1")
        self.send(2, struct.pack("<HHI", 40, 0, 0) + os.urandom(32))
        first = hashlib.sha256(self.frames).digest()
        _, proof = self.next(3)
        stored = hashlib.sha256(client_key).digest()
        assert hashlib.sha256(bytes(a ^ b for a, b in zip(proof[8:40], sign(stored, first)))).digest() == stored, "proof"
        transcript = hashlib.sha256(self.frames).digest()
        self.key = sign(client_key + sign(SECRET, b"sluice server key 1"), b"sluice session key 1" + transcript)
        body = struct.pack("<HBBBBHIIIIQqQQHHI", 112, 1, 3, 3, 0, 1, 0, *largest, 60_000, last, 0, 4 << 20,
                           10_000, 6, 1, 0)  # fmt: skip
        self.send(4, pad8(body + log + sign(server_key, transcript) + b"eventss"))
        return struct.unpack_from("<H", hello, 14)[0]


class Clients:
    """The command, run as often as is needed, and what it connects to."""

    def __init__(self, command):
        self.command, self.listener = command, socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(120)
        self.started = []

    def start(self, *lines, window=None):
        environment = os.environ | {"SLUICE_IDENTITY": "press-7", "SLUICE_SECRET": SECRET.hex()}
        environment |= {"SLUICE_WINDOW": str(window)} if window else {}
        arguments = ["127.0.0.1", str(self.listener.getsockname()[1]), "press-7", "press"]
        client = subprocess.Popen([*self.command, *arguments], env=environment, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        client.stdin.write(b"".join(line + b"\n" for line in lines))
        client.stdin.close()
        self.started.append(client)
        return client

    def close(self):
        self.listener.close()
        for client in self.started:
            client.kill()
            client.wait()

    def accept(self):
        connection = self.listener.accept()[0]
        connection.settimeout(120)
        return Peer(connection)


def take(peer, first):
    """Records from `first` on, as (sequence, payload)."""
    count, body = peer.next(8)
    (sequence,) = struct.unpack_from("<Q", body)
    assert sequence == first, f"{sequence} instead of {first}"
    found, at = [], 8
    for number in range(sequence, sequence + count):
        size, _ = struct.unpack_from("<II", body, at)
        part = body[at + 8 : at + 8 + size]
        payload_bytes, _, own, topic_bytes = struct.unpack_from("<IqQH", part, 4)
        assert own == number and part[32 : 32 + topic_bytes] == b"press"
        start = 32 + (topic_bytes + 7 & ~7)
        found.append((number, part[start : start + payload_bytes]))
        at += 8 + size
    return found


def impostor(clients):
    """Who knows no secret, and acknowledges what an honest server did not: no record is forgotten."""
    client = clients.start(b"one", b"two")
    peer = clients.accept()
    peer.shake(0)
    take(peer, 1)
    peer.cut()
    for kind, body in (9, struct.pack("<Q", 2)), (4, bytes(112)):
        peer = clients.accept()
        peer.next(1)
        peer.send(kind, body)
        assert not peer.leftovers(), "it went on"
    peer = clients.accept()
    peer.shake(0)
    taken = take(peer, 1)
    if len(taken) < 2:
        taken += take(peer, 2)
    assert taken == [(1, b"one"), (2, b"two")], taken
    peer.send(9, struct.pack("<Q", 2))
    assert client.wait(120) == 0 and client.stdout.read().strip() == b"2", client.stderr.read()


def again(frame, counter):
    """A frame that was captured, as the server's frame `counter`: its checksum is made right, which takes no key."""
    head = frame[:20]
    return head + struct.pack("<I", crc32c(struct.pack("<QQ", 2, counter) + head)) + frame[24:]


def replayed(clients):
    """What an honest server has said, said again: its ACK to the same client, and all of it to the next connection. Neither is
    believed, and no record is forgotten for it."""
    client = clients.start(b"one", b"two")
    peer = clients.accept()
    peer.shake(0)
    if len(take(peer, 1)) < 2:
        take(peer, 2)
    peer.send(9, struct.pack("<Q", 1))
    peer.connection.sendall(again(peer.said[-1], peer.sent))
    assert 15 not in peer.leftovers(), "it believed an ACK twice"
    for count in 2, 3:  # CHALLENGE and WELCOME, then the ACK too
        other = clients.accept()
        other.next(1)
        other.connection.sendall(peer.said[0])
        other.next(3)
        other.connection.sendall(b"".join(peer.said[1:count]))
        assert 8 not in other.leftovers(), "it sent records to a recording"
    peer = clients.accept()
    peer.shake(1)
    taken = take(peer, 2)
    assert taken == [(2, b"two")], taken
    peer.send(9, struct.pack("<Q", 2))
    assert client.wait(120) == 0 and client.stdout.read().strip() == b"2", client.stderr.read()


def flood(clients, window):
    """So many PINGs in front of the CHALLENGE, taken in one look, that their PONGs fill what a client has room for: it
    proves itself all the same."""
    client = clients.start(b"one", window=window)
    peer = clients.accept()
    peer.next(1)
    hello = peer.frames
    os.kill(client.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, client.pid, os.WSTOPPED)
    peer.connection.sendall(b"".join(peer.framed(12, struct.pack("<Q", number)) for number in range(1900)))
    peer.frames = hello
    peer.send(2, struct.pack("<HHI", 40, 0, 0) + os.urandom(32))
    while struct.unpack("i", fcntl.ioctl(peer.connection, termios.TIOCOUTQ, bytes(4)))[0]:
        time.sleep(0.001)  # until all of it is with the client
    os.kill(client.pid, signal.SIGCONT)
    kinds = [peer.frame()[0]]
    while kinds[-1] == 13:
        kinds.append(peer.frame()[0])
    assert kinds[-1] == 3, f"type {kinds[-1]} behind {len(kinds) - 1} PONGs"
    client.kill()


def main():
    clients = Clients(sys.argv[1:])
    accept = clients.accept
    client = clients.start(*(b"%d" % number for number in range(41, 541)))

    peer = accept()
    peer.shake(40)  # the client goes on with 41
    taken = take(peer, 41)
    peer.nack(1, 1, 41, 41)  # full: once more, from there on
    while take_again := peer.frame():
        kind, _, body = take_again
        if kind == 8 and struct.unpack_from("<Q", body)[0] == 41:
            break
    peer.send(9, struct.pack("<Q", 45))
    peer.connection.close()  # 46 is the next
    peer = accept()
    peer.shake(45)
    taken = taken[:5]
    refused = False
    while len(taken) < 500:
        taken += take(peer, 41 + len(taken))
        if not refused:
            peer.nack(130, 2, 46, 47)
            peer.send(12, struct.pack("<Q", 7))
            refused = True
        peer.send(9, struct.pack("<Q", taken[-1][0]))
    pong = peer.frame()
    assert pong[0] == 13 and struct.unpack("<Q", pong[2])[0] == 7, "no PONG"
    assert taken == [(number, b"%d" % number) for number in range(41, 541)], "the records"
    output, events = client.stdout.read(), client.stderr.read().decode()
    assert client.wait(120) == 0 and output.strip() == b"540", f"{output} {events}"
    assert "refused 46 130 no" in events, events

    client = clients.start(b"1")
    accept().shake(0, bytes(32))
    assert client.wait(120) != 0 and b"does not know the secret" in client.stderr.read()
    impostor(clients)
    replayed(clients)
    for window in 16_416, 100_000:
        flood(clients, window)
    print("as the page says")
    return 0


if __name__ == "__main__":
    sys.exit(main())
