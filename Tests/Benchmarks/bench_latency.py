"""Durable ack latency in an open loop: from when a request or a record was due until its answer or its ack was there.

In interleaved rounds, at each rate
- POST /log: one record a request, from as many connections as keep one free for each request that is due
- framed TCP: one connection, what is due goes into one frame; into new segments (cold) and into recycled ones (warm)
and raw 4 KiB pwrite + fdatasync on the same file system before and after each run, which the budget is relative to.
"""

from bench_server import Load, Sluice, probe
from bench_tcp import Framed, load

HTTP, COLD, WARM = "POST /log", "framed TCP, cold", "framed TCP, warm"


def http(a, scratch, rate, before):
    with Sluice(a, scratch, "fsync") as server:
        # So many that answers which take 50 ms leave a connection free for each request that is due.
        connections = max(a.connections, rate // 20)
        requests = Load(a, server.port, connections=connections, warmup=a.warmup, duration=a.seconds, rate=rate)
        before()
        result = requests.measure()
        server.settle(result)
    return result


def framed(a, scratch, rate, before, warm):
    with Framed(a, scratch, subscriber=True, warm=warm) as server:
        load(a, server.port, a.warmup, rate=rate)
        if warm:
            server.go_round(a)
        start = server.metric("sluice_stream_records_total")
        server.wait(lambda: server.delivered() >= start, "deliver the records before the run")
        before()
        result = load(a, server.port, a.seconds, rate=rate)
        wanted = server.metric("sluice_stream_records_total")
        server.wait(lambda: server.delivered() >= wanted, "deliver all records")
        result |= {"latency_us": result["ack_us"], "wanted": wanted, "delivered": server.delivered()}
    result["refused"] = {"nack": result["nacks"]} if result["nacks"] else {}
    return result


def latency_rounds(a, report, scratch):
    seconds = 0.5 if a.quick else 2.0
    runs = {HTTP: http, COLD: lambda *all: framed(*all, warm=False), WARM: lambda *all: framed(*all, warm=True)}
    for number in range(a.rounds):
        for rate in a.rates:
            for way, run in runs.items():
                print(f"latency round {number + 1}/{a.rounds}: {way}, {rate}/s", flush=True)
                probes = []
                result = run(a, scratch, rate, lambda: probes.append(probe(a, scratch, seconds)["p99"]))
                probes.append(probe(a, scratch, seconds)["p99"])
                report.latency(way, rate, result, max(probes), min(probes))
