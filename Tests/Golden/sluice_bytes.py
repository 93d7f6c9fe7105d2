"""The record and its checksum, written from docs/log-format.md and docs/wire-protocol.md alone.

Shares no code with the daemon: where its bytes and the daemon's agree, both read the pages the same way.
Standard library only.
"""

import pathlib
import struct
import sys

TABLE = []
for n in range(256):
    for _ in range(8):
        n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def crc32c(data, crc=0):
    """CRC-32C (Castagnoli); pass an earlier result to go on from it."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


def pad8(data):
    """The bytes and zeros up to a multiple of 8."""
    return data + bytes(-len(data) % 8)


def headers(*pairs):
    """Record headers: u8 name_len, name, u16 value_len, value each."""
    return b"".join(
        struct.pack("<B", len(name)) + name + struct.pack("<H", len(value)) + value for name, value in pairs
    )


def producer_part(event_time, sequence, payload, topic=b"", key=b"", head=b""):
    """What a producer makes and its checksum covers."""
    fixed = struct.pack(
        "<BBHIqQHHHH", 32, 1, 1 if head else 0, len(payload), event_time, sequence, len(topic), len(key), len(head), 0
    )
    return fixed + pad8(topic + key + head) + pad8(payload)


def record(part, ingest_time, producer=0, source=0, epoch=0):
    """A whole record as it stands in the log: server part, then producer part."""
    server = struct.pack("<IIqIHH", 24 + len(part), crc32c(part), ingest_time, producer, source, epoch)
    return server + part


def dump(data, notes):
    """Hex with a note per field. `notes` is [(length, text)]; lengths add up to the data's, a field of None bytes
    takes what is left."""
    lines, at = [], 0
    for length, text in notes:
        chunk = data[at:] if length is None else data[at : at + length]
        at += len(chunk)
        for row in range(0, max(len(chunk), 1), 16):
            digits = chunk[row : row + 16].hex(" ")
            lines.append(f"{digits:<48}# {text}" if row == 0 else digits)
    assert at == len(data), (at, len(data))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def write_or_check(folder, files):
    """Writes `files` ({name: text}), or with --check says which of them differ from what is there. Exit status."""
    folder = pathlib.Path(folder)
    if "--check" not in sys.argv[1:]:
        for name, text in files.items():
            (folder / name).write_text(text)
        print(f"wrote {len(files)} files")
        return 0
    stale = [n for n, t in files.items() if not (folder / n).exists() or (folder / n).read_text() != t]
    extra = sorted({p.name for p in folder.glob("*.hex")} - set(files))
    for name in stale + extra:
        print(f"{folder / name}: differs from what this script makes", file=sys.stderr)
    return 1 if stale or extra else 0
