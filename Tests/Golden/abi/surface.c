/* A library whose symbols reach every type of the plugin ABI, for abidw to describe. */
#include <sluice/sluice.h>

slu_bytes surface_bytes;
slu_pair surface_pair;
slu_error surface_error;
slu_settlement surface_settlement;
slu_message surface_message;
slu_batch surface_batch;
slu_gap surface_gap;
slu_header_iterator surface_header_iterator;
slu_metric surface_metric;
slu_publication surface_publication;
slu_host surface_host;
slu_subscriber surface_subscriber;
slu_module surface_module;

const slu_module *sluice_module_v1(uint32_t host_abi_minor) {
  (void)host_abi_minor;
  return &surface_module;
}
