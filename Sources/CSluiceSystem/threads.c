#define _GNU_SOURCE
#include "CSluiceSystem.h"
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

void csluice_name_thread(const char *name) {
  char cut[16];
  snprintf(cut, sizeof cut, "%s", name);
  pthread_setname_np(pthread_self(), cut);
}

int csluice_memory_file(const char *name) { return memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING); }

int csluice_seal_memory_file(int fd) {
  return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
}

int csluice_process_end(int32_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

int csluice_open_entry(int directory, const char *name) {
  return openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

void csluice_give(int entry, uint32_t user, uint32_t group) {
  (void)!fchownat(entry, "", user, group, AT_EMPTY_PATH);
}

size_t csluice_heap_bytes(void) {
  struct mallinfo2 use = mallinfo2();
  return use.uordblks + use.hblkhd;
}

void csluice_start_writeback(int fd, int64_t offset, int64_t count) {
  (void)sync_file_range(fd, offset, count, SYNC_FILE_RANGE_WRITE);
}

int32_t csluice_thread_id(void) { return (int32_t)syscall(SYS_gettid); }

int csluice_bind_to_parent(void) {
  return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : -1;
}
