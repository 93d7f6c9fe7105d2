"""Parts of the daemon alone, without a socket: the JSON scanner, and the host that delivers to a plugin.

- JSON: GB/s of the best round, by the kind of text (`json-bench`).
- Host: records from memory to a plugin that looks at each and acknowledges the batch: called directly, on a thread of the
  daemon's, and in a process of its own, acknowledged or settled by calls; then from a log on disk, on a thread and in a
  process in turn (`host-bench`).
"""

import json
import re
import subprocess
from statistics import median

JSON_ROUNDS, QUICK_JSON_ROUNDS = 20, 3
JSON_BUDGET_GB = 1.0
JSON_BUDGETED = "log lines"
HOST_BUDGET_NS, HOST_BATCH = 1000, 64
ISOLATED_SHARE = 0.7
LOG_RECORDS, QUICK_LOG_RECORDS = 1_000_000, 50_000
LOG_ROUNDS, QUICK_LOG_ROUNDS = 7, 1


def output(a, name, *arguments):
    """What a program built beside the daemon printed, line by line."""
    program = a.sluice.resolve().parent / name
    if not program.exists():
        raise SystemExit(f"{program} is not there: swift build -c release")
    command = [str(word) for word in (program, *arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def json_rounds(a, report):
    print("json: the scanner", flush=True)
    lines = [
        "### The JSON scanner",
        "",
        f"Budget: ≥ {JSON_BUDGET_GB:g} GB/s on {JSON_BUDGETED}.",
        "",
        "| text | bytes each | GB/s |",
        "|---|---:|---:|",
    ]
    rates = {}
    for line in output(a, "json-bench", QUICK_JSON_ROUNDS if a.quick else JSON_ROUNDS):
        name, size, rate = re.fullmatch(r"(.*): (\d+) bytes each, ([0-9.]+) GB/s", line).groups()
        rates[name] = float(rate)
        lines.append(f"| {name} | {size} | {rate} |")
    report.raw["runs"].append({"name": "json", "gigabytes_per_second": rates})
    report.sections.append([*lines, ""])


def host_rounds(a, report):
    print("host: delivering to a plugin", flush=True)
    seconds = 0.2 if a.quick else 2
    lines = [
        "### Delivering through the ABI, and to a process",
        "",
        f"Budget: ≤ {HOST_BUDGET_NS:,} ns per batch of {HOST_BATCH}, on a thread of the daemon.",
        "",
        "| batch | way | records/s | ns per batch | CPU ns per record |",
        "|---:|---|---:|---:|---:|",
    ]
    plugin = (a.tools / "libsluice-null.so").resolve()
    log = [
        f"records={QUICK_LOG_RECORDS if a.quick else LOG_RECORDS}",
        f"rounds={QUICK_LOG_ROUNDS if a.quick else LOG_ROUNDS}",
    ]
    rows = [json.loads(line) for line in output(a, "host-bench", plugin, f"seconds={seconds}", *log)]
    report.raw["runs"].append({"name": "host", "rows": rows})
    rounds = {way: [row for row in rows if row["way"] == f"log, {way}"] for way in ("thread", "process")}
    rows = [row for row in rows if not row["way"].startswith("log")]
    for row in rows:
        lines.append(
            f"| {row['batch']:,} | {row['way']} | {row['records_per_s']:,.0f} | {row['ns_per_batch']:,.0f} "
            f"| {row['cpu_ns_per_record']:,.0f} |"
        )
    rates = {way: [row["records_per_s"] for row in of] for way, of in rounds.items()}
    shares = [process / thread for thread, process in zip(rates["thread"], rates["process"])]
    lines += [
        "",
        f"From a log on disk, batches of 1 MiB; budget: a process ≥ {ISOLATED_SHARE} of a thread.",
        "",
        "| way | records/s | CPU ns per record |",
        "|---|---:|---:|",
    ]
    for way, of in rounds.items():
        lines.append(
            f"| {way} | {median(rates[way]):,.0f} ({min(rates[way]):,.0f}–{max(rates[way]):,.0f}) "
            f"| {median(row['cpu_ns_per_record'] for row in of):,.0f} |"
        )
    lines += ["", f"Process / thread, round by round: {median(shares):.2f} ({min(shares):.2f}–{max(shares):.2f})."]
    report.sections.append([*lines, ""])
