/* Latencies in log-linear buckets: 64 per power of two, so a percentile is at most 1.6 % too high. */
#ifndef SLUICE_BENCH_HISTOGRAM_H
#define SLUICE_BENCH_HISTOGRAM_H
#include <stdint.h>
#include <stdio.h>

enum { HISTOGRAM_SUB_BITS = 6, HISTOGRAM_BUCKETS = (65 - HISTOGRAM_SUB_BITS) << HISTOGRAM_SUB_BITS };

struct histogram {
  uint64_t counts[HISTOGRAM_BUCKETS];
  uint64_t total, max;
  double sum;
};

void histogram_add(struct histogram *h, uint64_t nanoseconds);

/* The value that `fraction` (0 … 1) of all values do not exceed. */
uint64_t histogram_percentile(const struct histogram *h, double fraction);

/* {"count":…,"mean":…,"p50":…,…,"max":…}, in microseconds. */
void histogram_print(const struct histogram *h, FILE *to);

#endif
