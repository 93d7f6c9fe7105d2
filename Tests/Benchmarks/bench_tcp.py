"""Framed TCP at 128 B from one connection, beside a bare C loop that receives, checks, copies, writes, syncs and acknowledges.

In interleaved rounds, tcp_load against
- C, warm: the file's blocks were written before
- C, cold: they are merely allocated, as the daemon's segments are
- sluice, fsync: with a disk subscriber; CPU of the threads by name until its cursor is at the last record
- sluice, journal alone: the same without a subscriber
each into new segments (cold) and into those that retention lets go and the log takes again (warm): there it has gone round
before the run begins, and the segments are looked at.
"""

import json
import pathlib
import subprocess
import urllib.request

from bench_report import spread
from bench_server import Server, free_port

REFERENCE_BYTES = 4 << 30
WARM_RETAIN_MIB, RECYCLED_OFFSET = 512, 16
CPU_BUDGET_US, THROUGH_BUDGET_US = 0.15, 0.5


def load(a, port, seconds, rate=None):
    """One run of tcp_load, in an open loop if there is a rate; it fails if not everything was acknowledged."""
    command = [a.tools / "tcp_load", "127.0.0.1", port, seconds, a.tcp_size]
    if rate:
        command += [65536, "tcp_load", rate]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if not done.stdout:
        raise SystemExit(f"tcp_load: {done.stderr}")
    return json.loads(done.stdout)


class Framed(Server):
    """The daemon with one stream, one framed source and, if wanted, a disk subscriber."""

    def __init__(self, a, scratch, subscriber, warm):
        self.port, self.admin = free_port(), free_port()
        self.directory = scratch / f"framed-{self.port}"
        self.directory.mkdir()
        archive = "{ archive: { plugin: disk, streams: [ events ], config: { path: ./out, format: raw } } }"
        topology = self.directory / "bench.yaml"
        topology.write_text(
            f"""sluice: 1
daemon: {{ data: ./data, admin: "127.0.0.1:{self.admin}" }}
streams:
  events: {{ durability: fsync, ring: 128MiB, retain: {{ bytes: {f"{WARM_RETAIN_MIB}MiB" if warm else "16GiB"} }} }}
sources:
  modules: {{ type: tcp, listen: "127.0.0.1:{self.port}", stream: events }}
subscribers: {archive if subscriber else "{}"}
"""
        )
        self.start([a.sluice.resolve(), "run", "-c", topology], self.directory / "log")

    def metric(self, name):
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin}/metrics", headers={"Accept": "text/plain"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + "{"):
                    return float(line.rsplit(" ", 1)[1])
        return 0.0

    def delivered(self):
        return self.metric("sluice_subscriber_acked_records_total")

    def recycled(self):
        """How many of the segments are files that have been one before: bit 0 of `compat`, docs/log-format.md."""
        return sum(self.flag(path) for path in (self.directory / "data/streams/events").glob("*.slog"))

    @staticmethod
    def flag(path):
        try:
            with open(path, "rb") as segment:
                return int.from_bytes(segment.read(RECYCLED_OFFSET + 4)[RECYCLED_OFFSET:], "little") & 1
        except FileNotFoundError:
            return 0

    def go_round(self, a):
        """Writes until every segment has been one before."""
        while self.metric("sluice_stream_written_bytes_total") < 3 * WARM_RETAIN_MIB << 20:
            load(a, self.port, a.warmup)
        if not self.recycled():
            raise SystemExit("the log went round and no segment was recycled")

    def threads(self):
        """Nanoseconds by kind of thread."""
        used = {}
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                name = (task / "comm").read_text().strip()
                kind = name.split("-")[0].split(" ")[0]
                used[kind] = used.get(kind, 0) + self.run_time(task)
            except OSError:
                pass
        return used


def reference(a, scratch, seconds, cold):
    port = free_port()
    command = [a.tools / "tcp_reference", port, scratch / "reference", REFERENCE_BYTES] + (["cold"] if cold else [])
    server = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = server.stderr.readline()
    if line != "listening\n":
        raise SystemExit(f"tcp_reference: {line}")
    result = load(a, port, seconds)
    out, _ = server.communicate(timeout=120)
    return result, json.loads(out)


def daemon(a, scratch, seconds, subscriber, warm):
    with Framed(a, scratch, subscriber, warm) as server:
        load(a, server.port, a.warmup)
        if warm:
            server.go_round(a)
        before = server.threads()
        result = load(a, server.port, seconds)
        ingest = server.threads()
        total = server.metric("sluice_stream_records_total")
        if subscriber:
            server.wait(lambda: server.delivered() >= total, "deliver all records")
        after = server.threads()
    records = result["records"]
    row = {kind: (ingest[kind] - before.get(kind, 0)) / records / 1e3 for kind in ingest if kind != "sub"}
    row["sub"] = (after.get("sub", 0) - before.get("sub", 0)) / records / 1e3
    row["all"] = sum((after[kind] - before.get(kind, 0)) / records / 1e3 for kind in after)
    return result, row


def tcp_rounds(a, report, scratch):
    seconds = a.tcp_seconds or (3 if a.quick else 30)
    rows = {}

    def add(name, result, ingest, commit, sub="", total=""):
        rows.setdefault(name, []).append((result, ingest, commit, sub, total))
        report.raw["runs"].append({"name": name, "load": result, "cpu_us": [ingest, commit, sub, total]})

    for number in range(a.tcp_rounds or (1 if a.quick else 3)):
        for cold in [False, True]:
            name = "C, cold" if cold else "C, warm"
            print(f"framed TCP round {number + 1}: {name}", flush=True)
            result, cost = reference(a, scratch, seconds, cold)
            add(name, result, cost["ingest_cpu_us_per_record"], cost["commit_cpu_us_per_record"])
        for subscriber, warm in [(True, False), (True, True), (False, False), (False, True)]:
            name = ("sluice, fsync" if subscriber else "sluice, journal alone") + (", warm" if warm else ", cold")
            print(f"framed TCP round {number + 1}: {name}", flush=True)
            result, cost = daemon(a, scratch, seconds, subscriber, warm)
            add(name, result, cost.get("http", 0), cost.get("commit", 0), cost.get("sub", 0), cost["all"])
    report.sections.append(table(a, seconds, rows))


def table(a, seconds, rows):
    lines = [
        f"### Framed TCP, one connection, {a.tcp_size} B payload, {seconds:g} s",
        "",
        f"Budgets: event loop ≤ {CPU_BUDGET_US} µs per record, all threads to the file ≤ {THROUGH_BUDGET_US} µs.",
        "",
        "| server | records/s | event loop µs | commit µs | subscriber µs | all threads µs | ack p99 ms | refused frames |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, runs in rows.items():
        column = [[run[i] for run in runs] for i in range(5)]
        rates = [run["records_per_second"] for run in column[0]]
        p99 = [run["ack_us"]["p99"] / 1e3 for run in column[0]]
        nacks = sum(run["nacks"] for run in column[0])
        cells = [spread(values, 3) if values[0] != "" else "–" for values in column[1:]]
        lines.append(f"| {name} | {spread(rates, 0)} | " + " | ".join(cells) + f" | {spread(p99, 1)} | {nacks} |")
    return [*lines, ""]
