#!/usr/bin/env python3
"""Gate: once connections are up, neither POST /log (also with compressed bodies) nor POST /logs nor framed TCP allocates per
record: not where requests are read, not where records are committed, not where they are delivered. Counts, not times, so it holds on any machine.

usage: ingest_allocations.py SLUICE TOOLS     (the executable, a release build; the folder of http_load, tcp_load, malloc_count.so)
"""

import gzip
import json
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench_server import Server, group_of  # noqa: E402

# What a connection, a commit, a batch or a segment needs now and then may be this part of the records. A body that comes in many
# reads is gathered in a buffer that grows, which is some 15 allocations for its 500 lines.
MOST = {"POST /log": 0.1, "POST /log, gzip": 0.1, "POST /log, zstd": 0.1, "POST /logs": 0.05, "framed TCP": 0.01}
GROUPS = ("ingest", "delivery")
TOPOLOGY = """sluice: 1
daemon: { data: ./data }
streams:
  events: { durability: fsync, retain: { bytes: 4GiB } }
sources:
  api: { type: http, listen: "127.0.0.1:0", stream: events }
  modules: { type: tcp, listen: "127.0.0.1:0", stream: events }
subscribers:
  archive: { plugin: disk, streams: [ events ], config: { path: ./out, format: raw } }
"""


class Counted(Server):
    def __init__(self, sluice, tools, scratch):
        topology = scratch / "gate.yaml"
        topology.write_text(TOPOLOGY)
        self.counters = scratch / "counters"
        environment = {"LD_PRELOAD": str(tools / "malloc_count.so"), "SLUICE_MALLOC_COUNT": str(self.counters)}
        self.start([sluice, "run", "-c", topology], scratch / "log", environment)
        ports = self.ports()
        self.port, self.tcp = ports["api"], ports["modules"]

    def ports(self):
        """Where the sources listen, as the daemon's log has it: by the name of the source."""
        found = {}
        # The last line may not be whole yet.
        for line in self.log.read_text(errors="replace").split("\n")[:-1]:
            source, port = re.search(r"\bsource=(\S+)", line), re.search(r"\baddress=\S*:(\d+)", line)
            if "listening" in line and source and port:
                found[source[1]] = int(port[1])
        return found

    def answers(self):
        """Both sources listen."""
        return self.ports().keys() >= {"api", "modules"}

    def allocations(self):
        """Allocations since the start, by group of threads."""
        data, counts = self.counters.read_bytes(), {}
        for at in range(0, len(data), 64):
            number, _, thread = struct.unpack_from("<QQQ", data, at)
            comm = pathlib.Path(f"/proc/{self.process.pid}/task/{thread}/comm")
            if number and comm.exists():
                group = group_of(comm.read_text().strip())
                counts[group] = counts.get(group, 0) + number
        return counts


def http(tools, port, *options):
    """Records that were accepted."""
    command = [tools / "http_load", "--port", port, *options]
    result = json.loads(subprocess.run([str(w) for w in command], check=True, capture_output=True, text=True).stdout)
    if set(result["status"]) != {"202"}:
        sys.exit(f"http_load: answered {result['status']}")
    return result["answered"]


def compressed(port, coding, count, at_a_time=250):
    """The same for bodies in a coding, pipelined on one connection."""
    text = json.dumps({"message": "hello " * 20}).encode()
    # zstd: a single segment of one raw block, which is the last.
    frame = b"\x28\xb5\x2f\xfd\x20" + bytes([len(text)]) + struct.pack("<I", 1 | len(text) << 3)[:3] + text
    body = gzip.compress(text) if coding == "gzip" else frame
    head = f"POST /log HTTP/1.1\r\nHost: x\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
    requests = (head.encode() + body) * at_a_time
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as answers:
        for _ in range(count // at_a_time):
            connection.sendall(requests)
            for _ in range(at_a_time):
                status = answers.readline()
                if b" 202 " not in status:
                    sys.exit(f"{coding}: answered {status}")
                while answers.readline() != b"\r\n":
                    pass
    return count


def tcp(tools, port, seconds):
    command = [tools / "tcp_load", "127.0.0.1", port, seconds, 128]
    return json.loads(subprocess.run([str(w) for w in command], check=True, capture_output=True, text=True).stdout)["records"]


def main():
    sluice, tools = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
    failed = False
    with tempfile.TemporaryDirectory(prefix="sluice-ingest-allocations-") as scratch:
        with Counted(sluice, tools, pathlib.Path(scratch)) as server:
            lines = 500
            loads = {
                "POST /log": lambda: http(tools, server.port, "--count", 120_000, "--connections", 32),
                "POST /log, gzip": lambda: compressed(server.port, "gzip", 30_000),
                "POST /log, zstd": lambda: compressed(server.port, "zstd", 30_000),
                "POST /logs": lambda: lines * http(
                    tools, server.port, "--count", 400, "--connections", 4, "--path", "/logs", "--lines", lines),
                "framed TCP": lambda: tcp(tools, server.tcp, 1),
            }  # fmt: skip
            for name, load in loads.items():
                load()
                before = server.allocations()
                if not before.get("ingest"):
                    sys.exit("no allocations were counted: the preload did not work")
                count = load()
                after = server.allocations()
                per = {group: (after.get(group, 0) - before.get(group, 0)) / count for group in GROUPS}
                shown = ", ".join(f"{group} {per[group]:.5f}" for group in GROUPS)
                print(f"{name}: {count:,} records; allocations a record: {shown}")
                if any(value > MOST[name] for value in per.values()):
                    failed = True
                    print(f"{name}: more than {MOST[name]} allocations a record")
    sys.exit(1 if failed else 0)


main()
