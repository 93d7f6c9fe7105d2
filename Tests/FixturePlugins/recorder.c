/* Does everything right, synchronously: writes each message down and acknowledges by returning. */
#include "fixture.h"

static slu_rc validate(const slu_subscriber *kind, slu_bytes config, slu_diagnose diagnose, void *context) {
  (void)kind;
  if (config.len == 2) return SLU_OK;
  diagnose(context, SLU_DIAGNOSE_WARNING, slu_text("/n"), slu_text("n is a strange number"));
  if (config.len < 10) return SLU_OK;
  diagnose(context, SLU_DIAGNOSE_ERROR, slu_text("/n"), slu_text("n is \xff too long"));
  return SLU_E_CONFIG;
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture_record_all(instance, batch);
  return SLU_OK;
}

static slu_rc drain(void *instance, int64_t deadline_ns, slu_error *error) {
  (void)error;
  fixture_say(instance, deadline_ns > 0 ? "drain" : "drain without a deadline");
  return SLU_OK;
}

FIXTURE_MODULE("recorder", .summary = SLU_LITERAL("Writes down what it sees"), .want_records = 100,
               .want_linger_ms = 3, .max_inflight = 5000, .ack_deadline_ms = 7000, .validate = validate,
               .deliver = deliver, .drain = drain, .stop = fixture_stop)
