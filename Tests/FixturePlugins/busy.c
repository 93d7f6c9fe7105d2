/* Takes nothing the first `n` times; then takes all, but only as much as its credit of 4 messages, which it renews with
 * each delivery. */
#include "fixture.h"

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture *self = instance;
  if (self->deliveries++ < self->number) {
    fixture_say(self, "busy");
    return SLU_BUSY;
  }
  if (self->deliveries > self->number + 1 && batch->count > 4) fixture_say(self, "more than the credit");
  fixture_record_all(self, batch);
  self->host->set_credit(self->host->context, 4);
  return SLU_OK;
}

FIXTURE_MODULE("busy", .deliver = deliver)
