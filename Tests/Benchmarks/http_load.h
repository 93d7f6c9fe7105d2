/* An HTTP load generator: the parts that http_load.c and http_load_connection.c share. */
#ifndef SLUICE_BENCH_HTTP_LOAD_H
#define SLUICE_BENCH_HTTP_LOAD_H
#include "histogram.h"
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

enum { LOAD_IN_BYTES = 16 << 10, LOAD_REQUEST_BYTES = 1 << 21, LOAD_STATUSES = 600 };

/* One connection with at most one request, or one pipelined run of them, under way. */
struct connection {
  int fd;
  int busy;           /* answers that are to come yet */
  uint64_t intended;  /* when it should have been sent: what its latency counts from */
  size_t sent;        /* bytes of the request written */
  size_t in_length;
  char in[LOAD_IN_BYTES];
};

/* The whole load: single-threaded, one epoll. */
struct load {
  struct sockaddr_in address;
  /* What is sent at a time: `pipelined` requests. */
  char *request;
  size_t request_bytes;
  int pipelined;
  int poll;
  struct connection *connections;
  int connection_count;
  /* Idle connections, a stack. */
  struct connection **idle;
  int idle_count;
  /* Results of the phase that runs. */
  struct histogram latencies;
  uint64_t statuses[LOAD_STATUSES];
  uint64_t answered, errors;
};

uint64_t load_now(void);

/* Connects, in non-blocking mode, and registers with the epoll. Ends the program if nobody listens. */
void connection_open(struct load *load, struct connection *c);

/* Begins a request on an idle connection. */
void connection_send(struct load *load, struct connection *c, uint64_t intended);

/* Goes on with what epoll reported; finished requests are counted and their connection becomes idle. */
void connection_ready(struct load *load, struct connection *c);

#endif
