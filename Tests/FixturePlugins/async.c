/* Accepts every batch and settles it later on a thread of its own: newest batch first, last message first, in ranges of
 * up to three, every seventh message with a retry. Keeps the bytes by lease until then. */
#include "fixture.h"

static void settle_batch(fixture *self, slu_settlement batch, uint64_t lease) {
  uint32_t left = batch.count;
  while (left > 0) {
    uint32_t count = left < 3 ? left : 3;
    uint64_t token = batch.first_token + left - count;
    fixture_settle(self, token, count, token % 7 == 0 && batch.code < 2 ? SLU_RETRY : SLU_ACK);
    left -= count;
  }
  if (lease) self->host->release(self->host->context, lease);
}

static void *settler(void *instance) {
  fixture *self = instance;
  pthread_mutex_lock(&self->lock);
  for (;;) {
    while (self->queued == 0 && self->flag == 0) pthread_cond_wait(&self->changed, &self->lock);
    if (self->queued == 0) break;
    self->queued--;
    slu_settlement batch = self->queue[self->queued];
    uint64_t lease = self->leases[self->queued];
    pthread_mutex_unlock(&self->lock);
    settle_batch(self, batch, lease);
    pthread_mutex_lock(&self->lock);
  }
  pthread_mutex_unlock(&self->lock);
  return NULL;
}

static slu_rc start(void *instance, int64_t deadline_ns, slu_error *error) {
  (void)deadline_ns;
  (void)error;
  fixture *self = instance;
  pthread_create(&self->thread, NULL, settler, self);
  return SLU_OK;
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture *self = instance;
  fixture_record_all(self, batch);
  uint64_t lease = self->host->retain(self->host->context, batch->lease) == SLU_OK ? batch->lease : 0;
  pthread_mutex_lock(&self->lock);
  self->queue[self->queued] = (slu_settlement){
      .first_token = batch->messages->token, .count = batch->count, .code = batch->messages->attempt};
  self->leases[self->queued] = lease;
  self->queued++;
  pthread_cond_signal(&self->changed);
  pthread_mutex_unlock(&self->lock);
  return SLU_ACCEPTED;
}

static slu_rc stop(void *instance, slu_error *error) {
  (void)error;
  fixture *self = instance;
  pthread_mutex_lock(&self->lock);
  self->flag = 1;
  pthread_cond_signal(&self->changed);
  pthread_mutex_unlock(&self->lock);
  pthread_join(self->thread, NULL);
  fixture_say(self, "stop");
  return SLU_OK;
}

FIXTURE_MODULE("async", .start = start, .deliver = deliver, .stop = stop)
