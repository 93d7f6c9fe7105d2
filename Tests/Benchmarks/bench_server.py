"""The processes that bench.py runs: servers, load and probe."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import time

TIMEOUT = 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def group_of(thread):
    """Which side of the daemon a thread is on, by its name."""
    if thread.startswith(("http-", "commit")):
        return "ingest"
    return "delivery" if thread.startswith("sub ") else "other"


def probe(a, scratch, seconds):
    """Latencies of raw 4 KiB pwrite + fdatasync on the same file system, in microseconds."""
    command = [a.tools / "fsync_probe", scratch / "probe", str(seconds)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class Load:
    """http_load, warmed up and waiting: `measure` starts it."""

    def __init__(self, a, port, token=None, **options):
        command = [a.tools / "http_load", "--port", port, "--size", a.size, "--sync"]
        for name, value in options.items():
            command += [f"--{name}", value]
        if token:
            command += ["--token", token]
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self.process.stdout.readline() != "ready\n":
            raise SystemExit("http_load did not get through its warm-up")

    def measure(self):
        out, _ = self.process.communicate("go\n", timeout=600)
        result = json.loads(out)
        bad = {code: n for code, n in result["status"].items() if code != "202"}
        result["accepted"] = result["status"].get("202", 0)
        result["refused"] = bad
        if result["errors"]:
            raise SystemExit(f"{result['errors']} requests got no answer")
        if not result["answered"]:
            raise SystemExit("no request was answered")
        return result


class Server:
    """A process under measurement; a context manager."""

    def start(self, command, log, environment=None):
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdout=out, stderr=out, cwd=log.parent,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip
        self.log = log
        self.wait(self.answers, "answer")

    def wait(self, condition, what):
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-2000:]
                raise SystemExit(f"{self.process.args[0]} did not {what} (status {self.process.poll()}):\n{tail}")
            time.sleep(0.01)

    def answers(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def cpu(self):
        """Nanoseconds that each group of threads has run."""
        used = {}
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                name = (task / "comm").read_text().strip()
                used[group_of(name)] = used.get(group_of(name), 0) + self.run_time(task)
        return used

    @staticmethod
    def run_time(task):
        try:
            return int((task / "schedstat").read_text().split()[0])
        except OSError:
            fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")

    def settle(self, result):
        """Waits until everything that was accepted has gone its whole way."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.status = self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise SystemExit(f"{self.process.args[0]} did not end within {TIMEOUT} s of SIGTERM") from None


class Responder(Server):
    """The bare epoll server, with as many threads as the daemon has event loops."""

    def __init__(self, a, scratch):
        self.port = free_port()
        command = [a.tools / "epoll_responder", self.port, os.cpu_count()]
        # The daemon's own answer, once it was seen, so that both write the same bytes.
        if (scratch / "response").exists():
            command.append(scratch / "response")
        self.start(command, scratch / "responder.log")


class Sluice(Server):
    """The daemon with one stream, one HTTP source and a disk subscriber."""

    token = None

    def __init__(self, a, scratch, durability, count_allocations=False, asks=False):
        self.port, self.admin = free_port(), free_port()
        self.directory = scratch / f"{durability}-{self.port}"
        self.output = self.directory / "out"
        self.directory.mkdir()
        topology = self.directory / "bench.yaml"
        topology.write_text(
            f"""sluice: 1
daemon: {{ data: ./data, admin: "127.0.0.1:{self.admin}" }}
streams:
  events: {{ durability: {durability}, retain: {{ bytes: 8GiB }} }}
sources:
  api: {{ type: http, listen: "127.0.0.1:{self.port}", stream: events{", auth: required" if asks else ""} }}
subscribers:
  archive: {{ plugin: disk, streams: [ events ], config: {{ path: ./out, format: ndjson }} }}
{"identities: ./identities.yaml" if asks else ""}
"""
        )
        if asks:
            add = [a.sluice.resolve(), "identity", "add", "load", "--publish", "events", "-c", topology]
            done = subprocess.run([str(word) for word in add], capture_output=True, text=True, check=True)
            self.token = done.stdout.strip()
        environment = {}
        if count_allocations:
            self.counters = self.directory / "allocations"
            environment = {"LD_PRELOAD": str(a.tools / "malloc_count.so"), "SLUICE_MALLOC_COUNT": str(self.counters)}
        self.posted = 0
        self.start([a.sluice.resolve(), "run", "-c", topology], self.directory / "log", environment)
        self.first_record(scratch)

    def first_record(self, scratch):
        """Posts one record by hand and keeps the answer's bytes for the responder."""
        body = b'{"message":"first"}'
        shown = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:
            head = f"POST /log HTTP/1.1\r\nHost: 127.0.0.1\r\n{shown}Content-Length: {len(body)}\r\n\r\n"
            s.sendall(head.encode() + body)
            answer = b""
            while not answer.endswith(b"}"):
                part = s.recv(4096)
                if not part:
                    break
                answer += part
        if not answer.startswith(b"HTTP/1.1 202 ") or not answer.endswith(b'{"status":"queued"}'):
            raise SystemExit(f"POST /log answered {answer!r}")
        self.posted = 1
        (scratch / "response").write_bytes(answer)

    def lines(self):
        """Records in the output."""
        count = 0
        # The subscriber's own marker lies beside its files.
        for path in sorted(self.output.rglob("*.ndjson")):
            with open(path, "rb") as f:
                while chunk := f.read(1 << 20):
                    count += chunk.count(b"\n")
        return count

    def settle(self, result):
        """The disk subscriber's output holds everything that was answered 202, and nothing twice."""
        wanted = self.posted + result["warmup_accepted"] + result["accepted"]
        self.wait(lambda: self.lines() >= wanted, f"deliver all {wanted} records ({self.lines()} are there)")
        result["delivered"] = self.lines()
        result["wanted"] = wanted

    def allocations(self):
        """Allocations since the start, by group of threads."""
        data = self.counters.read_bytes()
        counts = {}
        for at in range(0, len(data), 64):
            number, _, thread = struct.unpack_from("<QQQ", data, at)
            if number:
                comm = pathlib.Path(f"/proc/{self.process.pid}/task/{thread}/comm")
                name = comm.read_text().strip() if comm.exists() else "gone"
                counts[group_of(name)] = counts.get(group_of(name), 0) + number
        return counts
