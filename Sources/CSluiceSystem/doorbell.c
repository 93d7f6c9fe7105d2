#define _GNU_SOURCE
#include "CSluiceSystem.h"
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { QUIET = 0, RUNG = 1, SLEEPING = 2 };

void csluice_doorbell_ring(uint32_t *word) {
  if (__atomic_exchange_n(word, RUNG, __ATOMIC_SEQ_CST) == SLEEPING)
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

int csluice_doorbell_wait(uint32_t *word, int64_t deadline_ns) {
  if (deadline_ns < 0) deadline_ns = 0; /* The kernel refuses a negative time; long past is long past. */
  for (;;) {
    uint32_t seen = QUIET;
    if (!__atomic_compare_exchange_n(word, &seen, SLEEPING, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) && seen == RUNG) {
      __atomic_store_n(word, QUIET, __ATOMIC_SEQ_CST);
      return 1;
    }
    /* FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time. */
    struct timespec until = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
    long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, SLEEPING, deadline_ns == INT64_MAX ? NULL : &until,
                      NULL, FUTEX_BITSET_MATCH_ANY);
    if (rc == -1 && errno == ETIMEDOUT) {
      seen = SLEEPING;
      if (__atomic_compare_exchange_n(word, &seen, QUIET, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return 0;
      __atomic_store_n(word, QUIET, __ATOMIC_SEQ_CST);
      return 1;
    }
    /* Woken, interrupted or the word changed: look again. A word still SLEEPING is waited on again. */
    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) == SLEEPING) {
      seen = SLEEPING;
      __atomic_compare_exchange_n(word, &seen, QUIET, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
  }
}
