/* Accepts what comes for the first time and never settles it; takes what comes again. */
#include "fixture.h"

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture *self = instance;
  fixture_record_all(self, batch);
  if (batch->messages->attempt > 1) return SLU_OK;
  self->queue[0].first_token = batch->messages->token;
  return SLU_ACCEPTED;
}

FIXTURE_MODULE("silent", .deliver = deliver, .ack_deadline_ms = 30)
