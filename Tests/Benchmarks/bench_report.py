"""The tables that bench.py prints."""

import statistics
import time

# DESIGN's budgets: CPU of the ingest side beside the responder, and durable ack latency beside raw fdatasync.
CPU_BUDGET = {"memory": 1.4, "fsync": 2.0}
LATENCY_FACTOR, LATENCY_EXTRA_US = 2.0, 300.0


def spread(values, digits=2):
    """Median, and smallest and largest."""
    middle = statistics.median(values)
    return f"{middle:,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


class Report:
    def __init__(self, a, facts):
        self.a, self.facts = a, facts
        self.cpu, self.ratios, self.latencies, self.allocated = {}, {}, {}, {}
        self.failures = []
        # Tables of other parts, each as its lines.
        self.sections = []
        self.raw = {"machine": facts, "runs": []}

    def check(self, name, result):
        if result["refused"]:
            self.failures.append(f"{name}: answered {result['refused']} besides 202")
        if result.get("delivered", 0) != result.get("wanted", 0):
            self.failures.append(f"{name}: {result['wanted']} accepted, {result['delivered']} delivered")

    def add(self, name, row, result):
        self.check(name, result)
        self.cpu.setdefault(name, []).append(row)
        self.raw["runs"].append({"name": name, "cpu_us": row, "load": result})

    def ratio(self, name, value):
        self.ratios.setdefault(name, []).append(value)

    def latency(self, way, rate, result, probe_high, probe_low):
        self.check(f"{way}, {rate}/s", result)
        self.latencies.setdefault((way, rate), []).append((result, probe_high, probe_low))
        self.raw["runs"].append({"name": f"latency {way} {rate}", "load": result, "probe_p99": [probe_low, probe_high]})

    def allocations(self, name, row):
        self.allocated[name] = row
        self.raw["runs"].append({"name": f"allocations {name}", "per_request": row})

    def cpu_table(self):
        if not self.cpu:
            return []
        lines = [
            f"### CPU per `POST /log`, closed loop, {self.a.connections} connections, {self.a.size} B messages",
            "",
            "| server | ingest µs | beside the responder | budget | delivery µs | other µs | requests/s | p99 µs |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for name, rows in self.cpu.items():
            column = {key: [row.get(key, 0.0) for row in rows] for key in ("ingest", "delivery", "other", "rate", "p99")}
            ratio = spread(self.ratios[name]) + "×" if name in self.ratios else "1×"
            budget = f"≤ {CPU_BUDGET[name]}×" if name in CPU_BUDGET else ""
            lines.append(
                f"| {name} | {spread(column['ingest'])} | {ratio} | {budget} | {spread(column['delivery'])} "
                f"| {spread(column['other'])} | {spread(column['rate'], 0)} | {spread(column['p99'], 0)} |"
            )
        return [*lines, ""]

    def latency_table(self):
        if not self.latencies:
            return []
        lines = [
            "### Durable ack latency (fsync), open loop, from when each request or record was due",
            "",
            "| by | due/s | p50 µs | p99 µs | p99.9 µs | raw fdatasync p99 µs | bound: 2 × that + 300 | rounds within |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for (way, rate), rows in self.latencies.items():
            p = {key: [r["latency_us"][key] for r, _, _ in rows] for key in ("p50", "p99", "p999")}
            probes = [(high + low) / 2 for _, high, low in rows]
            bounds = [LATENCY_FACTOR * x + LATENCY_EXTRA_US for x in probes]
            within = sum(value <= bound for value, bound in zip(p["p99"], bounds))
            lines.append(
                f"| {way} | {rate:,} | {spread(p['p50'], 0)} | {spread(p['p99'], 0)} | {spread(p['p999'], 0)} "
                f"| {spread(probes, 0)} | {statistics.median(bounds):,.0f} | {within} of {len(rows)} |"
            )
        return [*lines, ""]

    def allocation_table(self):
        if not self.allocated:
            return []
        lines = [
            "### Allocations per `POST /log`",
            "",
            "| durability | ingest | delivery | other |",
            "|---|---:|---:|---:|",
        ]
        for name, row in self.allocated.items():
            lines.append(f"| {name} | " + " | ".join(f"{row.get(g, 0):.3f}" for g in ("ingest", "delivery", "other")) + " |")
        return [*lines, ""]

    def markdown(self, seconds):
        facts = ", ".join(f"{key} {value}" for key, value in self.facts.items())
        a = self.a
        lines = [
            f"## {time.strftime('%Y-%m-%d %H:%M')}",
            "",
            f"Machine: {facts}. {a.rounds} interleaved rounds of {a.seconds:g} s after {a.warmup:g} s of warm-up, "
            f"{seconds:.0f} s in all; server, load generator and disk share the machine. Medians (smallest–largest).",
            "",
        ]
        if a.quick:
            lines += ["`--quick`: shows that it works; the figures are not to be quoted.", ""]
        lines += self.cpu_table() + self.latency_table() + self.allocation_table() + sum(self.sections, [])
        if "memory" in self.cpu or self.latencies:
            verdict = "every record that was answered 202 stands in the disk subscriber's output"
            lines += ["Delivery: " + ("; ".join(self.failures) if self.failures else verdict) + ".", ""]
        return "\n".join(lines)
