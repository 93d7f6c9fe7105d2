"""More than one record at a time over HTTP, beside the bare epoll responder.

- Pipelined: 16 requests of POST /log at a time from each connection. Records per second beside the responder's, and CPU.
- NDJSON: bodies of 1,000 lines to POST /logs. Records per second and CPU per record.
Each from few connections, where every body waits for a commit, and from as many as a service has.
Both with a disk subscriber, and a run counts only if its output holds every record that was answered.
"""

from bench_report import spread
from bench_server import Load, Responder, Sluice

PIPELINE, PIPELINE_CONNECTIONS = 16, [16, 128]
LINES, LINES_CONNECTIONS = 1000, [4, 32]
PIPELINED_BUDGET, NDJSON_BUDGET = 0.5, 1e6


def run(a, server, report, name, lines=1, **options):
    """One measured run; CPU in µs per record, by group."""
    load = Load(a, server.port, warmup=a.warmup, duration=a.seconds, lines=lines, **options)
    before = server.cpu()
    result = load.measure()
    ingest = server.cpu()
    for key in ("accepted", "warmup_accepted", "answered"):
        result[key] *= lines
    result["rate"] *= lines
    server.settle(result)
    after = server.cpu()
    row = {g: (ingest[g] - before.get(g, 0)) / result["answered"] / 1e3 for g in ingest if g != "delivery"}
    row["delivery"] = (after.get("delivery", 0) - before.get("delivery", 0)) / result["answered"] / 1e3
    row["rate"] = result["rate"]
    report.check(name, result)
    report.raw["runs"].append({"name": name, "cpu_us": row, "load": result})
    return row


def body_rounds(a, report, scratch):
    rows, ratios = {}, {}
    with Sluice(a, scratch, "memory"):
        print("the daemon's answer is what the responder will send, too", flush=True)
    for number in range(a.rounds):
        for connections in PIPELINE_CONNECTIONS:
            print(f"bodies round {number + 1}/{a.rounds}: pipelined, {connections} connections", flush=True)
            options = {"connections": connections, "pipeline": PIPELINE}
            what = f"pipelined, {connections} connections"
            with Responder(a, scratch) as server:
                base = run(a, server, report, f"responder, {what}", **options)
            rows.setdefault(f"responder, {what}", []).append(base)
            for durability in ["memory", "fsync"]:
                name = f"{durability}, {what}"
                with Sluice(a, scratch, durability) as server:
                    row = run(a, server, report, name, **options)
                rows.setdefault(name, []).append(row)
                ratios.setdefault(name, []).append(row["rate"] / base["rate"])
        for connections in LINES_CONNECTIONS:
            print(f"bodies round {number + 1}/{a.rounds}: NDJSON, {connections} connections", flush=True)
            for durability in ["memory", "fsync"]:
                name = f"{durability}, NDJSON, {connections} connections"
                with Sluice(a, scratch, durability) as server:
                    row = run(a, server, report, name, lines=LINES, connections=connections, path="/logs")
                rows.setdefault(name, []).append(row)
    report.sections.append(table(a, rows, ratios))


def table(a, rows, ratios):
    lines = [
        f"### Many records at a time over HTTP, {a.size} B messages",
        "",
        f"Pipelined: {PIPELINE} requests at a time; budget {PIPELINED_BUDGET} of the responder's rate. NDJSON: {LINES:,} lines "
        f"a body; budget {NDJSON_BUDGET:,.0f} records/s.",
        "",
        "| server | records/s | beside the responder | ingest µs a record | delivery µs a record |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, runs in rows.items():
        column = {key: [row.get(key, 0.0) for row in runs] for key in ("rate", "ingest", "delivery")}
        ratio = spread(ratios[name]) + "×" if name in ratios else "–"
        lines.append(
            f"| {name} | {spread(column['rate'], 0)} | {ratio} | {spread(column['ingest'])} | {spread(column['delivery'])} |"
        )
    return [*lines, ""]
