/* What the fixture plugins have in common: an instance that writes what it sees to `seen` in its state directory, one
 * line per event, and a module around one subscriber. Each fixture defines what is wrong, or special, about it. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include "sluice/sluice.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct fixture {
  const slu_host *host;
  FILE *seen;
  long number;      /* the config's "n" */
  long deliveries;
  long starts;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int flag;
  slu_settlement queue[4096];
  uint64_t leases[4096];
  int queued;
} fixture;

/* Opened with the first line: `create` opens nothing for writing. */
static inline FILE *fixture_seen(fixture *self) {
  if (!self->seen) {
    char path[4096];
    snprintf(path, sizeof path, "%.*s/seen", (int)self->host->state_dir.len, (const char *)self->host->state_dir.ptr);
    self->seen = fopen(path, "ae");
    if (!self->seen) { abort(); }
  }
  return self->seen;
}

static inline void fixture_say(fixture *self, const char *line) {
  fprintf(fixture_seen(self), "%s\n", line);
  fflush(self->seen);
  self->host->log(self->host->context, SLU_LOG_INFO, slu_text(line), NULL, 0);
}

/* "lsn attempt payload" */
static inline void fixture_record(fixture *self, const slu_message *message) {
  fprintf(fixture_seen(self), "%llu %u %.*s\n", (unsigned long long)message->lsn, message->attempt,
          (int)message->payload.len, (const char *)message->payload.ptr);
  fflush(self->seen);
}

static inline void fixture_record_all(fixture *self, const slu_batch *batch) {
  for (uint32_t i = 0; i < batch->count; i++) fixture_record(self, slu_batch_message(batch, i));
}

static inline slu_rc fixture_settle(fixture *self, uint64_t token, uint32_t count, uint32_t verdict) {
  slu_settlement item = {.first_token = token, .count = count, .verdict = verdict};
  return self->host->settle(self->host->context, &item, 1);
}

static inline slu_rc fixture_create(
    const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error) {
  (void)kind;
  fixture *self = calloc(1, sizeof *self);
  char path[4096];
  struct stat about;
  snprintf(path, sizeof path, "%.*s/seen", (int)host->state_dir.len, (const char *)host->state_dir.ptr);
  if (stat(path, &about) == 0 && S_ISDIR(about.st_mode)) {
    free(self);
    return slu_fail(error, SLU_E_CONFIG, "no file in the state directory");
  }
  self->host = host;
  char text[1024] = "";
  memcpy(text, config.ptr, config.len < sizeof text ? config.len : sizeof text - 1);
  const char *at = strstr(text, "\"n\":");
  self->number = at ? atol(at + 4) : 0;
  pthread_mutex_init(&self->lock, NULL);
  pthread_cond_init(&self->changed, NULL);
  *instance = self;
  return SLU_OK;
}

static inline void fixture_destroy(void *instance) {
  fixture *self = instance;
  if (self->seen) { fclose(self->seen); }
  free(self);
}

static inline slu_rc fixture_gap(void *instance, const slu_gap *gap, slu_error *error) {
  (void)error;
  char line[64];
  snprintf(line, sizeof line, "gap %llu %llu", (unsigned long long)gap->first_lsn, (unsigned long long)gap->last_lsn);
  fixture_say(instance, line);
  return SLU_OK;
}

static inline slu_rc fixture_stop(void *instance, slu_error *error) {
  (void)error;
  fixture_say(instance, "stop");
  return SLU_OK;
}

#ifndef FIXTURE_VERSION
#define FIXTURE_VERSION "1.0"
#endif

/* The module: FIXTURE_MODULE("kind", .deliver = deliver, …) */
#define FIXTURE_MODULE(name_, ...)                                                                       \
  static const slu_subscriber fixture_subscriber = {.struct_size = sizeof(slu_subscriber),               \
                                                    .kind = SLU_LITERAL(name_),                          \
                                                    .config_schema = SLU_LITERAL("{\"type\":\"object\"}"), \
                                                    .create = fixture_create,                            \
                                                    .gap = fixture_gap,                                  \
                                                    .destroy = fixture_destroy,                          \
                                                    __VA_ARGS__};                                        \
  static const slu_subscriber *const fixture_subscribers[] = {&fixture_subscriber};                      \
  static const slu_module fixture_module = {.struct_size = sizeof(slu_module),                           \
                                            .subscriber_count = 1,                                       \
                                            .name = SLU_LITERAL(name_),                                  \
                                            .version = SLU_LITERAL(FIXTURE_VERSION),                     \
                                            .subscribers = fixture_subscribers};                         \
  SLU_EXPORT const slu_module *sluice_module_v1(uint32_t host_abi_minor) {                               \
    (void)host_abi_minor;                                                                                \
    return &fixture_module;                                                                              \
  }

#endif
