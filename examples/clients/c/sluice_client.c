#define _GNU_SOURCE
#include "sluice_client.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
enum { HELLO = 1, CHALLENGE, PROOF, WELCOME, DATA = 8, ACK, NACK, CREDIT, PING, PONG, GOAWAY, BYE, ERROR, TYPES = 128 };
enum { HOST, PORT, STREAM, PRODUCER, IDENTITY, CREDENTIAL, FINGERPRINT, SOFTWARE, TEXTS }; /* HELLO's from STREAM on */
enum { MAX_FRAME, MAX_PART, IDLE, LAST, SERVER_TIME, BYTES, RECORDS, FIELDS }; /* WELCOME's from byte 12 on */
enum { HEAD = 24, PREFIX = 8, FIXED = 32, TAG = 32, RX = 65536, PARCEL = 65536, HELLO_MOST = 2048, SPARE = 8192 };
enum state { ANY, WAITING, CONNECTING, GREETING, ENTERING, OPEN, FAILED };
struct sluice_client {
  struct sluice_options o; /* what it points to is copied below */
  char text[TEXTS][256], why[160];
  enum state state;
  int fd, numbered;
  uint8_t attempts, secret[32], log[16];
  uint64_t welcome[FIELDS], first, count, next; /* the first held, how many, the next to be sent */
  size_t head, tail, cursor, cap, out_cap;      /* of `held`: [head, tail) is held, and sent up to `cursor` */
  int64_t due, beat, delay;                     /* ms; at `due` it connects, or gives up */
  uint8_t *held, *out; /* `held`: each record's length, zeros, its part without the number */
  int tagged, draining; /* from here on all is zero when a connection begins */
  size_t out_at, out_n, in_n; /* of `out`: [out_at, out_n) is whole frames on their way */
  uint64_t sent_frames, received_frames, used_bytes, used_records;
  int64_t last_sent, hold_until, retry_after; /* ms */
  uint8_t key[32], signature[32], hello[HELLO_MOST], in[RX];
};
static void put(uint8_t *p, uint64_t v, int n) { /* little-endian whatever the machine is */
  for (int i = 0; i < n; i++) p[i] = (uint8_t)(v >> 8 * i);
}
static uint64_t get(const uint8_t *p, int n) { return n ? get(p + 1, n - 1) << 8 | *p : 0; }
static void pack(uint8_t *p, const char *w, const uint64_t *v) { /* a digit of `w` is the width of one value */
  for (; *w; p += *w++ - '0') put(p, *v++, *w - '0');
}
static size_t pad(size_t n) { return (n + 7) & ~(size_t)7; }
static uint32_t crc32c(uint32_t crc, const uint8_t *p, size_t n) { /* half a byte a step */
  static const uint32_t t[16] = {0, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
  crc = ~crc;
  for (size_t i = 0; i < 2 * n; i++) crc = crc >> 4 ^ t[(crc ^ p[i / 2] >> 4 * (i % 2)) & 15];
  return ~crc;
}
struct span { const void *p; size_t n; }; /* for SHA-256 and HMAC (FIPS 180-4, RFC 2104) */
static const uint32_t sha_k[64] = {0x428a2f98,
  0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
  0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6,
  0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
  0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354,
  0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624,
  0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
  0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
static uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }
static uint32_t mix(uint32_t x, int a, int b, int c) { return ror(x, a) ^ ror(x, b) ^ ror(x, c); }
static void sha256(uint8_t out[32], const struct span *s, int count) { /* of the spans, one behind the other */
  uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint32_t w[64] = {0}, v[8];
  uint64_t total = 0, used = 0;
  for (int i = 0; i < count; i++) total += s[i].n;
  for (uint64_t at = 0, end = (total + 72) / 64 * 64; at < end; at++) {
    uint32_t byte = at == total ? 0x80 : at >= end - 8 ? total * 8 >> 8 * (end - 1 - at) & 255 : 0;
    for (; count && used == s->n; s++, count--) used = 0;
    if (count) byte = ((const uint8_t *)s->p)[used++];
    w[at % 64 / 4] = w[at % 64 / 4] << 8 | byte;
    if (at % 64 != 63) continue;
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
      if (i >= 16)
        w[i] = w[i - 16] + (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
               (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
      uint32_t a = v[7] + mix(v[4], 6, 11, 25) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + sha_k[i] + w[i];
      uint32_t b = mix(v[0], 2, 13, 22) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
      memmove(v + 1, v, 7 * sizeof v[0]);
      v[0] = a + b;
      v[4] += a;
    }
    for (int i = 0; i < 8; i++) h[i] += v[i];
  }
  for (int i = 0; i < 32; i++) out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}
static void hmac(uint8_t out[32], const uint8_t *key, size_t key_n, struct span a, struct span b) {
  uint8_t pads[128];
  for (size_t i = 0; i < 128; i++) pads[i] = (i % 64 < key_n ? key[i % 64] : 0) ^ (i < 64 ? 0x36 : 0x5c);
  sha256(out, (struct span[]){{pads, 64}, a, b}, 3);
  sha256(out, (struct span[]){{pads + 64, 64}, {out, 32}}, 2);
}
static int same(const uint8_t *a, const uint8_t *b) { /* in constant time */
  uint8_t d = 0;
  for (int i = 0; i < 32; i++) d |= a[i] ^ b[i];
  return d == 0;
}
static int64_t clock_ns(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static int64_t now_ms(void) { return clock_ns(CLOCK_MONOTONIC) / 1000000; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t asked_ms(const uint8_t *p) { return least((int64_t)get(p, 4), 300000); } /* anybody asks for 49 days */
static int tell(sluice_client *c, enum sluice_event event, uint64_t sequence, unsigned code, const char *text) {
  if (c->o.on_event) c->o.on_event(c->o.context, event, sequence, code, text);
  return 1;
}
/* Ends the connection; the next comes after a pause that doubles, with jitter, unless this is for good. Returns 0. */
static int drop(sluice_client *c, unsigned code, const char *why, enum state then) {
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
  c->state = then;
  snprintf(c->why, sizeof c->why, "%s", why);
  c->delay = c->delay ? least(c->delay * 2, 30000) : 100;
  int64_t pause = c->delay / 2 + c->delay * (clock_ns(CLOCK_MONOTONIC) / 1000 % 1000) / 2000;
  c->due = now_ms() + (pause > c->retry_after ? pause : c->retry_after);
  tell(c, SLUICE_DISCONNECTED, c->first, code, c->why);
  return 0;
}
static int lose(sluice_client *c, const char *why) { return drop(c, 0, why, WAITING); }
static uint32_t head_crc(uint8_t bound[16], int direction, uint64_t counter, const uint8_t *h) {
  pack(bound, "88", (uint64_t[]){(uint64_t)direction, counter}); /* checksum and tag cover it in front of the frame */
  return crc32c(crc32c(0, bound, 16), h, 20);
}
static uint8_t *body_of(sluice_client *c) { return c->out + c->out_n + HEAD; } /* of the next frame */
static uint8_t *frame(sluice_client *c, int type, uint64_t count, size_t n) { /* header and tag around that body */
  uint8_t *b = body_of(c), *h = b - HEAD, bound[16];
  size_t total = HEAD + n + (c->tagged ? TAG : 0);
  uint32_t crc = crc32c(0, b, type == DATA ? 8 : n);
  for (size_t at = 8; type == DATA && at < n; at += PREFIX + get(b + at, 4)) crc = crc32c(crc, b + at, PREFIX);
  pack(h, "4112444", (uint64_t[]){total, (uint64_t)type, 0, 0, count, crc, 0});
  put(h + 20, head_crc(bound, 1, c->sent_frames++, h), 4);
  if (c->tagged) hmac(b + n, c->key, 32, (struct span){bound, 16}, (struct span){h, HEAD + n});
  c->out_n += total;
  c->last_sent = now_ms();
  return h;
}
static void small_frame(sluice_client *c, int type, uint64_t word) {
  /* What is on its way says as much. Room for a PROOF stays: a server that has proved nothing may send many PINGs. */
  if (c->out_n + HEAD + 24 + TAG + HEAD + 40 > c->out_cap) return;
  pack(body_of(c), "888", (uint64_t[]){type == BYE ? 24 | (uint64_t)1 << 32 : word, 0, 0}); /* fixed_len, scope */
  frame(c, type, 0, type == BYE ? 24 : 8);
}
static int greet(sluice_client *c) {
  uint8_t *b = memset(body_of(c), 0, HELLO_MOST - HEAD);
  size_t at = 72;
  memcpy(b, "SLUICE\r\n", 8);
  pack(b + 8, "211112444", (uint64_t[]){at, 1, 1, c->o.secret ? 3 : 1, c->o.secret ? 2 : 0, c->o.epoch, 0, 0, RX});
  if (c->o.secret && getrandom(b + 40, 32, 0) != 32) return lose(c, "no random numbers");
  for (int i = STREAM; i < TEXTS; at += strlen(c->text[i++])) {
    put(b + 28 + 2 * (i - STREAM), strlen(c->text[i]), 2);
    memcpy(b + at, c->text[i], strlen(c->text[i]));
  }
  memcpy(c->hello, frame(c, HELLO, 0, pad(at)), HEAD + pad(at));
  c->state = c->o.secret ? GREETING : ENTERING;
  return 1;
}
static int prove(sluice_client *c, const uint8_t *challenge, size_t n) {
  uint8_t keys[64], *client_key = keys, *server_key = keys + 32, stored[32], digest[32], *b = body_of(c);
  struct span frames[3] = {{c->hello, (size_t)get(c->hello, 4)}, {challenge, n}, {b - HEAD, HEAD + 40}}, none = {"", 0};
  hmac(client_key, c->secret, 32, (struct span){"sluice client key 1", 19}, none);
  hmac(server_key, c->secret, 32, (struct span){"sluice server key 1", 19}, none);
  sha256(stored, &(struct span){client_key, 32}, 1);
  sha256(digest, frames, 2);
  hmac(digest, stored, 32, (struct span){digest, 32}, none);
  pack(b, "224", (uint64_t[]){40, 0, 0});
  for (int i = 0; i < 32; i++) b[8 + i] = client_key[i] ^ digest[i];
  frame(c, PROOF, 0, 40);
  sha256(digest, frames, 3);
  hmac(c->signature, server_key, 32, (struct span){digest, 32}, none);
  hmac(c->key, keys, 64, (struct span){"sluice session key 1", 20}, (struct span){digest, 32});
  c->tagged = 1;
  c->state = ENTERING;
  return 1;
}
static size_t held_bytes(const sluice_client *c, size_t at) { return PREFIX + (size_t)get(c->held + at, 4); }
static void send_from(sluice_client *c, uint64_t sequence) {
  c->cursor = c->head;
  for (c->next = c->first; c->next < sequence && c->next < c->first + c->count; c->next++)
    c->cursor += held_bytes(c, c->cursor);
}
static void forget_to(sluice_client *c, uint64_t last) {
  for (; c->count && c->first <= last; c->first++, c->count--) c->head += held_bytes(c, c->head);
  if (c->next < c->first) send_from(c, c->first);
  if (!c->count) c->head = c->tail = c->cursor = 0;
}
static int fits(const uint64_t *w, size_t n) { return n <= w[MAX_PART] + PREFIX && n + HEAD + 8 + TAG <= w[MAX_FRAME]; }
static int refuse_too_large(sluice_client *c) { /* S6, one of them: who is told may send; whether there was one */
  uint64_t sequence = c->first;
  size_t at = c->head, n;
  for (; at < c->tail && fits(c->welcome, held_bytes(c, at)); sequence++) at += held_bytes(c, at);
  if (at == c->tail) return 0;
  n = held_bytes(c, at);
  memmove(c->held + at, c->held + at + n, c->tail - at - n);
  c->tail -= n;
  c->count--;
  return tell(c, SLUICE_REFUSED, sequence, 128, "the server takes less now; what follows moves up one");
}
static int resume(sluice_client *c, const uint8_t *b) { /* the rows S0 to S6 of "Resume after a reconnect" */
  uint64_t last = get(b + 24, 8);
  int same_log = c->numbered == 1 && memcmp(c->log, b + 64, 16) == 0, is_other = !same_log || last < c->first - 1;
  if (c->o.secret && !same(c->signature, b + 80)) return drop(c, 0, "the server does not know the secret", FAILED);
  for (int i = 0; i < FIELDS; i++) c->welcome[i] = i <= IDLE ? get(b + 12 + 4 * i, 4) : get(b + 8 * i, 8);
  memcpy(c->log, b + 64, 16);
  c->beat = c->welcome[IDLE] ? (int64_t)c->welcome[IDLE] / 3 : 20000;
  if (same_log && last > sluice_last(c)) { /* S5: somebody used the name */
    if (c->o.epoch == UINT16_MAX) return drop(c, 0, "the producer's epochs are used up; use another name", FAILED);
    c->o.epoch++;
    c->numbered = 2; /* what the next WELCOME says is the beginning */
    return lose(c, "the producer's numbers are behind the server's; going on under a new epoch");
  }
  if (c->numbered && is_other) /* S0, S4 */
    tell(c, SLUICE_LOST, last, 0, same_log ? "records that were acknowledged are gone"
                                  : c->numbered == 2 ? "another producer wrote under this name" : "another log");
  if (is_other) c->first = last + 1;
  forget_to(c, last); /* S1, S2, S3 */
  send_from(c, c->first);
  while (refuse_too_large(c)) continue;
  c->numbered = 1;
  c->state = OPEN;
  return tell(c, SLUICE_CONNECTED, last, 0, "");
}
static const struct { uint8_t bytes, state; } rules[TYPES] = { /* the least body, and the only state it comes in */
  [CHALLENGE] = {40, GREETING}, [WELCOME] = {112, ENTERING}, [ACK] = {8, OPEN}, [NACK] = {32, OPEN},
  [CREDIT] = {16, OPEN}, [PING] = {8, ANY}, [PONG] = {8, ANY}, [GOAWAY] = {24, ANY}, [BYE] = {24, ANY},
  [ERROR] = {24, ANY}};
static int handle(sluice_client *c, const uint8_t *h, size_t n) {
  const uint8_t *b = h + HEAD;
  char text[128] = "";
  unsigned type = h[4];
  if (type >= TYPES) return 1;
  if (!rules[type].bytes || n < rules[type].bytes || (rules[type].state != ANY && rules[type].state != c->state))
    return lose(c, "the server sent a frame that does not belong here");
  unsigned fixed = (unsigned)get(b, 2), code = (unsigned)get(b + 2, 2), length = (unsigned)get(b + 6, 2);
  if ((type == NACK || type >= GOAWAY) && fixed + length <= n)
    snprintf(text, sizeof text, "%.*s", (int)length, (const char *)b + fixed);
  if (type >= GOAWAY && get(b + 8, 4) > 0) c->retry_after = asked_ms(b + 8);
  if (type == CHALLENGE) return prove(c, h, HEAD + n);
  if (type == WELCOME) return resume(c, b);
  if (type == BYE) return lose(c, "the server said goodbye");
  int passes = code == 5 || code >= 17 || (c->o.secret && c->state != OPEN); /* unproved: anybody may have sent it */
  if (type == ERROR) return drop(c, code, text[0] ? text : "refused", passes ? WAITING : FAILED);
  if (type == PING) small_frame(c, PONG, get(b, 8));
  if (type == GOAWAY) c->draining = 1;
  if (type == CREDIT) memcpy(c->welcome + BYTES, (uint64_t[]){get(b, 8), get(b + 8, 8)}, 16);
  if (type == ACK) c->delay = 0;
  if (type == ACK) forget_to(c, get(b, 8));
  if (type != NACK) return 1;
  if (b[4] == 2) return tell(c, SLUICE_REFUSED, get(b + 8, 8), code, text);
  send_from(c, get(b + 16, 8)); /* from where the server wants it, once more and in order */
  c->hold_until = now_ms() + asked_ms(b + 24);
  return 1;
}
/* The length of the whole frame at `h`, checked before it is believed; 0: not all there, or the connection is over. */
static size_t take_frame(sluice_client *c, const uint8_t *h, size_t there) {
  uint8_t bound[16], tag[32];
  size_t length = (size_t)get(h, 4), n = length - HEAD;
  if (get(h + 20, 4) != head_crc(bound, 2, c->received_frames, h) || length < HEAD || length % 8 || length > RX)
    return (size_t)drop(c, 5, "a damaged frame", WAITING);
  if (there < length) return 0;
  /* Who does not believe the proof has no key to say so with. */
  int plain = c->state == ENTERING && h[4] == ERROR && n >= 24 && n == pad(24 + (size_t)get(h + HEAD + 6, 2));
  size_t tag_n = c->tagged && !plain ? TAG : 0;
  if (tag_n && n >= tag_n) hmac(tag, c->key, 32, (struct span){bound, 16}, (struct span){h, length - TAG});
  if (n < tag_n || (tag_n && !same(tag, h + length - TAG)) || get(h + 12, 4) != crc32c(0, h + HEAD, n - tag_n))
    return (size_t)drop(c, 5, "a damaged frame", WAITING);
  c->received_frames++;
  return handle(c, h, n - tag_n) ? length : 0;
}
static int make_data(sluice_client *c) { /* one DATA frame of what is next, as far as the credit goes */
  size_t n = 8, total = HEAD + 8 + (c->tagged ? TAG : 0);
  uint64_t from = c->next, *w = c->welcome, most = w[MAX_FRAME] < c->out_cap ? w[MAX_FRAME] : c->out_cap;
  if (c->state != OPEN || c->draining || now_ms() < c->hold_until) return 0;
  put(body_of(c), from, 8);
  for (; c->cursor < c->tail && c->used_records < w[RECORDS]; c->used_records++, c->next++) {
    size_t more = held_bytes(c, c->cursor);
    if (total + more > most || c->used_bytes + total + more > w[BYTES] || (n > 8 && total + more > PARCEL)) break;
    uint8_t *record = memcpy(body_of(c) + n, c->held + c->cursor, more);
    put(record + PREFIX + 16, c->next, 8);
    put(record + 4, crc32c(0, record + PREFIX, more - PREFIX), 4);
    n += more;
    total += more;
    c->cursor += more;
  }
  if (c->next == from) return 0;
  c->used_bytes += total;
  frame(c, DATA, c->next - from, n);
  return 1;
}
static int connect_next(sluice_client *c) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all, *one;
  int rc = getaddrinfo(c->text[HOST], c->text[PORT], &hints, &all), on = 1, skip = c->attempts++;
  if (rc != 0) return lose(c, gai_strerror(rc));
  for (one = all; skip; skip--) one = one->ai_next ? one->ai_next : all; /* each attempt another of its addresses */
  memset((uint8_t *)c + offsetof(sluice_client, tagged), 0, sizeof *c - offsetof(sluice_client, tagged));
  c->fd = socket(one->ai_family, one->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  c->due = now_ms() + 10000;
  c->state = CONNECTING;
  if (c->fd < 0 || setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
      (connect(c->fd, one->ai_addr, one->ai_addrlen) != 0 && errno != EINPROGRESS)) lose(c, strerror(errno));
  freeaddrinfo(all);
  return 1;
}
static int write_out(sluice_client *c) {
  while (c->fd >= 0 && (c->out_at < c->out_n || make_data(c))) {
    ssize_t n = send(c->fd, c->out + c->out_at, c->out_n - c->out_at, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN || errno == EINTR || lose(c, strerror(errno));
    c->out_at += (size_t)n;
    if (c->out_at == c->out_n) c->out_at = c->out_n = 0;
  }
  return 1;
}
static int read_in(sluice_client *c) {
  size_t at = 0, length = 1;
  ssize_t n = recv(c->fd, c->in + c->in_n, RX - c->in_n, 0);
  if (n == 0) return lose(c, "the server closed the connection");
  if (n < 0) return errno == EAGAIN || errno == EINTR || lose(c, strerror(errno));
  c->in_n += (size_t)n;
  for (; length && c->in_n - at >= HEAD; at += length) length = take_frame(c, c->in + at, c->in_n - at);
  c->in_n -= at;
  memmove(c->in, c->in + at, c->in_n);
  if (c->state == OPEN) c->due = now_ms() + 3 * c->beat;
  return 1;
}
int sluice_pump(sluice_client *c, int timeout_ms) {
  int64_t now = now_ms();
  if (c->state == FAILED) return SLUICE_FAILED;
  if (now >= c->due && c->state == WAITING) connect_next(c);
  else if (now >= c->due) lose(c, c->state == OPEN ? "the server is silent" : "no answer within 10 s");
  if (c->state == OPEN && now - c->last_sent >= c->beat) small_frame(c, PING, (uint64_t)now);
  write_out(c);
  int64_t wait = least(timeout_ms, c->due - now);
  if (c->state == OPEN) wait = least(wait, c->last_sent + c->beat - now);
  if (c->hold_until > now) wait = least(wait, c->hold_until - now);
  struct pollfd p = {c->fd, c->state == CONNECTING || c->out_at < c->out_n ? POLLIN | POLLOUT : POLLIN, 0};
  if (poll(&p, 1, wait < 0 ? 0 : (int)wait) > 0) { /* without a connection it only waits */
    if (c->state == CONNECTING) greet(c); /* what became of it, the first `send` says */
    else if (p.revents & (POLLIN | POLLERR | POLLHUP)) read_in(c);
    write_out(c);
  }
  return c->state == FAILED ? SLUICE_FAILED : SLUICE_OK;
}
int sluice_flush(sluice_client *c, int timeout_ms) {
  int64_t end = now_ms() + timeout_ms, left = timeout_ms;
  int rc = SLUICE_OK;
  for (; rc == SLUICE_OK && (c->count || !c->numbered); left = end - now_ms())
    rc = left > 0 ? sluice_pump(c, (int)left) : SLUICE_AGAIN;
  return rc;
}
int sluice_send(sluice_client *c, const struct sluice_record *r) {
  size_t topic = r->topic ? strlen(r->topic) : 0, key = r->key ? strlen(r->key) : 0;
  if (c->state == FAILED || !c->numbered) return c->state == FAILED ? SLUICE_FAILED : SLUICE_AGAIN;
  if (topic > 255 || key > 4096 || r->payload_bytes > c->cap) return SLUICE_INVALID;
  size_t part = FIXED + pad(topic + key) + pad(r->payload_bytes), need = PREFIX + part;
  if (need > c->cap / 2 || !fits(c->welcome, need)) return SLUICE_INVALID;
  if (c->cap - c->tail < need) { /* move to the front only when that wins much */
    if (c->head < c->cap / 4 || c->cap - (c->tail - c->head) < need) return SLUICE_AGAIN;
    memmove(c->held, c->held + c->head, c->tail - c->head);
    c->tail -= c->head;
    c->cursor -= c->head;
    c->head = 0;
  }
  uint8_t *record = memset(c->held + c->tail, 0, need), *p = record + PREFIX;
  uint64_t time = (uint64_t)(r->event_time ? r->event_time : clock_ns(CLOCK_REALTIME));
  pack(record, "4411248822", (uint64_t[]){part, 0, FIXED, 1, 0, r->payload_bytes, time, 0, topic, key});
  if (topic) memcpy(p + FIXED, r->topic, topic);
  if (key) memcpy(p + FIXED + topic, r->key, key);
  if (r->payload_bytes) memcpy(p + FIXED + pad(topic + key), r->payload, r->payload_bytes);
  c->tail += need;
  c->count++;
  return SLUICE_OK;
}
sluice_client *sluice_open(const struct sluice_options *o) {
  const char *given[TEXTS] = {o->host, o->port, o->stream ? o->stream : "", o->producer, o->secret ? o->identity : "",
                              "", "", o->software ? o->software : "sluice-c/1"};
  for (int i = 0; i < TEXTS; i++)
    if (!given[i] || strlen(given[i]) > 255) return NULL;
  size_t cap = pad(o->window_bytes ? o->window_bytes : 1 << 20), out_cap = cap / 2 + SPARE;
  sluice_client *c = given[PRODUCER][0] && o->window_bytes < SIZE_MAX / 4 ? calloc(1, sizeof *c + cap + out_cap) : NULL;
  if (!c) return NULL;
  *c = (sluice_client){.o = *o, .state = WAITING, .fd = -1, .cap = cap, .out_cap = out_cap, .held = (uint8_t *)(c + 1)};
  c->out = c->held + cap; /* all three are one allocation */
  if (!o->epoch) c->o.epoch = 1;
  for (int i = 0; i < TEXTS; i++) strcpy(c->text[i], given[i]);
  if (o->secret) memcpy(c->secret, o->secret, 32);
  return c;
}
uint64_t sluice_answered(const sluice_client *c) { return c->numbered ? c->first - 1 : 0; }
uint64_t sluice_last(const sluice_client *c) { return c->numbered ? c->first + c->count - 1 : 0; }
const char *sluice_error(const sluice_client *c) { return c->why; }
void sluice_close(sluice_client *c) {
  if (!c) return;
  c->draining = 1;
  if (c->state == OPEN && c->out_at == c->out_n) small_frame(c, BYE, 0);
  write_out(c);
  if (c->fd >= 0) close(c->fd);
  free(c);
}
