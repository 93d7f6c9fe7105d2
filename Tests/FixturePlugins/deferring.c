/* Accepts what it is given, and acknowledges it in `flush` alone, on the daemon's thread. Goes on with any config. */
#include "fixture.h"

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture *self = instance;
  fixture_record_all(self, batch);
  self->queue[self->queued++] = (slu_settlement){
      .first_token = slu_batch_message(batch, 0)->token, .count = batch->count, .verdict = SLU_ACK};
  return SLU_ACCEPTED;
}

static slu_rc flush(void *instance, int64_t deadline_ns, slu_error *error) {
  (void)deadline_ns;
  (void)error;
  fixture *self = instance;
  self->host->settle(self->host->context, self->queue, (uint32_t)self->queued);
  self->queued = 0;
  return SLU_OK;
}

static slu_rc reconfigure(void *instance, slu_bytes config, slu_error *error) {
  (void)instance;
  (void)config;
  (void)error;
  return SLU_OK;
}

FIXTURE_MODULE("deferring", .deliver = deliver, .flush = flush, .reconfigure = reconfigure)
