/* The one symbol a plugin exports. */
#ifndef SLUICE_MODULE_H
#define SLUICE_MODULE_H

#include "sluice/base.h"
#include "sluice/subscriber.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a plugin is. Static and immutable: valid as long as the process lives, as all it points to. The code is never
 * unmapped. */
typedef struct slu_module {
  uint32_t struct_size;
  uint32_t abi_minor;        /* SLU_ABI_MINOR of the headers it was built with */
  uint32_t abi_minor_needed; /* the lowest that it works with; a host below it refuses, naming both */
  uint32_t subscriber_count; /* at least 1 */
  slu_bytes name;            /* for people */
  slu_bytes version;         /* for people: "1.4.2" */
  slu_bytes vendor;          /* for people; may be empty */
  slu_bytes runtime;         /* the language runtime it brings or shares: "swift-6.3.1 dynamic", "go"; empty: none.
                                A host refuses one that can't share its process, or gives it a process of its own. */
  const slu_subscriber *const *subscribers;
} slu_module;

/* The entry. [scan] In less than 100 ms, without threads, files or network, the same answer every time. The argument
 * is the minor version of the host. NULL: the plugin does not work with that host. */
SLU_EXPORT const slu_module *sluice_module_v1(uint32_t host_abi_minor);

#ifdef __cplusplus
}
#endif

#endif
