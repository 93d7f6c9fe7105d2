#!/usr/bin/env python3
"""Writes the golden bytes from docs/log-format.md alone, without a line of Sluice: a second implementation."""
import pathlib
import struct

TABLE = []
for i in range(256):
    c = i
    for _ in range(8):
        c = (c >> 1) ^ (0x82F63B78 if c & 1 else 0)
    TABLE.append(c)


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for b in data:
        crc = (crc >> 8) ^ TABLE[(crc ^ b) & 0xFF]
    return crc ^ 0xFFFFFFFF


def pad(data, to=8):
    return data + bytes(-len(data) % to)


UUID = bytes.fromhex("0123456789ab4def8123456789abcdef")
SALT = 0x1122334455667788


def record(source, ingest, event, topic, key, headers, payload, producer=0, epoch=0, sequence=0, kind=1):
    part = struct.pack("<BBHIqQHHHH", 32, kind, 1 if headers else 0, len(payload), event, sequence,
                       len(topic), len(key), len(headers), 0)
    part += pad(topic + key + headers) + pad(payload)
    server = struct.pack("<IIqIHH", 24 + len(part), crc32c(part), ingest, producer, source, epoch)
    return server + part


def definition(kind, ident, name, high_water=0, epoch=0):
    return struct.pack("<HHIQHHI", kind, len(name), ident, high_water, epoch, 0, 0) + pad(name)


def segment_header():
    b = bytearray(4096)
    struct.pack_into("<8sIHHIIII16sQQQQIIQq24s", b, 0, b"SLUICLOG", 0, 1, 0, 0, 0, 0, 1, UUID, SALT, 1001, 501, 1000,
                     0xCAFEF00D, 0, 1001, 1700000000000000000, b"sluice")
    struct.pack_into("<I", b, 8, crc32c(b[:8] + b[12:]))
    return bytes(b)


def group(offset, first, durable, prev, wall, definitions, records, flags=0):
    body = b"".join(definitions) + b"".join(records)
    body_crc = crc32c(b"".join(definitions) + b"".join(r[:24] for r in records))
    h = bytearray(struct.pack("<IIQQIIIIqIIQ", 0x52474C53, 0, first, durable, len(body), len(records), body_crc, prev,
                              wall, sum(map(len, definitions)), flags, 0))
    struct.pack_into("<I", h, 4, crc32c(struct.pack("<QQ", SALT, offset) + h[:4] + h[8:]))
    return pad(bytes(h) + body, 4096)


def cursor_slot():
    entries = b""
    for name, lsn, updated in ((b"archive", 1003, 1700000000000000003), (b"pg", 7, 1700000000000000004)):
        entries += struct.pack("<QqH6s", lsn, updated, len(name), bytes(6)) + pad(name)
    b = bytearray(struct.pack("<8sIIQ16sQQqHHI", b"SLUICCUR", 0, 72 + len(entries), 5, UUID, 1002, 501,
                              1700000000000000005, 1, 2, 0) + entries)
    struct.pack_into("<I", b, 8, crc32c(b[:8] + b[12:]))
    return bytes(b)


def write(name, data):
    """Hex, 32 bytes a line; zeros at the end are left out, and the length says how many."""
    used = data.rstrip(b"\0")
    lines = ["length %d" % len(data)] + [used[i:i + 32].hex() for i in range(0, len(used), 32)]
    (pathlib.Path(__file__).parent / name).write_text("\n".join(lines) + "\n")


header = segment_header()
first = record(1, 1700000000000000001, -5, b"audit.login", b"k1", bytes([1]) + b"a" + struct.pack("<H", 2) + b"xy",
               b'{"message":"hello"}')
second = record(2, 1700000000000000002, 1699999999999999999, b"", b"", b"", b"x", producer=9, epoch=3, sequence=42)
names = [definition(1, 1, b"api"), definition(1, 2, b"modules"), definition(2, 9, b"pump-7", 41, 3)]
one = group(4096, 1001, 1000, struct.unpack_from("<I", header, 8)[0], 1700000000000000002, names, [first, second])
two = group(8192, 1003, 1002, struct.unpack_from("<I", one, 4)[0], 1700000000020000000, [], [], flags=2)
three = group(12288, 1003, 1002, struct.unpack_from("<I", two, 4)[0], 1700000001000000000, [], [], flags=1)
write("record.hex", first)
write("consumed.hex", record(2, 1700000000000000003, 1700000000000000003, b"", b"", b"", b"", 9, 3, 43, kind=2))
write("segment-header.hex", header)
write("definitions.hex", b"".join(names))
write("group.hex", one)
write("idle-marker.hex", two)
write("seal.hex", three)
write("segment.hex", header + one + two + three)
write("cursor-slot.hex", cursor_slot())
