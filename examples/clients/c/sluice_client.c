#define _GNU_SOURCE
#include "sluice_client.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
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
enum state { ANY, WAITING, CONNECTING, AWAIT_CHALLENGE, AWAIT_WELCOME, OPEN, FAILED };

struct sluice_client {
  struct sluice_options o; /* what it points to is copied below */
  char text[TEXTS][256], why[160];
  enum state state;
  int fd, tagged, numbered, draining;
  uint8_t attempts, secret[32], key[32], signature[32], log[16], hello[HELLO_MOST];
  uint64_t welcome[FIELDS], used_bytes, used_records, sent_frames, received_frames;
  uint64_t first, count, next;                  /* the first held, how many, the next to be sent */
  size_t head, tail, cursor, cap;               /* of `held`: [head, tail) is held, and sent up to `cursor` */
  size_t out_at, out_n, out_cap, in_n, hello_n; /* of `out`: [out_at, out_n) is whole frames on their way */
  int64_t due, beat, last_sent, hold_until, delay, retry_after; /* ms; at `due` it connects, or gives up */
  uint8_t *held, *out, in[RX]; /* `held`: each record's length, zeros, its part without the number */
  uint32_t crc_table[4 * 256];
};

/* Bytes, little-endian whatever the machine is. A digit of `w`, the widths, is the bytes of one value. */
static void put(uint8_t *p, uint64_t v, int n) { for (int i = 0; i < n; i++) p[i] = (uint8_t)(v >> 8 * i); }
static uint64_t get(const uint8_t *p, int n) { uint64_t v = 0; while (n) v = v << 8 | p[--n]; return v; }
static void pack(uint8_t *p, const char *w, const uint64_t *v) { for (; *w; p += *w++ - '0') put(p, *v++, *w - '0'); }
static void unpack(const uint8_t *p, const char *w, uint64_t *v) { for (; *w; p += *w++ - '0') *v++ = get(p, *w - 48); }
static size_t pad(size_t n) { return (n + 7) & ~(size_t)7; }
/* CRC-32C, four bytes a step. */
static void crc_prepare(uint32_t *t) {
  for (uint32_t i = 0; i < 256; i++) {
    t[i] = i;
    for (int bit = 0; bit < 8; bit++) t[i] = t[i] >> 1 ^ (t[i] & 1 ? 0x82F63B78u : 0);
  }
  for (int i = 256; i < 4 * 256; i++) t[i] = t[i - 256] >> 8 ^ t[t[i - 256] & 255];
}
static uint32_t crc32c(const sluice_client *c, uint32_t crc, const uint8_t *p, size_t n) {
  const uint32_t *t = c->crc_table;
  for (crc = ~crc; n >= 4; n -= 4, p += 4) {
    crc ^= p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    crc = t[768 + (crc & 255)] ^ t[512 + (crc >> 8 & 255)] ^ t[256 + (crc >> 16 & 255)] ^ t[crc >> 24];
  }
  for (; n; n--) crc = crc >> 8 ^ t[(crc ^ *p++) & 255];
  return ~crc;
}
/* SHA-256 and HMAC (FIPS 180-4, RFC 2104). */
struct span { const void *p; size_t n; };
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
    for (int i = 16; i < 64; i++)
      w[i] = w[i - 16] + (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
             (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
      uint32_t a = v[7] + mix(v[4], 6, 11, 25) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + sha_k[i] + w[i];
      uint32_t b = mix(v[0], 2, 13, 22) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
      memmove(v + 1, v, 7 * sizeof v[0]);
      v[4] += a, v[0] = a + b;
    }
    for (int i = 0; i < 8; i++) h[i] += v[i];
  }
  for (int i = 0; i < 32; i++) out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}
static void hmac(uint8_t out[32], const uint8_t *key, size_t key_n, struct span a, struct span b) {
  uint8_t inner[64] = {0}, outer[64];
  memcpy(inner, key, key_n);
  for (int i = 0; i < 64; i++) outer[i] = inner[i] ^ 0x5c, inner[i] ^= 0x36;
  sha256(out, (struct span[]){{inner, 64}, a, b}, 3);
  sha256(out, (struct span[]){{outer, 64}, {out, 32}}, 2);
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
static void tell(sluice_client *c, enum sluice_event event, uint64_t sequence, unsigned code, const char *text) {
  if (c->o.on_event) c->o.on_event(c->o.context, event, sequence, code, text);
}
/* Ends the connection; the next comes after a pause that doubles, with jitter, unless this is for good. Returns 0. */
static int drop(sluice_client *c, unsigned code, const char *why, enum state then) {
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
  snprintf(c->why, sizeof c->why, "%s", why);
  c->delay = c->delay ? least(c->delay * 2, 30000) : 100;
  int64_t pause = c->delay / 2 + c->delay * (clock_ns(CLOCK_MONOTONIC) / 1000 % 1000) / 2000;
  c->due = now_ms() + (pause > c->retry_after ? pause : c->retry_after), c->state = then;
  tell(c, SLUICE_DISCONNECTED, c->first, code, c->why);
  return 0;
}
static int lose(sluice_client *c, const char *why) { return drop(c, 0, why, WAITING); }
/* `bound` is what the checksum and the tag of a frame cover in front of it. */
static uint32_t head_crc(const sluice_client *c, uint8_t bound[16], int direction, uint64_t counter, const uint8_t *h) {
  pack(bound, "88", (uint64_t[]){(uint64_t)direction, counter});
  return crc32c(c, crc32c(c, 0, bound, 16), h, 20);
}
/* Where the body of the next frame goes; `frame` then puts header and tag around its `n` bytes. */
static uint8_t *body_of(sluice_client *c) { return c->out + c->out_n + HEAD; }
static uint8_t *frame(sluice_client *c, int type, uint64_t count, size_t n) {
  uint8_t *h = c->out + c->out_n, *b = h + HEAD, bound[16];
  size_t total = HEAD + n + (c->tagged ? TAG : 0);
  uint32_t crc = crc32c(c, 0, b, type == DATA ? 8 : n);
  for (size_t at = 8; type == DATA && at < n; at += PREFIX + get(b + at, 4)) crc = crc32c(c, crc, b + at, PREFIX);
  pack(h, "4112444", (uint64_t[]){total, (uint64_t)type, 0, 0, count, crc, 0});
  put(h + 20, head_crc(c, bound, 1, c->sent_frames++, h), 4);
  if (c->tagged) hmac(b + n, c->key, 32, (struct span){bound, 16}, (struct span){h, HEAD + n});
  c->out_n += total, c->last_sent = now_ms();
  return h;
}
static void small_frame(sluice_client *c, int type, uint64_t word) {
  /* What is on its way says as much. Room for a PROOF stays: a server that has proved nothing may send many PINGs. */
  if (c->out_n + HEAD + 24 + TAG + HEAD + 40 > c->out_cap) return;
  pack(body_of(c), "888", (uint64_t[]){type == BYE ? 24 | (uint64_t)1 << 32 : word, 0, 0}); /* fixed_len, scope */
  frame(c, type, 0, type == BYE ? 24 : 8);
}
static void greet(sluice_client *c) {
  uint8_t *b = body_of(c);
  size_t at = 72;
  memset(b, 0, HELLO_MOST - HEAD), memcpy(b, "SLUICE\r\n", 8);
  pack(b + 8, "211112444", (uint64_t[]){at, 1, 1, c->o.secret ? 3 : 1, c->o.secret ? 2 : 0, c->o.epoch, 0, 0, RX});
  if (c->o.secret && getrandom(b + 40, 32, 0) != 32) { lose(c, "no random numbers"); return; }
  for (int i = STREAM; i < TEXTS; i++) {
    size_t n = strlen(c->text[i]);
    put(b + 28 + 2 * (i - STREAM), n, 2), memcpy(b + at, c->text[i], n), at += n;
  }
  c->hello_n = HEAD + pad(at), c->state = c->o.secret ? AWAIT_CHALLENGE : AWAIT_WELCOME;
  memcpy(c->hello, frame(c, HELLO, 0, pad(at)), c->hello_n);
}
static int prove(sluice_client *c, const uint8_t *challenge, size_t n) {
  if (c->out_n + HEAD + 40 > c->out_cap) return lose(c, "no room for the proof");
  uint8_t keys[64], *client_key = keys, *server_key = keys + 32, stored[32], digest[32], *b = body_of(c);
  struct span frames[3] = {{c->hello, c->hello_n}, {challenge, n}}, none = {"", 0}, transcript = {digest, 32};
  hmac(client_key, c->secret, 32, (struct span){"sluice client key 1", 19}, none);
  hmac(server_key, c->secret, 32, (struct span){"sluice server key 1", 19}, none);
  sha256(stored, &(struct span){client_key, 32}, 1), sha256(digest, frames, 2);
  hmac(digest, stored, 32, transcript, none);
  pack(b, "224", (uint64_t[]){40, 0, 0});
  for (int i = 0; i < 32; i++) b[8 + i] = client_key[i] ^ digest[i];
  frames[2] = (struct span){frame(c, PROOF, 0, 40), HEAD + 40}, sha256(digest, frames, 3);
  hmac(c->signature, server_key, 32, transcript, none);
  hmac(c->key, keys, 64, (struct span){"sluice session key 1", 20}, transcript);
  c->tagged = 1, c->state = AWAIT_WELCOME;
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
static void refuse_too_large(sluice_client *c) { /* S6; from the head again after each: who is told may send */
  uint64_t sequence = c->first;
  for (size_t at = c->head, n; at < c->tail; at += n, sequence++) {
    if (fits(c->welcome, n = held_bytes(c, at))) continue;
    memmove(c->held + at, c->held + at + n, c->tail - at - n), c->tail -= n, c->count--;
    tell(c, SLUICE_REFUSED, sequence, 128, "the server takes less now; what follows moves up one");
    at = c->head, n = 0, sequence = c->first - 1;
  }
}
/* WELCOME: the rows S0 to S6 of "Resume after a reconnect". */
static int resume(sluice_client *c, const uint8_t *b) {
  uint64_t *w = c->welcome, last = get(b + 24, 8);
  int same_log = c->numbered == 1 && memcmp(c->log, b + 64, 16) == 0;
  if (c->o.secret && !same(c->signature, b + 80)) return drop(c, 0, "the server does not know the secret", FAILED);
  unpack(b + 12, "4448888", w), memcpy(c->log, b + 64, 16), c->beat = w[IDLE] ? (int64_t)w[IDLE] / 3 : 20000;
  if (same_log && last > sluice_last(c)) { /* S5: somebody used the name */
    if (c->o.epoch == UINT16_MAX) return drop(c, 0, "the producer's epochs are used up; use another name", FAILED);
    c->o.epoch++, c->numbered = 2; /* what the next WELCOME says is the beginning */
    return lose(c, "the producer's numbers are behind the server's; going on under a new epoch");
  }
  if (c->numbered && (!same_log || last < c->first - 1)) /* S0, S4 */
    tell(c, SLUICE_LOST, last, 0, same_log ? "records that were acknowledged are gone"
                                  : c->numbered == 2 ? "another producer wrote under this name" : "another log");
  if (!same_log || last < c->first - 1) c->first = last + 1;
  forget_to(c, last), send_from(c, c->first), refuse_too_large(c); /* S1, S2, S3, S6 */
  c->numbered = 1, c->state = OPEN;
  tell(c, SLUICE_CONNECTED, last, 0, "");
  return 1;
}

/* The least body of a frame from the server, and the only state it comes in. */
static const struct { uint8_t bytes, state; } rules[TYPES] = {
  [CHALLENGE] = {40, AWAIT_CHALLENGE}, [WELCOME] = {112, AWAIT_WELCOME}, [ACK] = {8, OPEN}, [NACK] = {32, OPEN},
  [CREDIT] = {16, OPEN}, [PING] = {8, ANY}, [PONG] = {8, ANY}, [GOAWAY] = {24, ANY}, [BYE] = {24, ANY},
  [ERROR] = {24, ANY}};
static int handle(sluice_client *c, const uint8_t *h, size_t n) {
  const uint8_t *b = h + HEAD;
  char text[128] = "";
  unsigned type = h[4], code = n >= 8 ? (unsigned)get(b + 2, 2) : 0;
  int unproved = c->o.secret && c->state != OPEN; /* anybody may have sent this: it is believed in nothing for good */
  if (type >= TYPES) return 1;
  if (!rules[type].bytes || n < rules[type].bytes || (rules[type].state != ANY && rules[type].state != c->state))
    return lose(c, "the server sent a frame that does not belong here");
  if (type == NACK || type >= GOAWAY) {
    size_t fixed = (size_t)get(b, 2), length = (size_t)get(b + 6, 2);
    if (fixed <= n && length <= n - fixed) snprintf(text, sizeof text, "%.*s", (int)length, (const char *)b + fixed);
  }
  if (type >= GOAWAY && get(b + 8, 4) > 0) c->retry_after = asked_ms(b + 8);
  switch (type) {
    case CHALLENGE: return prove(c, h, HEAD + n);
    case WELCOME: return resume(c, b);
    case ACK: c->delay = 0, forget_to(c, get(b, 8)); break;
    case NACK:
      if (b[4] == 2) { tell(c, SLUICE_REFUSED, get(b + 8, 8), code, text); break; }
      send_from(c, get(b + 16, 8)); /* from where the server wants it, once more and in order */
      c->hold_until = now_ms() + asked_ms(b + 24);
      break;
    case CREDIT: unpack(b, "88", c->welcome + BYTES); break;
    case PING: small_frame(c, PONG, get(b, 8)); break;
    case GOAWAY: c->draining = 1; break;
    case BYE: return lose(c, "the server said goodbye");
    case ERROR: return drop(c, code, text[0] ? text : "refused", code == 5 || code >= 17 || unproved ? WAITING : FAILED);
  }
  return 1;
}
/* The length of the whole frame at `h`, checked before it is believed; 0: not all there, or the connection is over. */
static size_t take_frame(sluice_client *c, const uint8_t *h, size_t there) {
  uint8_t bound[16], tag[32];
  size_t length = (size_t)get(h, 4), n = length - HEAD;
  if (get(h + 20, 4) != head_crc(c, bound, 2, c->received_frames, h) || length < HEAD || length % 8 || length > RX)
    return (size_t)drop(c, 5, "a damaged frame", WAITING);
  if (there < length) return 0;
  /* Who does not believe the proof has no key to say so with. */
  int plain = c->state == AWAIT_WELCOME && h[4] == ERROR && n >= 24 && n == pad(24 + (size_t)get(h + HEAD + 6, 2));
  int right = !c->tagged || plain || n >= TAG;
  if (c->tagged && !plain && right) {
    n -= TAG;
    hmac(tag, c->key, 32, (struct span){bound, 16}, (struct span){h, HEAD + n});
    right = same(tag, h + HEAD + n);
  }
  if (!right || get(h + 12, 4) != crc32c(c, 0, h + HEAD, n)) return (size_t)drop(c, 5, "a damaged frame", WAITING);
  c->received_frames++;
  return handle(c, h, n) ? length : 0;
}
/* One DATA frame of what is next, as far as the credit goes. Numbers and checksums are put in here. */
static int make_data(sluice_client *c) {
  size_t n = 8, total = HEAD + 8 + (c->tagged ? TAG : 0);
  uint64_t from = c->next, *w = c->welcome, most = w[MAX_FRAME] < c->out_cap ? w[MAX_FRAME] : c->out_cap;
  if (c->state != OPEN || c->draining || now_ms() < c->hold_until) return 0;
  put(body_of(c), from, 8);
  while (c->cursor < c->tail && c->used_records < w[RECORDS]) {
    size_t more = held_bytes(c, c->cursor);
    uint8_t *record = body_of(c) + n, *part = record + PREFIX;
    if (total + more > most || c->used_bytes + total + more > w[BYTES] || (n > 8 && total + more > PARCEL)) break;
    memcpy(record, c->held + c->cursor, more), put(part + 16, c->next, 8);
    put(record + 4, crc32c(c, 0, part, more - PREFIX), 4);
    n += more, total += more, c->cursor += more, c->next++, c->used_records++;
  }
  if (c->next > from) c->used_bytes += total, frame(c, DATA, c->next - from, n);
  return c->next > from;
}
static void connect_next(sluice_client *c) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all, *one;
  int rc = getaddrinfo(c->text[HOST], c->text[PORT], &hints, &all), on = 1, skip = c->attempts++;
  if (rc != 0) { lose(c, gai_strerror(rc)); return; }
  for (one = all; skip; skip--) one = one->ai_next ? one->ai_next : all; /* each attempt another of its addresses */
  c->fd = socket(one->ai_family, one->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), c->state = CONNECTING;
  c->out_at = c->out_n = c->in_n = 0, c->tagged = c->draining = 0, c->hold_until = c->retry_after = 0;
  c->sent_frames = c->received_frames = c->used_bytes = c->used_records = 0, c->due = now_ms() + 10000;
  if (c->fd < 0 || setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
      (connect(c->fd, one->ai_addr, one->ai_addrlen) != 0 && errno != EINPROGRESS)) lose(c, strerror(errno));
  freeaddrinfo(all);
}
static void write_out(sluice_client *c) {
  while (c->fd >= 0 && (c->out_at < c->out_n || make_data(c))) {
    ssize_t n = send(c->fd, c->out + c->out_at, c->out_n - c->out_at, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) { if (errno != EAGAIN) lose(c, strerror(errno)); return; }
    if ((c->out_at += (size_t)n) == c->out_n) c->out_at = c->out_n = 0;
  }
}
static void read_in(sluice_client *c) {
  size_t at = 0, length;
  ssize_t n = recv(c->fd, c->in + c->in_n, sizeof c->in - c->in_n, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) { lose(c, n ? strerror(errno) : "the server closed the connection"); return; }
  c->in_n += (size_t)n;
  while (c->in_n - at >= HEAD && (length = take_frame(c, c->in + at, c->in_n - at)) > 0) at += length;
  memmove(c->in, c->in + at, c->in_n -= at);
  if (c->state == OPEN) c->due = now_ms() + 3 * c->beat;
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
  struct pollfd p = {c->fd, POLLIN, 0}; /* without a connection it only waits */
  if (c->state == CONNECTING || c->out_at < c->out_n) p.events |= POLLOUT;
  if (poll(&p, 1, wait < 0 ? 0 : (int)wait) > 0) {
    if (c->state == CONNECTING) greet(c); /* what became of it, the first `send` says */
    else if (p.revents & (POLLIN | POLLERR | POLLHUP)) read_in(c);
    write_out(c);
  }
  return c->state == FAILED ? SLUICE_FAILED : SLUICE_OK;
}
int sluice_flush(sluice_client *c, int timeout_ms) {
  int64_t end = now_ms() + timeout_ms;
  for (int64_t left = timeout_ms; c->count || !c->numbered; left = end - now_ms()) {
    if (left <= 0) return SLUICE_AGAIN;
    if (sluice_pump(c, (int)left) != SLUICE_OK) return SLUICE_FAILED;
  }
  return SLUICE_OK;
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
    c->tail -= c->head, c->cursor -= c->head, c->head = 0;
  }
  uint8_t *record = c->held + c->tail, *p = record + PREFIX;
  int64_t time = r->event_time ? r->event_time : clock_ns(CLOCK_REALTIME);
  memset(record, 0, need);
  pack(record, "4411248822", (uint64_t[]){part, 0, FIXED, 1, 0, r->payload_bytes, (uint64_t)time, 0, topic, key});
  if (topic) memcpy(p + FIXED, r->topic, topic);
  if (key) memcpy(p + FIXED + topic, r->key, key);
  if (r->payload_bytes) memcpy(p + FIXED + pad(topic + key), r->payload, r->payload_bytes);
  c->tail += need, c->count++;
  return SLUICE_OK;
}
sluice_client *sluice_open(const struct sluice_options *o) {
  const char *given[TEXTS] = {o->host, o->port, o->stream ? o->stream : "", o->producer, o->secret ? o->identity : "",
                              "", "", o->software ? o->software : "sluice-c/1"};
  for (int i = 0; i < TEXTS; i++)
    if (!given[i] || strlen(given[i]) > 255) return NULL;
  sluice_client *c = given[PRODUCER][0] && o->window_bytes < SIZE_MAX / 4 ? calloc(1, sizeof *c) : NULL;
  if (!c) return NULL;
  c->o = *o, c->o.epoch = o->epoch ? o->epoch : 1, c->state = WAITING, c->fd = -1;
  for (int i = 0; i < TEXTS; i++) strcpy(c->text[i], given[i]);
  if (o->secret) memcpy(c->secret, o->secret, 32);
  c->cap = pad(o->window_bytes ? o->window_bytes : 1 << 20), c->out_cap = c->cap / 2 + SPARE;
  c->held = malloc(c->cap), c->out = malloc(c->out_cap);
  crc_prepare(c->crc_table);
  return c->held && c->out ? c : (sluice_close(c), NULL);
}
uint64_t sluice_answered(const sluice_client *c) { return c->numbered ? c->first - 1 : 0; }
uint64_t sluice_last(const sluice_client *c) { return c->numbered ? c->first + c->count - 1 : 0; }
const char *sluice_error(const sluice_client *c) { return c->why; }
void sluice_close(sluice_client *c) {
  if (!c) return;
  if (c->state == OPEN && c->out_at == c->out_n) c->draining = 1, small_frame(c, BYE, 0), write_out(c);
  if (c->fd >= 0) close(c->fd);
  free(c->held), free(c->out), free(c);
}
