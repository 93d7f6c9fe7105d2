#!/usr/bin/env python3
"""A TLS client for tests, on Python's own OpenSSL: it shares no code with the daemon.

usage: tls_client.py PORT VERB [--ca FILE] [--cert FILE --key FILE] [--version 1.2|1.3] [--count N] [--stop FILE]

Each verb prints what happened, one line each.
"""

import argparse
import hashlib
import os
import socket
import ssl
import sys
import time

LIMIT = 60


def context(options):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if options.ca:
        made.load_verify_locations(options.ca)
    else:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if options.cert:
        made.load_cert_chain(options.cert, options.key)
    if options.version:
        version = {"1.1": ssl.TLSVersion.TLSv1_1, "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
        made.minimum_version = made.maximum_version = version[options.version]
        if options.version == "1.1":
            made.set_ciphers("ALL:@SECLEVEL=0")
    if options.alpn:
        made.set_alpn_protocols([options.alpn])
    return made


def connect(options):
    # The server's patience with a handshake begins with the connection.
    made = context(options)
    plain = socket.create_connection(("127.0.0.1", options.port), LIMIT)
    return made.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)


def request(body):
    head = f"POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def record(text):
    return b'{"message":"' + text.encode() + b'"}'


class Answers:
    """Statuses of responses whose bodies have a Content-Length or none."""

    def __init__(self, connection):
        self.connection = connection
        self.bytes = b""

    def next(self):
        while True:
            end = self.bytes.find(b"\r\n\r\n")
            if end >= 0:
                head = self.bytes[:end].decode().lower()
                length = next((int(l.split(":")[1]) for l in head.split("\r\n") if l.startswith("content-length:")), 0)
                if len(self.bytes) >= end + 4 + length:
                    self.bytes = self.bytes[end + 4 + length :]
                    return int(head.split(" ")[1])
            more = self.connection.recv(65536)
            if not more:
                return 0
            self.bytes += more


def tally(statuses):
    counts = {}
    for status in statuses:
        counts[status] = counts.get(status, 0) + 1
    return " ".join(f"{status}:{count}" for status, count in sorted(counts.items()))


def peer(options):
    """Which certificate the server shows, and what was agreed on."""
    with connect(options) as connection:
        digest = hashlib.sha256(connection.getpeercert(binary_form=True)).hexdigest()
        print(digest, connection.version(), connection.selected_alpn_protocol())


def post(options):
    """COUNT requests in one write; their answers."""
    with connect(options) as connection:
        connection.sendall(b"".join(request(record(f"post {n}")) for n in range(options.count)))
        answers = Answers(connection)
        print(tally(answers.next() for _ in range(options.count)))


def big(options):
    """A body of COUNT bytes."""
    with connect(options) as connection:
        connection.sendall(request(record("x" * (options.count - len(record(""))))))
        print(tally([Answers(connection).next()]))


def small(options):
    """COUNT requests, each byte of them in a record of TLS's own."""
    with connect(options) as connection:
        for byte in b"".join(request(record(f"small {n}")) for n in range(options.count)):
            connection.sendall(bytes([byte]))
        answers = Answers(connection)
        print(tally(answers.next() for _ in range(options.count)))


def dribble(options):
    """All of the handshake byte for byte, then a request."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(options).wrap_bio(incoming, outgoing, server_hostname="localhost")
    plain = socket.create_connection(("127.0.0.1", options.port), LIMIT)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(step):
        while True:
            try:
                result = step()
                break
            except ssl.SSLWantReadError:
                flush()
                more = plain.recv(65536)
                if not more:
                    incoming.write_eof()
                incoming.write(more)
        flush()
        return result

    def flush():
        for byte in outgoing.read():
            plain.sendall(bytes([byte]))

    run(tls.do_handshake)
    run(lambda: tls.write(request(record("dribble"))))
    print(run(lambda: tls.read(65536)).split(b" ")[1].decode())


def load(options):
    """Requests one after the other until the file STOP is there; then what became of them."""
    statuses = []
    with connect(options) as connection:
        answers = Answers(connection)
        while not os.path.exists(options.stop):
            connection.sendall(request(record(f"load {len(statuses)}")))
            statuses.append(answers.next())
            if len(statuses) == 1:
                print("begun", flush=True)
    print(tally(statuses))


def hold(options):
    """Lines one after the other until the file STOP is there, an orderly end, and how many there were."""
    count = 0
    with connect(options) as connection:
        while not os.path.exists(options.stop):
            connection.sendall(b"line %d\n" % count)
            count += 1
            if count == 1:
                print("begun", flush=True)
            time.sleep(0.01)
        connection.unwrap()
    print(count)


def drain(options):
    """One request, then how the server ends the connection."""
    with connect(options) as connection:
        connection.sendall(request(record("drain")))
        print(Answers(connection).next(), flush=True)
        try:
            print("close_notify" if connection.recv(1) == b"" else "more")
        except (ssl.SSLEOFError, ConnectionError):
            print("cut")


def truncate(options):
    """A request, and the end of the input below TLS, which is told nothing; the answer still comes."""
    with connect(options) as connection:
        connection.sendall(request(record("truncate")))
        socket.socket.shutdown(connection, socket.SHUT_WR)
        print(Answers(connection).next())


def lines(options):
    """COUNT lines, then an orderly end."""
    with connect(options) as connection:
        connection.sendall(b"".join(b"line %d\n" % n for n in range(options.count)))
        connection.unwrap()
        print("sent")


def raw(options, first):
    plain = socket.create_connection(("127.0.0.1", options.port), LIMIT)
    plain.sendall(first)
    got = b""
    try:
        while more := plain.recv(65536):
            got += more
    except ConnectionError:
        pass
    print("closed", got[:1].hex())


def plain(options):
    """HTTP without TLS."""
    raw(options, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")


def half(options):
    """The first half of a hello, and nothing more."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(options).wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = outgoing.read()
    raw(options, hello[: len(hello) // 2])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    verbs = {f.__name__: f for f in (peer, post, big, small, dribble, load, hold, drain, truncate, lines, plain, half)}
    parser.add_argument("verb", choices=verbs)
    for name in ("ca", "cert", "key", "version", "stop", "alpn"):
        parser.add_argument("--" + name)
    parser.add_argument("--count", type=int, default=1)
    options = parser.parse_args()
    try:
        verbs[options.verb](options)
    except (ssl.SSLError, OSError) as error:
        print("failed:", getattr(error, "reason", None) or type(error).__name__)
        sys.exit(1)


main()
