/* A host in a page of C: loads libsluice-disk.so (argv[1]) and drives it in the directory argv[2] under the kernel's
 * own limit for file sizes. Prints what happened, one word a line; the test knows the words. */
#include <dlfcn.h>
#include <signal.h>
#include <sluice/sluice.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void host_log(void *c, uint32_t l, slu_bytes m, const slu_pair *p, uint32_t n) {
  (void)c, (void)l, (void)m, (void)p, (void)n;
}
static slu_rc host_settle(void *c, const slu_settlement *i, uint32_t n) { return (void)c, (void)i, (void)n, SLU_OK; }
static uint64_t host_register(void *c, const slu_metric *m) { return (void)c, (void)m, 0; }
static void host_metric(void *c, uint64_t m, double v) { (void)c, (void)m, (void)v; }
static void host_health(void *c, uint32_t s, slu_bytes w) { (void)c, (void)s, (void)w; }

static char payload[64];
static slu_message messages[100];

static slu_rc deliver(const slu_subscriber *kind, void *instance, uint64_t first_lsn) {
  slu_error error = {0};
  slu_batch batch = {.struct_size = sizeof batch, .count = 100, .message_stride = sizeof *messages};
  batch.messages = messages;
  batch.first_lsn = first_lsn;
  batch.last_lsn = first_lsn + 99;
  for (uint32_t i = 0; i < 100; i++) {
    messages[i].token = i;
    messages[i].lsn = first_lsn + i;
    messages[i].payload.ptr = payload;
    messages[i].payload.len = sizeof payload;
  }
  return kind->deliver(instance, &batch, &error);
}

static long long size_of(const char *directory) {
  char path[4096];
  struct stat status;
  snprintf(path, sizeof path, "%s/current.ndjson", directory);
  return stat(path, &status) ? -1 : (long long)status.st_size;
}

static void deliver_and_tell(const slu_subscriber *kind, void *instance, uint64_t first_lsn, const char *directory) {
  const slu_rc code = deliver(kind, instance, first_lsn);
  printf("%d %lld\n", (int)code, size_of(directory));
}

int main(int argc, char **argv) {
  const slu_host host = {.struct_size = sizeof host, .log = host_log, .settle = host_settle,
                         .metric_register = host_register, .metric_add = host_metric, .metric_set = host_metric,
                         .set_health = host_health};
  char config[4096];
  slu_error error = {0};
  void *instance = NULL;
  struct rlimit limit;
  if (argc != 3) { return 2; }
  void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) { return fprintf(stderr, "%s\n", dlerror()), 1; }
  const slu_module *(*entry)(uint32_t);
  *(void **)&entry = dlsym(library, "sluice_module_v1");
  if (!entry) { return fprintf(stderr, "%s\n", dlerror()), 1; }
  const slu_subscriber *kind = entry(SLU_ABI_MINOR)->subscribers[0];
  printf("%.*s\n", (int)kind->kind.len, (const char *)kind->kind.ptr);

  memset(payload, 'x', sizeof payload);
  memcpy(payload, "{\"message\":\"", 12);
  memcpy(payload + sizeof payload - 2, "\"}", 2);
  snprintf(config, sizeof config, "{\"path\":\"%s\"}", argv[2]);
  if (kind->create(kind, &host, slu_text(config), &instance, &error)) { return 1; }
  if (kind->start(instance, 0, &error)) { return 1; }

  signal(SIGXFSZ, SIG_IGN);
  getrlimit(RLIMIT_FSIZE, &limit);
  const rlim_t unlimited = limit.rlim_cur;
  limit.rlim_cur = 10000; /* one batch is 6,500 bytes: the second one fails within a line */
  setrlimit(RLIMIT_FSIZE, &limit);
  deliver_and_tell(kind, instance, 1, argv[2]);
  deliver_and_tell(kind, instance, 101, argv[2]);
  limit.rlim_cur = unlimited;
  setrlimit(RLIMIT_FSIZE, &limit);
  deliver_and_tell(kind, instance, 101, argv[2]);
  kind->stop(instance, &error);
  kind->destroy(instance);
  return 0;
}
