/* Posts records to a server and measures how it answers.
 *
 * usage: http_load --port N [--host A] [--path /log] [--connections 64] [--size 128] [--rate R]
 *                  [--warmup S] (--duration S | --count N) [--sync] [--pipeline N] [--lines N] [--token T]
 *
 * --pipeline sends N requests at a time, each of which is answered; a latency then counts until the last answer.
 * --token sends it with each request as a bearer token.
 * --lines makes each body N lines of NDJSON, for --path /logs; --size is that of each message.
 *
 * Closed loop without --rate: every connection sends its next request when the last is answered. Open loop with --rate:
 * requests are due at fixed times and a latency counts from when its request was due, whether or not a connection was
 * free then, so that a stall of the server shows in full.
 *
 * --sync: after the warm-up lets everything under way finish, prints "ready", and begins when a line comes on standard
 * input; so the one who reads the server's counters finds it idle before and after. Prints one JSON object. */
#include "http_load.h"
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

struct options {
  const char *host, *path, *token;
  int port, connections, size, sync, pipeline, lines;
  double rate, warmup, duration;
  uint64_t count;
};

uint64_t load_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct options parse(int argc, char **argv) {
  static const struct option names[] = {
      {"host", 1, 0, 'h'},   {"port", 1, 0, 'p'},     {"path", 1, 0, 'u'},  {"connections", 1, 0, 'c'},
      {"size", 1, 0, 's'},   {"rate", 1, 0, 'r'},     {"warmup", 1, 0, 'w'}, {"duration", 1, 0, 'd'},
      {"count", 1, 0, 'n'},  {"sync", 0, 0, 'y'},     {"pipeline", 1, 0, 'i'}, {"lines", 1, 0, 'l'},
      {"token", 1, 0, 't'},
      {0, 0, 0, 0}};
  struct options o = {
      .host = "127.0.0.1", .path = "/log", .connections = 64, .size = 128, .pipeline = 1, .lines = 1};
  for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) switch (c) {
      case 'h': o.host = optarg; break;
      case 'p': o.port = atoi(optarg); break;
      case 'u': o.path = optarg; break;
      case 'c': o.connections = atoi(optarg); break;
      case 's': o.size = atoi(optarg); break;
      case 'r': o.rate = atof(optarg); break;
      case 'w': o.warmup = atof(optarg); break;
      case 'd': o.duration = atof(optarg); break;
      case 'n': o.count = strtoull(optarg, NULL, 10); break;
      case 'y': o.sync = 1; break;
      case 'i': o.pipeline = atoi(optarg); break;
      case 'l': o.lines = atoi(optarg); break;
      case 't': o.token = optarg; break;
      default: exit(64);
    }
  double bytes = o.pipeline * (512.0 + o.lines * (o.size + 32.0));
  if (o.port <= 0 || o.connections <= 0 || o.size < 0 || o.pipeline < 1 || o.lines < 1 || bytes > LOAD_REQUEST_BYTES ||
      (!o.duration && !o.count))
    errx(64, "usage: http_load --port N (--duration SECONDS | --count N) [--connections N] [--size BYTES] [--rate R]"
             " [--warmup SECONDS] [--host A] [--path P] [--sync] [--pipeline N] [--lines N] [--token T]");
  return o;
}

/* The same every time: messages of `size` bytes. */
static void make_request(struct load *load, const struct options *o) {
  load->request = malloc(LOAD_REQUEST_BYTES);
  char *message = malloc((size_t)o->size + 1);
  if (!load->request || !message) err(1, "malloc");
  for (int i = 0; i < o->size; i++) message[i] = "abcdefghij klmnopqrst "[i % 22];
  message[o->size] = 0;
  size_t at = 0;
  for (int request = 0; request < o->pipeline; request++) {
    at += (size_t)sprintf(
        load->request + at, "POST %s HTTP/1.1\r\nHost: %s:%d\r\n%s%s%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
        o->path, o->host, o->port, o->token ? "Authorization: Bearer " : "", o->token ? o->token : "",
        o->token ? "\r\n" : "", o->lines * (o->size + 14) + o->lines - 1);
    for (int line = 0; line < o->lines; line++)
      at += (size_t)sprintf(load->request + at, "%s{\"message\":\"%s\"}", line ? "\n" : "", message);
  }
  load->request_bytes = at;
  load->pipelined = o->pipeline;
  free(message);
}

/* Waits for events until `deadline` at most and handles them. */
static void turn(struct load *load, uint64_t deadline) {
  struct epoll_event events[256];
  uint64_t now = load_now(), left = deadline > now ? deadline - now : 0;
  if (left > 1000000000u) left = 1000000000u;
  struct timespec wait = {.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
  int n = epoll_pwait2(load->poll, events, 256, &wait, NULL);
  if (n < 0 && errno != EINTR) err(1, "epoll_pwait2");
  for (int i = 0; i < n; i++) connection_ready(load, events[i].data.ptr);
}

/* Sends for `seconds` or until `count` requests are begun, then lets what is under way finish. Returns the seconds from
 * the first request to the last answer. */
static double phase(struct load *load, double seconds, uint64_t count, double rate) {
  uint64_t start = load_now(), end = start + (uint64_t)(seconds * 1e9), begun = 0;
  if (count == 0) count = UINT64_MAX;
  if (seconds == 0) end = UINT64_MAX;
  double interval = rate > 0 ? 1e9 / rate : 0;
  for (;;) {
    uint64_t now = load_now(), due = start + (uint64_t)((double)begun * interval);
    int more = begun < count && (interval > 0 ? due : now) < end;
    if (!more && load->idle_count == load->connection_count) break;
    while (more && load->idle_count > 0 && (interval == 0 || due <= now)) {
      connection_send(load, load->idle[--load->idle_count], interval > 0 ? due : load_now());
      begun++;
      due = start + (uint64_t)((double)begun * interval);
      more = begun < count && (interval > 0 ? due : now) < end;
    }
    turn(load, more && interval > 0 && load->idle_count > 0 ? due : UINT64_MAX);
  }
  return (double)(load_now() - start) / 1e9;
}

static void reset(struct load *load) {
  memset(&load->latencies, 0, sizeof load->latencies);
  memset(load->statuses, 0, sizeof load->statuses);
  load->answered = load->errors = 0;
}

static void print_result(const struct load *load, const struct options *o, uint64_t warm, double seconds) {
  printf("{\"connections\":%d,\"size\":%d,\"wanted_rate\":%.0f,\"warmup_accepted\":%llu,\"seconds\":%.3f,", o->connections,
         o->size, o->rate, (unsigned long long)warm, seconds);
  printf("\"answered\":%llu,\"rate\":%.0f,\"errors\":%llu,\"status\":{", (unsigned long long)load->answered,
         (double)load->answered / seconds, (unsigned long long)load->errors);
  const char *comma = "";
  for (int status = 0; status < LOAD_STATUSES; status++)
    if (load->statuses[status]) {
      printf("%s\"%d\":%llu", comma, status, (unsigned long long)load->statuses[status]);
      comma = ",";
    }
  printf("},\"latency_us\":");
  histogram_print(&load->latencies, stdout);
  printf("}\n");
}

int main(int argc, char **argv) {
  struct options o = parse(argc, argv);
  static struct load load;
  load.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)o.port)};
  if (inet_pton(AF_INET, o.host, &load.address.sin_addr) != 1) errx(64, "%s is not an IPv4 address", o.host);
  make_request(&load, &o);
  load.poll = epoll_create1(EPOLL_CLOEXEC);
  load.connection_count = o.connections;
  load.connections = calloc((size_t)o.connections, sizeof *load.connections);
  load.idle = calloc((size_t)o.connections, sizeof *load.idle);
  if (load.poll < 0 || !load.connections || !load.idle) err(1, "setup");
  for (int i = 0; i < o.connections; i++) connection_open(&load, &load.connections[i]);
  if (o.warmup > 0) phase(&load, o.warmup, 0, o.rate);
  uint64_t warm = load.statuses[202];
  reset(&load);
  if (o.sync) {
    char line[16];
    printf("ready\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 1;
  }
  double seconds = phase(&load, o.duration, o.count, o.rate);
  print_result(&load, &o, warm, seconds);
  return load.errors > 0 ? 2 : 0;
}
