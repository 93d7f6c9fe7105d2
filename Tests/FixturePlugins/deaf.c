/* Never returns from `deliver`, whoever interrupts it. */
#include "fixture.h"

#include <unistd.h>

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)batch, (void)error;
  fixture *self = instance;
  while (!self->flag) { pause(); }
  return SLU_OK;
}

static void interrupt(void *instance) { (void)instance; }

FIXTURE_MODULE("deaf", .deliver = deliver, .interrupt = interrupt)
