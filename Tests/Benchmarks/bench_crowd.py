"""10,000 producers, each with a connection of its own, and a crowd of slow ones.

- Memory: resident, less what of the stream's ring is, with all connected, after each has sent once a second, and after all have sent at once.
  Over HTTP and framed TCP, plain and over TLS. Plain it has a budget, and must not grow with the records: else the exit status
  is 1.
- Slow: connections that send their head a byte a second, until all are cut off; meanwhile one well-behaved load, whose
  latencies stand beside the same load without them.
"""

import json
import pathlib
import subprocess

from bench_server import Load, Server, free_port

CONNECTIONS, QUICK_CONNECTIONS = 10_000, 500
SLOW, QUICK_SLOW = 5_000, 200
RING_MIB = 32
# Of 10,000 plain connections, with the daemon itself.
MEMORY_BUDGET_MIB = 100
# What the burst may add to the steady state.
FLAT = 1.1


class Crowded(Server):
    """The daemon with an HTTP and a framed source, plain or over TLS, and a disk subscriber."""

    def __init__(self, a, scratch, tls=False):
        self.port, self.tcp, self.admin = free_port(), free_port(), free_port()
        self.directory = scratch / f"crowd-{self.port}"
        self.directory.mkdir()
        files = self.directory / "tls.crt", self.directory / "tls.key"
        if tls:
            command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            command += ["-days", "2", "-subj", "/CN=localhost", "-out", files[0], "-keyout", files[1]]
            subprocess.run([str(w) for w in command], check=True, capture_output=True)
            files[1].chmod(0o600)
        option = ", tls: { cert: ./tls.crt, key: ./tls.key }" if tls else ""
        topology = self.directory / "bench.yaml"
        topology.write_text(
            f"""sluice: 1
daemon: {{ data: ./data, admin: "127.0.0.1:{self.admin}" }}
streams:
  events: {{ durability: fsync, ring: {RING_MIB}MiB, retain: {{ bytes: 4GiB }} }}
sources:
  api: {{ type: http, listen: "127.0.0.1:{self.port}", stream: events, max_connections: 15000{option} }}
  modules: {{ type: tcp, listen: "127.0.0.1:{self.tcp}", stream: events, max_connections: 15000{option} }}
subscribers:
  archive: {{ plugin: disk, streams: [ events ], config: {{ path: ./out, format: raw }} }}
"""
        )
        self.start([a.sluice.resolve(), "run", "-c", topology], self.directory / "log")

    def resident_mib(self):
        """Without the ring, which is the only memory that is shared."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        resident, ring = (int(status.split(field + ":")[1].split()[0]) for field in ("VmRSS", "RssShmem"))
        return (resident - ring) / 1024


def crowd(a, server, mode, port, count, seconds, tls):
    """What one crowd did, and the server's memory at its stations."""
    command = [a.tools / "crowd", mode, port, count, seconds] + (["tls"] if tls else [])
    process = subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    memory = [server.resident_mib()]
    for station in ("connected", "steady", "burst"):
        line = process.stdout.readline()
        if line != f"{station}\n":
            raise SystemExit(f"crowd {mode}: {line!r} in place of {station}")
        memory.append(server.resident_mib())
        process.stdin.write("go\n")
        process.stdin.flush()
    result = json.loads(process.stdout.read())
    if process.wait() != 0:
        raise SystemExit(f"crowd {mode}: not everything was acknowledged: {result}")
    return result, memory


def over_budget(name, memory, count, tls):
    """What is wrong with the memory at the stations; with fewer connections the budget is as much smaller."""
    before, _, steady, burst = memory
    budget = before + (MEMORY_BUDGET_MIB - before) * count / CONNECTIONS
    found = []
    if not tls and max(memory) > budget:
        found.append(f"crowd {name}: {max(memory):.0f} MiB beside the ring, the budget is {budget:.0f}")
    if burst > steady * FLAT:
        found.append(f"crowd {name}: {steady:.0f} MiB grew to {burst:.0f} in the burst")
    return found


def slow_crowd(a, scratch, count, seconds):
    """Latencies of a load alone, and beside connections that are slow; and how those ended."""
    options = {"connections": 16, "warmup": a.warmup, "rate": 2000}
    with Crowded(a, scratch) as server:
        alone = Load(a, server.port, duration=seconds, **options).measure()
        command = [a.tools / "crowd", "loris", server.port, count, 60]
        slow = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
        slow.stdout.readline()
        beside = Load(a, server.port, duration=seconds, **options).measure()
        ended = json.loads(slow.stdout.read())
    return alone, beside, ended


def crowd_rounds(a, report, scratch, tls_kinds=(False, True)):
    count, seconds = (QUICK_CONNECTIONS, 2) if a.quick else (CONNECTIONS, 10)
    lines = [
        f"### {count:,} connections, each sending once a second, then all at once",
        "",
        f"Resident MiB of the daemon beside its ring. Budget: {MEMORY_BUDGET_MIB} MiB for {CONNECTIONS:,} plain connections, flat.",
        "",
        "| source | before | connected | steady | after the burst | KiB a connection | steady p99 ms | burst s | acknowledged |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for tls in tls_kinds:
        for mode in ("post", "frames"):
            name = ("HTTP" if mode == "post" else "framed TCP") + (", TLS" if tls else "")
            print(f"crowd: {count:,} connections, {name}", flush=True)
            with Crowded(a, scratch, tls) as server:
                port = server.port if mode == "post" else server.tcp
                result, memory = crowd(a, server, mode, port, count, seconds, tls)
            report.raw["runs"].append({"name": f"crowd {name}", "load": result, "resident_mib": memory})
            every = result["steady"]["acknowledged"] + result["burst"]["acknowledged"]
            report.failures += over_budget(name, memory, count, tls)
            per = (max(memory) - memory[0]) * 1024 / count
            lines.append(
                f"| {name} | " + " | ".join(f"{m:.0f}" for m in memory)
                + f" | {per:.1f} | {result['steady']['latency_us']['p99'] / 1e3:.1f} | {result['burst_s']:.2f} | {every:,} |"
            )  # fmt: skip
    print("crowd: slow connections", flush=True)
    slow = QUICK_SLOW if a.quick else SLOW
    alone, beside, ended = slow_crowd(a, scratch, slow, 2 if a.quick else 10)
    report.raw["runs"].append({"name": "slow crowd", "alone": alone, "beside": beside, "slow": ended})
    lines += [
        "",
        f"{slow:,} connections with a head that comes a byte a second: {ended['cut']:,} cut off within "
        f"{ended['last_cut_after_s']:.1f} s. Beside them 2,000 `POST /log` a second: p50 {beside['latency_us']['p50']:.0f} µs, "
        f"p99 {beside['latency_us']['p99']:.0f} µs; without them {alone['latency_us']['p50']:.0f} and "
        f"{alone['latency_us']['p99']:.0f} µs; refused {sum(beside['refused'].values())}.",
        "",
    ]
    report.sections.append(lines)
