/* See lookups.h. */
#include "controlplane/lookups.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

TAILQ_HEAD(lookup_list, lookup);

struct lookups {
	struct lookup **table; /* chains */
	unsigned mask, max, count, ripe_count;
	uint64_t timeout_ns, keep_ns, seed;
	bool fresh;                  /* something waits for its time to be set */
	struct lookup_list steps[3]; /* by enum lookup_step, each in order of due_ns */
	struct lookup_list held, ripe;
	struct lookup *untold; /* the first ripe one that lookups_next_ripe() has not told of */
	uint64_t numbers;      /* given so far */
};

struct lookups *lookups_new(unsigned max, uint64_t timeout_ns, uint64_t keep_ns, uint64_t seed)
{
	struct lookups *ls = calloc(1, sizeof *ls);
	unsigned size = 16;

	if (!ls)
		return NULL;
	while (size < max)
		size *= 2;
	ls->table = calloc(size, sizeof ls->table[0]);
	if (!ls->table) {
		free(ls);
		return NULL;
	}
	ls->mask = size - 1;
	ls->max = max;
	ls->timeout_ns = timeout_ns;
	ls->keep_ns = keep_ns;
	ls->seed = seed;
	for (unsigned i = 0; i < 3; i++)
		TAILQ_INIT(&ls->steps[i]);
	TAILQ_INIT(&ls->held);
	TAILQ_INIT(&ls->ripe);
	return ls;
}

/* A polynomial over GF(2^61 - 1) at a secret point: chains stay short whatever names are chosen. */
static struct lookup **chain_of(struct lookups *ls, const uint8_t *key, size_t key_len)
{
	const uint64_t prime = ((uint64_t)1 << 61) - 1, point = ls->seed % (prime - 1) + 1;
	uint64_t sum = key_len;

	for (size_t i = 0; i < key_len; i++)
		sum = (uint64_t)(((unsigned __int128)sum * point + key[i] + 1) % prime);
	return &ls->table[sum & ls->mask];
}

/* ---- lists */

static void leave_turn(struct lookups *ls, struct lookup *l)
{
	if (l->hold == LOOKUP_HELD)
		TAILQ_REMOVE(&ls->held, l, turn);
	if (l->hold == LOOKUP_RIPE) {
		if (ls->untold == l)
			ls->untold = TAILQ_NEXT(l, turn);
		TAILQ_REMOVE(&ls->ripe, l, turn);
		ls->ripe_count--;
	}
	l->hold = LOOKUP_RESTS;
}

static void ripen(struct lookups *ls, struct lookup *l)
{
	leave_turn(ls, l);
	l->hold = LOOKUP_RIPE;
	TAILQ_INSERT_TAIL(&ls->ripe, l, turn);
	ls->ripe_count++;
	if (!ls->untold)
		ls->untold = l;
}

static void leave_sender(struct lookup *l)
{
	if (l->by)
		*l->by = NULL;
	l->by = NULL;
}

static void drop(struct lookups *ls, struct lookup *l)
{
	struct lookup **at = chain_of(ls, l->key, l->key_len);

	while (*at != l)
		at = &(*at)->hash_next;
	*at = l->hash_next;
	leave_sender(l);
	leave_turn(ls, l);
	TAILQ_REMOVE(&ls->steps[l->step], l, order);
	if (l->row)
		secret_wipe(l->row, l->row_len);
	free(l->row);
	free(l);
	ls->count--;
}

void lookups_free(struct lookups *ls)
{
	if (!ls)
		return;
	for (unsigned i = 0; i < 3; i++) {
		while (!TAILQ_EMPTY(&ls->steps[i]))
			drop(ls, TAILQ_FIRST(&ls->steps[i]));
	}
	free(ls->table);
	free(ls);
}

/* ---- asking */

struct lookup *lookups_find(struct lookups *ls, const uint8_t *key, size_t key_len)
{
	struct lookup *l = *chain_of(ls, key, key_len);

	while (l && (l->key_len != key_len || memcmp(l->key, key, key_len) != 0))
		l = l->hash_next;
	return l;
}

static bool make_room(struct lookups *ls)
{
	struct lookup *l;

	if (ls->count < ls->max)
		return true;
	TAILQ_FOREACH (l, &ls->steps[LOOKUP_KEPT], order) {
		if (l->hold != LOOKUP_RESTS)
			continue;
		drop(ls, l);
		return true;
	}
	return false;
}

struct lookup *lookups_add(struct lookups *ls, const uint8_t *key, size_t key_len)
{
	struct lookup *l = make_room(ls) ? calloc(1, sizeof *l + key_len) : NULL;
	struct lookup **chain;

	if (!l)
		return NULL;
	memcpy(l->key, key, key_len);
	l->key_len = (uint16_t)key_len;
	l->number = ++ls->numbers;
	chain = chain_of(ls, key, key_len);
	l->hash_next = *chain;
	*chain = l;
	TAILQ_INSERT_TAIL(&ls->steps[LOOKUP_ASKED], l, order);
	ls->count++;
	ls->fresh = true;
	return l;
}

void lookup_hold(struct lookups *ls, struct lookup *l)
{
	l->hold = LOOKUP_HELD;
	l->release_ns = 0;
	TAILQ_INSERT_TAIL(&ls->held, l, turn);
	ls->fresh = true;
}

/* ---- sending and answering */

struct lookup *lookups_unsent(struct lookups *ls)
{
	return TAILQ_FIRST(&ls->steps[LOOKUP_ASKED]);
}

static void take_step(struct lookups *ls, struct lookup *l, enum lookup_step step)
{
	TAILQ_REMOVE(&ls->steps[l->step], l, order);
	l->step = step;
	TAILQ_INSERT_TAIL(&ls->steps[step], l, order);
}

void lookup_sent(struct lookups *ls, struct lookup *l, struct lookup **by)
{
	take_step(ls, l, LOOKUP_SENT);
	l->by = by;
}

void lookups_unsend(struct lookups *ls)
{
	struct lookup_list *asked = &ls->steps[LOOKUP_ASKED], *sent = &ls->steps[LOOKUP_SENT];
	struct lookup *l;

	TAILQ_FOREACH (l, sent, order) {
		leave_sender(l);
		l->step = LOOKUP_ASKED;
	}
	TAILQ_CONCAT(sent, asked, order); /* the older ones first */
	TAILQ_CONCAT(asked, sent, order);
}

void lookup_answer(struct lookups *ls, struct lookup *l, int result, const void *row, size_t row_len,
		   uint64_t now_ns)
{
	leave_sender(l);
	l->result = result;
	if (result == 1) {
		l->row = malloc(row_len);
		l->row_len = l->row ? (uint16_t)row_len : 0;
		l->result = l->row ? 1 : -ENOMEM;
		if (l->row)
			memcpy(l->row, row, row_len);
	}
	take_step(ls, l, LOOKUP_KEPT);
	l->due_ns = now_ns + ls->keep_ns;
	if (l->result < 0) { /* the first to go */
		TAILQ_REMOVE(&ls->steps[LOOKUP_KEPT], l, order);
		TAILQ_INSERT_HEAD(&ls->steps[LOOKUP_KEPT], l, order);
		l->due_ns = 0;
	}
	ripen(ls, l);
}

void lookups_fail(struct lookups *ls, int err, uint64_t now_ns)
{
	for (unsigned i = LOOKUP_ASKED; i <= LOOKUP_SENT; i++) {
		while (!TAILQ_EMPTY(&ls->steps[i]))
			lookup_answer(ls, TAILQ_FIRST(&ls->steps[i]), err, NULL, 0, now_ns);
	}
}

void lookups_forget(struct lookups *ls)
{
	struct lookup *next;

	for (struct lookup *l = TAILQ_FIRST(&ls->steps[LOOKUP_KEPT]); l; l = next) {
		next = TAILQ_NEXT(l, order);
		if (l->hold == LOOKUP_RESTS)
			drop(ls, l);
		else
			l->due_ns = 0; /* somebody waits for it; it goes as soon as it was told */
	}
}

/* ---- time */

/* Of those that were held since the last time: they are the last ones. Never before one that was held before
 * them. */
static void set_releases(struct lookups *ls, uint64_t release_ns)
{
	struct lookup *l = TAILQ_LAST(&ls->held, lookup_list), *before;

	if (!l || l->release_ns)
		return;
	while ((before = TAILQ_PREV(l, lookup_list, turn)) && !before->release_ns)
		l = before;
	if (before && before->release_ns > release_ns)
		release_ns = before->release_ns;
	for (; l; l = TAILQ_NEXT(l, turn))
		l->release_ns = release_ns;
}

static void set_times(struct lookups *ls, uint64_t now_ns, uint64_t wait_ns)
{
	struct lookup *l;

	if (!ls->fresh)
		return;
	ls->fresh = false;
	TAILQ_FOREACH_REVERSE(l, &ls->steps[LOOKUP_ASKED], lookup_list, order)
	{
		if (l->due_ns)
			break;
		l->due_ns = now_ns + ls->timeout_ns;
	}
	set_releases(ls, now_ns + wait_ns);
}

static void give_up(struct lookups *ls, enum lookup_step step, uint64_t now_ns)
{
	struct lookup *l;

	while ((l = TAILQ_FIRST(&ls->steps[step])) && l->due_ns <= now_ns)
		lookup_answer(ls, l, -ETIMEDOUT, NULL, 0, now_ns);
}

void lookups_timers(struct lookups *ls, uint64_t now_ns, uint64_t wait_ns)
{
	struct lookup *next, *l;

	while ((l = TAILQ_FIRST(&ls->ripe)))
		leave_turn(ls, l);
	set_times(ls, now_ns, wait_ns);
	for (l = TAILQ_FIRST(&ls->steps[LOOKUP_KEPT]); l && l->due_ns <= now_ns; l = next) {
		next = TAILQ_NEXT(l, order);
		if (l->hold == LOOKUP_RESTS)
			drop(ls, l);
	}
	give_up(ls, LOOKUP_ASKED, now_ns);
	give_up(ls, LOOKUP_SENT, now_ns);
	while ((l = TAILQ_FIRST(&ls->held)) && l->release_ns <= now_ns)
		ripen(ls, l);
}

unsigned lookups_ripe(const struct lookups *ls)
{
	return ls->ripe_count;
}

uint64_t lookups_next_ripe(struct lookups *ls)
{
	const struct lookup *l = ls->untold;

	if (!l)
		return 0;
	ls->untold = TAILQ_NEXT(l, turn);
	return l->number;
}

uint64_t lookups_release(const struct lookups *ls)
{
	const struct lookup *l = TAILQ_FIRST(&ls->held);

	return l ? l->release_ns : UINT64_MAX;
}

uint64_t lookups_deadline(const struct lookups *ls)
{
	uint64_t deadline = lookups_release(ls);

	if (ls->fresh || ls->ripe_count > 0)
		return 0;
	for (unsigned i = 0; i < 3; i++) {
		const struct lookup *l = TAILQ_FIRST(&ls->steps[i]);

		/* One that is held is not forgotten before it was told, and those behind it can wait as long.
		 */
		if (l && l->hold != LOOKUP_HELD && l->due_ns < deadline)
			deadline = l->due_ns;
	}
	return deadline;
}
