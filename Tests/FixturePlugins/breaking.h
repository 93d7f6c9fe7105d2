/* A subscriber that keeps to every rule of `sluice plugin check` but the one that BREAKS names: the table of them. */
#ifndef BREAKING_H
#define BREAKING_H

#include "sluice/sluice.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
  breaks_nothing,
  /* layout */
  breaks_export, breaks_size, breaks_minor, breaks_create, breaks_kind, breaks_outputs, breaks_text, breaks_stability,
  breaks_speed, breaks_purity, breaks_schema, breaks_default,
  /* validate */
  breaks_acceptance, breaks_good_config, breaks_broken_config, breaks_consistency, breaks_determinism, breaks_validate_purity,
  breaks_validate_thread, breaks_pointer,
  /* lifecycle */
  breaks_destroy, breaks_create_file, breaks_create_thread, breaks_create_text, breaks_create_code, breaks_create_refusal,
  breaks_start, breaks_failed_start, breaks_idle, breaks_second, breaks_same, breaks_bad, breaks_after_bad,
  breaks_extension,
  /* delivery */
  breaks_deliver, breaks_many, breaks_gap, breaks_sticky, breaks_lock, breaks_lease_refusal, breaks_stale, breaks_publish,
  breaks_credit, breaks_empty, breaks_large, breaks_binary, breaks_bare, breaks_names, breaks_headers, breaks_lsn,
  breaks_replay, breaks_redelivery, breaks_stride, breaks_bounds, breaks_writing, breaks_late_read, breaks_lease_left,
  breaks_lease_calls, breaks_twice, breaks_foreign, breaks_late_settle, breaks_verdict, breaks_accepted,
  breaks_settle_after_stop, breaks_call_after_stop, breaks_before_start, breaks_arguments, breaks_code, breaks_error, breaks_length,
  /* resources */
  breaks_stop, breaks_thread_left, breaks_descriptor_left, breaks_environment, breaks_child_left, breaks_memory
};

#define breaks(what) (BREAKS == breaks_##what)

typedef struct breaking {
  const slu_host *host;
  pthread_mutex_t lock;
  pthread_t thread, early;
  atomic_int is_over;
  int file, is_started, is_broken, is_interrupted, deliveries;
  uint64_t last_token, last_lsn;
  const char *last_payload;
} breaking;

static void crash(void) { *(volatile int *)8 = 1; }

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void nap(int64_t milliseconds) {
  struct timespec t = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  nanosleep(&t, NULL);
}

static void *pausing(void *unused) {
  (void)unused;
  for (;;) { pause(); }
  return NULL;
}

static void *returning(void *unused) { return unused; }

/* The config's n; -1: none that is one. */
static long number(slu_bytes config) {
  char text[256] = "";
  if (config.len) { memcpy(text, config.ptr, config.len < sizeof text ? config.len : sizeof text - 1); }
  const char *at = strstr(text, "\"n\":");
  return at ? atol(at + 4) : -1;
}

#endif
