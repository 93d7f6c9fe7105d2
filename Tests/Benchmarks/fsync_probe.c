/* What the disk itself does: 4 KiB pwrite + fdatasync on blocks that were written before, one after the other.
 * usage: fsync_probe FILE SECONDS   prints latency percentiles as JSON. */
#include "histogram.h"
#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, BLOCKS = 4096 };

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 3) errx(64, "usage: fsync_probe FILE SECONDS");
  static char block[BLOCK] __attribute__((aligned(BLOCK)));
  static struct histogram h;
  int fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) err(1, "%s", argv[1]);
  for (int i = 0; i < BLOCKS; i++)
    if (pwrite(fd, block, BLOCK, (off_t)i * BLOCK) != BLOCK) err(1, "write %s", argv[1]);
  if (fsync(fd) != 0) err(1, "fsync %s", argv[1]);
  uint64_t end = now() + (uint64_t)(atof(argv[2]) * 1e9), start;
  for (unsigned i = 0; (start = now()) < end; i++) {
    block[i % BLOCK]++;
    if (pwrite(fd, block, BLOCK, (off_t)(i % BLOCKS) * BLOCK) != BLOCK) err(1, "write %s", argv[1]);
    if (fdatasync(fd) != 0) err(1, "fdatasync %s", argv[1]);
    histogram_add(&h, now() - start);
  }
  histogram_print(&h, stdout);
  printf("\n");
  close(fd);
  unlink(argv[1]);
  return 0;
}
