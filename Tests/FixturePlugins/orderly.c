/* Sees that the records of each producer come whole and in order: each sequence is the last one plus one, or was there
 * before (at least once). What it has of each goes to `last` in the state directory when it stops, and is read from there
 * when it is made: "PRODUCER LAST RECORDS AGAIN MISSING" a line. That file is why it is exclusive. */
#include "fixture.h"

#define PRODUCERS 64

typedef struct producer {
  char name[64];
  unsigned long long last, records, again, missing;
} producer;

typedef struct orderly {
  char path[4096];
  int count;
  producer producers[PRODUCERS];
} orderly;

static slu_rc create(const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error) {
  (void)kind;
  (void)config;
  (void)error;
  orderly *self = calloc(1, sizeof *self);
  snprintf(self->path, sizeof self->path, "%.*s/last", (int)host->state_dir.len, (const char *)host->state_dir.ptr);
  FILE *file = fopen(self->path, "r");
  if (file) {
    producer *p = self->producers;
    while (self->count < PRODUCERS
           && fscanf(file, "%63s %llu %llu %llu %llu", p->name, &p->last, &p->records, &p->again, &p->missing) == 5) {
      self->count++;
      p++;
    }
    fclose(file);
  }
  *instance = self;
  return SLU_OK;
}

static producer *find(orderly *self, slu_bytes name) {
  for (int i = 0; i < self->count; i++) {
    producer *p = &self->producers[i];
    if (strlen(p->name) == name.len && memcmp(p->name, name.ptr, name.len) == 0) return p;
  }
  if (self->count == PRODUCERS || name.len == 0 || name.len >= sizeof self->producers[0].name) return NULL;
  producer *p = &self->producers[self->count++];
  memcpy(p->name, name.ptr, name.len);
  return p;
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  orderly *self = instance;
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *m = slu_batch_message(batch, i);
    producer *p = find(self, m->producer);
    if (!p) continue;
    p->records++;
    if (m->producer_sequence <= p->last) {
      p->again++;
      continue;
    }
    if (m->producer_sequence != p->last + 1) p->missing += m->producer_sequence - p->last - 1;
    p->last = m->producer_sequence;
  }
  return SLU_OK;
}

static slu_rc stop(void *instance, slu_error *error) {
  (void)error;
  orderly *self = instance;
  FILE *file = fopen(self->path, "w");
  if (!file) return SLU_OK;
  for (int i = 0; i < self->count; i++) {
    producer *p = &self->producers[i];
    fprintf(file, "%s %llu %llu %llu %llu\n", p->name, p->last, p->records, p->again, p->missing);
  }
  fclose(file);
  return SLU_OK;
}

static void destroy(void *instance) { free(instance); }

FIXTURE_MODULE("orderly", .flags = SLU_F_EXCLUSIVE, .create = create, .deliver = deliver, .stop = stop, .gap = NULL, .destroy = destroy)
