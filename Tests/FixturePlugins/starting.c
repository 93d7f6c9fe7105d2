/* Can't start the first `n` times; with a negative n, never. */
#include "fixture.h"

static slu_rc start(void *instance, int64_t deadline_ns, slu_error *error) {
  fixture *self = instance;
  fixture_say(self, deadline_ns > 0 ? "start" : "start without a deadline");
  if (self->number < 0) return slu_fail(error, SLU_E_CONFIG, "no such table");
  if (self->starts++ < self->number) return slu_fail(error, SLU_E_RETRYABLE, "connection refused");
  return SLU_OK;
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture_record_all(instance, batch);
  return SLU_OK;
}

FIXTURE_MODULE("starting", .start = start, .deliver = deliver, .stop = fixture_stop)
