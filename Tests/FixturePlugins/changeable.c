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

static slu_rc create(const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error) {
  slu_rc rc = fixture_create(kind, host, config, instance, error);
  if (rc != SLU_OK || ((fixture *)*instance)->number != 13) return rc;
  fixture_destroy(*instance);
  return slu_fail(error, SLU_E_CONFIG, "thirteen is unlucky");
}

FIXTURE_MODULE("changeable", .create = create, .deliver = deliver, .reconfigure = reconfigure)
