/* Load for the framed protocol: one connection that sends DATA frames as fast as its credit lets it, until SECONDS have
 * passed or SIGTERM comes. With RATE it is an open loop: so many records are due a second, at fixed times; what is due is
 * sent as soon as it may be, and everything that was due by the end is.
 * usage: tcp_load HOST PORT SECONDS [PAYLOAD [FRAME [PRODUCER [RATE]]]]    e.g. tcp_load 127.0.0.1 7400 30 128 65536
 *
 * Each record is encoded and checksummed anew, as a producer would. Prints one JSON object: records acknowledged per
 * second, ack latency (of the first record of a frame, from before its write; with RATE of every record, from when it was
 * due), this program's own CPU per record; with RATE also how many were due, how many of those were not sent yet when SIGTERM
 * came, and how long after its first record was due a frame was made.
 * Exit status 0: everything that was sent is acknowledged, and nothing was refused. */
#include "histogram.h"
#include "wire.h"
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IN_BYTES = 64 << 10, MAX_FRAME = 1 << 20, MARKS = 1 << 14 };

/* How long what is due waits for credit, and what was sent for its ack. */
static const uint64_t PATIENCE_NS = 60000000000u;

/* Which frame a latency belongs to. */
struct mark {
  uint64_t last;
  uint64_t sent_at;
};

struct client {
  int fd;
  uint8_t in[IN_BYTES], out[MAX_FRAME + 4096];
  size_t in_length, out_length, out_sent;
  uint64_t frames_out, frames_in;
  uint64_t credit_bytes, credit_records, sent_bytes, sent_records;
  uint64_t first, next, acked;
  uint64_t nacks;
  struct mark marks[MARKS];
  unsigned mark_head, mark_tail;
  struct histogram latencies;
  /* Of the open loop: 0 = none; when its first record was due; how late frames were made. */
  double rate;
  uint64_t start;
  struct histogram delays;
};

/* When a record of the open loop is due. */
static uint64_t due_at(const struct client *c, uint64_t sequence) {
  return c->start + (uint64_t)((double)(sequence - c->first) * 1e9 / c->rate);
}

/* How many records are due by now, of `all`. */
static uint64_t due_by(const struct client *c, uint64_t now, uint64_t all) {
  uint64_t due = (uint64_t)((double)(now - c->start) / 1e9 * c->rate) + 1;
  return due < all ? due : all;
}

static void take_ack(struct client *c, uint64_t acked) {
  uint64_t now = wire_now();
  if (c->rate > 0)
    for (uint64_t sequence = c->acked + 1; sequence <= acked; sequence++)
      histogram_add(&c->latencies, now - due_at(c, sequence));
  c->acked = acked;
  for (; c->mark_head != c->mark_tail && c->marks[c->mark_head % MARKS].last <= acked; c->mark_head++)
    if (c->rate == 0) histogram_add(&c->latencies, now - c->marks[c->mark_head % MARKS].sent_at);
}

static void take_frame(struct client *c, const uint8_t *frame) {
  const uint8_t *body = frame + WIRE_HEADER;
  if (!wire_header_is_right(frame, WIRE_TO_CLIENT, c->frames_in)) errx(1, "a frame's head_crc is wrong");
  c->frames_in++;
  switch (frame[4]) {
  case WIRE_WELCOME:
    c->acked = wire_u64(body + 24);
    c->first = c->next = c->acked + 1;
    c->credit_bytes = wire_u64(body + 40);
    c->credit_records = wire_u64(body + 48);
    break;
  case WIRE_ACK:
    take_ack(c, wire_u64(body));
    break;
  case WIRE_CREDIT:
    c->credit_bytes = wire_u64(body);
    c->credit_records = wire_u64(body + 8);
    break;
  case WIRE_NACK:
    /* Back to what the server expects. */
    if (body[4] == 1) c->next = wire_u64(body + 16);
    c->nacks++;
    break;
  case WIRE_ERROR:
    errx(1, "ERROR %u: %.*s", wire_u16(body + 2), (int)wire_u16(body + 6), (const char *)body + 24);
  }
}

static void receive(struct client *c) {
  ssize_t n = recv(c->fd, c->in + c->in_length, sizeof c->in - c->in_length, MSG_DONTWAIT);
  if (n == 0) errx(1, "the server closed the connection");
  if (n < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    err(1, "recv");
  }
  c->in_length += (size_t)n;
  size_t at = 0;
  while (c->in_length - at >= WIRE_HEADER) {
    size_t length = wire_u32(c->in + at);
    if (length < WIRE_HEADER || length > sizeof c->in) errx(1, "a frame of %zu bytes", length);
    if (c->in_length - at < length) break;
    take_frame(c, c->in + at);
    at += length;
  }
  memmove(c->in, c->in + at, c->in_length -= at);
}

/* Sends what is in `out`; whether all of it went. */
static int push(struct client *c) {
  while (c->out_sent < c->out_length) {
    ssize_t n = send(c->fd, c->out + c->out_sent, c->out_length - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
      if (errno == EAGAIN || errno == EINTR) return 0;
      err(1, "send");
    }
    c->out_sent += (size_t)n;
  }
  return 1;
}

static void say_hello(struct client *c, const char *producer) {
  uint8_t *body = c->out + WIRE_HEADER;
  size_t length = strlen(producer);
  memset(body, 0, 72);
  memcpy(body, "SLUICE\r\n", 8);
  wire_put16(body + 8, 72);
  body[10] = body[11] = body[12] = 1;
  wire_put16(body + 14, 1);
  wire_put32(body + 24, 65536);
  wire_put16(body + 30, (uint16_t)length);
  memcpy(body + 72, producer, length);
  c->out_length = wire_finish(c->out, 72 + length, WIRE_HELLO, WIRE_TO_SERVER, c->frames_out++);
  c->out_sent = 0;
}

/* Builds one DATA frame of `count` records. */
static void build(struct client *c, uint32_t count, uint32_t payload) {
  uint32_t part = WIRE_PART + ((payload + 7) & ~7u);
  uint8_t *at = c->out + WIRE_HEADER;
  wire_put64(at, c->next);
  uint32_t crc = wire_crc(0, at, 8);
  uint64_t now = wire_now();
  at += 8;
  for (uint32_t i = 0; i < count; i++) {
    uint8_t *p = at + WIRE_PREFIX;
    /* header_len 32, type 1; the payload stays what it was. */
    wire_put64(p, 0x0120 | (uint64_t)payload << 32);
    wire_put64(p + 8, now);
    wire_put64(p + 16, c->next + i);
    wire_put64(p + 24, 0);
    wire_put32(at, part);
    wire_put32(at + 4, wire_crc(0, p, part));
    crc = wire_crc(crc, at, WIRE_PREFIX);
    at += WIRE_PREFIX + part;
  }
  c->out_length = (size_t)(at - c->out);
  c->out_sent = 0;
  wire_header(c->out, (uint32_t)c->out_length, WIRE_DATA, count, crc, WIRE_TO_SERVER, c->frames_out++);
  c->next += count;
  c->sent_bytes += c->out_length;
  c->sent_records += count;
  if (c->mark_tail - c->mark_head < MARKS) c->marks[c->mark_tail++ % MARKS] = (struct mark){c->next - 1, now};
}

static volatile sig_atomic_t is_over;

static void stop(int signal) {
  (void)signal;
  is_over = 1;
}

static void await(struct client *c, short events) {
  struct pollfd p = {.fd = c->fd, .events = events};
  poll(&p, 1, 1000);
  receive(c);
}

/* Sends a frame of what is due, or waits until something is, or may be sent. */
static void keep_time(struct client *c, uint64_t all, uint32_t count, uint32_t record, uint32_t payload) {
  uint64_t now = wire_now(), sent = c->next - c->first, waiting = due_by(c, now, all) - sent;
  if (waiting == 0) {
    uint64_t left = due_at(c, c->next) - now;
    struct timespec time = {.tv_nsec = left < 1000000000 ? (long)left : 999999999};
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    ppoll(&p, 1, &time, NULL);
    receive(c);
    return;
  }
  uint32_t fitting = waiting < count ? (uint32_t)waiting : count;
  if (c->sent_bytes + WIRE_HEADER + 8 + (uint64_t)fitting * record > c->credit_bytes ||
      c->sent_records + fitting > c->credit_records) {
    await(c, POLLIN);
    return;
  }
  histogram_add(&c->delays, now - due_at(c, c->next));
  build(c, fitting, payload);
  push(c);
  receive(c);
}

int main(int argc, char **argv) {
  if (argc < 4) errx(64, "usage: tcp_load HOST PORT SECONDS [PAYLOAD [FRAME [PRODUCER [RATE]]]]");
  uint32_t payload = argc > 4 ? (uint32_t)atoi(argv[4]) : 128, frame = argc > 5 ? (uint32_t)atoi(argv[5]) : 65536;
  uint32_t record = WIRE_PREFIX + WIRE_PART + ((payload + 7) & ~7u);
  if (frame > MAX_FRAME || frame < WIRE_HEADER + 8 + record) errx(64, "a frame of %u bytes is not possible", frame);
  uint32_t count = (frame - WIRE_HEADER - 8) / record;
  static struct client c;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
  if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) errx(64, "%s is no IPv4 address", argv[1]);
  c.fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(c.fd, (struct sockaddr *)&address, sizeof address) != 0) err(1, "connect");
  setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  say_hello(&c, argc > 6 ? argv[6] : "tcp_load");
  while (!push(&c)) await(&c, POLLOUT);
  while (c.next == 0) await(&c, POLLIN);
  memset(c.out, 'x', sizeof c.out);
  uint64_t start = wire_now(), end = start + (uint64_t)(atof(argv[3]) * 1e9);
  uint64_t cpu = wire_cpu();
  uint64_t frame_bytes = WIRE_HEADER + 8 + (uint64_t)count * record;
  c.rate = argc > 7 ? atof(argv[7]) : 0;
  c.start = start;
  uint64_t all = (uint64_t)(c.rate * atof(argv[3]));
  /* A pause of 20 us takes 70 with the usual slack. */
  prctl(PR_SET_TIMERSLACK, 1);
  signal(SIGTERM, stop);
  uint64_t behind = 0;
  int is_last = 0;
  while (c.rate > 0 ? c.next - c.first < all && wire_now() < end + PATIENCE_NS : !is_over && wire_now() < end) {
    if (is_over && !is_last) {
      is_last = 1;
      end = wire_now();
      all = due_by(&c, end, all);
      behind = all - (c.next - c.first);
    } else if (!push(&c)) {
      await(&c, POLLOUT | POLLIN);
    } else if (c.rate > 0) {
      keep_time(&c, all, count, record, payload);
    } else if (c.sent_bytes + frame_bytes > c.credit_bytes || c.sent_records + count > c.credit_records) {
      await(&c, POLLIN);
    } else {
      build(&c, count, payload);
      receive(&c);
    }
  }
  while (!push(&c)) await(&c, POLLOUT | POLLIN);
  end = wire_now();
  while (c.acked + 1 < c.next && wire_now() < end + PATIENCE_NS) await(&c, POLLIN);
  double seconds = (double)(wire_now() - start) / 1e9;
  uint64_t records = c.acked + 1 - c.first;
  printf("{\"records\":%llu,\"seconds\":%.3f,\"records_per_second\":%.0f,\"bytes_per_second\":%.0f,\"payload\":%u,"
         "\"frame_records\":%u,\"nacks\":%llu,\"client_cpu_us_per_record\":%.4f,\"ack_us\":",
         (unsigned long long)records, seconds, (double)records / seconds, (double)c.sent_bytes / seconds, payload, count,
         (unsigned long long)c.nacks, records ? (double)(wire_cpu() - cpu) / 1e3 / (double)records : 0);
  histogram_print(&c.latencies, stdout);
  if (c.rate > 0) {
    printf(",\"rate\":%.0f,\"due\":%llu,\"behind\":%llu,\"delay_us\":", c.rate, (unsigned long long)all,
           (unsigned long long)behind);
    histogram_print(&c.delays, stdout);
  }
  printf("}\n");
  return c.acked + 1 == c.next && c.nacks == 0 && c.next - c.first >= all ? 0 : 1;
}
