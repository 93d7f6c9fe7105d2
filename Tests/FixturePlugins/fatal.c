/* Each instance gives up at its first delivery that has a first attempt in it. */
#include "fixture.h"

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  fixture *self = instance;
  fixture_record_all(self, batch);
  if (batch->messages->attempt == 1) return slu_fail(error, SLU_E_FATAL, "lost my mind");
  if ((batch->flags & SLU_BATCH_REDELIVERY) == 0) fixture_say(self, "redelivery is not marked");
  return SLU_OK;
}

FIXTURE_MODULE("fatal", .deliver = deliver, .stop = fixture_stop)
