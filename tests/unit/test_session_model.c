/* The session table against a model that is too simple to be wrong: arrays, searched from end to end. Every
 * operation is drawn at random, millions of them, on small tables (often full) under a clock that runs from
 * standing still to leaps of days.
 */
#include "tests/unit/session_helpers.h"

enum { PEERS = 600, SLOTS_ROOM = 512, BURST = 64 };

struct model_slot {
	enum session_state state;
	struct sluice_ref ref;
	uint32_t peer; /* where it was last heard from */
	uint64_t tick; /* of its last record */
	uint8_t cid[CID_LEN];
	bool big, has_cid;
	uint64_t holder;
	uint8_t key[16];
};

struct model {
	struct session_table *t;
	struct session_limits limits;
	uint64_t random;
	uint64_t now_ns;
	struct model_slot slots[SLOTS_ROOM];
	uint32_t leads_to[PEERS]; /* slot, or SESSION_NONE */
	uint32_t count[4];        /* by state */
	uint32_t bigs;
	struct sluice_ref stale[64];
	unsigned stale_count;
	uint64_t expired, evicted, replaced;
};

static uint32_t pick(struct model *m, uint32_t below)
{
	return (uint32_t)(test_random(&m->random) % below);
}

static uint64_t tick_now(const struct model *m)
{
	return m->now_ns / SESSION_TICK_NS;
}

static uint32_t slots_of(const struct model *m)
{
	return m->limits.max + m->limits.reserved_max;
}

/* Any slot in that state, or SESSION_NONE. */
static uint32_t pick_slot(struct model *m, enum session_state state)
{
	uint32_t start = pick(m, slots_of(m));

	for (uint32_t i = 0; i < slots_of(m); i++) {
		uint32_t slot = (start + i) % slots_of(m);

		if (m->slots[slot].state == state)
			return slot;
	}
	return SESSION_NONE;
}

static void set_state(struct model *m, uint32_t slot, enum session_state state)
{
	m->count[m->slots[slot].state]--;
	m->count[state]++;
	m->slots[slot].state = state;
}

static void model_end(struct model *m, uint32_t slot)
{
	struct model_slot *s = &m->slots[slot];

	set_state(m, slot, SESSION_DOWN_PENDING);
	m->bigs -= s->big;
	if (m->leads_to[s->peer] == slot)
		m->leads_to[s->peer] = SESSION_NONE;
	m->stale[m->stale_count++ % 64] = s->ref;
}

static void end_session(struct model *m, uint32_t slot)
{
	assert_true(session_remove(m->t, slot, SLUICE_REASON_CLOSED));
	model_end(m, slot);
	assert_false(session_remove(m->t, slot, SLUICE_REASON_CLOSED));
}

static void do_reserve(struct model *m)
{
	uint32_t slot = session_reserve(m->t);
	bool possible = m->count[SESSION_RESERVED] < m->limits.reserved_max && m->count[SESSION_FREE] > 0;

	assert_int_equal(slot != SESSION_NONE, possible);
	if (!possible)
		return;
	assert_int_equal(m->slots[slot].state, SESSION_FREE);
	struct sluice_ref ref = session_ref(m->t, slot);

	assert_int_equal(ref.index, slot);
	assert_int_not_equal(ref.generation, m->slots[slot].ref.generation);
	assert_int_equal(session_by_ref(m->t, ref), SESSION_NONE);
	m->slots[slot].ref = ref;
	session_cid(m->t, slot, m->slots[slot].cid);
	set_state(m, slot, SESSION_RESERVED);
}

static void do_unreserve(struct model *m)
{
	uint32_t slot = pick_slot(m, SESSION_RESERVED);

	if (slot == SESSION_NONE)
		return;
	session_unreserve(m->t, slot);
	set_state(m, slot, SESSION_FREE);
}

static uint64_t oldest_tick(const struct model *m)
{
	uint64_t oldest = UINT64_MAX;

	for (uint32_t i = 0; i < slots_of(m); i++)
		if (m->slots[i].state == SESSION_LIVE && m->slots[i].tick < oldest)
			oldest = m->slots[i].tick;
	return oldest;
}

static void installed(struct model *m, uint32_t slot, const struct session_install *in, uint32_t peer,
		      bool big)
{
	struct model_slot *s = &m->slots[slot];

	set_state(m, slot, SESSION_LIVE);
	s->peer = peer;
	s->tick = tick_now(m);
	s->big = big;
	s->holder = in->holder;
	s->has_cid = in->has_cid;
	m->bigs += big;
	memcpy(s->key, in->rx_key.aead.key, sizeof(s->key));
	m->leads_to[peer] = slot;
}

static void do_install(struct model *m)
{
	uint32_t slot = pick_slot(m, SESSION_RESERVED);
	uint32_t peer = pick(m, PEERS);
	bool big = pick(m, 4) == 0;
	uint32_t replaced, evicted;
	struct session_install in;
	uint32_t same = m->leads_to[peer];
	bool full = m->count[SESSION_LIVE] == m->limits.max;
	uint64_t oldest = full ? oldest_tick(m) : 0;
	int err;

	if (slot == SESSION_NONE)
		return;
	in = test_install(m->t, slot, peer);
	in.holder = pick(m, 3);
	in.has_cid = pick(m, 2);
	if (same != SESSION_NONE && m->slots[same].has_cid && m->slots[same].holder != in.holder)
		same = SESSION_NONE;
	for (unsigned i = 0; i < 16; i++)
		in.rx_key.aead.key[i] = (uint8_t)test_random(&m->random);
	if (big)
		in.protection = PROTECTION_AES_128_CBC_ETM;
	err = session_install(m->t, &in, m->now_ns, &replaced, &evicted);
	if (err) {
		assert_int_equal(err, -28 /* ENOSPC */);
		assert_true(big && m->bigs == m->limits.big_max);
		assert_int_equal(session_rx(m->t, slot)->state, SESSION_RESERVED);
		return;
	}
	assert_int_equal(replaced, same);
	assert_int_equal(evicted != SESSION_NONE, full && same == SESSION_NONE);
	if (evicted != SESSION_NONE) {
		assert_int_equal(m->slots[evicted].state, SESSION_LIVE);
		assert_true(m->slots[evicted].tick == oldest);
		end_session(m, evicted);
		m->evicted++;
	}
	if (replaced != SESSION_NONE) {
		end_session(m, replaced);
		m->replaced++;
	}
	installed(m, slot, &in, peer, big);
	assert_true(m->bigs <= m->limits.big_max);
}

static void do_remove(struct model *m)
{
	uint32_t slot = pick_slot(m, SESSION_LIVE);

	if (slot != SESSION_NONE)
		end_session(m, slot);
}

/* The oldest first, most of the time. */
static void do_release(struct model *m)
{
	uint32_t slot = session_down_pending(m->t);

	assert_int_equal(slot != SESSION_NONE, m->count[SESSION_DOWN_PENDING] > 0);
	if (pick(m, 4) == 0)
		slot = pick_slot(m, SESSION_DOWN_PENDING);
	if (slot == SESSION_NONE)
		return;
	assert_int_equal(m->slots[slot].state, SESSION_DOWN_PENDING);
	assert_int_equal(session_tx(m->t, slot)->down_reason, SLUICE_REASON_CLOSED);
	session_release(m->t, slot);
	set_state(m, slot, SESSION_FREE);
}

static void do_move(struct model *m)
{
	uint32_t slot = pick_slot(m, SESSION_LIVE);
	uint32_t peer = pick(m, PEERS);
	struct path path = test_path(peer);

	if (slot == SESSION_NONE)
		return;
	session_move(m->t, slot, &path);
	if (m->leads_to[m->slots[slot].peer] == slot)
		m->leads_to[m->slots[slot].peer] = SESSION_NONE;
	m->slots[slot].peer = peer;
	if (m->leads_to[peer] == SESSION_NONE)
		m->leads_to[peer] = slot;
}

static void do_touch(struct model *m)
{
	for (unsigned i = 0; i < 8; i++) {
		uint32_t slot = pick_slot(m, SESSION_LIVE);

		if (slot == SESSION_NONE)
			return;
		session_touch(session_rx(m->t, slot), m->now_ns);
		m->slots[slot].tick = tick_now(m);
	}
}

static void do_find(struct model *m)
{
	struct session_query queries[BURST];
	struct path paths[BURST];
	uint32_t expected[BURST];
	unsigned n = pick(m, BURST + 1);

	for (unsigned i = 0; i < n; i++) {
		uint32_t slot = pick(m, slots_of(m));
		uint32_t peer = pick(m, PEERS);

		paths[i] = test_path(peer);
		queries[i] = (struct session_query){.address = &paths[i].peer, .slot = 77};
		expected[i] = m->leads_to[peer];
		if (pick(m, 2) == 0) {
			queries[i].cid = m->slots[slot].cid;
			expected[i] = m->slots[slot].state == SESSION_LIVE ? slot : SESSION_NONE;
		}
	}
	session_find_burst(m->t, queries, n);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(queries[i].slot, expected[i]);
		if (expected[i] != SESSION_NONE)
			assert_memory_equal(session_rx_key(m->t, expected[i]), m->slots[expected[i]].key, 16);
	}
}

static void do_refs(struct model *m)
{
	uint32_t slot = pick(m, slots_of(m));
	struct sluice_ref ref = m->slots[slot].ref;

	assert_int_equal(session_by_ref(m->t, ref),
			 m->slots[slot].state == SESSION_LIVE ? slot : SESSION_NONE);
	ref.worker++;
	assert_int_equal(session_by_ref(m->t, ref), SESSION_NONE);
	ref = m->stale[pick(m, 64)];
	assert_int_equal(session_by_ref(m->t, ref), SESSION_NONE);
}

/* Time passes, and everybody who was idle too long is named, and nobody else. */
static void do_time(struct model *m)
{
	static const uint64_t leaps[] = {1, 1, 1, 2, 5, 60, 600, 3600, 90000};
	uint32_t found[BURST];
	unsigned none = 0;

	m->now_ns += SESSION_TICK_NS / 3;
	if (pick(m, 4) == 0)
		m->now_ns += leaps[pick(m, 9)] * SESSION_TICK_NS / 2;
	while (none < 5000) {
		unsigned n = session_expire(m->t, m->now_ns, found, 1 + pick(m, BURST));

		none = n ? 0 : none + 1;
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(m->slots[found[i]].state, SESSION_LIVE);
			assert_true(m->slots[found[i]].tick + m->limits.idle_timeout_s <= tick_now(m));
			end_session(m, found[i]);
			m->expired++;
		}
		if (none &&
		    (m->count[SESSION_LIVE] == 0 || oldest_tick(m) + m->limits.idle_timeout_s > tick_now(m)))
			break;
	}
	assert_true(none < 5000);
}

static void do_walk(struct model *m)
{
	uint32_t cursor = 0;
	uint32_t seen = 0;
	uint32_t last = 0;

	while (cursor != SESSION_NONE) {
		uint32_t slots[BURST];
		unsigned n = session_walk(m->t, &cursor, slots, 1 + pick(m, BURST));

		for (unsigned i = 0; i < n; i++, seen++) {
			assert_int_equal(m->slots[slots[i]].state, SESSION_LIVE);
			assert_true(seen == 0 || slots[i] > last);
			last = slots[i];
		}
	}
	assert_int_equal(seen, m->count[SESSION_LIVE]);
	assert_int_equal(seen, session_live_count(m->t));
}

static void model_run(struct session_limits limits, uint64_t seed, unsigned operations)
{
	static void (*const small[])(struct model *) = {do_reserve, do_reserve, do_reserve, do_unreserve,
							do_install, do_install, do_install, do_remove,
							do_release, do_release, do_move,    do_touch,
							do_touch,   do_find,    do_find,    do_refs};
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->limits = limits;
	m->random = seed;
	m->now_ns = test_tick_ns(1000000);
	m->t = session_table_new(&limits, test_cid_key, m->now_ns);
	assert_non_null(m->t);
	assert_true(slots_of(m) <= SLOTS_ROOM);
	m->count[SESSION_FREE] = slots_of(m);
	memset(m->leads_to, 0xff, sizeof(m->leads_to));
	for (unsigned i = 0; i < 64; i++)
		m->stale[i].index = 0xfffffff0U + i;
	for (unsigned i = 0; i < operations; i++) {
		small[pick(m, sizeof(small) / sizeof(small[0]))](m);
		if (pick(m, 64) == 0)
			do_time(m);
		if (pick(m, 512) == 0)
			do_walk(m);
	}
	assert_true(m->expired > 0 && m->evicted > 0 && m->replaced > 0);
	session_table_free(m->t);
	free(m);
}

static void table_agrees_with_model(void **state)
{
	model_run(
		(struct session_limits){.max = 200, .reserved_max = 30, .big_max = 40, .idle_timeout_s = 600},
		1, 1200000);
}

static void tiny_table_agrees_with_model(void **state)
{
	model_run(
		(struct session_limits){
			.max = 3, .reserved_max = 2, .big_max = 1, .idle_timeout_s = 1, .worker = 255},
		2, 600000);
}

static void patient_table_agrees_with_model(void **state)
{
	model_run((struct session_limits){.max = 400,
					  .reserved_max = 100,
					  .big_max = 400,
					  .idle_timeout_s = 86400,
					  .worker = 3},
		  3, 600000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_agrees_with_model),
		cmocka_unit_test(tiny_table_agrees_with_model),
		cmocka_unit_test(patient_table_agrees_with_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
