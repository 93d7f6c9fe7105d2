"""The postgres subscriber beside `psql \\copy` of the same rows into the same server.

A stream is filled over HTTP once. Then, in interleaved rounds, each into an empty table:
- sluice: a daemon with nothing but the subscriber starts on a copy of the stream; from its first connection to the last row
- \\copy binary, \\copy text: psql copies the rows that sluice wrote, from a file
The server syncs as it does by default; a checkpoint before each run.
"""

import contextlib
import glob
import os
import pwd
import resource
import shutil
import subprocess
import time
import urllib.request

from bench_report import spread
from bench_server import Load, Server, free_port

COUNT, QUICK_COUNT = 1_000_000, 50_000


def tool(name):
    """Debian keeps the server's programs out of PATH."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return found[-1] if found else shutil.which(name) or name


class PostgresServer:
    """A server with its data in the scratch directory; a context manager."""

    def __init__(self, scratch):
        self.port = free_port()
        self.directory = scratch / "postgres"
        self.directory.mkdir()
        self.drop = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.directory, user.pw_uid, user.pw_gid)
            for parent in [scratch, *scratch.parents]:
                if not parent.stat().st_mode & 0o001:
                    raise SystemExit(f"the user postgres can't reach {scratch}: choose another --data")
            self.drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self.data = self.directory / "data"
        self.run("initdb", "-D", self.data, "-U", "sluice", "-A", "trust", "-E", "UTF8", "--locale=C")
        settings = f"-p {self.port} -k {self.directory} -c listen_addresses=127.0.0.1 -c shared_buffers=256MB"
        settings += " -c max_wal_size=8GB -c autovacuum=off"
        self.run("pg_ctl", "start", "-w", "-s", "-D", self.data, "-l", self.directory / "log", "-o", settings)

    def run(self, name, *arguments):
        command = [*self.drop, tool(name), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr or done.stdout}")

    @property
    def url(self):
        return f"postgresql://sluice@127.0.0.1:{self.port}/postgres"

    def sql(self, text):
        command = [tool("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.url, "-c", text]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def empty(self):
        self.sql("TRUNCATE logs")
        self.sql("CHECKPOINT")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.run("pg_ctl", "stop", "-w", "-s", "-m", "immediate", "-D", self.data)


class Pipeline(Server):
    """A daemon that only takes records in, or only writes them to the table."""

    def __init__(self, a, directory, url=None):
        self.port, self.admin = free_port(), free_port()
        topology = directory / "pipeline.yaml"
        subscriber = f"""
subscribers:
  table:
    plugin: postgres
    streams: [ events ]
    batch: {{ records: 16384, bytes: 8MiB }}
    config: {{ url: "{url}", table: logs }}
"""
        topology.write_text(
            f"""sluice: 1
daemon: {{ data: ./data, admin: "127.0.0.1:{self.admin}" }}
streams:
  events: {{ durability: written, retain: {{ bytes: 16GiB }} }}
sources:
  api: {{ type: http, listen: "127.0.0.1:{self.port}", stream: events }}
"""
            + (subscriber if url else "")
        )
        self.start([a.sluice.resolve(), "run", "-c", topology], directory / "log")

    def metric(self, name):
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin}/metrics", headers={"Accept": "text/plain"})
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"sluice_plugin_{name}"):
                    return int(float(line.rsplit(" ", 1)[1]))
        return 0


def fill(a, directory, count):
    """A stream with at least `count` records, each as http_load posts it."""
    directory.mkdir()
    with Pipeline(a, directory) as server:
        load = Load(a, server.port, connections=a.connections, warmup=0.1, count=count)
        result = load.measure()
    return result["accepted"] + result["warmup_accepted"]


def sluice_run(a, scratch, filled, server, count):
    directory = scratch / "drain"
    shutil.copytree(filled, directory)
    try:
        with Pipeline(a, directory, server.url) as daemon:
            daemon.wait(lambda: daemon.metric("postgres_connections_total") > 0, "connect")
            started = time.monotonic()
            daemon.wait(lambda: daemon.metric("postgres_rows_total") >= count, "write all rows")
            seconds = time.monotonic() - started
            cpu = sum(daemon.cpu().values()) / 1e9
    finally:
        shutil.rmtree(directory)
    return {"rate": count / seconds, "cpu": cpu / count * 1e6}


def psql_run(server, file, kind, count):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    columns = "time, source, topic, message, body"
    server.sql(f"\\copy logs ({columns}) FROM '{file}' (FORMAT {kind})")
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"rate": count / seconds, "cpu": cpu / count * 1e6}


def postgres_rounds(a, report, scratch):
    os.chmod(scratch, 0o755)
    print("postgres: filling a stream", flush=True)
    count = fill(a, scratch / "filled", QUICK_COUNT if a.quick else COUNT)
    runs = {"sluice": [], "\\copy binary": [], "\\copy text": []}
    with PostgresServer(scratch) as server:
        server.sql("CREATE TABLE logs (time timestamptz, source text, topic text, message text, body jsonb)")
        files = {kind: scratch / f"rows.{kind}" for kind in ("binary", "text")}
        for number in range(a.rounds):
            print(f"postgres round {number + 1}/{a.rounds}: {count:,} rows", flush=True)
            server.empty()
            runs["sluice"].append(sluice_run(a, scratch, scratch / "filled", server, count))
            there = int(server.sql("SELECT count(*) FROM logs"))
            if there != count:
                report.failures.append(f"postgres: {count} records in the stream, {there} rows in the table")
            for kind, file in files.items():
                if number == 0:
                    server.sql(f"\\copy logs TO '{file}' (FORMAT {kind})")
            for kind, file in files.items():
                server.empty()
                runs[f"\\copy {kind}"].append(psql_run(server, file, kind, count))
    report.sections.append(table(runs, count))
    report.raw["postgres"] = {"rows": count, "runs": runs}


def table(runs, count):
    lines = [
        f"### {count:,} records to PostgreSQL, beside `psql \\copy` of the same rows",
        "",
        "| client | rows/s | beside `\\copy binary` | client's CPU, µs a row |",
        "|---|---:|---:|---:|",
    ]
    base = [run["rate"] for run in runs["\\copy binary"]]
    for name, rows in runs.items():
        rates = [run["rate"] for run in rows]
        ratio = spread([rate / other for rate, other in zip(rates, base)])
        lines.append(f"| {name} | {spread(rates, 0)} | {ratio}× | {spread([run['cpu'] for run in rows])} |")
    return [*lines, ""]
