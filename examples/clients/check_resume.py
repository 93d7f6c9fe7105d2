#!/usr/bin/env python3
"""Plays a server that comes back to a client: check_resume.py COMMAND…, run as in check_auth.py.

Checked: the rows S0 to S6 of "Resume after a reconnect" in docs/wire-protocol.md, GOAWAY and BYE with their waits, ERROR
that says to try again, ERROR that does not, ERROR of who has proved nothing, and that a client's own BYE is its last frame.
"""

import select
import struct
import sys
import time

from check_auth import LOG, Clients, take

OTHER_LOG = bytes(range(16, 32))
LINES = [b"one", b"two", b"three", b"four", b"five"]
GONE, ANOTHER = "records that were acknowledged are gone", "another log"
TAKEN = "another producer wrote under this name"
ACK, GOAWAY, BYE, ERROR = 9, 14, 15, 16
DRAINING, AUTH_FAILED, FENCED, BUSY = 18, 7, 13, 19
WAIT = 0.8  # s; longer than a client's own first pauses

# Three of five records are acknowledged; then the client is welcomed with this log and this last number, and sends these
# numbers with the payloads from there on.
ROWS = [
    ("S0", OTHER_LOG, 0, [1, 2], ANOTHER),
    ("S0, and the numbers happen to fit", OTHER_LOG, 3, [4, 5], ANOTHER),
    ("S0, and it knows more than the client", OTHER_LOG, 9, [10, 11], ANOTHER),
    ("S1", LOG, 3, [4, 5], None),
    ("S2", LOG, 4, [5], None),
    ("S3", LOG, 5, [], None),
    ("S4", LOG, 1, [2, 3], GONE),
    ("S4, all of it", LOG, 0, [1, 2], GONE),
]


def ack(peer, sequence):
    peer.send(ACK, struct.pack("<Q", sequence))


def collect(peer, first, payloads):
    """Exactly these records come, numbered from `first` on."""
    found = []
    while len(found) < len(payloads):
        found += take(peer, first + len(found))
    assert found == list(enumerate(payloads, first)), found


def begin(clients):
    """A client whose five records have arrived, and whose first three are acknowledged."""
    client, peer = clients.start(*LINES), clients.accept()
    assert peer.shake(0) == 1
    collect(peer, 1, LINES)
    ack(peer, 3)
    return client, peer


def finish(client, peer, last, unanswered=True):
    """Acknowledges all; the client says BYE, closes, and ends well. What it told."""
    if unanswered:
        ack(peer, last)
    assert peer.leftovers()[-1:] == [BYE], "no BYE"
    output, events = client.stdout.read().decode(), client.stderr.read().decode()
    assert client.wait(120) == 0 and output.strip() == str(last), f"{output} instead of {last}: {events}"
    return events


def row(clients, log, last, numbers, lost):
    client, peer = begin(clients)
    peer.cut()
    peer = clients.accept()
    assert peer.shake(last, log=log) == 1, "the epoch"
    collect(peer, numbers[0] if numbers else 0, LINES[5 - len(numbers) :])
    events = finish(client, peer, numbers[-1] if numbers else last, bool(numbers))
    assert (f"lost {last} 0 {lost}\n" in events) if lost else ("lost" not in events), events


def lost_numbers(clients, last):
    """S5: the client sends nothing under the old epoch, and comes back under the next, behind what the other producer had
    written by then."""
    client, peer = begin(clients)
    peer.cut()
    peer = clients.accept()
    assert peer.shake(10) == 1
    assert BYE not in peer.leftovers()
    peer = clients.accept()
    assert peer.shake(last) == 2, "the epoch was not raised"
    collect(peer, last + 1, LINES[3:])
    events = finish(client, peer, last + 2)
    assert f"lost {last} 0 {TAKEN}\n" in events and events.count("lost") == 1 and "new epoch" in events, events


def shrinks(clients, *largest):
    """S6: what such a server never takes is refused without having been sent, and what follows moves up."""
    big = b"x" * 20_000
    client, peer = clients.start(b"one", big, b"three", big, b"five"), clients.accept()
    assert peer.shake(0) == 1
    collect(peer, 1, [b"one", big, b"three", big, b"five"])
    ack(peer, 1)
    peer.cut()
    peer = clients.accept()
    assert peer.shake(1, largest=largest) == 1
    collect(peer, 2, [b"three", b"five"])
    events = finish(client, peer, 3)
    assert "refused 2 128 " in events and "refused 3 128 " in events and events.count("refused") == 2, events


def goes_away(clients):
    """After GOAWAY no record comes, though a NACK would have them sent again; ACKs count; its wait holds behind BYE."""
    client, peer = begin(clients)
    peer.end(GOAWAY, DRAINING, int(WAIT * 1000), b"the server goes down")
    peer.nack(7, 1, 4, 4)
    ack(peer, 4)
    assert not select.select([peer.connection], [], [], 0.3)[0], f"type {peer.frame()[0]} after GOAWAY"
    start = time.monotonic()
    peer.end(BYE)
    peer.cut()
    peer = clients.accept()
    assert time.monotonic() - start >= WAIT, "it came back too soon"
    assert peer.shake(4) == 1
    collect(peer, 5, LINES[4:])
    finish(client, peer, 5)


def ends(clients, kind, code):
    """BYE, or an ERROR that says to try again: the wait, then what was not answered."""
    client, peer = begin(clients)
    start = time.monotonic()
    peer.end(kind, code, int(WAIT * 1000), b"later")
    assert BYE not in peer.leftovers()
    peer = clients.accept()
    assert time.monotonic() - start >= WAIT, "it came back too soon"
    peer.shake(3)
    collect(peer, 4, LINES[3:])
    events = finish(client, peer, 5)
    assert kind == BYE or f"disconnected 4 {code} later" in events, events


def refuses(clients, code, end):
    """An ERROR that ends it for good."""
    client = clients.start(*LINES)
    end(clients.accept())
    events = client.stderr.read().decode()
    assert client.wait(120) != 0 and f" {code} never" in events and events.count("disconnected") == 1, events


def mistrusts(clients, challenges):
    """In the handshake anybody can say that it is over for good: who has a secret tells that, and comes back."""
    client, peer = clients.start(*LINES), clients.accept()
    peer.next(1)
    if challenges:
        peer.send(2, struct.pack("<HHI", 40, 0, 0) + bytes(32))
        peer.next(3)
    peer.end(ERROR, AUTH_FAILED, 0, b"never")
    assert BYE not in peer.leftovers()
    peer = clients.accept()
    peer.shake(0)
    collect(peer, 1, LINES)
    events = finish(client, peer, 5)
    assert f" {AUTH_FAILED} never" in events, events


def fenced(peer):
    peer.shake(0)
    peer.end(ERROR, FENCED, 0, b"never")


def main():
    checks = [(name, row, rest) for name, *rest in ROWS]
    checks += [
        ("S5", lost_numbers, [10]),
        ("S5, and the other one goes on", lost_numbers, [12]),
        ("S6, by max_part", shrinks, [1 << 20, 8_192]),
        ("S6, by max_frame", shrinks, [8_192, 1 << 19]),
        ("GOAWAY", goes_away, []),
        ("BYE", ends, [BYE, 0]),
        ("ERROR busy", ends, [ERROR, BUSY]),
        ("ERROR instead of CHALLENGE", mistrusts, [False]),
        ("ERROR instead of WELCOME", mistrusts, [True]),
        ("ERROR fenced", refuses, [FENCED, fenced]),
    ]
    wrong = 0
    for name, check, rest in checks:
        clients = Clients(sys.argv[1:])
        try:
            check(clients, *rest)
        except (AssertionError, OSError) as error:
            print(f"{name}: {error!r}")
            wrong += 1
        finally:
            clients.close()
    print(f"{len(checks) - wrong} of {len(checks)} as the page says")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
