#!/usr/bin/env python3
"""POST /log beside a bare epoll responder, in interleaved rounds. `scripts/bench --help` says how to run it.

What is measured, and how:
- CPU per request: run time of the server's threads (/proc/<pid>/task/*/schedstat, else stat) between two moments at which
  no request is under way, by thread name: "http-*" and "commit*" are the ingest side, "sub *" is delivery.
- Allocations per request: difference of the preloaded counter between the same two moments, in a run of its own.
- Durable ack latency: open loop, from when a request or a record was due, over HTTP and from one framed connection; beside
  it raw fdatasync, before and after each run.
- Every run with a disk subscriber attached; a run counts only if its output holds every record that was answered 202.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench_bodies import body_rounds  # noqa: E402
from bench_crowd import crowd_rounds  # noqa: E402
from bench_journal import journal_rounds  # noqa: E402
from bench_latency import latency_rounds  # noqa: E402
from bench_parts import host_rounds, json_rounds  # noqa: E402
from bench_postgres import postgres_rounds  # noqa: E402
from bench_report import Report  # noqa: E402
from bench_tcp import tcp_rounds  # noqa: E402
from bench_server import Load, Responder, Sluice  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


def arguments():
    p = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--quick", action="store_true", help="two short rounds: to see that it works, not to quote")
    p.add_argument("--rounds", type=int, help="interleaved rounds (default 5)")
    p.add_argument("--seconds", type=float, help="measured seconds of a run (default 5)")
    p.add_argument("--connections", type=int, default=64)
    p.add_argument("--size", type=int, default=128, help="bytes of the message (default 128)")
    p.add_argument("--rates", type=int, nargs="*", default=[5_000, 20_000, 50_000], help="open-loop rates for latency")
    p.add_argument("--tcp-size", type=int, default=128, help="bytes of a framed record's payload (default 128)")
    p.add_argument("--tcp-seconds", type=float, help="seconds of a framed run (default 30)")
    p.add_argument("--tcp-rounds", type=int, help="rounds of framed TCP (default 3)")
    parts = ["responder", "cpu", "latency", "bodies", "crowd", "allocations", "tcp", "postgres", "journal", "json", "host"]
    p.add_argument("--only", choices=parts, help="one part only")
    p.add_argument("--sluice", type=pathlib.Path, default=ROOT / ".build/release/sluice", help="the binary to measure")
    p.add_argument("--data", type=pathlib.Path, default=ROOT / ".build/bench", help="where data and reports go")
    a = p.parse_args()
    a.rounds = a.rounds or (2 if a.quick else 5)
    a.seconds = a.seconds or (1.5 if a.quick else 5.0)
    a.warmup = 0.5 if a.quick else 2.0
    a.tools = ROOT / ".build/bench/bin"
    return a


def machine(directory):
    """Facts that a figure means nothing without."""
    cpu = next((ln.split(":")[1].strip() for ln in open("/proc/cpuinfo") if ln.startswith("model name")), "unknown")
    mounts = [ln.split()[1:3] for ln in open("/proc/mounts")]
    here = str(directory.resolve())
    inside = [(m, fs) for m, fs in mounts if here == m or here.startswith(m.rstrip("/") + "/")]
    memory = int(open("/proc/meminfo").readline().split()[1]) / 2**20
    return {
        "cores": os.cpu_count(),
        "cpu": cpu,
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release(),
        "file system": max(inside, key=lambda row: len(row[0]))[1],
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def closed_loop(a, server, report, name):
    """One measured closed-loop run: CPU per request by group."""
    token = getattr(server, "token", None)
    load = Load(a, server.port, token, connections=a.connections, warmup=a.warmup, duration=a.seconds)
    before = server.cpu()
    result = load.measure()
    ingest = server.cpu()
    server.settle(result)
    after = server.cpu()
    requests = result["answered"]
    row = {g: (ingest[g] - before.get(g, 0)) / requests / 1e3 for g in ingest if g != "delivery"}
    # Delivery may run on after the last answer: it is counted until the output is complete.
    row["delivery"] = (after.get("delivery", 0) - before.get("delivery", 0)) / requests / 1e3
    row |= {"rate": result["rate"], "p50": result["latency_us"]["p50"], "p99": result["latency_us"]["p99"]}
    report.add(name, row, result)
    return row


def cpu_rounds(a, report, scratch):
    if a.only != "responder":
        with Sluice(a, scratch, "memory"):
            print("the daemon's answer is what the responder will send, too", flush=True)
    for number in range(a.rounds):
        print(f"round {number + 1}/{a.rounds}: responder", end="", flush=True)
        with Responder(a, scratch) as server:
            base = closed_loop(a, server, report, "responder")
        for name in [] if a.only == "responder" else ["memory", "memory, bearer token", "fsync"]:
            print(f", {name}", end="", flush=True)
            with Sluice(a, scratch, name.split(",")[0], asks="token" in name) as server:
                row = closed_loop(a, server, report, name)
            report.ratio(name, row["ingest"] / base["ingest"])
        print(flush=True)


def allocation_runs(a, report, scratch):
    count = 20_000 if a.quick else 200_000
    for durability in ["memory", "fsync"]:
        print(f"allocations: {durability}", flush=True)
        with Sluice(a, scratch, durability, count_allocations=True) as server:
            load = Load(a, server.port, connections=a.connections, warmup=a.warmup, count=count)
            before = server.allocations()
            result = load.measure()
            server.settle(result)
            after = server.allocations()
        report.allocations(durability, {g: (after[g] - before.get(g, 0)) / result["answered"] for g in after})


def main():
    a = arguments()
    if a.only != "responder" and not os.access(a.sluice, os.X_OK):
        sys.exit(f"{a.sluice} is not there: swift build -c release (or --only responder)")
    a.data.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="run-", dir=a.data))
    report = Report(a, machine(scratch))
    started = time.monotonic()
    try:
        if a.only in (None, "cpu", "responder"):
            cpu_rounds(a, report, scratch)
        if a.only in (None, "latency"):
            latency_rounds(a, report, scratch)
        if a.only in (None, "bodies"):
            body_rounds(a, report, scratch)
        if a.only in (None, "crowd"):
            crowd_rounds(a, report, scratch)
        if a.only in (None, "allocations"):
            allocation_runs(a, report, scratch)
        if a.only in (None, "tcp"):
            tcp_rounds(a, report, scratch)
        if a.only in (None, "postgres"):
            postgres_rounds(a, report, scratch)
        if a.only in (None, "journal"):
            journal_rounds(a, report, scratch)
        if a.only in (None, "json"):
            json_rounds(a, report)
        if a.only in (None, "host"):
            host_rounds(a, report)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    text = report.markdown(time.monotonic() - started)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    (a.data / f"{stamp}.md").write_text(text)
    (a.data / f"{stamp}.json").write_text(json.dumps(report.raw, indent=1))
    print("\n" + text)
    print(f"written to {a.data / stamp}.md and .json")
    for failure in report.failures:
        print(f"failed: {failure}", file=sys.stderr)
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
