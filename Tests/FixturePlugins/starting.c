/* Can't start the first `n` times; with a negative n, never, and with -DNEVER not with any; with n = 1000 it hangs. -DFLAGS
 * are those of the kind; a -DMARK is written down at each start. */
#include "fixture.h"

#ifndef FLAGS
#define FLAGS 0
#endif

static slu_rc start(void *instance, int64_t deadline_ns, slu_error *error) {
  fixture *self = instance;
  fixture_say(self, deadline_ns > 0 ? "start" : "start without a deadline");
#ifdef MARK
  fixture_say(self, MARK);
#endif
#ifdef NEVER
  return slu_fail(error, SLU_E_FATAL, "this build never starts");
#endif
  if (self->number == 1000) {
    pthread_mutex_lock(&self->lock);
    while (!self->flag) pthread_cond_wait(&self->changed, &self->lock);
    pthread_mutex_unlock(&self->lock);
    return SLU_E_TIMEOUT;
  }
  if (self->number < 0) return slu_fail(error, SLU_E_CONFIG, "no such table");
  if (self->starts++ < self->number) return slu_fail(error, SLU_E_RETRYABLE, "connection refused");
  return SLU_OK;
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture_record_all(instance, batch);
  return SLU_OK;
}

FIXTURE_MODULE("starting", .flags = FLAGS, .start = start, .deliver = deliver, .stop = fixture_stop)
