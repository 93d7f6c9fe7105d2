/* The first delivery answers `n`, whatever that is, after it has settled its first message; the later ones succeed. */
#include "fixture.h"

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  fixture *self = instance;
  fixture_record_all(self, batch);
  /* The config says the same to the next instance: what was seen before tells. */
  if (batch->flags & SLU_BATCH_REDELIVERY || self->deliveries++ > 0) return SLU_OK;
  if (self->number != 0) fixture_settle(self, slu_batch_message(batch, 0)->token, 1, SLU_ACK);
  if (self->number < 0) slu_fail(error, (slu_rc)self->number, "as asked");
  return (slu_rc)self->number;
}

FIXTURE_MODULE("answering", .deliver = deliver, .stop = fixture_stop)
