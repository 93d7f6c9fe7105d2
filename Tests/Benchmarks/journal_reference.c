/* What the disk does for a bare program that writes and syncs the same bytes as the log: groups of GROUP bytes, one pwrite
 * and one fdatasync each, into segment files of SEGMENT bytes, the next file when one is full.
 *
 * usage: journal_reference throughput DIR GROUP SECONDS cold|warm
 *        journal_reference latency DIR BYTES_PER_S RATE SECONDS
 *
 * cold: every file is new, its space laid out by posix_fallocate before, as the log lays out its own. warm: files that were
 * written before, in turn. latency: open loop, RATE records a second come evenly; whatever is due is one group. Prints JSON. */
#include "histogram.h"
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { SEGMENT = 64 << 20, WARM_FILES = 4, BLOCK = 4096, MAX_GROUP = 4 << 20 };

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double cpu(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static char *group;

static void write_all(int fd, size_t bytes, off_t at) {
  for (size_t done = 0; done < bytes;) {
    ssize_t n = pwrite(fd, group + done, bytes - done, at + (off_t)done);
    if (n <= 0) err(1, "pwrite");
    done += (size_t)n;
  }
}

static void path_of(char *path, size_t size, const char *dir, unsigned number) { snprintf(path, size, "%s/ref-%u", dir, number); }

static int open_segment(const char *dir, unsigned number, int is_new) {
  char path[4096];
  path_of(path, sizeof path, dir, number);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | (is_new ? O_TRUNC : 0), 0600);
  if (fd < 0) err(1, "%s", path);
  if (is_new && posix_fallocate(fd, 0, SEGMENT) != 0) errx(1, "no space in %s", dir);
  return fd;
}

static void make_warm(const char *dir) {
  for (unsigned n = 0; n < WARM_FILES; n++) {
    int fd = open_segment(dir, n, 1);
    for (off_t at = 0; at < SEGMENT; at += MAX_GROUP) write_all(fd, MAX_GROUP, at);
    if (fsync(fd) != 0) err(1, "fsync");
    close(fd);
  }
}

static void throughput(const char *dir, size_t bytes, double seconds, int warm) {
  if (warm) make_warm(dir);
  unsigned number = 0, groups = 0;
  uint64_t total = 0, begun = now(), end = begun + (uint64_t)(seconds * 1e9);
  double used = cpu();
  int fd = open_segment(dir, 0, !warm);
  off_t at = 0;
  while (now() < end) {
    if (at + (off_t)bytes > SEGMENT) {
      close(fd);
      if (!warm && number >= 2) {
        char old[4096];
        path_of(old, sizeof old, dir, number - 2);
        unlink(old);
      }
      number++;
      fd = open_segment(dir, warm ? number % WARM_FILES : number, !warm);
      at = 0;
    }
    memcpy(group + 8, &groups, sizeof groups);
    write_all(fd, bytes, at);
    if (fdatasync(fd) != 0) err(1, "fdatasync");
    at += (off_t)bytes;
    total += bytes;
    groups++;
  }
  double took = (double)(now() - begun) / 1e9;
  printf("{\"bytes\": %llu, \"seconds\": %.6f, \"groups\": %u, \"cpu\": %.6f}\n", (unsigned long long)total, took, groups, cpu() - used);
}

static void latency(const char *dir, double rate, size_t record, double seconds) {
  static struct histogram h;
  make_warm(dir);
  int fd = open_segment(dir, 0, 0);
  off_t at = 0;
  uint64_t begun = now(), done = 0, total = (uint64_t)(rate * seconds);
  while (done < total) {
    uint64_t passed = now() - begun, due = (uint64_t)((double)passed / 1e9 * rate);
    if (due <= done) {
      uint64_t next = begun + (uint64_t)((double)(done + 1) / rate * 1e9), t = now();
      if (next > t + 20000) {
        struct timespec pause = {0, (long)(next - t - 10000)};
        nanosleep(&pause, NULL);
      }
      continue;
    }
    if (due > total) due = total;
    if ((due - done) * record > MAX_GROUP - BLOCK) due = done + (MAX_GROUP - BLOCK) / record;
    size_t bytes = ((due - done) * record + 64 + BLOCK - 1) / BLOCK * BLOCK;
    if (at + (off_t)bytes > SEGMENT) at = 0;
    write_all(fd, bytes, at);
    if (fdatasync(fd) != 0) err(1, "fdatasync");
    at += (off_t)bytes;
    uint64_t finished = now();
    for (uint64_t i = done; i < due; i++) histogram_add(&h, finished - begun - (uint64_t)((double)i / rate * 1e9));
    done = due;
  }
  printf("{\"latency_us\": ");
  histogram_print(&h, stdout);
  printf("}\n");
}

int main(int argc, char **argv) {
  if (argc != 6) errx(64, "usage: journal_reference throughput DIR GROUP SECONDS cold|warm | latency DIR RECORD RATE SECONDS");
  if (posix_memalign((void **)&group, BLOCK, MAX_GROUP) != 0) errx(1, "no memory");
  memset(group, 7, MAX_GROUP);
  if (strcmp(argv[1], "throughput") == 0) {
    size_t bytes = (size_t)atol(argv[3]) / BLOCK * BLOCK;
    if (bytes == 0 || bytes > MAX_GROUP) errx(64, "a group has 4096 to %d bytes", MAX_GROUP);
    throughput(argv[2], bytes, atof(argv[4]), strcmp(argv[5], "warm") == 0);
  } else {
    latency(argv[2], atof(argv[4]), (size_t)atol(argv[3]), atof(argv[5]));
  }
  return 0;
}
