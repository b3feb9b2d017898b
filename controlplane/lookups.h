/* Questions to a store that answers later, and what is remembered of its answers (pure): at most a fixed
 * number of both together, the oldest answer makes room. Control thread.
 *
 *   asked -> sent -> answered: ripe for those who wait, until the next lookups_timers()
 *                    then kept; whoever asks again is held back as long as an answer takes, then it is ripe
 *                    again
 *
 * Found and unknown are kept for the same time and held back for the same time, so that nobody can measure
 * which one it was, or whether it had been asked before.
 */
#ifndef CONTROLPLANE_LOOKUPS_H
#define CONTROLPLANE_LOOKUPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum lookup_step { LOOKUP_ASKED, LOOKUP_SENT, LOOKUP_KEPT };
enum lookup_hold { LOOKUP_RESTS, LOOKUP_HELD, LOOKUP_RIPE };

struct lookup {
	struct lookup *hash_next;
	TAILQ_ENTRY(lookup) order, turn;
	struct lookup **by;  /* who was told of it when it was sent; set to NULL when nobody cares */
	uint64_t number;     /* its name for those who wait, never used for another */
	uint64_t due_ns;     /* asked, sent: given up; kept: forgotten */
	uint64_t release_ns; /* held: becomes ripe; 0: not known yet */
	int result;          /* kept: 1: found; 0: unknown; -errno */
	enum lookup_step step;
	enum lookup_hold hold;
	uint8_t which; /* of the keys that were asked for, which one was found */
	uint16_t key_len, row_len;
	uint8_t *row;
	uint8_t key[];
};

struct lookups;

/* max: look-ups and answers together. timeout_ns: until a question is given up. keep_ns: how long answers are
 * remembered. seed: secret, so that nobody can choose names that collide. NULL when out of memory. */
struct lookups *lookups_new(unsigned max, uint64_t timeout_ns, uint64_t keep_ns, uint64_t seed);
void lookups_free(struct lookups *ls); /* wipes the rows. NULL is fine */

struct lookup *lookups_find(struct lookups *ls, const uint8_t *key, size_t key_len);
/* A new question. NULL when all places are taken by questions, or out of memory. */
struct lookup *lookups_add(struct lookups *ls, const uint8_t *key, size_t key_len);
/* Held back before it may be told; for a kept one that rests. */
void lookup_hold(struct lookups *ls, struct lookup *l);

/* The next question to be sent; NULL: none. */
struct lookup *lookups_unsent(struct lookups *ls);
void lookup_sent(struct lookups *ls, struct lookup *l, struct lookup **by);
/* The connection is gone: all that was sent is to be sent again. */
void lookups_unsend(struct lookups *ls);
/* result: 1 with row, which is copied; 0; -errno, which is told once and not kept. */
void lookup_answer(struct lookups *ls, struct lookup *l, int result, const void *row, size_t row_len,
		   uint64_t now_ns);
/* Every open question is answered with err. */
void lookups_fail(struct lookups *ls, int err, uint64_t now_ns);
/* Forgets what is kept: the store has changed. */
void lookups_forget(struct lookups *ls);

/* What was ripe before rests; then questions are given up (-ETIMEDOUT), answers forgotten and released.
 * wait_ns: how long an answer takes these days. */
void lookups_timers(struct lookups *ls, uint64_t now_ns, uint64_t wait_ns);
/* How many have become ripe since lookups_timers(). */
unsigned lookups_ripe(const struct lookups *ls);
/* The number of one of these, each once; 0: no more. */
uint64_t lookups_next_ripe(struct lookups *ls);
/* When lookups_timers() has something to do; 0: at once. */
uint64_t lookups_deadline(const struct lookups *ls);
/* The same, for what is held alone: it wants more precision than a millisecond. UINT64_MAX: nothing is. */
uint64_t lookups_release(const struct lookups *ls);

#endif
