/* Preloaded into the daemon: makes calls on files fail, which a real kernel seldom does when it is asked to.
 *
 *   IO_FAULT=call:what:first[:count]   from the first-th such call on, count calls (1 unless said otherwise)
 *     call   pwritev, pwrite, fdatasync, fsync, posix_fallocate, ftruncate, rename, unlink, open
 *     what   an errno by name (EIO, ENOSPC, EINTR, EMFILE), half (of the bytes are written), or a delay in ms
 *   IO_FAULT_PATH=text   only files whose path contains it count
 *   IO_FAULT_DATA=1      writes of nothing but zeros do not count, nor syncs behind them: a journal that is idle fills files
 *                        with them, and nobody knows when it is
 *   IO_FAULT_LOG=file    gets a line for every fault, so that a test knows that there was one */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char fault_call[32], fault_what[16];
static const char *fault_path, *fault_log, *fault_data;
static long fault_first, fault_count = 1;
static atomic_long calls;

static const struct {
  const char *name;
  int code;
} errors[] = {{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EINTR", EINTR}, {"EMFILE", EMFILE}, {"EROFS", EROFS}};

__attribute__((constructor)) static void configure(void) {
  const char *spec = getenv("IO_FAULT");
  fault_path = getenv("IO_FAULT_PATH");
  fault_log = getenv("IO_FAULT_LOG");
  fault_data = getenv("IO_FAULT_DATA");
  if (spec) sscanf(spec, "%31[^:]:%15[^:]:%ld:%ld", fault_call, fault_what, &fault_first, &fault_count);
}

enum { NO_FAULT = 0, HALF = -1 };

/* What to do with this call: NO_FAULT, HALF, or an errno. Delays are served here. */
static int fault(const char *call, const char *path) {
  if (strcmp(call, fault_call) != 0 || (fault_path && !strstr(path, fault_path))) return NO_FAULT;
  long number = atomic_fetch_add(&calls, 1) + 1;
  if (number < fault_first || number >= fault_first + fault_count) return NO_FAULT;
  int log = fault_log ? (int)syscall(SYS_openat, AT_FDCWD, fault_log, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
  if (log >= 0) {
    dprintf(log, "%s %ld %s %s\n", call, number, fault_what, path);
    close(log);
  }
  if (strcmp(fault_what, "half") == 0) return HALF;
  for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
    if (strcmp(fault_what, errors[i].name) == 0) return errors[i].code;
  }
  long delay = atol(fault_what);
  struct timespec pause = {delay / 1000, delay % 1000 * 1000000};
  nanosleep(&pause, NULL);
  return NO_FAULT;
}

static int fault_of(const char *call, int file) {
  if (strcmp(call, fault_call) != 0) return NO_FAULT;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  path[length < 0 ? 0 : length] = 0;
  return fault(call, path);
}

/* By descriptor: what was last written is nothing but zeros. */
static atomic_bool zeros[4096];

static int is_zeros(int file) { return fault_data && file >= 0 && file < 4096 && zeros[file]; }

static void note_write(int file, const struct iovec *pieces, int count) {
  if (!fault_data || file < 0 || file >= 4096) return;
  int found = 0;
  for (int i = 0; i < count && !found; i++) {
    const char *bytes = pieces[i].iov_base;
    for (size_t j = 0; j < pieces[i].iov_len && !found; j++) found = bytes[j] != 0;
  }
  zeros[file] = !found;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static ssize_t half_of(int file, const struct iovec *pieces, int count, off_t offset) {
  size_t left = 0;
  for (int i = 0; i < count; i++) left += pieces[i].iov_len;
  left = (left + 1) / 2;
  struct iovec part[1024];
  int used = 0;
  for (; used < count && used < 1024 && left > 0; used++) {
    part[used] = pieces[used];
    if (part[used].iov_len > left) part[used].iov_len = left;
    left -= part[used].iov_len;
  }
  return REAL(pwritev)(file, part, used, offset);
}

ssize_t pwritev(int file, const struct iovec *pieces, int count, off_t offset) {
  note_write(file, pieces, count);
  int code = is_zeros(file) ? NO_FAULT : fault_of("pwritev", file);
  if (code == HALF) return half_of(file, pieces, count, offset);
  if (code) return errno = code, -1;
  return REAL(pwritev)(file, pieces, count, offset);
}

ssize_t pwritev64(int file, const struct iovec *pieces, int count, off64_t offset) {
  return pwritev(file, pieces, count, offset);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset) {
  int code = fault_of("pwrite", file);
  if (code == HALF) return REAL(pwrite)(file, bytes, (count + 1) / 2, offset);
  if (code) return errno = code, -1;
  return REAL(pwrite)(file, bytes, count, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
  return pwrite(file, bytes, count, offset);
}

int fdatasync(int file) {
  int code = is_zeros(file) ? NO_FAULT : fault_of("fdatasync", file);
  if (code) return errno = code, -1;
  return REAL(fdatasync)(file);
}

int fsync(int file) {
  int code = fault_of("fsync", file);
  if (code) return errno = code, -1;
  return REAL(fsync)(file);
}

int posix_fallocate(int file, off_t offset, off_t length) {
  int code = fault_of("posix_fallocate", file);
  return code ? code : REAL(posix_fallocate)(file, offset, length);
}

int posix_fallocate64(int file, off64_t offset, off64_t length) { return posix_fallocate(file, offset, length); }

int ftruncate(int file, off_t length) {
  int code = fault_of("ftruncate", file);
  if (code) return errno = code, -1;
  return REAL(ftruncate)(file, length);
}

int ftruncate64(int file, off64_t length) { return ftruncate(file, length); }

int rename(const char *from, const char *to) {
  int code = fault("rename", to);
  if (code) return errno = code, -1;
  return REAL(rename)(from, to);
}

int unlink(const char *path) {
  int code = fault("unlink", path);
  if (code) return errno = code, -1;
  return REAL(unlink)(path);
}

int open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0;
  va_end(rest);
  int code = fault("open", path);
  if (code) return errno = code, -1;
  return REAL(open)(path, flags, mode);
}
