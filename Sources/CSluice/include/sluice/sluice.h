/*
 * The Sluice plugin ABI, version 1. A plugin includes this header, nothing else of Sluice, and links nothing.
 *
 *   base.h        bytes, errors, return codes: what every other header stands on
 *   verdict.h     what becomes of a message
 *   batch.h       what a subscriber is given
 *   host.h        what a subscriber may ask of the daemon
 *   subscriber.h  what a subscriber is: its description and its lifecycle
 *   module.h      the one symbol a plugin exports
 *
 * Four rules hold for every function of every table:
 *
 *   Threads    each carries a tag. [scan]: any thread, maybe in a throwaway process. [inst]: the instance's own
 *              operating system thread; never two [inst] calls on one instance at once; may block. [any]: any thread,
 *              at any time, concurrently with everything; must not block.
 *   Memory     what a pointer argument points to is valid until the call returns, unless its comment says otherwise.
 *              No memory is freed on the other side of the border.
 *   Unwinding  nothing may unwind through any of them: no exception, no panic, no longjmp.
 *   Calls      functions of the host may be called from within functions of the plugin, unless a comment says
 *              otherwise. The host never calls an [inst] function from within one of its own that the plugin called.
 *
 * docs/abi.md is the same contract in prose, with the rules by which it grows.
 */
#ifndef SLUICE_SLUICE_H
#define SLUICE_SLUICE_H

#include "sluice/base.h"
#include "sluice/verdict.h"
#include "sluice/batch.h"
#include "sluice/host.h"
#include "sluice/subscriber.h"
#include "sluice/module.h"

#endif
