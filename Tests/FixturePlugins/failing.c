/* Fails the first `n` deliveries as a whole. */
#include "fixture.h"

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  fixture *self = instance;
  fixture_record_all(self, batch);
  if (self->deliveries++ >= self->number) return SLU_OK;
  error->code = 42;
  return slu_fail(error, SLU_E_RETRYABLE, "the far side is asleep");
}

FIXTURE_MODULE("failing", .deliver = deliver)
