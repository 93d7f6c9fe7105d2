/* What becomes of a message. Everything in this header is frozen. */
#ifndef SLUICE_VERDICT_H
#define SLUICE_VERDICT_H

#include "sluice/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zero is no verdict, on purpose: memory that nobody wrote never acknowledges anything. Zero and every value that is
 * not listed mean SLU_RETRY. */
#define SLU_ACK 1u    /* done: never delivered again to this subscriber, but after a crash or in a replay */
#define SLU_RETRY 2u  /* deliver it again, after `delay_ms` or the topology's own backoff, whichever is later */
#define SLU_REJECT 3u /* it will never work: to the dead letter stream, with `code` and `reason` */

/* One verdict for `count` consecutive tokens of one batch, beginning with `first_token`. */
typedef struct slu_settlement {
  uint64_t first_token;
  uint32_t count;    /* at least 1 */
  uint32_t verdict;  /* SLU_ACK, SLU_RETRY, SLU_REJECT */
  uint32_t delay_ms; /* SLU_RETRY only; 0 = as the topology says */
  uint32_t code;     /* SLU_REJECT: the plugin's own number, kept with the dead record */
  slu_bytes reason;  /* SLU_RETRY, SLU_REJECT: for people; copied before `settle` returns, cut at 1 KiB */
} slu_settlement;

#ifdef __cplusplus
}
#endif

#endif
