/* The floor that `POST /log` is measured against: a bare epoll server that reads requests and answers each with fixed
 * bytes. It does what nobody can leave out (accept, read, find the end of each request by Content-Length, write) and
 * nothing else. Keep-alive and pipelining work; anything but a POST with Content-Length ends the connection.
 *
 * usage: epoll_responder PORT THREADS [RESPONSE_FILE]
 * Each thread has its own listener (SO_REUSEPORT) and is named "http-N". Ends on SIGTERM. */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { IN_BYTES = 256 << 10, OUT_BYTES = 64 << 10, EVENTS = 256 };

static char response[4096] =
    "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n{\"status\":\"queued\"}";
static size_t response_bytes;
static int port;

struct connection {
  int fd;
  size_t in_length, out_length, out_sent;
  char in[IN_BYTES], out[OUT_BYTES];
};

static int listen_on(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
  if (fd < 0) err(1, "socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) err(1, "bind 127.0.0.1:%d", port);
  if (listen(fd, 1024) != 0) err(1, "listen");
  return fd;
}

/* Length of the request that `bytes` starts with, 0 if it is not whole yet, -1 if it is not for us. */
static long request_length(const char *bytes, size_t length) {
  const char *end = memmem(bytes, length, "\r\n\r\n", 4);
  if (!end) return length == IN_BYTES ? -1 : 0;
  if (memcmp(bytes, "POST ", 5) != 0) return -1;
  for (const char *line = memchr(bytes, '\n', length); line && line < end; line = memchr(line, '\n', end - line)) {
    line++;
    if (strncasecmp(line, "content-length:", 15) != 0) continue;
    char *rest;
    unsigned long body = strtoul(line + 15, &rest, 10);
    if (*rest != '\r' || body > IN_BYTES) return -1;
    size_t total = (size_t)(end - bytes) + 4 + body;
    if (total > IN_BYTES) return -1;
    return total <= length ? (long)total : 0;
  }
  return -1;
}

/* Answers every whole request in the buffer that there is room to answer. False if the connection must end. */
static int answer(struct connection *c) {
  size_t at = 0;
  while (at < c->in_length && c->out_length + response_bytes <= OUT_BYTES) {
    long length = request_length(c->in + at, c->in_length - at);
    if (length < 0) return 0;
    if (length == 0) break;
    memcpy(c->out + c->out_length, response, response_bytes);
    c->out_length += response_bytes;
    at += (size_t)length;
  }
  c->in_length -= at;
  if (at > 0 && c->in_length > 0) memmove(c->in, c->in + at, c->in_length);
  return 1;
}

/* Writes what is pending. -1: the connection is dead, 0: the socket is full, 1: all written. */
static int flush(struct connection *c) {
  while (c->out_sent < c->out_length) {
    ssize_t n = send(c->fd, c->out + c->out_sent, c->out_length - c->out_sent, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN ? 0 : -1;
    c->out_sent += (size_t)n;
  }
  c->out_sent = c->out_length = 0;
  return 1;
}

/* Reads, answers and writes until the socket has no more to say. False if the connection must end. */
static int serve(struct connection *c) {
  /* A short read emptied the socket; what comes later is a new edge. */
  for (int drained = 0;;) {
    int flushed = flush(c);
    if (flushed < 0) return 0;
    if (flushed == 0) return 1; /* edge-triggered: EPOLLOUT brings us back */
    if (!answer(c)) return 0;
    if (c->out_length > 0) continue;
    if (drained) return 1;
    size_t room = IN_BYTES - c->in_length;
    ssize_t n = read(c->fd, c->in + c->in_length, room);
    if (n == 0) return 0;
    if (n < 0) return errno == EAGAIN;
    c->in_length += (size_t)n;
    drained = (size_t)n < room;
  }
}

static void accept_all(int listener, int poll) {
  int fd, one = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct connection *c = malloc(sizeof *c);
    if (!c) err(1, "malloc");
    c->fd = fd;
    c->in_length = c->out_length = c->out_sent = 0;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.ptr = c};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) != 0) err(1, "epoll_ctl");
  }
}

static void *loop(void *index) {
  char name[16];
  snprintf(name, sizeof name, "http-%d", (int)(intptr_t)index);
  pthread_setname_np(pthread_self(), name);
  int listener = listen_on(), poll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
  if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event) != 0) err(1, "epoll");
  for (;;) {
    int n = epoll_wait(poll, events, EVENTS, -1);
    for (int i = 0; i < n; i++) {
      struct connection *c = events[i].data.ptr;
      if (!c) {
        accept_all(listener, poll);
      } else if (!serve(c)) {
        close(c->fd);
        free(c);
      }
    }
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 3 && argc != 4) errx(64, "usage: epoll_responder PORT THREADS [RESPONSE_FILE]");
  port = atoi(argv[1]);
  int threads = atoi(argv[2]);
  response_bytes = strlen(response);
  if (argc == 4) {
    int fd = open(argv[3], O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, response, sizeof response);
    if (n <= 0) err(1, "%s", argv[3]);
    response_bytes = (size_t)n;
  }
  pthread_t last;
  for (int i = 0; i < threads; i++)
    if (pthread_create(&last, NULL, loop, (void *)(intptr_t)i) != 0) errx(1, "pthread_create");
  pthread_join(last, NULL);
  return 0;
}
