#!/usr/bin/env python3
"""Gate: the journal allocates nothing per record, neither where records come in, nor where they are committed, nor where a
subscriber reads them. Counts, not times, so it holds on any machine.

usage: journal_allocations.py JOURNAL_BENCH MALLOC_COUNT_SO
"""
import json
import os
import subprocess
import sys
import tempfile

# What a group, a batch or a segment needs now and then may be this part of its records.
MOST_PER_RECORD = 0.01
# What a thread needs once, however much it does, is too large a part of fewer records than these.
ENOUGH_RECORDS = 100_000
MOST_RUNS = 10
THREADS = ("produce", "commit", "sub")


def measure(bench, preload, scratch, size, warm):
    """What the bench found in a run that had enough of the machine to say something."""
    environment = os.environ | {"LD_PRELOAD": preload, "SLUICE_MALLOC_COUNT": f"{scratch}/counters"}
    for number in range(MOST_RUNS):
        command = [bench, "throughput", f"dir={scratch}/log-{size}-{warm}-{number}", f"size={size}", "seconds=1", f"warm={warm}"]
        command.append("segment=16777216")
        out = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        run = json.loads(out)
        if run["records"] >= ENOUGH_RECORDS:
            return run
        print(f"{size} B: {run['records']:,} records say nothing; once more")
    sys.exit(f"never {ENOUGH_RECORDS:,} records in a second")


def main():
    bench, preload = (os.path.abspath(path) for path in sys.argv[1:3])
    failed = False
    with tempfile.TemporaryDirectory(prefix="sluice-journal-bench-") as scratch:
        for size, warm in ((128, 1), (1024, 1), (128, 0)):
            run = measure(bench, preload, scratch, size, warm)
            if not run["allocations"]:
                sys.exit("no allocations were counted: the preload did not work")
            per = {name: run["allocations"].get(name, 0) / run["records"] for name in THREADS}
            groups = {name: run["allocations"].get(name, 0) / run["commits"] for name in THREADS}
            shown = ", ".join(f"{name} {per[name]:.5f} (a group {groups[name]:.2f})" for name in THREADS)
            print(f"{size} B {'warm' if warm else 'cold'}: {run['records']:,} records; allocations a record: {shown}")
            failed |= any(value > MOST_PER_RECORD for value in per.values())
    if failed:
        sys.exit(f"more than {MOST_PER_RECORD} allocations a record")


main()
