/* A verdict for each message, by the first letter of its payload: a acknowledges, r retries until attempt 3, x rejects,
 * u gives a verdict that no host knows and then acknowledges. Everything else is left to the return. */
#include "fixture.h"

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture *self = instance;
  fixture_record_all(self, batch);
  for (uint32_t i = 0; i < batch->count; i++) {
    const slu_message *message = slu_batch_message(batch, i);
    slu_settlement item = {.first_token = message->token, .count = 1};
    switch (message->payload.len ? *(const char *)message->payload.ptr : 0) {
    case 'a': item.verdict = SLU_ACK; break;
    case 'r': item.verdict = message->attempt < 3 ? SLU_RETRY : SLU_ACK; break;
    case 'x':
      item.verdict = SLU_REJECT;
      item.code = 7;
      item.reason = slu_text("bad row");
      break;
    case 'u': item.verdict = message->attempt < 2 ? 99 : SLU_ACK; break;
    default: continue;
    }
    if (self->host->settle(self->host->context, &item, 1) != SLU_OK) fixture_say(self, "settle failed");
  }
  return SLU_OK;
}

FIXTURE_MODULE("verdicts", .deliver = deliver)
