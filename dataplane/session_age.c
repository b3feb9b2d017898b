/* Live sessions by age (pure): a wheel of lists, one per tick (or per few ticks, see wheel_width) of last
 * activity. A record only notes its tick in the session's receive line; the list that a session stands in may
 * thus be older than the session, never younger. When its bucket comes up the session moves to where it
 * belongs. wheel_at is the oldest bucket that may hold one; they all lie in
 * [wheel_at, wheel_at + wheel_size).
 *
 * The head of the oldest list is the least recently used session as soon as it belongs where it stands. While
 * the table is nearly full session_expire() sees to that, a few moves a call, so that an eviction finds it
 * done.
 */
#include "dataplane/session_table.h"

enum {
	EXPIRE_STEPS = 64,  /* sessions or empty buckets looked at per call */
	SETTLE_STEPS = 16,  /* the same, while nearly full */
	EVICT_STEPS = 1024, /* sessions moved at most by one eviction */
};

static uint32_t bucket_of(const struct session_head *h, uint32_t tick)
{
	return tick / h->layout.wheel_width;
}

static uint32_t *list_of(const struct session_table *t, uint32_t bucket)
{
	return &t->wheel[bucket % t->head->layout.wheel_size];
}

static uint32_t first_of(const struct session_table *t, uint32_t bucket)
{
	return *list_of(t, bucket) - 1; /* 0 is empty, and becomes SESSION_NONE */
}

void age_insert(struct session_table *t, uint32_t slot)
{
	struct session_head *h = t->head;
	struct session_tx *tx = &t->lines.tx[slot];
	uint32_t bucket = bucket_of(h, t->lines.rx[slot].active_tick);
	uint32_t *list;

	/* A clock that steps back, or nobody called session_expire() for long: too old a bucket does no harm.
	 */
	if (bucket < h->wheel_at)
		bucket = h->wheel_at;
	if (bucket - h->wheel_at >= h->layout.wheel_size)
		bucket = h->wheel_at + h->layout.wheel_size - 1;
	list = list_of(t, bucket);
	tx->age_bucket = bucket;
	tx->age_previous = SESSION_NONE;
	tx->age_next = *list - 1;
	if (tx->age_next != SESSION_NONE)
		t->lines.tx[tx->age_next].age_previous = slot;
	*list = slot + 1;
}

void age_remove(struct session_table *t, uint32_t slot)
{
	struct session_tx *tx = &t->lines.tx[slot];

	if (tx->age_previous != SESSION_NONE)
		t->lines.tx[tx->age_previous].age_next = tx->age_next;
	else
		*list_of(t, tx->age_bucket) = tx->age_next + 1;
	if (tx->age_next != SESSION_NONE)
		t->lines.tx[tx->age_next].age_previous = tx->age_previous;
}

/* True when the session had been used since it was put where it stands. */
static bool move_if_younger(struct session_table *t, uint32_t slot)
{
	if (bucket_of(t->head, t->lines.rx[slot].active_tick) <= t->lines.tx[slot].age_bucket)
		return false;
	age_remove(t, slot);
	age_insert(t, slot);
	return true;
}

static void prefetch_next(const struct session_table *t, uint32_t slot)
{
	uint32_t next = t->lines.tx[slot].age_next;

	if (next != SESSION_NONE) {
		__builtin_prefetch(&t->lines.rx[next]);
		__builtin_prefetch(&t->lines.tx[next].age_next, 1);
	}
}

/* Lets sessions move from the oldest bucket to where they belong until the first one belongs there: it is the
 * least recently used. When that takes too many moves, the oldest of those that moved; when too many empty
 * buckets come first, SESSION_NONE. */
static uint32_t settle(struct session_table *t, uint64_t now_ns, unsigned moves, unsigned buckets)
{
	struct session_head *h = t->head;
	uint32_t newest = bucket_of(h, (uint32_t)(now_ns / SESSION_TICK_NS));
	uint32_t oldest = SESSION_NONE;

	while (moves > 0) {
		uint32_t slot = first_of(t, h->wheel_at);

		if (slot == SESSION_NONE) {
			if (h->wheel_at >= newest || buckets-- == 0)
				return oldest;
			h->wheel_at++;
			continue;
		}
		prefetch_next(t, slot);
		if (!move_if_younger(t, slot))
			return slot;
		if (oldest == SESSION_NONE || t->lines.rx[slot].active_tick < t->lines.rx[oldest].active_tick)
			oldest = slot;
		moves--;
	}
	return oldest;
}

uint32_t age_oldest(struct session_table *t, uint64_t now_ns)
{
	return settle(t, now_ns, EVICT_STEPS, t->head->layout.wheel_size);
}

/* Whoever stands in the oldest bucket and belongs there has been idle for the whole timeout. */
static bool bucket_due(const struct session_head *h, uint64_t tick)
{
	return ((uint64_t)h->wheel_at + 1) * h->layout.wheel_width - 1 + h->limits.idle_timeout_s <= tick;
}

static unsigned bucket_expire(struct session_table *t, uint32_t *slots, unsigned max, unsigned *steps)
{
	uint32_t slot = first_of(t, t->head->wheel_at);
	unsigned found = 0, left = *steps;

	for (; slot != SESSION_NONE && found < max && left > 0; left--) {
		uint32_t next = t->lines.tx[slot].age_next;

		prefetch_next(t, slot);
		if (!move_if_younger(t, slot))
			slots[found++] = slot;
		slot = next;
	}
	*steps = left;
	return found;
}

unsigned session_expire(struct session_table *t, uint64_t now_ns, uint32_t *slots, unsigned max)
{
	struct session_head *h = t->head;
	uint64_t tick = now_ns / SESSION_TICK_NS;
	unsigned steps = EXPIRE_STEPS;
	unsigned found = 0;

	while (found == 0 && steps > 0 && bucket_due(h, tick)) {
		if (first_of(t, h->wheel_at) != SESSION_NONE) {
			found = bucket_expire(t, slots, max, &steps);
		} else {
			h->wheel_at++;
			steps--;
		}
	}
	if (found == 0 && h->live >= h->limits.max - h->limits.max / 16)
		(void)settle(t, now_ns, SETTLE_STEPS, EXPIRE_STEPS);
	return found;
}
