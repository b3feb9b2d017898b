/* What a worker counts (pure). Written by its worker only, read by the control thread at any time: relaxed
 * atomics, no locked instruction. Each worker's counters have cache lines of their own.
 */
#ifndef DATAPLANE_COUNTERS_H
#define DATAPLANE_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#include "dataplane/verdict.h"
#include "ring/sluice.h"

#define EVENT_COUNTERS(X)                                                                                    \
	X(frames_in, "frames received, from the port or from another worker")                                \
	X(bytes_in, "bytes received, Ethernet header included")                                              \
	X(frames_out, "frames sent")                                                                         \
	X(bytes_out, "bytes sent, Ethernet header included")                                                 \
	X(frames_out_dropped,                                                                                \
	  "frames that could not be sent: no buffer, no way there, or not taken by the port")                \
	X(records_in, "records received")                                                                    \
	X(records_out, "application records sealed and sent")                                                \
	X(hello_verify_bytes_in, "bytes of the datagrams with a ClientHello that was answered statelessly")  \
	X(hello_verify_bytes_out, "bytes of these answers")                                                  \
	X(downlink_messages, "messages taken from the application")                                          \
	X(downlink_failed, "of them answered by SEND_FAILED")                                                \
	X(downlink_malformed, "of them that made no sense")                                                  \
	X(sessions_installed, "sessions installed")                                                          \
	X(sessions_ended, "sessions ended, any reason")                                                      \
	X(sessions_moved, "authenticated changes of a peer's address")                                       \
	X(mail_dropped, "messages to the control thread that did not fit")                                   \
	X(polls, "turns of the loop")                                                                        \
	X(polls_idle, "of them with nothing to do")

struct worker_counters {
	_Alignas(64) _Atomic uint64_t frames[FRAME_VERDICTS_COUNT];
	_Atomic uint64_t records[RECORD_VERDICTS_COUNT];
#define X(name, text) _Atomic uint64_t name;
	EVENT_COUNTERS(X)
#undef X
	_Atomic uint64_t ended[SLUICE_REASONS]; /* by enum sluice_reason */
};

/* Owner only. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* Any thread. */
static inline uint64_t counter_get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
