#include "histogram.h"

static unsigned bucket_of(uint64_t value) {
  if (value < 1u << HISTOGRAM_SUB_BITS) return (unsigned)value;
  unsigned shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
  return (shift << HISTOGRAM_SUB_BITS) + (unsigned)(value >> shift);
}

/* The largest value that falls into the bucket. */
static uint64_t top_of(unsigned bucket) {
  if (bucket < 2u << HISTOGRAM_SUB_BITS) return bucket;
  unsigned shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
  uint64_t base = (bucket & ((1u << HISTOGRAM_SUB_BITS) - 1)) + (1u << HISTOGRAM_SUB_BITS);
  return ((base + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t nanoseconds) {
  h->counts[bucket_of(nanoseconds)]++;
  h->total++;
  h->sum += (double)nanoseconds;
  if (nanoseconds > h->max) h->max = nanoseconds;
}

uint64_t histogram_percentile(const struct histogram *h, double fraction) {
  uint64_t wanted = (uint64_t)(fraction * (double)h->total + 0.5), seen = 0;
  if (wanted == 0) wanted = 1;
  for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
    seen += h->counts[bucket];
    if (seen >= wanted) return top_of(bucket) < h->max ? top_of(bucket) : h->max;
  }
  return h->max;
}

void histogram_print(const struct histogram *h, FILE *to) {
  static const struct { const char *name; double fraction; } rows[] = {
      {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};
  fprintf(to, "{\"count\":%llu,\"mean\":%.1f", (unsigned long long)h->total, h->total ? h->sum / h->total / 1e3 : 0);
  for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
    fprintf(to, ",\"%s\":%.1f", rows[i].name, histogram_percentile(h, rows[i].fraction) / 1e3);
  fprintf(to, ",\"max\":%.1f}", h->max / 1e3);
}
