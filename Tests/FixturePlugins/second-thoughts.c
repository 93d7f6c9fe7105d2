/* Rejects what begins with x, but in a replay takes everything and writes down what it was told of it; with n = 1 a replay
 * is put off for ever. */
#include "fixture.h"

static void say_replay(fixture *self, const slu_batch *batch) {
  char log[40];
  char *at = log;
  for (int i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *at++ = '-';
    at += sprintf(at, "%02x", batch->log_uuid[i]);
  }
  fprintf(fixture_seen(self), "replay %.*s %s %llu %llu\n", (int)batch->stream.len, (const char *)batch->stream.ptr, log,
          (unsigned long long)batch->first_lsn, (unsigned long long)batch->last_lsn);
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *m = slu_batch_message(batch, i);
    fprintf(fixture_seen(self), "again %llu %u %.*s %.*s %.*s %.*s %lld %llu\n", (unsigned long long)m->lsn, m->attempt,
            (int)m->payload.len, (const char *)m->payload.ptr, (int)m->topic.len, (const char *)m->topic.ptr,
            (int)m->source.len, (const char *)m->source.ptr, (int)m->producer.len, (const char *)m->producer.ptr,
            (long long)m->ingest_time_ns, (unsigned long long)m->producer_sequence);
  }
  fflush(fixture_seen(self));
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  fixture *self = instance;
  if (batch->flags & SLU_BATCH_REPLAY) {
    if (self->number == 1) return slu_fail(error, SLU_E_RETRYABLE, "not now");
    say_replay(self, batch);
    return SLU_OK;
  }
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *message = slu_batch_message(batch, i);
    if (message->payload.len && *(const char *)message->payload.ptr == 'x') {
      fixture_settle(self, message->token, 1, SLU_REJECT);
    }
  }
  return SLU_OK;
}

FIXTURE_MODULE("second-thoughts", .deliver = deliver)
