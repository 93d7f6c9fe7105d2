/* Drives the plugin as the daemon would: a host that writes down what it is told, and batches from an array. The plugin's
 * source is included, so that its static functions can be tested too. */
#include "../src/topic-bytes.c"

static uint64_t rejected_token;
static uint32_t rejected_code, rejections;

static void host_log(void *context, uint32_t level, slu_bytes message, const slu_pair *pairs, uint32_t count) {
  (void)context, (void)level, (void)message, (void)pairs, (void)count;
}
static slu_rc host_settle(void *context, const slu_settlement *items, uint32_t count) {
  (void)context, (void)count;
  rejections++;
  rejected_token = items[0].first_token;
  rejected_code = items[0].code;
  return SLU_OK;
}
static uint64_t host_metric_register(void *context, const slu_metric *metric) {
  (void)context, (void)metric;
  return 1;
}
static void host_metric_add(void *context, uint64_t metric, double value) { (void)context, (void)metric, (void)value; }

static void expect(int holds, const char *what) {
  if (!holds) {
    fprintf(stderr, "not so: %s\n", what);
    exit(1);
  }
}

/* Makes an instance, gives it these records (topic, payload), and ends it. */
static void run(const slu_host *host, const char *const (*records)[2], uint32_t count) {
  const slu_subscriber *it = sluice_module_v1(SLU_ABI_MINOR)->subscribers[0];
  slu_message messages[8] = {0};
  slu_batch batch = {.struct_size = sizeof batch, .message_stride = sizeof *messages, .messages = messages, .count = count};
  slu_error error = {0};
  void *instance = NULL;
  for (uint32_t i = 0; i < count; i++) {
    messages[i] = (slu_message){.token = 100 + i, .lsn = 1 + i, .attempt = 1};
    messages[i].topic = slu_text(records[i][0]);
    messages[i].payload = slu_text(records[i][1]);
  }
  expect(it->create(it, host, slu_text("{\"file\":\"totals\"}"), &instance, &error) == SLU_OK, "create works");
  expect(it->start(instance, 0, &error) == SLU_OK, "start works");
  expect(it->deliver(instance, &batch, &error) == SLU_OK, "deliver works");
  expect(it->stop(instance, &error) == SLU_OK, "stop works");
  it->destroy(instance);
}

int main(void) {
  char directory[] = "/tmp/plugin-test-XXXXXX", path[64], text[256] = {0};
  expect(mkdtemp(directory) != NULL, "a directory can be made");
  slu_host host = {.struct_size = sizeof host, .log = host_log, .settle = host_settle,
                   .metric_register = host_metric_register, .metric_add = host_metric_add};
  host.state_dir = slu_text(directory);

  run(&host, (const char *const[][2]){{"web", "abc"}, {"audit", "de"}, {"bad\ttopic", "x"}, {"web", "f"}}, 4);
  expect(rejections == 1 && rejected_token == 102 && rejected_code == REJECTED_BAD_TOPIC, "one record is rejected");
  run(&host, (const char *const[][2]){{"", "gh"}}, 1);

  snprintf(path, sizeof path, "%s/totals", directory);
  FILE *file = fopen(path, "r");
  expect(file && fread(text, 1, sizeof text - 1, file) > 0, "there is a file");
  fclose(file);
  expect(strcmp(text, "\t1\t2\naudit\t1\t2\nweb\t2\t4\n") == 0, "totals outlive the instance");
  unlink(path);
  rmdir(directory);
  puts("all tests passed");
  return 0;
}
