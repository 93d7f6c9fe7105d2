#!/usr/bin/env python3
"""Writes the golden records; `--check` only compares. See README.md beside this file."""

import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from sluice_bytes import dump, headers, pad8, producer_part, record, write_or_check  # noqa: E402

EVENT = 1_700_000_000_123_456_789
INGEST = 1_700_000_000_200_000_000


def notes(topic=b"", key=b"", head=b"", payload=b""):
    rows = [
        (4, "length"), (4, "crc32c of everything from header_len on"), (8, "ingest_time"), (4, "producer"),
        (2, "source"), (2, "producer_epoch"), (1, "header_len"), (1, "type: data"), (2, "flags"), (4, "payload_len"),
        (8, "event_time"), (8, "sequence"), (2, "topic_len"), (2, "key_len"), (2, "headers_len"), (2, "reserved"),
    ]  # fmt: skip
    rows += [(len(topic), "topic")] if topic else []
    rows += [(len(key), "key")] if key else []
    rows += [(len(head), "headers")] if head else []
    metadata = topic + key + head
    rows += [(len(pad8(metadata)) - len(metadata), "padding")] if len(metadata) % 8 else []
    rows += [(len(payload), "payload")] if payload else []
    rows += [(None, "padding")] if len(payload) % 8 else []
    return rows


def one(title, ingest=(0, 0, 0), sequence=0, event=EVENT, payload=b"", **metadata):
    producer, source, epoch = ingest
    data = record(producer_part(event, sequence, payload, **metadata), INGEST, producer, source, epoch)
    return f"# {title}\n" + dump(data, notes(payload=payload, **metadata))


FILES = {
    "empty.hex": one("The smallest record: no topic, no key, no headers, no payload."),
    "http.hex": one(
        "What POST /log makes of a message: anonymous, the payload is the body as sent.",
        (0, 3, 0), topic=b"web", payload=b'{"message":"hello"}',
    ),
    "full.hex": one(
        "Everything at once: a named producer, topic, key, two headers, and both paddings.",
        (7, 2, 5), sequence=42, topic=b"audit.login", key=b"user-17",
        head=headers((b"trace", b"4bf92f35"), (b"", b"")), payload=b"\x00\x01\xfe\xff\x80",
    ),
    "aligned.hex": one(
        "Nothing needs padding: 8 bytes of metadata, 16 of payload; the largest numbers in every field.",
        (2**32 - 1, 2**16 - 1, 2**16 - 1), sequence=2**64 - 1, event=-1, topic=b"eight--8", payload=b"sixteen bytes 16",
    ),
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(write_or_check(pathlib.Path(__file__).resolve().parent, FILES))
