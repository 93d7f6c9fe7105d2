"""The journal alone, beside a bare C program that writes and syncs groups of 4 MiB. Figures are of one process each, in
interleaved rounds; a subscriber that settles everything is attached throughout, on a thread of its own."""

import json
import shutil
import statistics
import subprocess

from bench_report import spread

SIZES = [64, 128, 1024, 16384]
RATES = [1_000, 50_000, 500_000]
STREAMS = [1, 4, 16]
REFERENCE_GROUP = 4 << 20
# A record has 56 bytes of fixed parts beside its payload.
FIXED_BYTES = 56


class Tools:
    def __init__(self, a, scratch):
        self.bench = a.sluice.parent / "journal-bench"
        self.reference = a.tools / "journal_reference"
        self.directory = scratch / "journal"

    def _run(self, command):
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        return self.again(command)

    @staticmethod
    def again(command):
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def log(self, mode, **values):
        return self._run(self.command(mode, **values))

    def command(self, mode, **values):
        return [self.bench, mode, f"dir={self.directory}", *(f"{k}={v}" for k, v in values.items())]

    def bare(self, *arguments):
        return self._run([self.reference, arguments[0], self.directory, *map(str, arguments[1:])])


def throughput(a, tools, rounds, seconds):
    rows = {}
    for number in range(rounds):
        for warm in (0, 1):
            print(f"journal round {number + 1}/{rounds}: {'warm' if warm else 'cold'}", flush=True)
            bare = tools.bare("throughput", REFERENCE_GROUP, seconds, "warm" if warm else "cold")
            for size in SIZES:
                run = tools.log("throughput", size=size, seconds=seconds, warm=warm)
                rate = run["bytes"] / run["seconds"]
                cpu = {k: run["cpu"].get(k, 0) / run["records"] * 1e6 for k in ("produce", "commit", "sub")}
                rows.setdefault((size, warm), []).append(
                    (rate / 1e6, run["records"] / run["seconds"], rate / (bare["bytes"] / bare["seconds"]), cpu)
                )
    lines = [
        f"### Journal, fsync, one lane, one subscriber that settles, {rounds} interleaved rounds of {seconds:g} s",
        "",
        "| payload | blocks | MB/s of records | records/s | beside the bare program | append µs | commit µs | subscriber µs |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for (size, warm), runs in rows.items():
        column = [spread([r[i] for r in runs], d) for i, d in ((0, 0), (1, 0), (2, 2))]
        cpu = [f"{statistics.median(r[3][k] for r in runs):.3f}" for k in ("produce", "commit", "sub")]
        lines.append(f"| {size} B | {'warm' if warm else 'cold'} | {' | '.join(column)}× | {' | '.join(cpu)} |")
    return [*lines, ""]


def latency(a, tools, rounds, seconds):
    rows = {}
    for number in range(rounds):
        for rate in RATES:
            print(f"journal latency round {number + 1}/{rounds}: {rate}/s", flush=True)
            bare = tools.bare("latency", 128 + FIXED_BYTES, rate, seconds)["latency_us"]
            log = tools.log("latency", size=128, rate=rate, seconds=seconds)["latency_us"]
            rows.setdefault(rate, []).append((log["p50"], log["p99"], bare["p50"], bare["p99"]))
    lines = [
        "### Commit latency of the journal, open loop, 128 B, warm, from when a record was due",
        "",
        "| due/s | p50 µs | p99 µs | bare program p50 µs | p99 µs |",
        "|---:|---:|---:|---:|---:|",
    ]
    for rate, runs in rows.items():
        lines.append(f"| {rate:,} | " + " | ".join(spread([r[i] for r in runs], 0) for i in range(4)) + " |")
    return [*lines, ""]


def others(a, tools, seconds):
    lines = ["### Streams, recovery, memory", "", "| what | figure |", "|---|---|"]
    for streams in STREAMS:
        print(f"journal: {streams} streams", flush=True)
        run = tools.log("throughput", size=128, seconds=seconds, streams=streams)
        lines.append(f"| {streams} streams, 128 B, cold | {run['records'] / run['seconds']:,.0f} records/s |")
    for size in [1] if a.quick else [1, 16, *([64] if free_gib(tools) > 70 else [])]:
        print(f"journal: recovery with {size} GiB", flush=True)
        made = tools.log("fill", size=16384, bytes=size << 30)
        run = tools.again(tools.command("recover"))
        lines.append(
            f"| recovery after a kill, {made['bytes'] / 2**30:.1f} GiB in {made['segments']} segments "
            f"| {run['seconds'] * 1e3:.0f} ms, {run['bytes_scanned'] / 2**20:.0f} MiB read, tail {run['tail']} |"
        )
    run = tools.log("stalled", size=1024, seconds=seconds)
    lines.append(
        f"| one subscriber that settles nothing and holds {run['held'] >> 20} MiB, another that goes on "
        f"| {run['resident'] / 2**20:.0f} MiB resident, ring {run['ring'] >> 20} MiB |"
    )
    return [*lines, ""]


def free_gib(tools):
    tools.directory.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(tools.directory).free >> 30


def journal_rounds(a, report, scratch):
    tools = Tools(a, scratch)
    rounds = 2 if a.quick else a.rounds
    seconds = 1.0 if a.quick else 3.0
    report.sections.append(throughput(a, tools, rounds, seconds))
    report.sections.append(latency(a, tools, rounds, seconds))
    report.sections.append(others(a, tools, seconds))
    shutil.rmtree(tools.directory, ignore_errors=True)
