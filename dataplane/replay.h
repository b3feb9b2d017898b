/* The anti-replay window of one epoch: RFC 6347 4.1.2.6 (pure). 64 sequence numbers wide, inlined in the
 * session. */
#ifndef DATAPLANE_REPLAY_H
#define DATAPLANE_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

enum { REPLAY_WINDOW = 64 };

struct replay_window {
	uint64_t highest; /* highest authenticated sequence number + 1; 0: none yet */
	uint64_t seen;    /* bit i: highest - 1 - i was authenticated */
};

/* May be new: to be asked before the record is opened. Changes nothing. */
static inline bool replay_check(const struct replay_window *w, uint64_t seq)
{
	uint64_t back = w->highest - 1 - seq;

	if (seq >= w->highest)
		return true;
	return back < REPLAY_WINDOW && !(w->seen >> back & 1);
}

/* The record authenticated: marks it. False when it was there already (twice in one burst); *newest when
 * nothing later came before it (RFC 9146 6). */
static inline bool replay_commit(struct replay_window *w, uint64_t seq, bool *newest)
{
	*newest = seq >= w->highest;
	if (*newest) {
		uint64_t ahead = seq + 1 - w->highest;

		w->seen = ahead < REPLAY_WINDOW ? w->seen << ahead | 1 : 1;
		w->highest = seq + 1;
		return true;
	}
	if (!replay_check(w, seq))
		return false;
	w->seen |= 1ULL << (w->highest - 1 - seq);
	return true;
}

#endif
