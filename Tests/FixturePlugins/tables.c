/* Modules whose tables are wrong, or of another time: one for each value of CASE. */
#include "fixture.h"

#include <signal.h>
#include <stddef.h>

static slu_rc deliver(void *instance, const slu_batch *batch, slu_error *error) {
  (void)error;
  fixture_record_all(instance, batch);
  return SLU_OK;
}

/* A table of a later minor version: longer, with something that this host can't know. */
typedef struct later_subscriber {
  slu_subscriber known;
  void *news[4];
} later_subscriber;

#define case_older 1
#define case_newer 2
#define case_nosymbol 3
#define case_v2 4
#define case_minor 5
#define case_nodeliver 6
#define case_null 7
#define case_tiny 8
#define case_badkind 9
#define case_badtext 10
#define case_hugeschema 11
#define case_nosubscribers 12
#define case_signals 13
#define case_undefined 14
#define case_outputs 15
#define case_nullkind 16
#define case_flags 17
#define case_oldswift 18
#define case_ownswift 19
#define case_go 20
#define case_processonly 21
#define case_both 22
#define case_v3 23

#if CASE == case_undefined
extern int nobody_defines_this(void);
#endif

#if CASE == case_signals
static void handler(int signal) { (void)signal; }
__attribute__((constructor)) static void take_signals(void) { signal(SIGHUP, handler); }
#endif

#if CASE == case_badkind
#define NAME "Bad Kind"
#else
#define NAME KIND
#endif

#if CASE == case_badtext
#define SUMMARY "not \xc3\x28 text"
#else
#define SUMMARY "A table"
#endif

static later_subscriber table = {.known = {
  .struct_size = CASE == case_older  ? offsetof(slu_subscriber, destroy) + sizeof(void *)
                 : CASE == case_newer ? sizeof(later_subscriber)
                 : CASE == case_tiny  ? 12
                                 : sizeof(slu_subscriber),
  .flags = CASE == case_flags ? 0x80 : CASE == case_processonly ? SLU_F_PROCESS_ONLY : 0,
  .kind = SLU_LITERAL(NAME),
  .summary = SLU_LITERAL(SUMMARY),
  .config_schema = {"{}", CASE == case_hugeschema ? 300 << 10 : 2},
  .output_count = CASE == case_outputs ? 2 : 0,
  .create = fixture_create,
  .deliver = CASE == case_nodeliver ? NULL : deliver,
  .destroy = fixture_destroy,
  /* Behind what the older table has: garbage that must not be looked at. */
  .get_extension = CASE == case_older ? (const void *(*)(void *, slu_bytes))1 : NULL,
  .interrupt = CASE == case_older ? (void (*)(void *))1 : NULL,
}, .news = {(void *)1, (void *)2, (void *)3, (void *)4}};

static const slu_subscriber *const subscribers[] = {CASE == case_nullkind ? NULL : &table.known};

static const slu_module module = {
  .struct_size = sizeof(slu_module),
  .abi_minor = CASE == case_minor || CASE == case_newer ? 9 : 0,
  .abi_minor_needed = CASE == case_minor ? 9 : 0,
  .subscriber_count = CASE == case_nosubscribers ? 0 : 1,
  .name = SLU_LITERAL("tables"),
#if CASE == case_oldswift
  .runtime = SLU_LITERAL("swift-5.9 dynamic"),
#elif CASE == case_ownswift
  .runtime = SLU_LITERAL("swift-5.9 static"),
#elif CASE == case_go
  .runtime = SLU_LITERAL("go1.22"),
#endif
  .subscribers = subscribers,
};

#if CASE == case_v2
SLU_EXPORT const slu_module *sluice_module_v2(uint32_t host_abi_minor) {
#elif CASE == case_v3
SLU_EXPORT const slu_module *sluice_module_v3(uint32_t host_abi_minor) {
#elif CASE == case_nosymbol
SLU_EXPORT const slu_module *another_module(uint32_t host_abi_minor) {
#else
SLU_EXPORT const slu_module *sluice_module_v1(uint32_t host_abi_minor) {
#endif
  (void)host_abi_minor;
#if CASE == case_undefined
  if (nobody_defines_this()) return NULL;
#endif
  return CASE == case_null ? NULL : &module;
}

#if CASE == case_both
static const slu_module of_two = {
  .struct_size = sizeof(slu_module),
  .name = SLU_LITERAL(KIND),
  .version = SLU_LITERAL("2.0"),
  .subscriber_count = 1,
  .subscribers = subscribers,
};

SLU_EXPORT const slu_module *sluice_module_v2(uint32_t host_abi_minor) {
  (void)host_abi_minor;
  return &of_two;
}
#endif
