/* Sixteen bytes of text at a time. Inline, since each costs less than a call would. */
#ifndef C_SLUICE_TEXT_H
#define C_SLUICE_TEXT_H
#include <stdint.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#endif

/* Which of the 16 bytes at `bytes` end a run of plain text in a JSON string: control characters, quotes, backslashes, and
 * what is not ASCII. Bit 0 is the first one. */
static inline __attribute__((always_inline)) uint32_t csluice_text_stops(const void *bytes) {
#if defined(__SSE2__)
  __m128i text = _mm_loadu_si128((const __m128i *)bytes);
  __m128i quotes = _mm_cmpeq_epi8(text, _mm_set1_epi8('"'));
  __m128i backslashes = _mm_cmpeq_epi8(text, _mm_set1_epi8('\\'));
  /* The comparison is signed: what has its top bit set is less too. */
  __m128i others = _mm_cmplt_epi8(text, _mm_set1_epi8(0x20));
  return (uint32_t)_mm_movemask_epi8(_mm_or_si128(others, _mm_or_si128(quotes, backslashes)));
#elif defined(__ARM_NEON) && defined(__aarch64__)
  static const uint8_t weights[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  uint8x16_t text = vld1q_u8((const uint8_t *)bytes);
  uint8x16_t marks = vorrq_u8(vceqq_u8(text, vdupq_n_u8('"')), vceqq_u8(text, vdupq_n_u8('\\')));
  marks = vorrq_u8(marks, vcltq_s8(vreinterpretq_s8_u8(text), vdupq_n_s8(0x20)));
  marks = vandq_u8(marks, vld1q_u8(weights));
  return (uint32_t)vaddv_u8(vget_low_u8(marks)) | (uint32_t)vaddv_u8(vget_high_u8(marks)) << 8;
#else
  const uint8_t *text = (const uint8_t *)bytes;
  uint32_t marks = 0;
  for (int i = 0; i < 16; i++) {
    uint32_t stops = text[i] < 0x20 || text[i] >= 0x80 || text[i] == '"' || text[i] == '\\';
    marks |= stops << i;
  }
  return marks;
#endif
}

#endif
