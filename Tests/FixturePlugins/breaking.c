/* Keeps to every rule of `sluice plugin check` but the one that -DBREAKS=breaks_… names. */
#include "breaking.h"

/* ---- Validation. n = 100 passes the schema and is refused. ---- */

typedef struct telling {
  slu_diagnose diagnose;
  void *context;
} telling;

static void *tell_elsewhere(void *argument) {
  telling *it = argument;
  it->diagnose(it->context, SLU_DIAGNOSE_WARNING, slu_text("/n"), slu_text("told elsewhere"));
  return NULL;
}

static slu_rc validate(const slu_subscriber *kind, slu_bytes config, slu_diagnose diagnose, void *context) {
  static int calls;
  long n = number(config);
  (void)kind;
  calls++;
  if (breaks(good_config) && n == 0) { crash(); }
  if (breaks(broken_config) && config.len > 100000) { crash(); }
  if (breaks(determinism) && calls % 2) {
    diagnose(context, SLU_DIAGNOSE_WARNING, slu_text("/n"), slu_text("every second time"));
  }
  if (breaks(validate_purity)) { (void)!open("/dev/null", O_RDONLY); }
  if (breaks(validate_thread)) {
    telling it = {diagnose, context};
    pthread_t thread;
    pthread_create(&thread, NULL, tell_elsewhere, &it);
    pthread_join(thread, NULL);
  }
  if (breaks(pointer)) { diagnose(context, SLU_DIAGNOSE_WARNING, slu_text("n"), slu_text("not a pointer")); }
  if (n == 100 || breaks(acceptance)) {
    diagnose(context, SLU_DIAGNOSE_ERROR, slu_text("/n"), slu_text("n is too much of a good thing"));
    return breaks(consistency) ? SLU_OK : SLU_E_CONFIG;
  }
  return SLU_OK;
}

/* ---- Life ---- */

static void *waiting(void *instance) {
  breaking *self = instance;
  while (!self->is_over) { nap(1); }
  return NULL;
}

static slu_rc create(
    const slu_subscriber *kind, const slu_host *host, slu_bytes config, void **instance, slu_error *error) {
  (void)kind;
  if (number(config) == 100 && !breaks(create_refusal)) {
    if (breaks(create_text)) { return SLU_E_CONFIG; }
    return slu_fail(error, breaks(create_code) ? SLU_E_FATAL : SLU_E_CONFIG, "n must be below 100");
  }
  breaking *self = calloc(1, sizeof *self);
  if (!self) { return slu_fail(error, SLU_E_RETRYABLE, "no memory"); }
  self->host = host;
  self->file = -1;
  pthread_mutex_init(&self->lock, NULL);
  if (breaks(create_file)) { self->file = open("made-by-create", O_WRONLY | O_CREAT, 0600); }
  if (breaks(create_thread)) {
    pthread_create(&self->early, NULL, waiting, self);
  }
  if (breaks(before_start)) { host->set_credit(host->context, 1); }
  if (breaks(memory)) { host->log(host->context, SLU_LOG_DEBUG, slu_text(malloc(24) ? "leaked" : ""), NULL, 0); }
  *instance = self;
  return SLU_OK;
}

static int running;

/* What is left behind by the second and third instance only: enough to be seen, and not more with each. */
static void leave_something(void) {
  static int made;
  pthread_t thread;
  if (++made > 3) { return; }
  if (breaks(thread_left)) { pthread_create(&thread, NULL, pausing, NULL); }
  if (breaks(descriptor_left)) { (void)!open("/dev/null", O_RDONLY); }
  if (breaks(child_left) && fork() == 0) { pausing(NULL); }
}

static slu_rc start(void *instance, int64_t deadline_ns, slu_error *error) {
  breaking *self = instance;
  if (deadline_ns > 0 && deadline_ns < now()) { return slu_fail(error, SLU_E_TIMEOUT, "the deadline passed"); }
  if (breaks(start)) { return slu_fail(error, SLU_E_FATAL, "it never starts"); }
  if (breaks(second) && running > 0) { return slu_fail(error, SLU_E_FATAL, "there is one already"); }
  if (breaks(environment)) { setenv("LC_ALL", "broken", 1); }
  leave_something();
  running++;
  self->is_started = 1;
  pthread_create(&self->thread, NULL, returning, NULL);
  return SLU_OK;
}

static slu_rc flush(void *instance, int64_t deadline_ns, slu_error *error) {
  breaking *self = instance;
  (void)deadline_ns;
  if (breaks(idle) && self->deliveries == 0) { return slu_fail(error, SLU_E_FATAL, "nothing to flush"); }
  return SLU_OK;
}

static slu_rc stop(void *instance, slu_error *error) {
  breaking *self = instance;
  (void)error;
  if (!self->is_started) {
    if (breaks(failed_start)) { crash(); }
    return SLU_OK;
  }
  if (breaks(stop) && self->deliveries >= 32) { nap(10500); }
  pthread_join(self->thread, NULL);
  running--;
  return SLU_OK;
}

static void destroy(void *instance) {
  breaking *self = instance;
  slu_settlement item = {.first_token = self->last_token, .count = 1, .verdict = SLU_ACK};
  if (breaks(destroy) && !self->is_started) { crash(); }
  if (breaks(settle_after_stop)) { self->host->settle(self->host->context, &item, 1); }
  if (breaks(call_after_stop)) { self->host->log(self->host->context, SLU_LOG_INFO, slu_text("gone"), NULL, 0); }
  if (self->file >= 0) { close(self->file); }
  if (breaks(create_thread)) {
    self->is_over = 1;
    pthread_join(self->early, NULL);
  }
  pthread_mutex_destroy(&self->lock);
  free(self);
}

static void interrupt(void *instance) {
  breaking *self = instance;
  if (breaks(lock)) { pthread_mutex_lock(&self->lock), pthread_mutex_unlock(&self->lock); }
  if (breaks(sticky)) { self->is_interrupted = 1; }
}

static slu_rc reconfigure(void *instance, slu_bytes config, slu_error *error) {
  breaking *self = instance;
  if (number(config) == 100) {
    if (breaks(bad)) { return SLU_OK; }
    if (breaks(after_bad)) { self->is_broken = 1; }
    return slu_fail(error, SLU_E_CONFIG, "n must be below 100");
  }
  return breaks(same) ? slu_fail(error, SLU_E_INTERNAL, "it is the same already") : SLU_OK;
}

static const void *get_extension(void *instance, slu_bytes id) {
  return breaks(extension) && id.len > 7 && memcmp(id.ptr, "sluice.", 7) == 0 ? instance : NULL;
}

static slu_rc gap(void *instance, const slu_gap *gap, slu_error *error) {
  (void)instance;
  if (breaks(gap) && gap->reason > SLU_GAP_CORRUPTION) { return slu_fail(error, SLU_E_INTERNAL, "what a gap"); }
  return SLU_OK;
}

#include "breaking-deliver.h"

/* ---- The tables ---- */

#define SCHEMA(keyword, standard)                                                                            \
  "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"                                     \
  "\"name\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":100,\"default\":\"it\"" keyword "},"          \
  "\"n\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":100,\"default\":" standard "}}}"

static const slu_bytes outputs[] = {SLU_LITERAL("results"), SLU_LITERAL("results")};
static const char plain_schema[] = SCHEMA("", "1");
static const char odd_schema[] = SCHEMA(",\"contains\":1", "1");
static const char wrong_schema[] = SCHEMA("", "101");

static const slu_subscriber the_kind = {
    .struct_size = breaks(size) ? 40 : sizeof(slu_subscriber),
    .kind = {breaks(kind) ? "Breaking" : "breaking", 8},
    .summary = {breaks(text) ? "\xc3(" : "Breaks one rule", breaks(text) ? 2 : 15},
    .config_schema = {breaks(schema)    ? odd_schema
                      : breaks(default) ? wrong_schema
                                        : plain_schema,
                      breaks(schema)    ? sizeof odd_schema - 1
                      : breaks(default) ? sizeof wrong_schema - 1
                                        : sizeof plain_schema - 1},
    .ack_deadline_ms = 100,
    .output_count = breaks(outputs) ? 2 : 1, .outputs = outputs,
    .validate = validate, .create = breaks(create) ? NULL : create, .start = start, .deliver = deliver, .gap = gap,
    .flush = breaks(accepted) ? NULL : flush, .stop = stop, .destroy = destroy, .interrupt = interrupt,
    .reconfigure = reconfigure, .get_extension = get_extension};
static const slu_subscriber *const kinds[] = {&the_kind};
static const slu_module modules[2] = {
    {.struct_size = sizeof(slu_module), .abi_minor = 0, .abi_minor_needed = breaks(minor) ? 1 : 0, .subscriber_count = 1,
     .name = SLU_LITERAL("breaking"), .version = SLU_LITERAL("1.0"), .subscribers = kinds},
    {.struct_size = sizeof(slu_module), .subscriber_count = 1, .name = SLU_LITERAL("breaking"), .subscribers = kinds}};

#ifdef BREAKS_export
SLU_EXPORT int another_symbol(void);
int another_symbol(void) { return 1; }
#endif

SLU_EXPORT const slu_module *sluice_module_v1(uint32_t host_abi_minor) {
  static int calls;
  (void)host_abi_minor;
  if (breaks(speed)) { nap(150); }
  if (breaks(purity)) { (void)!open("/dev/null", O_RDONLY); }
  return &modules[breaks(stability) ? calls++ % 2 : 0];
}
