/* Retains the lease of every batch and writes down what the host says, until `n` were refused; then lets go of all. */
#include "fixture.h"

static void let_go(fixture *self) {
  for (int i = 0; i < self->queued; i++) self->host->release(self->host->context, self->leases[i]);
  self->queued = 0;
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture *self = instance;
  char line[96];
  slu_rc rc = self->host->retain(self->host->context, batch->lease);
  if (rc == SLU_OK) self->leases[self->queued++] = batch->lease;
  snprintf(line, sizeof line, "retain %d %llu", rc, (unsigned long long)batch->lease_bytes);
  fixture_say(self, line);
  if (rc == SLU_BUSY && ++self->flag == self->number) {
    let_go(self);
    self->flag = 0;
    fixture_say(self, "let go");
  }
  return SLU_OK;
}

static slu_rc stop(void *instance, slu_error *error) {
  (void)error;
  let_go(instance);
  return SLU_OK;
}

FIXTURE_MODULE("hoarding", .deliver = deliver, .stop = stop)
