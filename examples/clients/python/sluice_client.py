"""A producer for Sluice's framed TCP (docs/wire-protocol.md). Standard library only, one connection, no threads.

Records get the numbers 1, 2, 3 … under the producer's name and are kept until they are answered; after a lost connection
what was not answered is sent again, and the server drops what it has. So each record is stored once, in order, whatever
breaks, as long as one client at a time uses the name.
"""

import collections
import contextlib
import errno
import hashlib
import hmac
import itertools
import os
import random
import selectors
import socket
import ssl
import struct
import time

HELLO, CHALLENGE, PROOF, WELCOME = 1, 2, 3, 4
DATA, ACK, NACK, CREDIT, PING, PONG, GOAWAY, BYE, ERROR = range(8, 17)
CLIENT, SERVER, HEAD, PREFIX, FIXED, TAG, MOST_WAIT_MS = 1, 2, 24, 8, 32, 32, 300_000  # anybody may ask for 49 days
MAX_FRAME, PARCEL, HANDSHAKE_SECONDS, TOO_LARGE, TRANSIENT_ERRORS = 65536, 65536, 10.0, 128, {5, 17, 18, 19, 20}
LEAST = {CHALLENGE: 40, WELCOME: 112, ACK: 8, NACK: 32, CREDIT: 16, PING: 8, GOAWAY: 24, BYE: 24, ERROR: 24}
WANTS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_TABLES = [list(range(256))]
for _ in range(8):
    _TABLES[0] = [value >> 1 ^ (0x82F63B78 if value & 1 else 0) for value in _TABLES[0]]
for _ in range(3):
    _TABLES.append([_TABLES[0][value & 255] ^ value >> 8 for value in _TABLES[-1]])
_T0, _T1, _T2, _T3 = _TABLES


def crc32c(data):
    """CRC-32C, four bytes a step."""
    crc, whole = 0xFFFFFFFF, len(data) & ~3
    for (word,) in struct.iter_unpack("<I", memoryview(data)[:whole]):
        word ^= crc
        crc = _T3[word & 255] ^ _T2[word >> 8 & 255] ^ _T1[word >> 16 & 255] ^ _T0[word >> 24]
    for byte in memoryview(data)[whole:]:
        crc = _T0[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def pad(data):
    return data + bytes(-len(data) % 8)


def sign(key, *parts):
    return hmac.digest(key, b"".join(parts), "sha256")


class _Lost(Exception):
    """The connection is over; the next may be made in `wait` seconds. `code` is that of the ERROR frame, or 0."""

    def __init__(self, text, code=0, wait=0.0):
        super().__init__(text)
        self.code, self.wait = code, wait


class SluiceError(_Lost):
    """For good: trying again, unchanged, can't succeed."""


class WindowFull(Exception):
    """As much is unanswered as may be, or the first connection is not there yet: `pump`, then try again."""


class Client(contextlib.AbstractContextManager):
    """`window_bytes`: of records that are not answered. `tls`: an ssl.SSLContext. `identity` and `secret` (32 bytes):
    challenge-response, and every frame under an HMAC. `on_event(name, sequence, code, text)`: `connected`, `disconnected`,
    `lost` (what the server had acknowledged, or the name to another: what is held has new numbers), `refused` (for good; if
    the server takes less than it did, code 128 also of one that was held: those behind it have their numbers less one)."""

    def __init__(self, host, port, producer, stream="", epoch=1, identity="", secret=None, tls=None,
                 window_bytes=1 << 20, software="sluice-python/1", on_event=None):  # fmt: skip
        if not producer:
            raise ValueError("a producer needs a name: its records are numbered under it")
        self.address, self.tls = (host, port), tls
        self.texts = [stream.encode(), producer.encode(), identity.encode() if secret else b"", b"", b"", software.encode()]
        if any(len(text) > 255 for text in self.texts) or (secret is not None and len(secret) != 32):
            raise ValueError("names have at most 255 bytes, a secret has 32")
        self.secret, self.epoch, self.window_bytes = secret, epoch, window_bytes
        self.on_event = on_event or (lambda *_: None)
        self.first = None  # the number of the oldest record that is held; known with the first WELCOME
        self.held = collections.deque()  # (prefix, producer part) of each
        self.held_bytes, self.log, self.max_part, self.failure = 0, None, MAX_FRAME, None
        self.delay, self.due, self.attempts, self.socket = 0.0, 0.0, 0, None
        self._close()

    @property
    def answered(self):
        """Every record up to this one is answered."""
        return 0 if self.first is None else self.first - 1

    @property
    def last(self):
        """The number of the last record that was taken here."""
        return 0 if self.first is None else self.first - 1 + len(self.held)

    def send(self, payload, topic="", key="", event_time=None, block=True):
        """Numbers a record and keeps it; returns its number. Waits for room, or raises WindowFull with `block` False."""
        if self.failure:
            raise self.failure
        while self.first is None or (self.held and self.held_bytes >= self.window_bytes):
            if not block:
                raise WindowFull()
            self.pump(1.0)
        part = self._part(payload, topic.encode(), key.encode(), event_time)
        if len(part) > self.max_part:
            raise ValueError(f"the record has {len(part)} bytes, the server takes {self.max_part}")
        self.held.append((struct.pack("<II", len(part), crc32c(part)), part))
        self.held_bytes += PREFIX + len(part)
        if self.held_bytes - self.sent_bytes >= PARCEL:
            self.pump(0)
        return self.last

    def pump(self, timeout=0.0):
        """Connects, sends and receives: one look, waiting at most `timeout` seconds; only the system's search for the
        host's name may take longer. To be called at least every few seconds, or the server takes the connection for dead."""
        if self.failure:
            raise self.failure
        end = time.monotonic() + timeout
        try:
            if self.socket is None:
                time.sleep(max(0.0, min(self.due - time.monotonic(), timeout)))
                if time.monotonic() < self.due:
                    return
                self.steps, self.give_up = self._connect(), time.monotonic() + HANDSHAKE_SECONDS
            if not self.is_open and not self._greet(end):
                return
            now = time.monotonic()
            if now - self.last_heard > 3 * self.beat:
                raise _Lost("the server is silent")
            if now - self.last_sent >= self.beat:
                self._frame(PING, struct.pack("<Q", int(now * 1000)))
            self._make_data()
            self._exchange(end)
            self._make_data()
            self._exchange(0.0)
        except (OSError, _Lost) as error:
            self._drop(error)
        if self.failure:
            raise self.failure

    def flush(self, timeout=None):
        """Until all is answered. False: the time was over."""
        end = time.monotonic() + (float("inf") if timeout is None else timeout)
        while self.first is None or self.held:
            if (left := end - time.monotonic()) <= 0:
                return False
            self.pump(min(left, 1.0))
        return True

    def close(self, *_):
        """Says BYE and closes. Call `flush` before."""
        if self.socket is not None and self.is_open:
            self._frame(BYE, struct.pack("<HHBBHIIQ", 24, 0, 1, 0, 0, 0, 0, 0))
            with contextlib.suppress(OSError, _Lost):  # it is over either way
                self._exchange(0.0)
        self._close()

    __exit__ = close

    def _close(self):
        if self.socket is not None:
            self.selector.close()
            self.socket.close()
        self.socket, self.is_open, self.is_draining, self.key, self.awaits = None, False, False, None, None
        self.out, self.input, self.counters = bytearray(), bytearray(), {CLIENT: 0, SERVER: 0}
        self.hold_until, self.retry_after, self.sent, self.sent_bytes = 0.0, 0.0, 0, 0

    def _drop(self, error):
        """A pause that doubles, with jitter, follows."""
        code, retry_after = getattr(error, "code", 0) or 0, getattr(error, "wait", 0.0) or self.retry_after
        self._close()
        self.delay = min(self.delay * 2 or 0.1, 30.0)
        self.due = time.monotonic() + max(self.delay * random.uniform(0.5, 1.0), retry_after)
        self.failure = error if isinstance(error, SluiceError) else None
        self.on_event("disconnected", self.answered + 1, code, str(error))

    def _greet(self, end):
        """Goes on with the handshake until `end`. False: it is not over yet."""
        while not self.is_open:
            now = time.monotonic()
            if now >= self.give_up:
                raise _Lost("no answer within 10 s")
            if self.steps is None:
                self._exchange(min(end, self.give_up))
            elif self.awaits is None or self.selector.select(max(0.0, min(end, self.give_up) - now)):
                self.awaits = next(self.steps, None)
                self.selector.modify(self.socket, self.awaits or selectors.EVENT_READ)
                self.steps = self.awaits and self.steps
            if now >= end:
                break
        return self.is_open

    def _connect(self):
        """Up to HELLO, step by step: gives what the socket has to be ready for before the next."""
        found = socket.getaddrinfo(*self.address, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[self.attempts % len(found)]  # each attempt another of its addresses
        self.attempts += 1
        self.selector, self.socket = selectors.DefaultSelector(), socket.socket(family, kind, protocol)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(self.socket, selectors.EVENT_WRITE)
        code = self.socket.connect_ex(address)
        if code == errno.EINPROGRESS:
            yield selectors.EVENT_WRITE
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        if self.tls is not None:
            self.selector.unregister(self.socket)
            self.socket = self.tls.wrap_socket(self.socket, server_hostname=self.address[0], do_handshake_on_connect=False)
            self.selector.register(self.socket, selectors.EVENT_READ)
            while True:
                try:
                    self.socket.do_handshake()
                    break
                except WANTS as want:
                    yield selectors.EVENT_WRITE if isinstance(want, ssl.SSLWantWriteError) else selectors.EVENT_READ
        self.beat, self.last_sent, self.last_heard = 20.0, time.monotonic(), time.monotonic()
        auth, nonce = ((3, 2), os.urandom(32)) if self.secret else ((1, 0), bytes(32))
        body = b"SLUICE\r\n" + struct.pack("<HBBBBHIII6H", 72, 1, 1, *auth, self.epoch, 0, 0, MAX_FRAME,
                                           *map(len, self.texts)) + nonce  # fmt: skip
        self.transcript = self._frame(HELLO, pad(body + b"".join(self.texts)))

    def _exchange(self, end):
        """Writes what is on its way, reads what is there; waits for one of them, at most until `end`."""
        now = time.monotonic()
        timeout = min(end, now + self.beat, self.hold_until if self.hold_until > now else end) - now
        self.selector.modify(self.socket, selectors.EVENT_READ | (selectors.EVENT_WRITE if self.out else 0))
        if not getattr(self.socket, "pending", int)():  # what TLS has taken from the socket already
            self.selector.select(max(0.0, timeout))
        with contextlib.suppress(*WANTS):
            while self.out:
                del self.out[: self.socket.send(self.out)]
        with contextlib.suppress(*WANTS):
            while data := self.socket.recv(MAX_FRAME):
                self.input += data
                self.last_heard = time.monotonic()
                self._take_frames()
                if time.monotonic() >= end:
                    return  # there may be more and more
            raise _Lost("the server closed the connection")

    def _frame(self, kind, body, count=0, covered=None):
        bound = struct.pack("<QQ", CLIENT, self.counters[CLIENT])
        self.counters[CLIENT] += 1
        crc = crc32c(body if covered is None else covered)
        head = struct.pack("<IBBHIII", HEAD + len(body) + (TAG if self.key else 0), kind, 0, 0, count, crc, 0)
        frame = head + struct.pack("<I", crc32c(bound + head)) + body
        self.out += frame
        if self.key:
            self.out += sign(self.key, bound, frame)
        self.last_sent = time.monotonic()
        return frame

    def _take_frames(self):
        """Every whole frame, each checked before it is believed."""
        while len(self.input) >= HEAD:
            length, kind, _, _, _, body_crc, _, head_crc = struct.unpack_from("<IBBHIIII", self.input)
            bound = struct.pack("<QQ", SERVER, self.counters[SERVER])
            if crc32c(bound + self.input[:20]) != head_crc or length < HEAD or length % 8 or length > MAX_FRAME:
                raise _Lost("a damaged frame")
            if len(self.input) < length:
                return
            frame = bytes(self.input[:length])
            del self.input[:length]
            self.counters[SERVER] += 1
            # Who does not believe the proof has no key to say so with.
            is_plain = not self.is_open and kind == ERROR and length >= 48
            is_plain = is_plain and length == HEAD + 24 + (struct.unpack_from("<H", frame, HEAD + 6)[0] + 7 & ~7)
            if self.key and not is_plain:
                frame, tag = frame[:-TAG], frame[-TAG:]
                if len(frame) < HEAD or not hmac.compare_digest(tag, sign(self.key, bound, frame)):
                    raise _Lost("a frame that somebody else made")
            if crc32c(frame[HEAD:]) != body_crc:
                raise _Lost("a damaged frame")
            self._handle(kind, frame, frame[HEAD:])

    def _handle(self, kind, frame, body):
        if kind < 128 and (kind > ERROR or len(body) < LEAST.get(kind, 0)):
            raise _Lost("the server sent no frame of the protocol")
        if kind == CHALLENGE and self.secret and not self.is_open and not self.key:
            self._prove(frame)
        elif kind == WELCOME and not self.is_open and bool(self.key) == bool(self.secret):
            self._welcome(body)
        elif kind == ACK and self.is_open:
            self.delay = 0.0
            self._forget(struct.unpack_from("<Q", body)[0])
        elif kind == NACK and self.is_open:
            fixed, code, refusal, _, length, sequence, expected, retry = struct.unpack_from("<HHBBHQQI", body)
            if refusal == 2:
                self.on_event("refused", sequence, code, body[fixed : fixed + length].decode(errors="replace"))
            else:  # from where the server wants it, once more and in order
                self.sent = min(max(0, expected - self.first), len(self.held))
                self.sent_bytes = sum(PREFIX + len(part) for _, part in itertools.islice(self.held, self.sent))
                self.hold_until = time.monotonic() + min(retry, MOST_WAIT_MS) / 1000
        elif kind == CREDIT:
            self.credit = list(struct.unpack_from("<QQ", body))
        elif kind == PING:
            if len(self.out) < PARCEL:  # what is on its way says as much
                self._frame(PONG, body[:8])
        elif kind == GOAWAY:
            self.is_draining, self.retry_after = True, min(struct.unpack_from("<I", body, 8)[0], MOST_WAIT_MS) / 1000
        elif kind in (BYE, ERROR):
            fixed, code, _, _, length, retry = struct.unpack_from("<HHBBHI", body)
            text = body[fixed : fixed + length].decode(errors="replace") or ("refused" if code else "the server said goodbye")
            # Before WELCOME anybody may have sent it: who has a secret comes back, and asks who knows it.
            is_over = code and code not in TRANSIENT_ERRORS and (self.is_open or not self.secret)
            raise (SluiceError if is_over else _Lost)(text, code, min(retry, MOST_WAIT_MS) / 1000)
        elif kind < 128 and kind != PONG:
            raise _Lost("a frame at the wrong time")

    def _prove(self, challenge):
        client_key = sign(self.secret, b"sluice client key 1")
        self.server_key = sign(self.secret, b"sluice server key 1")
        self.transcript += challenge
        signature = sign(hashlib.sha256(client_key).digest(), hashlib.sha256(self.transcript).digest())
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self.transcript = hashlib.sha256(self.transcript + self._frame(PROOF, struct.pack("<HHI", 40, 0, 0) + proof)).digest()
        self.key = sign(client_key + self.server_key, b"sluice session key 1", self.transcript)

    def _welcome(self, body):
        """The rows S0 to S6 of "Resume after a reconnect"."""
        if self.secret and not hmac.compare_digest(body[80:112], sign(self.server_key, self.transcript)):
            raise SluiceError("the server does not know the secret")
        self.max_frame, self.max_part, idle, last = struct.unpack_from("<IIIQ", body, 12)
        self.max_part = min(self.max_part, self.max_frame - HEAD - 8 - PREFIX - TAG)
        self.credit, self.used = list(struct.unpack_from("<QQ", body, 40)), [0, 0]
        before, is_other = self.log, self.log is not None and self.log != body[64:80]
        self.log, self.is_open, self.beat = body[64:80], True, idle / 3000 if idle else 20.0
        if self.first is None:
            self.first = last + 1
        elif not is_other and last > self.last:  # S5: somebody used the name
            if self.epoch == 65535:
                raise SluiceError("the producer's epochs are used up; give it another name")
            self.epoch, self.log = self.epoch + 1, b""  # of none: the next WELCOME is the beginning
            raise _Lost("the producer's numbers are behind the server's; going on under a new epoch")
        elif is_other or last < self.first - 1:  # S0, S4
            taken = "another log" if before else "another producer wrote under this name"
            self.on_event("lost", last, 0, taken if is_other else "records that were acknowledged are gone")
            self._renumber(last + 1)
        else:  # S1, S2, S3
            self._forget(last)
        large = [at for at, (_, part) in enumerate(self.held) if len(part) > self.max_part]
        if large:  # S6
            self.held = collections.deque(piece for piece in self.held if len(piece[1]) <= self.max_part)
            self.held_bytes = sum(PREFIX + len(part) for _, part in self.held)
            self._renumber(self.first)
        for number in (self.first + at - gone for gone, at in enumerate(large)):
            self.on_event("refused", number, TOO_LARGE, "the server takes less now; what follows moves up one")
        self.on_event("connected", last, 0, "")

    def _part(self, payload, topic, key, event_time):
        if len(topic) > 255 or len(key) > 4096:
            raise ValueError("a topic has at most 255 bytes, a key 4096")
        when = time.time_ns() if event_time is None else event_time
        fixed = struct.pack("<BBHIqQHHHH", FIXED, 1, 0, len(payload), when, self.last + 1, len(topic), len(key), 0, 0)
        return fixed + pad(topic + key) + pad(payload)

    def _renumber(self, first):
        self.first = first
        for index, (_, part) in enumerate(self.held):
            part = part[:16] + struct.pack("<Q", first + index) + part[24:]
            self.held[index] = (struct.pack("<II", len(part), crc32c(part)), part)

    def _forget(self, last):
        while self.held and self.first <= last:
            size = PREFIX + len(self.held.popleft()[1])
            if self.sent:
                self.sent, self.sent_bytes = self.sent - 1, self.sent_bytes - size
            self.first, self.held_bytes = self.first + 1, self.held_bytes - size

    def _make_data(self):
        """DATA frames of what is next, as far as the credit goes."""
        while self.is_open and not self.is_draining and self.sent < len(self.held) and len(self.out) < PARCEL:
            if time.monotonic() < self.hold_until:
                return
            pieces, size = [], HEAD + 8 + (TAG if self.key else 0)
            for piece in itertools.islice(self.held, self.sent, None):
                more = PREFIX + len(piece[1])
                if size + more > min(self.credit[0] - self.used[0], PARCEL if pieces else self.max_frame, self.max_frame):
                    break
                if self.used[1] + len(pieces) >= self.credit[1]:
                    break
                pieces.append(piece)
                size += more
            if not pieces:
                return
            start = struct.pack("<Q", self.first + self.sent)
            covered = start + b"".join(prefix for prefix, _ in pieces)
            self._frame(DATA, start + b"".join(a + b for a, b in pieces), len(pieces), covered)
            self.sent, self.used = self.sent + len(pieces), [self.used[0] + size, self.used[1] + len(pieces)]
            self.sent_bytes += sum(PREFIX + len(part) for _, part in pieces)
