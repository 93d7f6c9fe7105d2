#!/usr/bin/env python3
"""Writes the golden frames of docs/wire-protocol.md; `--check` only compares. Standard library only.

A file's name says what it is: session, place in it, side that sends it, that side's frame counter, frame. For example
`plain-03-client-1-data.hex` is the third frame of the session "plain", sent by the client as its frame number 1.
"""

import hashlib
import hmac
import pathlib
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from sluice_bytes import crc32c, dump, headers, pad8, producer_part, write_or_check  # noqa: E402

HELLO, CHALLENGE, PROOF, WELCOME, OPEN, OPENED, CLOSE, DATA, ACK, NACK, CREDIT, PING, PONG, GOAWAY, BYE, ERROR = range(
    1, 17
)
CLIENT, SERVER = 1, 2
MAGIC = b"SLUICE\r\n"
HEADER = [(4, "length"), (1, "type"), (1, "flags"), (2, "channel"), (4, "count"), (4, "body_crc"), (4, "reserved")]
TIME = 1_700_000_000_000_000_000
SECRET = bytes(range(32))


def strings(*named):
    """The bytes of (name, text) pairs one after the other, padded to 8, and their notes."""
    data = b"".join(text for _, text in named)
    notes = [(len(text), f'{name} "{text.decode()}"') for name, text in named if text]
    if len(data) % 8:
        notes.append((-len(data) % 8, "padding"))
    return pad8(data), notes


class Connection:
    """Counts the frames of both sides, keeps them for the handshake's hashes, and collects the files."""

    def __init__(self, name, tag=None):
        self.name, self.tag, self.counters = name, tag, {CLIENT: 0, SERVER: 0}
        self.frames, self.files, self.key = [], {}, None

    def send(self, side, kind, name, body, notes, channel=0, count=0, covered=None, title=""):
        counter = self.counters[side]
        self.counters[side] += 1
        trailer = 32 if self.key is not None else 0
        bound = struct.pack("<QQ", side, counter)
        body_crc = crc32c(body if covered is None else covered)
        head = struct.pack("<IBBHIII", 24 + len(body) + trailer, kind, 0, channel, count, body_crc, 0)
        frame = head + struct.pack("<I", crc32c(bound + head)) + body
        notes = HEADER + [(4, "head_crc")] + notes
        if trailer:
            frame += hmac.digest(self.key, bound + frame, "sha256")
            notes = notes + [(32, "tag: HMAC-SHA256 under the session key")]
        self.frames.append(frame)
        who = {CLIENT: "client", SERVER: "server"}[side]
        file = f"{self.name}-{len(self.frames):02}-{who}-{counter}-{name}.hex"
        self.files[file] = f"# {title}\n" + dump(frame, notes)
        return frame

    def hello(self, stream, producer, epoch, integrity=1, auth=0, identity=b"", nonce=bytes(32), title=""):
        texts = [("stream", stream), ("producer", producer), ("identity", identity), ("credential", b""),
                 ("fingerprint", b""), ("software", b"example/1")]  # fmt: skip
        tail, tail_notes = strings(*texts)
        lengths = [len(text) for _, text in texts]
        body = MAGIC + struct.pack("<HBBBBHIII6H", 72, 1, 1, integrity, auth, epoch, 0, 0, 65536, *lengths) + nonce
        notes = [(8, "magic"), (2, "fixed_len"), (1, "version_min"), (1, "version_max"), (1, "integrity"),
                 (1, "auth"), (2, "epoch"), (4, "features_wanted"), (4, "features_required"), (4, "max_frame")]  # fmt: skip
        notes += [(2, f"{name}_len") for name, _ in texts] + [(32, "client_nonce")]
        self.send(CLIENT, HELLO, "hello", body + tail, notes + tail_notes, title=title)

    def welcome(self, stream, last, integrity=1, signature=bytes(32), title=""):
        tail, tail_notes = strings(("stream", stream), ("software", b"sluice/1"))
        body = struct.pack("<HBBBBHIIIIQqQQHHI", 112, 1, 3, integrity, 0, 256, 0, 2 << 20, (1 << 20) - 24, 60_000,
                           last, TIME, 4 << 20, 10_000, len(stream), 8, 0)  # fmt: skip
        body += bytes.fromhex("00112233445546778899aabbccddeeff") + signature
        notes = [(2, "fixed_len"), (1, "version"), (1, "durability: fsync"), (1, "integrity"), (1, "zero"),
                 (2, "max_channels"), (4, "features"), (4, "max_frame"), (4, "max_part"), (4, "idle_timeout_ms"),
                 (8, "last_sequence"), (8, "server_time"), (8, "credit_bytes"), (8, "credit_records"),
                 (2, "stream_len"), (2, "software_len"), (4, "zero"), (16, "log_uuid"), (32, "server_signature")]  # fmt: skip
        self.send(SERVER, WELCOME, "welcome", body + tail, notes + tail_notes, title=title)

    def data(self, first, parts, channel=0, title=""):
        prefixes = [struct.pack("<II", len(part), crc32c(part)) for part in parts]
        start = struct.pack("<Q", first)
        notes = [(8, "first_sequence")]
        for part in parts:
            notes += [(4, "record: length"), (4, "record: crc32c"), (len(part), "record: producer part")]
        body = start + b"".join(a + b for a, b in zip(prefixes, parts))
        return self.send(CLIENT, DATA, "data", body, notes, channel, len(parts), start + b"".join(prefixes), title)

    def numbers(self, side, kind, name, values, channel=0, title=""):
        """A frame of u64 fields: ACK, CREDIT, PING, PONG."""
        body = b"".join(struct.pack("<Q", value) for _, value in values)
        self.send(side, kind, name, body, [(8, field) for field, _ in values], channel, title=title)

    def nack(self, code, permanent, sequence, expected, retry_ms, text, channel=0, title=""):
        tail, tail_notes = strings(("text", text))
        body = struct.pack("<HHBBHQQII", 32, code, 2 if permanent else 1, 0, len(text), sequence, expected, retry_ms, 0)
        notes = [(2, "fixed_len"), (2, "code"), (1, "class"), (1, "zero"), (2, "text_len"), (8, "sequence"),
                 (8, "expected"), (4, "retry_after_ms"), (4, "zero")]  # fmt: skip
        self.send(SERVER, NACK, "nack", body + tail, notes + tail_notes, channel, title=title)

    def notice(self, side, kind, name, code, text, scope=1, value=0, retry_ms=0, channel=0, title=""):
        """GOAWAY, BYE and ERROR."""
        tail, tail_notes = strings(("text", text))
        body = struct.pack("<HHBBHIIQ", 24, code, scope, 0, len(text), retry_ms, 0, value)
        notes = [(2, "fixed_len"), (2, "code"), (1, "scope"), (1, "zero"), (2, "text_len"), (4, "retry_after_ms"),
                 (4, "zero"), (8, "value")]  # fmt: skip
        self.send(side, kind, name, body + tail, notes + tail_notes, channel, title=title)

    def open(self, channel, producer, epoch, last, title=""):
        tail, tail_notes = strings(("producer", producer))
        notes = [(2, "fixed_len"), (2, "epoch"), (2, "producer_len"), (2, "zero")]
        self.send(CLIENT, OPEN, "open", struct.pack("<HHHH", 8, epoch, len(producer), 0) + tail, notes + tail_notes,
                  channel, title=title)  # fmt: skip
        notes = [(2, "fixed_len"), (2, "epoch"), (4, "zero"), (8, "last_sequence")]
        self.send(SERVER, OPENED, "opened", struct.pack("<HHIQ", 16, epoch, 0, last), notes, channel,
                  title="The server knows nothing of this producer: its first sequence is 1.")  # fmt: skip


def part(sequence, message):
    return producer_part(TIME + sequence, sequence, message, topic=b"press")


def plain():
    """No authentication, integrity crc32c: a whole session with a gap and a second producer."""
    c = Connection("plain")
    c.hello(b"events", b"press-7", 1, title="The client names the stream, its producer and the producer's epoch.")
    c.welcome(b"events", 40, title="Record 40 was the producer's last that is durable: the client goes on with 41.")
    c.data(41, [part(41, b"open"), part(42, b"closed")], title="Two records, 41 and 42.")
    c.numbers(SERVER, ACK, "ack", [("sequence", 42)], title="Both are on the disk.")
    c.data(44, [part(44, b"open")], title="Record 43 got lost in the client: a gap.")
    c.nack(6, False, 44, 43, 0, b"expected 43", title="The server wants 43 and discards what comes until then.")
    c.data(43, [part(43, b"jam"), part(44, b"open")], title="The client goes back to 43.")
    c.numbers(SERVER, ACK, "ack", [("sequence", 44)], title="All of it is on the disk.")
    c.numbers(SERVER, CREDIT, "credit", [("bytes", 8 << 20), ("records", 20_000)], title="Room for more.")
    c.open(1, b"press-8", 3, 0, title="A second producer on the same connection, as channel 1.")
    with_headers = producer_part(TIME, 1, b"oiled", b"press", b"line-2", headers((b"by", b"ada")))
    c.data(1, [with_headers], channel=1, title="Its first record, with a key and a header.")
    c.numbers(SERVER, ACK, "ack", [("sequence", 1)], channel=1, title="Acks are per channel.")
    c.send(CLIENT, CLOSE, "close", b"", [], channel=1, title="Channel 1 sends no more.")
    c.send(SERVER, CLOSE, "close", b"", [], channel=1, title="Everything on channel 1 is answered; it may be reused.")
    c.numbers(CLIENT, PING, "ping", [("token", 7)], title="Still there?")
    c.numbers(SERVER, PONG, "pong", [("token", 7)], title="Still here.")
    c.notice(CLIENT, BYE, "bye", 0, b"", title="The client sends no more.")
    c.notice(SERVER, BYE, "bye", 0, b"", title="Everything is answered; both sides close.")
    return c.files


def auth():
    """Challenge-response and hmac-sha256: the handshake, one record, its ack."""
    c = Connection("auth")
    client_nonce = hashlib.sha256(b"client nonce").digest()
    server_nonce = hashlib.sha256(b"server nonce").digest()
    sign = lambda key, data: hmac.digest(key, data, "sha256")  # noqa: E731
    client_key, server_key = sign(SECRET, b"sluice client key 1"), sign(SECRET, b"sluice server key 1")
    stored_key = hashlib.sha256(client_key).digest()
    c.hello(b"events", b"press-7", 1, 3, 2, b"press-7", client_nonce,
            title="The secret of the identity press-7 is the bytes 00 01 … 1f.")  # fmt: skip
    c.send(SERVER, CHALLENGE, "challenge", struct.pack("<HHI", 40, 0, 0) + server_nonce,
           [(2, "fixed_len"), (2, "zero"), (4, "zero"), (32, "server_nonce")], title="The server's nonce.")  # fmt: skip
    signature = sign(stored_key, hashlib.sha256(b"".join(c.frames)).digest())
    proof = bytes(a ^ b for a, b in zip(client_key, signature))
    c.send(CLIENT, PROOF, "proof", struct.pack("<HHI", 40, 0, 0) + proof,
           [(2, "fixed_len"), (2, "zero"), (4, "zero"), (32, "client_proof")], title="The client's proof.")  # fmt: skip
    transcript = hashlib.sha256(b"".join(c.frames)).digest()
    c.key = sign(client_key + server_key, b"sluice session key 1" + transcript)
    c.welcome(b"events", 0, 3, sign(server_key, transcript),
              title="The server proves itself; from here on every frame carries a tag.")  # fmt: skip
    c.data(1, [part(1, b"open")], title="A record under the tag.")
    c.numbers(SERVER, ACK, "ack", [("sequence", 1)], title="An ack that nobody else could have made.")
    return c.files


def refused():
    """What a server answers to a hello it can't serve."""
    c = Connection("refused")
    c.hello(b"nothing", b"press-7", 1, title="A stream that the source does not feed.")
    c.notice(SERVER, ERROR, "error", 11, b"no stream nothing", title="stream_unknown; the server closes.")
    return c.files


FILES = plain() | auth() | refused()

if __name__ == "__main__":
    sys.exit(write_or_check(pathlib.Path(__file__).resolve().parent, FILES))
