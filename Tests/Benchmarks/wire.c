#include "wire.h"
#include <time.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
__attribute__((target("sse4.2"))) uint32_t wire_crc(uint32_t crc, const void *bytes, size_t length) {
  const uint8_t *p = bytes;
  uint64_t c = (uint32_t)~crc;
  for (; length >= 8; length -= 8, p += 8) c = _mm_crc32_u64(c, wire_u64(p));
  uint32_t rest = (uint32_t)c;
  for (; length; length--) rest = _mm_crc32_u8(rest, *p++);
  return ~rest;
}
#else
uint32_t wire_crc(uint32_t crc, const void *bytes, size_t length) {
  const uint8_t *p = bytes;
  uint32_t c = ~crc;
  while (length--) {
    c ^= *p++;
    for (int k = 0; k < 8; k++) c = (c >> 1) ^ ((c & 1) ? 0x82F63B78u : 0);
  }
  return ~c;
}
#endif

static uint32_t head_crc(const uint8_t *frame, uint64_t direction, uint64_t counter) {
  uint64_t bound[2] = {direction, counter};
  return wire_crc(wire_crc(0, bound, sizeof bound), frame, 20);
}

void wire_header(uint8_t *frame, uint32_t length, uint8_t type, uint32_t count, uint32_t body_crc, uint64_t direction,
                 uint64_t counter) {
  wire_put32(frame, length);
  wire_put32(frame + 4, type);
  wire_put32(frame + 8, count);
  wire_put32(frame + 12, body_crc);
  wire_put32(frame + 16, 0);
  wire_put32(frame + 20, head_crc(frame, direction, counter));
}

int wire_header_is_right(const uint8_t *frame, uint64_t direction, uint64_t counter) {
  return wire_u32(frame + 20) == head_crc(frame, direction, counter);
}

size_t wire_finish(uint8_t *frame, size_t body, uint8_t type, uint64_t direction, uint64_t counter) {
  while (body % 8) frame[WIRE_HEADER + body++] = 0;
  wire_header(frame, (uint32_t)(WIRE_HEADER + body), type, 0, wire_crc(0, frame + WIRE_HEADER, body), direction, counter);
  return WIRE_HEADER + body;
}

static uint64_t clock_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t wire_now(void) { return clock_ns(CLOCK_MONOTONIC); }
uint64_t wire_cpu(void) { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }
