/* Asks the host for everything, rightly and wrongly, and writes down the answers. */
#include "fixture.h"

static void answer(fixture *self, const char *what, long long value) {
  char line[96];
  snprintf(line, sizeof line, "%s %lld", what, value);
  fixture_say(self, line);
}

static uint64_t metric(fixture *self, uint32_t kind, const char *name, const char *unit, uint32_t labels) {
  static const slu_pair pair = {SLU_LITERAL("table"), SLU_LITERAL("events")};
  slu_metric it = {.struct_size = sizeof it, .kind = kind, .name = slu_text(name), .unit = slu_text(unit),
                   .help = SLU_LITERAL("A fixture's."), .labels = &pair, .label_count = labels};
  return self->host->metric_register(self->host->context, &it);
}

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture *self = instance;
  const slu_host *host = self->host;
  static char endless[20000];
  slu_pair pair = {SLU_LITERAL("row"), SLU_LITERAL("7")};
  memset(endless, 'e', sizeof endless);
  if (self->number) fprintf(stderr, "its own words\n");
  host->log(host->context, SLU_LOG_WARNING, slu_text("broken \xff text"), &pair, 1);
  host->log(host->context, 1000, (slu_bytes){endless, sizeof endless}, NULL, 0);
  uint64_t rows = metric(self, SLU_METRIC_COUNTER, "rows", "", 1);
  uint64_t size = metric(self, SLU_METRIC_GAUGE, "buffer", "bytes", 0);
  uint64_t took = metric(self, SLU_METRIC_HISTOGRAM, "query", "seconds", 0);
  answer(self, "same id", metric(self, SLU_METRIC_COUNTER, "rows", "", 1) == rows);
  answer(self, "bad name", metric(self, SLU_METRIC_COUNTER, "Rows!", "", 0));
  answer(self, "other kind", metric(self, SLU_METRIC_HISTOGRAM, "buffer", "bytes", 1));
  host->metric_add(host->context, rows, 5);
  host->metric_add(host->context, rows, -3);
  host->metric_set(host->context, size, 512);
  host->metric_add(host->context, took, 0.5);
  host->metric_add(host->context, 0, 1);
  host->metric_add(host->context, 77, 1);
  slu_publication child = {.struct_size = sizeof child, .parent_token = batch->messages->token};
  answer(self, "publish", host->publish(host->context, &child, 1, sizeof child));
  answer(self, "extension", host->get_extension(host->context, slu_text("sluice.none/1")) != NULL);
  answer(self, "clock", host->clock_ns(host->context, SLU_CLOCK_REALTIME) > 1600000000000000000LL);
  answer(self, "no clock", host->clock_ns(host->context, 99));
  answer(self, "no lease", host->retain(host->context, batch->lease + 1));
  answer(self, "lease", host->retain(host->context, batch->lease));
  answer(self, "again", host->retain(host->context, batch->lease));
  host->release(host->context, batch->lease);
  host->release(host->context, batch->lease);
  host->release(host->context, batch->lease);
  host->set_health(host->context, SLU_HEALTH_DOWN, slu_text("no room"));
  fixture_record_all(self, batch);
  return SLU_OK;
}

FIXTURE_MODULE("services", .deliver = deliver)
