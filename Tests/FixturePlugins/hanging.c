/* Never returns from `stop`. */
#include "fixture.h"

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture_record_all(instance, batch);
  return SLU_OK;
}

static slu_rc stop(void *instance, slu_error *error) {
  (void)error;
  fixture *self = instance;
  fixture_say(self, "hanging");
  pthread_mutex_lock(&self->lock);
  while (!self->flag) pthread_cond_wait(&self->changed, &self->lock);
  return SLU_OK;
}

FIXTURE_MODULE("hanging", .deliver = deliver, .stop = stop)
