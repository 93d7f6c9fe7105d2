/* Blocks in `deliver` until it is interrupted, then reports a timeout. */
#include "fixture.h"

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)batch;
  fixture *self = instance;
  fixture_say(self, "blocking");
  pthread_mutex_lock(&self->lock);
  while (!self->flag) pthread_cond_wait(&self->changed, &self->lock);
  pthread_mutex_unlock(&self->lock);
  return slu_fail(error, SLU_E_TIMEOUT, "interrupted");
}

static void interrupt(void *instance) {
  fixture *self = instance;
  pthread_mutex_lock(&self->lock);
  self->flag = 1;
  pthread_cond_signal(&self->changed);
  pthread_mutex_unlock(&self->lock);
}

FIXTURE_MODULE("blocking", .deliver = deliver, .interrupt = interrupt, .stop = fixture_stop)
