/* What a framed source costs at least: receive, check, copy, write, sync, acknowledge, in C without anything around it.
 * usage: tcp_reference PORT FILE BYTES [cold]      serves one tcp_load, prints its costs as JSON, ends
 *
 * One thread receives, checks head_crc, body_crc and every record's crc32c, and copies each record behind a server part into
 * one of two buffers; another writes what is there to FILE and syncs it (depth one, as the daemon's commit thread
 * does), then sends the ACK and the CREDIT. FILE is written over in a circle of BYTES: of blocks written before unless
 * `cold`, where they are merely allocated. */
#include "wire.h"
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IN_BYTES = 2 << 20, GROUP_BYTES = 4 << 20, BLOCK = 4096, WINDOW = 4 << 20, WINDOW_RECORDS = 1 << 17 };

/* Guarded by `lock`: which buffer is being filled, and how far. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct {
  uint8_t *buffers[2];
  int filling;
  size_t used;
  uint64_t last, bytes, records;
  int over;
} group;

static int client, file;
static off_t file_bytes;
static uint64_t frames_out, commit_cpu, groups;

static void send_all(const uint8_t *bytes, size_t length) {
  while (length) {
    ssize_t n = send(client, bytes, length, MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR) err(1, "send");
    if (n > 0) bytes += n, length -= (size_t)n;
  }
}

static void *commit(void *unused) {
  uint8_t out[96];
  off_t at = 0;
  (void)unused;
  for (;;) {
    pthread_mutex_lock(&lock);
    while (group.used == 0 && !group.over) pthread_cond_wait(&changed, &lock);
    if (group.used == 0) break;
    uint8_t *buffer = group.buffers[group.filling];
    size_t used = group.used;
    uint64_t last = group.last, bytes = group.bytes, records = group.records;
    group.filling ^= 1;
    group.used = 0;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    size_t padded = (used + BLOCK - 1) / BLOCK * BLOCK;
    memset(buffer + used, 0, padded - used);
    if (at + (off_t)padded > file_bytes) at = 0;
    if (pwrite(file, buffer, padded, at) != (ssize_t)padded) err(1, "write");
    if (fdatasync(file) != 0) err(1, "fdatasync");
    at += (off_t)padded;
    groups++;
    wire_put64(out + WIRE_HEADER, last);
    size_t length = wire_finish(out, 8, WIRE_ACK, WIRE_TO_CLIENT, frames_out++);
    wire_put64(out + length + WIRE_HEADER, bytes + WINDOW);
    wire_put64(out + length + WIRE_HEADER + 8, records + WINDOW_RECORDS);
    length += wire_finish(out + length, 16, WIRE_CREDIT, WIRE_TO_CLIENT, frames_out++);
    send_all(out, length);
  }
  pthread_mutex_unlock(&lock);
  commit_cpu = wire_cpu();
  return NULL;
}

static void welcome(void) {
  uint8_t out[256] = {0};
  uint8_t *body = out + WIRE_HEADER;
  wire_put16(body, 112);
  body[2] = 1, body[3] = 3, body[4] = 1;
  wire_put16(body + 6, 1);
  wire_put32(body + 12, 1 << 20);
  wire_put32(body + 16, 1 << 16);
  wire_put64(body + 40, WINDOW);
  wire_put64(body + 48, WINDOW_RECORDS);
  send_all(out, wire_finish(out, 112, WIRE_WELCOME, WIRE_TO_CLIENT, frames_out++));
}

/* Checks the records of a frame and copies them into the group. */
static void take(const uint8_t *frame, uint32_t length) {
  uint32_t count = wire_u32(frame + 8);
  uint64_t first = wire_u64(frame + WIRE_HEADER);
  const uint8_t *end = frame + length, *at = frame + WIRE_HEADER + 8;
  uint32_t crc = wire_crc(0, frame + WIRE_HEADER, 8);
  for (uint32_t i = 0; i < count; i++) {
    if (end - at < WIRE_PREFIX || (uint64_t)(end - at - WIRE_PREFIX) < wire_u32(at)) errx(1, "records past the frame");
    crc = wire_crc(crc, at, WIRE_PREFIX);
    at += WIRE_PREFIX + wire_u32(at);
  }
  if (crc != wire_u32(frame + 12)) errx(1, "body_crc is wrong");
  pthread_mutex_lock(&lock);
  size_t needed = length + (size_t)count * WIRE_SERVER_PART;
  while (group.used + needed > GROUP_BYTES) pthread_cond_wait(&changed, &lock);
  uint8_t *to = group.buffers[group.filling] + group.used;
  at = frame + WIRE_HEADER + 8;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t part = wire_u32(at), sum = wire_u32(at + 4);
    at += WIRE_PREFIX;
    if (wire_crc(0, at, part) != sum || wire_u64(at + 16) != first + i) errx(1, "a record is damaged");
    wire_put32(to, part + WIRE_SERVER_PART);
    wire_put32(to + 4, sum);
    wire_put64(to + 8, first);
    wire_put64(to + 16, 1);
    memcpy(to + WIRE_SERVER_PART, at, part);
    to += WIRE_SERVER_PART + part;
    at += part;
  }
  group.used = (size_t)(to - group.buffers[group.filling]);
  group.last = first + count - 1;
  group.bytes += length;
  group.records += count;
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&lock);
}

static void serve(void) {
  uint8_t *in = malloc(IN_BYTES);
  size_t have = 0;
  uint64_t frames_in = 0;
  for (;;) {
    ssize_t n = recv(client, in + have, IN_BYTES - have, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    have += (size_t)n;
    size_t at = 0;
    while (have - at >= WIRE_HEADER) {
      uint32_t length = wire_u32(in + at);
      if (!wire_header_is_right(in + at, WIRE_TO_SERVER, frames_in)) errx(1, "head_crc is wrong");
      if (length > IN_BYTES / 2) errx(1, "a frame of %u bytes", length);
      if (have - at < length) break;
      frames_in++;
      if (in[at + 4] == WIRE_HELLO) welcome();
      else if (in[at + 4] == WIRE_DATA) take(in + at, length);
      at += length;
    }
    memmove(in, in + at, have -= at);
  }
  free(in);
}

/* Blocks that were written before, or merely allocated ones. */
static void prepare(const char *path, int cold) {
  static uint8_t block[1 << 20];
  file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) err(1, "%s", path);
  if (cold && posix_fallocate(file, 0, file_bytes) != 0) err(1, "allocate %s", path);
  for (off_t at = 0; !cold && at < file_bytes; at += (off_t)sizeof block)
    if (pwrite(file, block, sizeof block, at) != (ssize_t)sizeof block) err(1, "write %s", path);
  if (fsync(file) != 0) err(1, "fsync %s", path);
}

int main(int argc, char **argv) {
  if (argc < 4) errx(64, "usage: tcp_reference PORT FILE BYTES [cold]");
  file_bytes = (off_t)(strtoull(argv[3], NULL, 10) / (1 << 20) * (1 << 20));
  if (file_bytes < GROUP_BYTES + BLOCK) errx(64, "FILE needs room for a group");
  prepare(argv[2], argc > 4 && strcmp(argv[4], "cold") == 0);
  for (int i = 0; i < 2; i++)
    if (posix_memalign((void **)&group.buffers[i], BLOCK, GROUP_BYTES + BLOCK) != 0) errx(1, "no memory");
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0) err(1, "listen");
  fprintf(stderr, "listening\n");
  client = accept(listener, NULL, NULL);
  if (client < 0) err(1, "accept");
  setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  pthread_t committer;
  if (pthread_create(&committer, NULL, commit, NULL) != 0) errx(1, "no thread");
  uint64_t cpu = wire_cpu();
  serve();
  cpu = wire_cpu() - cpu;
  pthread_mutex_lock(&lock);
  group.over = 1;
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&lock);
  pthread_join(committer, NULL);
  double records = group.records ? (double)group.records : 1;
  printf("{\"records\":%llu,\"groups\":%llu,\"ingest_cpu_us_per_record\":%.4f,\"commit_cpu_us_per_record\":%.4f}\n",
         (unsigned long long)group.records, (unsigned long long)groups, (double)cpu / 1e3 / records,
         (double)commit_cpu / 1e3 / records);
  unlink(argv[2]);
  return 0;
}
