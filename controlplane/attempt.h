/* The handshakes in flight: found by ref, in order of age, and with the timer of RFC 6347 4.2.4.1. A fixed
 * number; whoever is oldest makes room. Control thread.
 *
 * The timers need no heap: all whose interval was doubled as often wait equally long, so that each such level
 * is a queue in order of its deadlines.
 */
#ifndef CONTROLPLANE_ATTEMPT_H
#define CONTROLPLANE_ATTEMPT_H

#include <sys/queue.h>

#include "controlplane/handshake.h"

enum attempt_waits { ATTEMPT_WAITS_NOT, ATTEMPT_WAITS, ATTEMPT_WOKEN };

enum { ATTEMPT_LEVELS = 7 }; /* 1 s, 2 s, ... 64 s from a first interval of a second: RFC 6347 4.2.4.1 */

struct attempt {
	struct handshake *handshake;
	struct sluice_ref ref;
	uint64_t started_ns, resend_ns, sent_ns;
	uint8_t level;
	enum attempt_waits waits;
	uint64_t question; /* while it waits: whose answer */
	struct attempt *hash_next;
	TAILQ_ENTRY(attempt) age, timer, wait;
};

struct attempts;

/* NULL when out of memory. first_ns: until the first retransmission. timeout_ns: until a handshake is given
 * up. */
struct attempts *attempts_new(uint32_t max, uint64_t first_ns, uint64_t timeout_ns);
/* With the handshakes that are left. NULL is fine. */
void attempts_free(struct attempts *as);

/* Takes the handshake. NULL when max are in flight, or out of memory: the handshake then stays the caller's.
 */
struct attempt *attempt_add(struct attempts *as, struct sluice_ref ref, struct handshake *h, uint64_t now_ns);
struct attempt *attempt_find(struct attempts *as, struct sluice_ref ref);
/* Frees the handshake with it. */
void attempt_remove(struct attempts *as, struct attempt *a);
/* NULL when there is none. */
struct attempt *attempts_oldest(struct attempts *as);
uint32_t attempts_count(const struct attempts *as);

/* It waits for an answer from outside (HANDSHAKE_WAITING), that to handshake_question(), or no longer. Both
 * may be repeated. */
void attempt_wait(struct attempts *as, struct attempt *a, uint64_t question);
void attempt_wait_over(struct attempts *as, struct attempt *a);
/* An answer has come: attempts_woken() then returns each of those that wait for it now once, the longest wait
 * first, and NULL at the end. Nobody else's time is spent. */
void attempts_wake(struct attempts *as, uint64_t question);
struct attempt *attempts_woken(struct attempts *as);

/* One that has lasted too long; NULL: none (any more). It stays in place. */
struct attempt *attempts_timed_out(struct attempts *as, uint64_t now_ns);
/* One whose flight is to be repeated; its timer starts anew with twice the interval. NULL: none (any more).
 */
struct attempt *attempts_resend(struct attempts *as, uint64_t now_ns);
/* When one of both is due next; UINT64_MAX: never. */
uint64_t attempts_deadline(const struct attempts *as);

#endif
