#include "CSluiceSystem.h"
#include <string.h>

/* Slicing-by-one table, filled at load: only machines without a CRC instruction, and the tests, use it. */
static uint32_t table[256];

__attribute__((constructor)) static void fill_table(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int k = 0; k < 8; k++) c = (c >> 1) ^ ((c & 1) ? 0x82F63B78u : 0);
    table[i] = c;
  }
}

uint32_t csluice_crc32c_portable(uint32_t crc, const void *bytes, size_t len) {
  const uint8_t *p = bytes;
  uint32_t c = ~crc;
  while (len--) c = (c >> 8) ^ table[(c ^ *p++) & 0xFF];
  return ~c;
}

/* Where the piece that begins at `at` ends; 0 if it doesn't fit. */
static inline size_t piece_end(const uint8_t *p, size_t at, size_t len) {
  uint32_t rest = (uint32_t)p[at] | (uint32_t)p[at + 1] << 8 | (uint32_t)p[at + 2] << 16 | (uint32_t)p[at + 3] << 24;
  return rest % 8 == 0 && rest <= len - at - 8 ? at + 8 + rest : 0;
}

static size_t prefixes_portable(uint32_t *crc, const uint8_t *p, size_t len, uint32_t count) {
  size_t at = 0;
  for (; count; count--) {
    if (len - at < 8) return 0;
    *crc = csluice_crc32c(*crc, p + at, 8);
    if ((at = piece_end(p, at, len)) == 0) return 0;
  }
  return at;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const void *bytes, size_t len) {
  const uint8_t *p = bytes;
  uint64_t c = (uint32_t)~crc;
  for (; len >= 8; len -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    c = _mm_crc32_u64(c, word);
  }
  uint32_t c32 = (uint32_t)c;
  for (; len; len--) c32 = _mm_crc32_u8(c32, *p++);
  return ~c32;
}

/* The same without a call for each piece. */
__attribute__((target("sse4.2"))) static size_t prefixes_sse42(uint32_t *crc, const uint8_t *p, size_t len,
                                                              uint32_t count) {
  uint64_t c = (uint32_t)~*crc;
  size_t at = 0;
  for (; count; count--) {
    uint64_t word;
    if (len - at < 8) return 0;
    memcpy(&word, p + at, 8);
    c = _mm_crc32_u64(c, word);
    if ((at = piece_end(p, at, len)) == 0) return 0;
  }
  *crc = ~(uint32_t)c;
  return at;
}

static int have_sse42;
__attribute__((constructor)) static void detect(void) { have_sse42 = __builtin_cpu_supports("sse4.2"); }

uint32_t csluice_crc32c(uint32_t crc, const void *bytes, size_t len) {
  return have_sse42 ? crc_sse42(crc, bytes, len) : csluice_crc32c_portable(crc, bytes, len);
}

size_t csluice_crc32c_prefixes(uint32_t *crc, const void *bytes, size_t len, uint32_t count) {
  return have_sse42 ? prefixes_sse42(crc, bytes, len, count) : prefixes_portable(crc, bytes, len, count);
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
uint32_t csluice_crc32c(uint32_t crc, const void *bytes, size_t len) {
  const uint8_t *p = bytes;
  uint32_t c = ~crc;
  for (; len >= 8; len -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    c = __crc32cd(c, word);
  }
  for (; len; len--) c = __crc32cb(c, *p++);
  return ~c;
}
#else
uint32_t csluice_crc32c(uint32_t crc, const void *bytes, size_t len) {
  return csluice_crc32c_portable(crc, bytes, len);
}
#endif

#if !defined(__x86_64__)
size_t csluice_crc32c_prefixes(uint32_t *crc, const void *bytes, size_t len, uint32_t count) {
  return prefixes_portable(crc, bytes, len, count);
}
#endif
