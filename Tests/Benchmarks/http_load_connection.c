#include "http_load.h"
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

void connection_open(struct load *load, struct connection *c) {
  int one = 1;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd < 0) err(1, "socket");
  if (connect(c->fd, (struct sockaddr *)&load->address, sizeof load->address) != 0) err(1, "connect");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
  if (epoll_ctl(load->poll, EPOLL_CTL_ADD, c->fd, &event) != 0) err(1, "epoll_ctl");
  c->busy = 0;
  c->in_length = 0;
  load->idle[load->idle_count++] = c;
}

/* The request under way failed: count it and start over with a new connection. */
static void fail(struct load *load, struct connection *c) {
  load->errors += (uint64_t)c->busy;
  if (!c->busy) /* The server closed an idle connection: it is on the idle stack and must leave it. */
    for (int i = 0; i < load->idle_count; i++)
      if (load->idle[i] == c) {
        load->idle[i] = load->idle[--load->idle_count];
        break;
      }
  close(c->fd);
  connection_open(load, c);
}

static void write_rest(struct load *load, struct connection *c) {
  while (c->sent < load->request_bytes) {
    ssize_t n = send(c->fd, load->request + c->sent, load->request_bytes - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) {
      if (errno != EAGAIN) fail(load, c);
      return;
    }
    c->sent += (size_t)n;
  }
}

void connection_send(struct load *load, struct connection *c, uint64_t intended) {
  c->busy = load->pipelined;
  c->intended = intended;
  c->sent = 0;
  write_rest(load, c);
}

/* Length of the response that the buffer starts with and its status; 0 if it is not whole, -1 if it is no response. */
static long response_length(const struct connection *c, int *status) {
  const char *end = memmem(c->in, c->in_length, "\r\n\r\n", 4);
  if (!end) return c->in_length == LOAD_IN_BYTES ? -1 : 0;
  if (memcmp(c->in, "HTTP/1.1 ", 9) != 0) return -1;
  *status = atoi(c->in + 9);
  if (*status < 100 || *status >= LOAD_STATUSES) return -1;
  size_t body = 0;
  for (const char *line = memchr(c->in, '\n', c->in_length); line && line < end; line = memchr(line, '\n', end - line)) {
    line++;
    if (strncasecmp(line, "content-length:", 15) == 0) body = strtoul(line + 15, NULL, 10);
  }
  size_t total = (size_t)(end - c->in) + 4 + body;
  if (total > LOAD_IN_BYTES) return -1;
  return total <= c->in_length ? (long)total : 0;
}

static void finish(struct load *load, struct connection *c, long length, int status) {
  c->in_length -= (size_t)length;
  memmove(c->in, c->in + length, c->in_length);
  histogram_add(&load->latencies, load_now() - c->intended);
  load->statuses[status]++;
  load->answered++;
  if (--c->busy == 0) load->idle[load->idle_count++] = c;
}

void connection_ready(struct load *load, struct connection *c) {
  if (c->busy && c->sent < load->request_bytes) write_rest(load, c);
  for (;;) {
    ssize_t n = recv(c->fd, c->in + c->in_length, LOAD_IN_BYTES - c->in_length, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      fail(load, c);
      return;
    }
    c->in_length += (size_t)n;
    int status = 0;
    for (long length; (length = response_length(c, &status)) != 0;) {
      if (length < 0 || !c->busy) {
        fail(load, c);
        return;
      }
      finish(load, c, length, status);
      if (!c->busy) return; /* Nothing more comes until the next is sent. */
      if (c->in_length == 0) break;
    }
  }
}
