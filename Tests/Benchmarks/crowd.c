/* A crowd of producers: many connections that each send little.
 *
 * usage: crowd MODE PORT CONNECTIONS SECONDS [tls]
 *   post     HTTP: POST /log with 128 B messages, kept alive
 *   frames   framed TCP: a producer of its own in each connection, one record of 128 B a frame
 *   loris    HTTP heads that come a byte a second and never end; runs until all are cut off or SECONDS are over
 *
 * post and frames: connects all, prints "connected" and waits for a line on standard input; then each connection sends once
 * a second for SECONDS, spread evenly; prints "steady" and waits again; then all send at once; prints "burst" and waits; prints
 * one JSON object. So whoever reads the server's memory finds it quiet. Exit status 0: all that was sent is acknowledged.
 * loris: prints "connected" once, then the JSON object at the end. */
#include "histogram.h"
#include "wire.h"
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef CROWD_TLS
#include <openssl/ssl.h>
#endif

enum { MESSAGE = 128, IN_BYTES = 1024, OUT_BYTES = 512, CONNECTING_AT_ONCE = 64, PAYLOAD = MESSAGE };
enum mode { POST, FRAMES, LORIS };
enum state { CONNECTING, SHAKING, GREETING, IDLE, WAITING, GONE };

struct connection {
  int fd;
  enum state state;
  uint32_t number;
  uint64_t due;
  uint64_t next, frames_in, frames_out;
  uint16_t in_length, out_length, out_sent;
  uint8_t in[IN_BYTES], out[OUT_BYTES];
#ifdef CROWD_TLS
  SSL *ssl;
#endif
};

static enum mode mode;
static int poll_fd, use_tls;
static struct sockaddr_in address;
static struct connection *all;
static uint32_t count, ready, gone;
static uint64_t sent, acknowledged, refused;
static struct histogram latencies;
#ifdef CROWD_TLS
static SSL_CTX *context;
#endif

static void lose(struct connection *c) {
  if (c->state == GONE) return;
  c->state = GONE;
  gone++;
  close(c->fd);
}

/* Bytes, 0 for "not now", -1 for the end. */
static ssize_t take(struct connection *c, void *to, size_t room) {
#ifdef CROWD_TLS
  if (c->ssl) {
    int n = SSL_read(c->ssl, to, (int)room);
    if (n > 0) return n;
    int why = SSL_get_error(c->ssl, n);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
  }
#endif
  ssize_t n = recv(c->fd, to, room, 0);
  if (n > 0) return n;
  return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static ssize_t give(struct connection *c, const void *from, size_t length) {
#ifdef CROWD_TLS
  if (c->ssl) {
    int n = SSL_write(c->ssl, from, (int)length);
    if (n > 0) return n;
    int why = SSL_get_error(c->ssl, n);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
  }
#endif
  ssize_t n = send(c->fd, from, length, MSG_NOSIGNAL);
  if (n > 0) return n;
  return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static void push(struct connection *c) {
  while (c->out_sent < c->out_length) {
    ssize_t n = give(c, c->out + c->out_sent, (size_t)(c->out_length - c->out_sent));
    if (n < 0) lose(c);
    if (n <= 0) return;
    c->out_sent += (uint16_t)n;
  }
}

static void put_hello(struct connection *c) {
  uint8_t *body = c->out + WIRE_HEADER;
  memset(body, 0, 72);
  memcpy(body, "SLUICE\r\n", 8);
  wire_put16(body + 8, 72);
  body[10] = body[11] = body[12] = 1;
  wire_put16(body + 14, 1);
  wire_put32(body + 24, 65536);
  int length = sprintf((char *)body + 72, "crowd-%u", c->number);
  wire_put16(body + 30, (uint16_t)length);
  c->out_length = (uint16_t)wire_finish(c->out, 72 + (size_t)length, WIRE_HELLO, WIRE_TO_SERVER, c->frames_out++);
}

static void put_data(struct connection *c) {
  uint8_t *at = c->out + WIRE_HEADER, *part = at + 8 + WIRE_PREFIX;
  memset(part, 'x', WIRE_PART + PAYLOAD);
  wire_put64(at, c->next);
  wire_put64(part, 0x0120 | (uint64_t)PAYLOAD << 32);
  wire_put64(part + 8, wire_now());
  wire_put64(part + 16, c->next);
  wire_put64(part + 24, 0);
  wire_put32(at + 8, WIRE_PART + PAYLOAD);
  wire_put32(at + 12, wire_crc(0, part, WIRE_PART + PAYLOAD));
  c->out_length = WIRE_HEADER + 8 + WIRE_PREFIX + WIRE_PART + PAYLOAD;
  wire_header(c->out, c->out_length, WIRE_DATA, 1, wire_crc(0, at, 8 + WIRE_PREFIX), WIRE_TO_SERVER, c->frames_out++);
  c->next++;
}

static void put_post(struct connection *c) {
  char message[MESSAGE + 1];
  memset(message, 'm', MESSAGE);
  message[MESSAGE] = 0;
  c->out_length = (uint16_t)sprintf(
      (char *)c->out, "POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n{\"message\":\"%s\"}", MESSAGE + 14,
      message);
}

static void send_record(struct connection *c, uint64_t due) {
  c->due = due;
  c->out_sent = 0;
  if (mode == FRAMES) put_data(c);
  if (mode == POST) put_post(c);
  c->state = WAITING;
  sent++;
  push(c);
}

static void answered(struct connection *c, int is_right) {
  if (is_right) {
    acknowledged++;
  } else {
    refused++;
  }
  histogram_add(&latencies, wire_now() - c->due);
  c->state = IDLE;
}

static void become_idle(struct connection *c) {
  c->state = IDLE;
  ready++;
}

/* What stands in `in`: 1, if something of it was used. */
static int read_answer(struct connection *c) {
  if (mode != FRAMES) {
    const char *end = memmem(c->in, c->in_length, "\"}", 2);
    if (c->state != WAITING || !end) return 0;
    answered(c, memcmp(c->in, "HTTP/1.1 202 ", 13) == 0);
    c->in_length = 0;
    return 1;
  }
  if (c->in_length < WIRE_HEADER) return 0;
  uint32_t length = wire_u32(c->in);
  if (length > IN_BYTES) errx(1, "a frame of %u bytes", length);
  if (c->in_length < length) return 0;
  if (!wire_header_is_right(c->in, WIRE_TO_CLIENT, c->frames_in++)) errx(1, "a frame's head_crc is wrong");
  switch (c->in[4]) {
  case WIRE_WELCOME:
    c->next = wire_u64(c->in + WIRE_HEADER + 24) + 1;
    become_idle(c);
    break;
  case WIRE_ACK:
    if (c->state == WAITING && wire_u64(c->in + WIRE_HEADER) + 1 == c->next) answered(c, 1);
    break;
  case WIRE_NACK: answered(c, 0); break;
  case WIRE_ERROR: lose(c); return 0;
  }
  memmove(c->in, c->in + length, c->in_length -= (uint16_t)length);
  return 1;
}

static void receive(struct connection *c) {
  while (c->state != GONE) {
    ssize_t n = take(c, c->in + c->in_length, (size_t)(IN_BYTES - c->in_length));
    if (n < 0) lose(c);
    if (n <= 0) return;
    c->in_length += (uint16_t)n;
    while (read_answer(c)) {
    }
    if (c->in_length == IN_BYTES) errx(1, "an answer of more than %d bytes", IN_BYTES);
  }
}

/* Connected, and through the handshake of TLS if there is one. */
static void greet(struct connection *c) {
  if (mode != FRAMES) return become_idle(c);
  c->state = GREETING;
  put_hello(c);
  push(c);
}

static void shake(struct connection *c) {
#ifdef CROWD_TLS
  if (use_tls) {
    if (!c->ssl) {
      c->ssl = SSL_new(context);
      SSL_set_fd(c->ssl, c->fd);
      SSL_set_connect_state(c->ssl);
    }
    int rc = SSL_do_handshake(c->ssl);
    if (rc == 1) return greet(c);
    int why = SSL_get_error(c->ssl, rc);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) lose(c);
    return;
  }
#endif
  greet(c);
}

static void connect_one(struct connection *c) {
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) err(1, "socket");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  if (connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS) err(1, "connect");
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.ptr = c};
  if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0) err(1, "epoll_ctl");
}

static void happen(struct connection *c) {
  if (c->state == GONE) return;
  if (c->state == CONNECTING) {
    int why = 0;
    socklen_t size = sizeof why;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &why, &size);
    if (why) errx(1, "connect: %s", strerror(why));
    c->state = SHAKING;
  }
  if (c->state == SHAKING) shake(c);
  if (c->state == GONE || c->state == SHAKING) return;
  push(c);
  receive(c);
}

static void turn(uint64_t until) {
  struct epoll_event events[512];
  uint64_t now = wire_now(), left = until > now ? until - now : 0;
  struct timespec wait = {.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
  int n = epoll_pwait2(poll_fd, events, 512, &wait, NULL);
  for (int i = 0; i < n; i++) happen(events[i].data.ptr);
}

static void rendezvous(const char *word) {
  char line[16];
  printf("%s\n", word);
  fflush(stdout);
  if (!fgets(line, sizeof line, stdin)) exit(1);
}

/* All under way is answered or lost, or a minute has passed. */
static void finish(void) {
  uint64_t end = wire_now() + 60000000000u;
  for (;;) {
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < count; i++) waiting += all[i].state == WAITING;
    if (!waiting || wire_now() > end) return;
    turn(wire_now() + 10000000u);
  }
}

static void print_phase(const char *name, FILE *to) {
  fprintf(to, "\"%s\":{\"sent\":%llu,\"acknowledged\":%llu,\"refused\":%llu,\"latency_us\":", name, (unsigned long long)sent,
         (unsigned long long)acknowledged, (unsigned long long)refused);
  histogram_print(&latencies, to);
  fprintf(to, "},");
}

static void loris(double seconds) {
  uint64_t begin = wire_now(), end = begin + (uint64_t)(seconds * 1e9), last_cut = begin;
  uint32_t seen = 0, byte = 0;
  static const char head[] = "POST /log HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
  printf("connected\n");
  fflush(stdout);
  for (uint64_t next = begin; wire_now() < end && gone < count; next += 1000000000u, byte++) {
    char letter = byte < sizeof head - 1 ? head[byte] : 'z';
    for (uint32_t i = 0; i < count; i++)
      if (all[i].state == IDLE && give(&all[i], &letter, 1) < 0) lose(&all[i]);
    while (wire_now() < next + 1000000000u && gone < count) {
      turn(next + 1000000000u);
      if (gone != seen) last_cut = wire_now();
      seen = gone;
    }
  }
  printf("{\"connections\":%u,\"cut\":%u,\"last_cut_after_s\":%.2f}\n", count, gone, (double)(last_cut - begin) / 1e9);
  exit(gone == count ? 0 : 1);
}

int main(int argc, char **argv) {
  if (argc < 5 || (argc == 6 && strcmp(argv[5], "tls") != 0)) errx(64, "usage: crowd post|frames|loris PORT CONNECTIONS SECONDS [tls]");
  mode = strcmp(argv[1], "frames") == 0 ? FRAMES : strcmp(argv[1], "loris") == 0 ? LORIS : POST;
  address = (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  count = (uint32_t)atoi(argv[3]);
  double seconds = atof(argv[4]);
  use_tls = argc == 6;
#ifdef CROWD_TLS
  context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
#else
  if (use_tls) errx(69, "built without OpenSSL");
#endif
  signal(SIGPIPE, SIG_IGN);
  poll_fd = epoll_create1(EPOLL_CLOEXEC);
  all = calloc(count, sizeof *all);
  if (poll_fd < 0 || !all) err(1, "setup");
  uint64_t begin = wire_now();
  for (uint32_t i = 0; i < count || ready + gone < count;) {
    while (i < count && i - ready - gone < CONNECTING_AT_ONCE) {
      all[i].number = i;
      connect_one(&all[i++]);
    }
    turn(wire_now() + 100000000u);
  }
  double connecting = (double)(wire_now() - begin) / 1e9;
  if (mode == LORIS) loris(seconds);
  uint32_t connected = ready;
  rendezvous("connected");
  begin = wire_now();
  for (uint64_t number = 0;; number++) {
    uint64_t due = begin + (uint64_t)((double)number * 1e9 / count);
    if (due > begin + (uint64_t)(seconds * 1e9)) break;
    while (wire_now() < due) turn(due);
    struct connection *c = &all[number % count];
    if (c->state == IDLE) send_record(c, due);
    if (number % 64 == 0) turn(0);
  }
  finish();
  uint64_t total = sent, right = acknowledged;
  rendezvous("steady");
  char *text = NULL;
  size_t length = 0;
  FILE *result = open_memstream(&text, &length);
  fprintf(result, "{\"connections\":%u,\"connected\":%u,\"connecting_s\":%.2f,", count, connected, connecting);
  print_phase("steady", result);
  sent = acknowledged = refused = 0;
  memset(&latencies, 0, sizeof latencies);
  begin = wire_now();
  for (uint32_t i = 0; i < count; i++) {
    if (all[i].state == IDLE) send_record(&all[i], begin);
    if (i % 512 == 0) turn(0);
  }
  finish();
  double burst = (double)(wire_now() - begin) / 1e9;
  rendezvous("burst");
  print_phase("burst", result);
  fprintf(result, "\"burst_s\":%.3f,\"lost\":%u}\n", burst, gone);
  fclose(result);
  fputs(text, stdout);
  return gone == 0 && total == right && sent == acknowledged ? 0 : 1;
}
