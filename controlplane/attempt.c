/* See attempt.h. */
#include "controlplane/attempt.h"

#include <stdlib.h>

TAILQ_HEAD(attempt_list, attempt);

struct attempts {
	struct attempt **table; /* chains */
	uint32_t mask, max, count;
	uint64_t first_ns, timeout_ns;
	struct attempt_list ages;                   /* oldest first */
	struct attempt_list levels[ATTEMPT_LEVELS]; /* each by deadline */
	struct attempt_list *waiting;               /* by question, as many lists as chains */
	struct attempt_list woken;                  /* these, too: longest wait first */
};

struct attempts *attempts_new(uint32_t max, uint64_t first_ns, uint64_t timeout_ns)
{
	struct attempts *as = calloc(1, sizeof *as);
	uint32_t size = 16;

	if (!as)
		return NULL;
	while (size < max)
		size *= 2;
	as->table = calloc(size, sizeof as->table[0]);
	as->waiting = calloc(size, sizeof as->waiting[0]);
	if (!as->table || !as->waiting) {
		free(as->table);
		free(as->waiting);
		free(as);
		return NULL;
	}
	as->mask = size - 1;
	as->max = max;
	as->first_ns = first_ns;
	as->timeout_ns = timeout_ns;
	TAILQ_INIT(&as->ages);
	TAILQ_INIT(&as->woken);
	for (uint32_t i = 0; i < size; i++)
		TAILQ_INIT(&as->waiting[i]);
	for (unsigned i = 0; i < ATTEMPT_LEVELS; i++)
		TAILQ_INIT(&as->levels[i]);
	return as;
}

void attempts_free(struct attempts *as)
{
	struct attempt *next;

	if (!as)
		return;
	for (struct attempt *a = TAILQ_FIRST(&as->ages); a; a = next) {
		next = TAILQ_NEXT(a, age);
		handshake_free(a->handshake);
		free(a);
	}
	free(as->table);
	free(as->waiting);
	free(as);
}

/* Slots are handed out by us, one by one: their low bits spread well. */
static struct attempt **chain_of(struct attempts *as, struct sluice_ref ref)
{
	return &as->table[(ref.index ^ ref.worker * 0x9e3779u) & as->mask];
}

static void start_timer(struct attempts *as, struct attempt *a, uint64_t now_ns)
{
	a->resend_ns = now_ns + (as->first_ns << a->level);
	TAILQ_INSERT_TAIL(&as->levels[a->level], a, timer);
}

struct attempt *attempt_add(struct attempts *as, struct sluice_ref ref, struct handshake *h, uint64_t now_ns)
{
	struct attempt **chain = chain_of(as, ref);
	struct attempt *a;

	if (as->count == as->max)
		return NULL;
	a = calloc(1, sizeof *a);
	if (!a)
		return NULL;
	a->handshake = h;
	a->ref = ref;
	a->started_ns = a->sent_ns = now_ns;
	a->hash_next = *chain;
	*chain = a;
	TAILQ_INSERT_TAIL(&as->ages, a, age);
	start_timer(as, a, now_ns);
	as->count++;
	return a;
}

struct attempt *attempt_find(struct attempts *as, struct sluice_ref ref)
{
	struct attempt *a = *chain_of(as, ref);

	while (a && (a->ref.index != ref.index || a->ref.worker != ref.worker ||
		     a->ref.generation != ref.generation))
		a = a->hash_next;
	return a;
}

void attempt_remove(struct attempts *as, struct attempt *a)
{
	struct attempt **at = chain_of(as, a->ref);

	while (*at != a)
		at = &(*at)->hash_next;
	*at = a->hash_next;
	attempt_wait_over(as, a);
	TAILQ_REMOVE(&as->ages, a, age);
	TAILQ_REMOVE(&as->levels[a->level], a, timer);
	as->count--;
	handshake_free(a->handshake);
	free(a);
}

struct attempt *attempts_oldest(struct attempts *as)
{
	return TAILQ_FIRST(&as->ages);
}

uint32_t attempts_count(const struct attempts *as)
{
	return as->count;
}

/* Questions are numbered one by one, so that their low bits spread well, too. */
static struct attempt_list *waiting_for(struct attempts *as, uint64_t question)
{
	return &as->waiting[question & as->mask];
}

void attempt_wait_over(struct attempts *as, struct attempt *a)
{
	if (a->waits == ATTEMPT_WAITS)
		TAILQ_REMOVE(waiting_for(as, a->question), a, wait);
	if (a->waits == ATTEMPT_WOKEN)
		TAILQ_REMOVE(&as->woken, a, wait);
	a->waits = ATTEMPT_WAITS_NOT;
}

void attempt_wait(struct attempts *as, struct attempt *a, uint64_t question)
{
	if (a->waits != ATTEMPT_WAITS_NOT)
		return;
	a->waits = ATTEMPT_WAITS;
	a->question = question;
	TAILQ_INSERT_TAIL(waiting_for(as, question), a, wait);
}

void attempts_wake(struct attempts *as, uint64_t question)
{
	struct attempt_list *list = waiting_for(as, question);
	struct attempt *next;

	for (struct attempt *a = TAILQ_FIRST(list); a; a = next) {
		next = TAILQ_NEXT(a, wait);
		if (a->question != question)
			continue;
		TAILQ_REMOVE(list, a, wait);
		TAILQ_INSERT_TAIL(&as->woken, a, wait);
		a->waits = ATTEMPT_WOKEN;
	}
}

struct attempt *attempts_woken(struct attempts *as)
{
	struct attempt *a = TAILQ_FIRST(&as->woken);

	if (a)
		attempt_wait_over(as, a);
	return a;
}

struct attempt *attempts_timed_out(struct attempts *as, uint64_t now_ns)
{
	struct attempt *a = TAILQ_FIRST(&as->ages);

	return a && a->started_ns + as->timeout_ns <= now_ns ? a : NULL;
}

struct attempt *attempts_resend(struct attempts *as, uint64_t now_ns)
{
	for (unsigned level = 0; level < ATTEMPT_LEVELS; level++) {
		struct attempt *a = TAILQ_FIRST(&as->levels[level]);

		if (!a || a->resend_ns > now_ns)
			continue;
		TAILQ_REMOVE(&as->levels[level], a, timer);
		if (a->level < ATTEMPT_LEVELS - 1)
			a->level++;
		start_timer(as, a, now_ns);
		return a;
	}
	return NULL;
}

uint64_t attempts_deadline(const struct attempts *as)
{
	const struct attempt *a = TAILQ_FIRST(&as->ages);
	uint64_t deadline = a ? a->started_ns + as->timeout_ns : UINT64_MAX;

	for (unsigned level = 0; level < ATTEMPT_LEVELS; level++) {
		a = TAILQ_FIRST(&as->levels[level]);
		if (a && a->resend_ns < deadline)
			deadline = a->resend_ns;
	}
	return deadline;
}
