/* Writes down of each message whether it came live or as a replay. What begins with x is rejected; in a replay, what
 * begins with r is put off until attempt 3, and with n = 1 every delivery fails until there is a file `open` in the
 * state directory. */
#include "fixture.h"

#include <unistd.h>

static int is_open(fixture *self) {
  char path[4096];
  snprintf(path, sizeof path, "%.*s/open", (int)self->host->state_dir.len, (const char *)self->host->state_dir.ptr);
  return access(path, F_OK) == 0;
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  fixture *self = instance;
  int replay = (batch->flags & SLU_BATCH_REPLAY) != 0;
  if (replay && self->number == 1 && !is_open(self)) return slu_fail(error, SLU_E_RETRYABLE, "not now");
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *m = slu_batch_message(batch, i);
    char first = m->payload.len ? *(const char *)m->payload.ptr : 0;
    fprintf(fixture_seen(self), "%s %.*s %llu %u %.*s\n", replay ? "replay" : "live", (int)batch->stream.len,
            (const char *)batch->stream.ptr, (unsigned long long)m->lsn, m->attempt, (int)m->payload.len,
            (const char *)m->payload.ptr);
    slu_settlement item = {.first_token = m->token, .count = 1, .verdict = SLU_ACK};
    if (first == 'x') {
      item.verdict = SLU_REJECT;
      item.code = 7;
      item.reason = slu_text("bad row");
    } else if (first == 'r' && replay && m->attempt < 3) {
      item.verdict = SLU_RETRY;
    }
    self->host->settle(self->host->context, &item, 1);
  }
  fflush(fixture_seen(self));
  return SLU_OK;
}

FIXTURE_MODULE("marking", .deliver = deliver)
