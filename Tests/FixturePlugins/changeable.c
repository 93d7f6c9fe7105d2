/* Goes on with another config: n = 13 does not work, n above 100 takes a new instance. Writes down what it was told. */
#include "fixture.h"

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture *self = instance;
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *m = slu_batch_message(batch, i);
    fprintf(fixture_seen(self), "%llu %ld %ld\n", (unsigned long long)m->lsn, self->number, self->starts);
  }
  fflush(fixture_seen(self));
  return SLU_OK;
}

static slu_rc reconfigure(void *instance, slu_bytes config, slu_error *error) {
  fixture *self = instance;
  char text[256] = "";
  memcpy(text, config.ptr, config.len < sizeof text ? config.len : sizeof text - 1);
  const char *at = strstr(text, "\"n\":");
  long number = at ? atol(at + 4) : 0;
  if (number == 13) return slu_fail(error, SLU_E_CONFIG, "thirteen is unlucky");
  if (number > 100) return SLU_E_UNSUPPORTED;
  self->number = number;
  self->starts++;
  return SLU_OK;
}

FIXTURE_MODULE("changeable", .deliver = deliver, .reconfigure = reconfigure)
