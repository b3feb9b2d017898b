/* The session table at its edges: full, collided with, attacked with wrong names, left alone for days. What
 * random operations find is in test_session_model.c.
 */
#include <errno.h>

#include "dataplane/session_table.h"
#include "tests/unit/session_helpers.h"

static struct session_table *table_new(uint32_t max, uint32_t idle_s)
{
	struct session_limits limits = {
		.max = max, .reserved_max = 16, .big_max = max, .idle_timeout_s = idle_s, .worker = 1};
	struct session_table *t = session_table_new(&limits, test_cid_key, test_tick_ns(50));

	assert_non_null(t);
	return t;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t cid_number(const uint8_t cid[CID_LEN])
{
	uint64_t number = 0;

	memcpy(&number, cid, CID_LEN);
	return number;
}

/* RFC 9146 8 and 9: no two of a million sessions share a CID, each leads home, and the bytes of a CID that
 * one slot gets over and over look like drawn at random. */
static void cids_of_a_million_sessions_are_unique(void **state)
{
	enum { COUNT = 1000000 };
	struct session_table *t = table_new(COUNT, 600);
	uint64_t *cids = malloc(COUNT * sizeof(*cids));

	assert_non_null(cids);
	for (uint32_t i = 0; i < COUNT; i++) {
		uint8_t cid[CID_LEN];
		uint32_t slot = test_open(t, i, test_tick_ns(60));

		session_cid(t, slot, cid);
		assert_int_equal(session_cid_worker(t, cid), 1);
		cids[i] = cid_number(cid);
	}
	for (uint32_t i = 0; i < COUNT; i++) {
		uint8_t cid[CID_LEN];

		memcpy(cid, &cids[i], CID_LEN);
		assert_int_equal(test_by_cid(t, cid), test_by_peer(t, i));
	}
	qsort(cids, COUNT, sizeof(*cids), compare_u64);
	for (uint32_t i = 1; i < COUNT; i++)
		assert_true(cids[i - 1] != cids[i]);
	free(cids);
	session_table_free(t);
}

/* Each of the 56 bits is set half of the time (20 standard deviations are allowed). */
static void cids_of_one_slot_look_random(void **state)
{
	enum { COUNT = 40000 };
	struct session_table *t = table_new(1, 600);
	unsigned set[8 * CID_LEN] = {0};
	uint64_t *cids = malloc(COUNT * sizeof(*cids));
	unsigned same = 0;

	assert_non_null(cids);
	for (unsigned i = 0; i < COUNT; i++) {
		uint8_t cid[CID_LEN];
		uint32_t slot = session_reserve(t);

		assert_int_equal(slot, 0);
		session_cid(t, slot, cid);
		session_unreserve(t, slot);
		cids[i] = cid_number(cid);
		for (unsigned bit = 0; bit < 8 * CID_LEN; bit++)
			set[bit] += cids[i] >> bit & 1;
	}
	for (unsigned bit = 0; bit < 8 * CID_LEN; bit++)
		assert_in_range(set[bit], COUNT / 2 - 2000, COUNT / 2 + 2000);
	qsort(cids, COUNT, sizeof(*cids), compare_u64);
	for (unsigned i = 1; i < COUNT; i++)
		same += cids[i - 1] == cids[i];
	assert_in_range(same, 0, 400); /* of 2^24 tags: 48 expected */
	free(cids);
	session_table_free(t);
}

/* A CID that finds a session must be that session's, to the bit. */
static void check_cid(struct session_table *t, const uint8_t cid[CID_LEN])
{
	uint32_t slot = test_by_cid(t, cid);
	uint8_t own[CID_LEN];

	if (slot == SESSION_NONE)
		return;
	session_cid(t, slot, own);
	assert_memory_equal(own, cid, CID_LEN);
}

static void wrong_cids_find_nothing(void **state)
{
	enum { COUNT = 2000 };
	struct session_table *t = table_new(COUNT, 600);
	struct session_limits limits = {.max = COUNT, .reserved_max = 16, .idle_timeout_s = 600, .worker = 2};
	struct session_table *other = session_table_new(&limits, test_cid_key, test_tick_ns(50));
	uint8_t wrong[CID_LEN];
	uint64_t random = 7;

	assert_non_null(other);
	for (uint32_t i = 0; i < COUNT; i++) {
		uint8_t cid[CID_LEN];
		uint32_t slot = test_open(t, i, test_tick_ns(60));

		session_cid(t, slot, cid);
		assert_int_equal(test_by_cid(t, cid), slot);
		for (unsigned bit = 0; bit < 8 * CID_LEN; bit++) {
			memcpy(wrong, cid, CID_LEN);
			wrong[bit / 8] ^= (uint8_t)(1U << bit % 8);
			check_cid(t, wrong);
		}
		(void)test_open(other, i, test_tick_ns(60));
		session_cid(other, i, wrong); /* another worker's: known to be, and not found */
		assert_int_equal(session_cid_worker(t, wrong), 2);
		assert_int_equal(test_by_cid(t, wrong), SESSION_NONE);
		assert_int_equal(test_by_cid(other, cid), SESSION_NONE);
	}
	for (unsigned i = 0; i < 2000000; i++) {
		uint64_t bytes = test_random(&random);

		memcpy(wrong, &bytes, CID_LEN);
		check_cid(t, wrong);
	}
	session_table_free(other);
	session_table_free(t);
}

static void cids_of_ended_sessions_find_nothing(void **state)
{
	struct session_table *t = table_new(4, 600);
	uint8_t first[CID_LEN], second[CID_LEN];
	uint32_t slot = test_open(t, 1, test_tick_ns(60));

	session_cid(t, slot, first);
	assert_true(session_remove(t, slot, SLUICE_REASON_IDLE));
	assert_int_equal(test_by_cid(t, first), SESSION_NONE);
	assert_int_equal(test_by_peer(t, 1), SESSION_NONE);
	session_release(t, slot);
	assert_int_equal(test_by_cid(t, first), SESSION_NONE);
	assert_int_equal(session_reserve(t), slot);
	session_cid(t, slot, second);
	assert_memory_not_equal(first, second, CID_LEN);
	assert_int_equal(test_by_cid(t, second), SESSION_NONE); /* not before the handshake is over */
	session_table_free(t);
}

/* All addresses in one bucket under one tag: what an attacker could do who knew the seed. Nothing is lost,
 * and no insertion fails while there is a slot. */
static void collisions_cost_time_and_nothing_else(void **state)
{
	enum { COUNT = 3000 };
	struct session_table *t = table_new(COUNT, 600);
	uint64_t random = 3;
	uint32_t order[COUNT];

	memset(t->hash_seed, 0, sizeof(t->hash_seed)); /* an IPv4 address now hashes to 0 */
	for (uint32_t i = 0; i < COUNT; i++) {
		order[i] = i;
		assert_int_equal(test_open(t, 4 * i, test_tick_ns(60)), i);
	}
	for (uint32_t i = 0; i < COUNT; i++)
		assert_int_equal(test_by_peer(t, 4 * i), i);
	assert_true(t->head->overflow_used <= t->head->layout.overflow);
	assert_in_range(t->head->overflow_used, COUNT / INDEX_WAYS - 1, COUNT / INDEX_WAYS);
	for (uint32_t i = COUNT - 1; i > 0; i--) {
		uint32_t with = (uint32_t)(test_random(&random) % (i + 1));
		uint32_t kept = order[i];

		order[i] = order[with];
		order[with] = kept;
	}
	for (uint32_t i = 0; i < COUNT; i++) {
		test_end(t, order[i]);
		assert_int_equal(test_by_peer(t, 4 * order[i]), SESSION_NONE);
		assert_int_equal(test_by_peer(t, 4 * order[COUNT - 1]),
				 i == COUNT - 1 ? SESSION_NONE : order[COUNT - 1]);
	}
	for (uint32_t i = 0; i < COUNT; i++) /* the overflow buckets have come back */
		(void)test_open(t, 4 * i, test_tick_ns(70));
	assert_in_range(t->head->overflow_used, COUNT / INDEX_WAYS - 1, COUNT / INDEX_WAYS);
	session_table_free(t);
}

/* Two tags only: chains of every length, filled and emptied around their seams. */
static void short_chains_grow_and_shrink(void **state)
{
	for (uint32_t count = 1; count <= 35; count++) {
		struct session_table *t = table_new(count, 600);

		memset(t->hash_seed, 0, sizeof(t->hash_seed));
		for (uint32_t gone = 0; gone < count; gone++) {
			for (uint32_t i = 0; i < count; i++)
				assert_int_equal(test_open(t, 4 * i, test_tick_ns(60)), i);
			test_end(t, gone);
			for (uint32_t i = 0; i < count; i++)
				assert_int_equal(test_by_peer(t, 4 * i), i == gone ? SESSION_NONE : i);
			for (uint32_t i = count; i-- > 0;)
				if (i != gone)
					test_end(t, i);
			session_table_free(t);
			t = table_new(count, 600);
			memset(t->hash_seed, 0, sizeof(t->hash_seed));
		}
		session_table_free(t);
	}
}

/* Who moves takes no address away from another session, neither by coming nor by going; it is found by its
 * CID. */
static void who_moves_takes_no_address_away(void **state)
{
	struct session_table *t = table_new(10, 600);
	uint32_t a = test_open(t, 1, test_tick_ns(60));
	uint32_t b = test_open(t, 2, test_tick_ns(60));
	struct path path = test_path(1);
	uint8_t cid[CID_LEN];

	session_move(t, b, &path);
	assert_int_equal(test_by_peer(t, 1), a);
	assert_int_equal(test_by_peer(t, 2), SESSION_NONE);
	session_cid(t, b, cid);
	assert_int_equal(test_by_cid(t, cid), b);
	path = test_path(3);
	session_move(t, b, &path);
	assert_int_equal(test_by_peer(t, 1), a);
	assert_int_equal(test_by_peer(t, 3), b);
	path = test_path(1);
	session_move(t, b, &path);
	test_end(t, b);
	assert_int_equal(test_by_peer(t, 1), a);
	test_end(t, a);
	assert_int_equal(test_by_peer(t, 1), SESSION_NONE);
	session_table_free(t);
}

/* I07: the port of one that sleeps behind a NAT goes to others. Only its own holder's next session ends it,
 * or anybody's when it has no CID and nothing but the address led to it. */
static void an_address_of_another_ends_nothing_that_has_a_cid(void **state)
{
	struct session_table *t = table_new(4, 3600);
	uint32_t sleeper = test_open_of(t, 1, 7, true, SESSION_NONE);
	uint32_t other = test_open_of(t, 1, 8, true, SESSION_NONE), anybody;
	uint8_t cid[CID_LEN];
	struct path path = test_path(2);
	struct session_query q = {.cid = cid};

	assert_int_equal(test_by_peer(t, 1), other);
	session_cid(t, sleeper, cid);
	session_find_burst(t, &q, 1);
	assert_int_equal(q.slot, sleeper);
	session_move(t, sleeper, &path);
	assert_int_equal(test_by_peer(t, 1), other);
	assert_int_equal(test_by_peer(t, 2), sleeper);
	path = test_path(1);
	session_move(t, sleeper, &path);
	test_end(t, sleeper);
	assert_int_equal(test_by_peer(t, 1), other);
	other = test_open_of(t, 1, 8, false, other);
	anybody = test_open_of(t, 1, 0, true, other);
	anybody = test_open_of(t, 1, 0, true, anybody);
	assert_int_equal(test_by_peer(t, 1), anybody);
	test_end(t, anybody);
	assert_int_equal(session_live_count(t), 0);
	session_table_free(t);
}

/* One that lives on takes room: a full table gives up the least recently used for the new one. */
static void an_address_of_another_in_a_full_table(void **state)
{
	struct session_table *t = table_new(2, 3600);
	uint32_t sleeper = test_open_of(t, 1, 7, true, SESSION_NONE), replaced, evicted;
	uint32_t oldest = test_open_of(t, 2, 8, true, SESSION_NONE), slot = session_reserve(t);
	struct session_install in = test_install(t, slot, 1);

	session_touch(session_rx(t, sleeper), test_tick_ns(70));
	assert_int_equal(session_install(t, &in, test_tick_ns(80), &replaced, &evicted), 0);
	assert_int_equal(replaced, SESSION_NONE);
	assert_int_equal(evicted, oldest);
	session_table_free(t);
}

/* Opens a session in a full table; returns who had to go, and ends it. */
static uint32_t open_by_eviction(struct session_table *t, uint32_t peer, uint64_t now_ns)
{
	uint32_t slot = session_reserve(t);
	uint32_t replaced, evicted;
	struct session_install in;

	assert_int_not_equal(slot, SESSION_NONE);
	in = test_install(t, slot, peer);
	assert_int_equal(session_install(t, &in, now_ns, &replaced, &evicted), 0);
	assert_int_equal(replaced, SESSION_NONE);
	assert_int_not_equal(evicted, SESSION_NONE);
	test_end(t, evicted);
	return evicted;
}

/* O03: a thousand sessions, used in a random order; a thousand new ones push them out in that order. */
static void a_full_table_evicts_in_order_of_use(void **state)
{
	enum { COUNT = 1000 };
	struct session_table *t = table_new(COUNT, 86400);
	uint32_t order[COUNT];
	uint64_t random = 5;

	for (uint32_t i = 0; i < COUNT; i++) {
		uint32_t with = (uint32_t)(test_random(&random) % (i + 1));

		(void)test_open(t, i, test_tick_ns(60));
		order[i] = i;
		order[i] = order[with];
		order[with] = i;
	}
	for (uint32_t i = 0; i < COUNT; i++)
		session_touch(session_rx(t, order[i]), test_tick_ns(100 + i));
	for (uint32_t i = 0; i < COUNT; i++) {
		assert_int_equal(session_live_count(t), COUNT);
		assert_int_equal(open_by_eviction(t, COUNT + i, test_tick_ns(2000 + i)), order[i]);
	}
	session_table_free(t);
}

/* Everybody was heard from since the wheel last looked, 100,000 of them: one eviction stays short, and is
 * exact again as soon as session_expire() has had its turns. */
static void an_eviction_is_bounded(void **state)
{
	enum { COUNT = 100000 };
	struct session_table *t = table_new(COUNT, 86400);
	uint32_t moved = 0;
	uint32_t slots[16];

	for (uint32_t i = 0; i < COUNT; i++)
		(void)test_open(t, i, test_tick_ns(60));
	for (uint32_t i = 0; i < COUNT; i++)
		session_touch(session_rx(t, i), test_tick_ns(100 + i % 5000));
	(void)open_by_eviction(t, COUNT, test_tick_ns(6000));
	for (uint32_t i = 0; i < COUNT; i++)
		moved += session_tx(t, i)->age_bucket != 60;
	assert_in_range(moved, 1, 1025);
	for (unsigned i = 0; i < COUNT; i++)
		assert_int_equal(session_expire(t, test_tick_ns(6000), slots, 16), 0);
	for (uint32_t i = 0; i < 19; i++) {
		uint32_t evicted = open_by_eviction(t, COUNT + 1 + i, test_tick_ns(6000));

		assert_int_equal(evicted % 5000, 0); /* heard from at 100; 20 of them, one may be gone */
	}
	session_table_free(t);
}

/* O12. Devices that speak every few minutes, hours or days, under time-outs from seconds to a year, for a
 * year: those that speak often enough stay, the others go on time. */
static void sessions_live_for_days(uint32_t idle_s)
{
	enum { COUNT = 200 };
	struct session_table *t = table_new(COUNT, idle_s);
	uint32_t width = t->head->layout.wheel_width;
	uint64_t last[COUNT];
	bool gone[COUNT] = {false};
	uint32_t pause[COUNT];
	uint32_t step = idle_s < 100 ? 1 : idle_s / 100;
	uint32_t ended = 0;

	for (uint32_t i = 0; i < COUNT; i++) {
		(void)test_open(t, i, test_tick_ns(1000));
		last[i] = 1000;
		pause[i] = idle_s / 2 + (uint32_t)((uint64_t)idle_s * i / COUNT);
	}
	for (uint64_t tick = 1000; tick < 1000 + (uint64_t)idle_s * 12; tick += step) {
		uint32_t slots[16];
		unsigned n;

		for (unsigned calls = 0; calls < 10000; calls++) {
			n = session_expire(t, test_tick_ns(tick), slots, 16);
			for (unsigned i = 0; i < n; i++) {
				assert_true(last[slots[i]] + idle_s <= tick);
				assert_true(last[slots[i]] + idle_s + width + step > tick);
				gone[slots[i]] = true;
				test_end(t, slots[i]);
				ended++;
			}
		}
		for (uint32_t i = 0; i < COUNT; i++) {
			if (gone[i] || last[i] + pause[i] > tick)
				continue;
			session_touch(session_rx(t, i), test_tick_ns(tick));
			last[i] = tick;
		}
	}
	assert_in_range(ended, COUNT / 2 - 8, COUNT / 2 + 8);
	for (uint32_t i = 0; i < COUNT; i++)
		if (pause[i] + step < idle_s)
			assert_false(gone[i]);
	session_table_free(t);
}

static void idle_expiry_over_days(void **state)
{
	sessions_live_for_days(30);
	sessions_live_for_days(3600);
	sessions_live_for_days(86400);
	sessions_live_for_days(WHEEL_MAX - 2);
	sessions_live_for_days(WHEEL_MAX - 1);
	sessions_live_for_days(31536000);
}

/* Nobody called for ten times the time-out: everything is still right afterwards. */
static void a_worker_that_slept_recovers(void **state)
{
	struct session_table *t = table_new(10, 100);
	uint32_t slots[16];
	uint32_t kept;
	unsigned found = 0;

	(void)test_open(t, 1, test_tick_ns(60));
	kept = test_open(t, 2, test_tick_ns(1500)); /* far outside of the wheel's turn */
	for (unsigned i = 0; i < 1000; i++) {
		unsigned n = session_expire(t, test_tick_ns(1560), slots, 16);

		found += n;
		for (unsigned k = 0; k < n; k++)
			test_end(t, slots[k]);
	}
	assert_int_equal(found, 1);
	assert_int_equal(test_by_peer(t, 2), kept);
	for (unsigned i = 0; i < 1000 && found < 2; i++)
		found += session_expire(t, test_tick_ns(1600), slots, 16);
	assert_int_equal(found, 2);
	assert_int_equal(slots[0], kept);
	session_table_free(t);
}

static void hostile_refs_find_nothing(void **state)
{
	struct session_table *t = table_new(100, 600);
	uint64_t random = 11;
	struct sluice_ref good;

	for (uint32_t i = 0; i < 100; i++)
		(void)test_open(t, i, test_tick_ns(60));
	good = session_ref(t, 42);
	assert_int_equal(session_by_ref(t, good), 42);
	for (unsigned bit = 0; bit < 32; bit++) {
		struct sluice_ref ref = good;

		ref.generation ^= 1U << bit;
		assert_int_equal(session_by_ref(t, ref), SESSION_NONE);
		ref = good;
		ref.index ^= 1U << bit;
		assert_int_equal(session_by_ref(t, ref), SESSION_NONE);
		ref = good;
		ref.worker ^= (uint16_t)(1U << bit % 16);
		assert_int_equal(session_by_ref(t, ref), SESSION_NONE);
	}
	for (unsigned i = 0; i < 1000000; i++) {
		uint64_t bytes = test_random(&random);
		struct sluice_ref ref = {.index = (uint32_t)bytes >> (i % 32), .worker = 1};

		ref.generation = (uint32_t)(bytes >> 32);
		if (ref.index < 100 && ref.generation == session_ref(t, ref.index).generation)
			continue;
		assert_int_equal(session_by_ref(t, ref), SESSION_NONE);
	}
	session_table_free(t);
}

/* The next 255 users of a slot are told apart for sure, however the random part falls. */
static void generations_do_not_come_back(void **state)
{
	struct session_table *t = table_new(1, 600);
	uint32_t seen[256];

	for (unsigned i = 0; i < 256; i++) {
		uint32_t slot = session_reserve(t);

		seen[i] = session_ref(t, slot).generation;
		for (unsigned k = 0; k < i; k++)
			assert_int_not_equal(seen[k] >> 24, seen[i] >> 24);
		session_unreserve(t, slot);
	}
	session_table_free(t);
}

static void installation_is_refused_without_a_trace(void **state)
{
	struct session_limits limits = {.max = 4, .reserved_max = 4, .big_max = 1, .idle_timeout_s = 600};
	struct session_table *t = session_table_new(&limits, test_cid_key, test_tick_ns(50));
	struct session_install in;
	uint32_t replaced, evicted;
	uint32_t a, b;

	assert_non_null(t);
	a = session_reserve(t);
	in = test_install(t, a, 1);
	in.ref.generation++;
	assert_int_equal(session_install(t, &in, test_tick_ns(60), &replaced, &evicted), -ESTALE);
	in = test_install(t, a, 1);
	in.cid_len = RECORD_CID_MAX + 1;
	assert_int_equal(session_install(t, &in, test_tick_ns(60), &replaced, &evicted), -EINVAL);
	in = test_install(t, a, 1);
	in.protection = PROTECTIONS;
	assert_int_equal(session_install(t, &in, test_tick_ns(60), &replaced, &evicted), -EINVAL);
	in.protection = PROTECTION_AES_128_CBC_MTE;
	assert_int_equal(session_install(t, &in, test_tick_ns(60), &replaced, &evicted), 0);
	assert_int_equal(session_install(t, &in, test_tick_ns(60), &replaced, &evicted), -ESTALE);
	b = session_reserve(t);
	in = test_install(t, b, 2);
	in.protection = PROTECTION_AES_256_CCM_8;
	assert_int_equal(session_install(t, &in, test_tick_ns(60), &replaced, &evicted), -ENOSPC);
	assert_int_equal(session_rx(t, b)->state, SESSION_RESERVED);
	assert_int_equal(session_live_count(t), 1);
	/* The same device again: the large key that it gives back is enough. */
	in.path = test_path(1);
	assert_int_equal(session_install(t, &in, test_tick_ns(60), &replaced, &evicted), 0);
	assert_int_equal(replaced, a);
	test_end(t, a);
	assert_int_equal(test_by_peer(t, 1), b);
	assert_memory_equal(session_rx_key(t, b), &in.rx_key, sizeof(in.rx_key.aead256));
	assert_memory_equal(session_tx_key(t, b), &in.tx_key, sizeof(in.tx_key.aead256));
	/* So is that of the session that makes room, when it has one. */
	for (uint32_t peer = 3; peer <= 5; peer++)
		(void)test_open(t, peer, test_tick_ns(60 + peer));
	a = session_reserve(t);
	in = test_install(t, a, 6);
	in.protection = PROTECTION_AES_256_CCM_8;
	assert_int_equal(session_install(t, &in, test_tick_ns(70), &replaced, &evicted), 0);
	assert_int_equal(evicted, b);
	test_end(t, b);
	in = test_install(t, session_reserve(t), 7);
	in.protection = PROTECTION_AES_256_CCM_8;
	assert_int_equal(session_install(t, &in, test_tick_ns(71), &replaced, &evicted), -ENOSPC);
	assert_int_equal(evicted, SESSION_NONE);
	session_table_free(t);
}

/* What was authenticated during the handshake is not accepted again, what comes behind it is. */
static void the_window_goes_on_from_the_handshake(void **state)
{
	struct session_table *t = table_new(4, 600);
	struct replay_window *w = &session_rx(t, test_open(t, 1, test_tick_ns(60)))->replay;
	bool newest;

	assert_false(replay_check(w, 0));
	assert_true(replay_commit(w, 1, &newest) && newest);
	assert_false(replay_check(w, 0));
	assert_false(replay_check(w, 1));
	assert_true(replay_check(w, 2));
	session_table_free(t);
}

/* Records of one burst may end the session that the next one's look-up is already on its way to. */
static void a_session_that_ends_during_its_look_up_is_not_found(void **state)
{
	struct session_table *t = table_new(100, 600);
	struct path path = test_path(7);
	uint32_t slot = test_open(t, 7, test_tick_ns(60));
	uint8_t cid[CID_LEN];

	session_cid(t, slot, cid);
	for (unsigned ends_after = 0; ends_after < 4; ends_after++) {
		struct session_query q[2] = {{.cid = cid}, {.address = &path.peer}};

		session_find_begin(t, q, 2);
		if (ends_after == 1)
			test_end(t, slot);
		session_find_proceed(t, &q[0]);
		session_find_proceed(t, &q[1]);
		if (ends_after == 2)
			test_end(t, slot);
		if (ends_after == 3) /* and nobody has been told yet */
			assert_true(session_remove(t, slot, SLUICE_REASON_CLOSED));
		assert_int_equal(session_find_end(t, &q[0]), ends_after ? SESSION_NONE : slot);
		assert_int_equal(session_find_end(t, &q[1]), ends_after ? SESSION_NONE : slot);
		if (ends_after) {
			slot = test_open(t, 7, test_tick_ns(60));
			session_cid(t, slot, cid);
		}
	}
	session_table_free(t);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cids_of_a_million_sessions_are_unique),
		cmocka_unit_test(cids_of_one_slot_look_random),
		cmocka_unit_test(wrong_cids_find_nothing),
		cmocka_unit_test(cids_of_ended_sessions_find_nothing),
		cmocka_unit_test(collisions_cost_time_and_nothing_else),
		cmocka_unit_test(short_chains_grow_and_shrink),
		cmocka_unit_test(who_moves_takes_no_address_away),
		cmocka_unit_test(an_address_of_another_ends_nothing_that_has_a_cid),
		cmocka_unit_test(an_address_of_another_in_a_full_table),
		cmocka_unit_test(a_full_table_evicts_in_order_of_use),
		cmocka_unit_test(an_eviction_is_bounded),
		cmocka_unit_test(idle_expiry_over_days),
		cmocka_unit_test(a_worker_that_slept_recovers),
		cmocka_unit_test(hostile_refs_find_nothing),
		cmocka_unit_test(generations_do_not_come_back),
		cmocka_unit_test(installation_is_refused_without_a_trace),
		cmocka_unit_test(the_window_goes_on_from_the_handshake),
		cmocka_unit_test(a_session_that_ends_during_its_look_up_is_not_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
