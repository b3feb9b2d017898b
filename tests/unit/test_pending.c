/* The table of handshakes in flight against a plain list: any order of additions and removals, full,
 * refilled, with a hash that collides as an attacker would like it to. */
#include "dataplane/pending.c" /* for the index and the hash */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { MAX = 50, PEERS = 120 };

static struct peer_address peer_of(unsigned n)
{
	struct peer_address peer = {.ip = {[10] = 0xff, [11] = 0xff, [12] = 10, [15] = (uint8_t)n}};

	peer.port = (uint16_t)(n >> 8 ^ 0x1234);
	return peer;
}

/* A list in the order of addition. */
struct model {
	unsigned peers[MAX];
	unsigned count;
};

static int model_find(const struct model *m, unsigned n)
{
	for (unsigned i = 0; i < m->count; i++)
		if (m->peers[i] == n)
			return (int)i;
	return -1;
}

static void agree(struct pending_table *t, const struct model *m)
{
	assert_int_equal(pending_count(t), m->count);
	for (unsigned n = 0; n < PEERS; n++) {
		struct peer_address peer = peer_of(n);
		struct pending *p = pending_find(t, &peer);

		assert_int_equal(p != NULL, model_find(m, n) >= 0);
		if (p) {
			assert_memory_equal(&p->peer, &peer, sizeof(peer));
			assert_int_equal(p->ref.index, n);
		}
	}
	if (m->count > 0)
		assert_int_equal(pending_oldest(t)->ref.index, m->peers[0]);
	else
		assert_null(pending_oldest(t));
}

static void agrees_with_a_list(void **state)
{
	struct pending_table *t = pending_new(MAX, 7);
	struct model m = {.count = 0};

	for (unsigned turn = 0; turn < 40000; turn++) {
		unsigned n = (unsigned)rand() % PEERS;
		struct peer_address peer = peer_of(n);
		struct pending *p = pending_find(t, &peer);
		int at = model_find(&m, n);

		assert_int_equal(p != NULL, at >= 0);
		if (p) {
			pending_remove(t, p);
			memmove(m.peers + at, m.peers + at + 1,
				(m.count - 1 - (unsigned)at) * sizeof(m.peers[0]));
			m.count--;
		} else {
			p = pending_add(t, &peer);
			assert_int_equal(p != NULL, m.count < MAX);
			if (p) {
				p->ref.index = n;
				m.peers[m.count++] = n;
			}
		}
		if (turn % 16 == 0)
			agree(t, &m);
	}
	pending_free(t);
	(void)state;
}

/* All entries in one cluster that wraps around the end of the index: the shifting on removal must keep every
 * one findable. */
static void one_cluster(void **state)
{
	struct pending_table *t = pending_new(MAX, 8);
	struct pending *entries[MAX];
	unsigned used = 0;

	for (unsigned n = 0; n < 100000 && used < MAX; n++) {
		struct peer_address peer = peer_of(n);
		uint32_t home;

		peer.ip[4] = (uint8_t)(n >> 8);
		peer.ip[5] = (uint8_t)(n >> 16);
		home = hash_of(t, &peer) & t->index_mask;
		if (home < t->index_mask - 3)
			continue;
		entries[used] = pending_add(t, &peer);
		assert_non_null(entries[used]);
		used++;
	}
	assert_int_equal(used, MAX);
	for (unsigned left = MAX; left > 0; left--) {
		unsigned victim = (unsigned)rand() % left;

		pending_remove(t, entries[victim]);
		entries[victim] = entries[left - 1];
		for (unsigned i = 0; i + 1 < left; i++)
			assert_ptr_equal(pending_find(t, &entries[i]->peer), entries[i]);
	}
	for (uint32_t i = 0; i <= t->index_mask; i++)
		assert_int_equal(t->index[i], NONE);
	pending_free(t);
	(void)state;
}

/* Entries do not move while they live, and a new one starts empty. */
static void stays_and_starts_empty(void **state)
{
	struct pending_table *t = pending_new(4, 9);
	struct peer_address a = peer_of(1);
	struct peer_address b = peer_of(2);
	struct pending *pa = pending_add(t, &a);
	struct pending *pb = pending_add(t, &b);

	memset(pa->random, 0x5a, sizeof(pa->random));
	pending_remove(t, pa);
	assert_ptr_equal(pending_find(t, &b), pb);
	pa = pending_add(t, &a);
	for (unsigned i = 0; i < sizeof(pa->random); i++)
		assert_int_equal(pa->random[i], 0);
	assert_ptr_equal(pending_oldest(t), pb);
	pending_free(t);
	(void)state;
}

/* The port is part of the name: two peers behind one address are two. */
static void ports_differ(void **state)
{
	struct pending_table *t = pending_new(4, 9);
	struct peer_address a = peer_of(1);
	struct peer_address b = a;

	b.port = (uint16_t)(b.port ^ 1);
	assert_non_null(pending_add(t, &a));
	assert_null(pending_find(t, &b));
	pending_free(t);
	(void)state;
}

/* SipHash-2-4 of 00 01 .. 11 (18 bytes) under the key 00 01 .. 0f, from the authors' table of vectors. */
static void siphash_vector(void **state)
{
	struct pending_table t = {.key = {0x0706050403020100, 0x0f0e0d0c0b0a0908}};
	struct peer_address peer;
	uint8_t bytes[sizeof(peer)];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	memcpy(&peer, bytes, sizeof(peer));
	assert_int_equal(hash_of(&t, &peer), (uint32_t)0x4bc1b3f0968dd39c);
	(void)state;
}

/* Peers that differ in few bits, under several seeds: no part of the index fills up. */
static void spread(void **state)
{
	for (uint64_t seed = 0; seed < 8; seed++) {
		struct pending_table *t = pending_new(4096, seed);
		uint32_t longest = 0;
		uint32_t run = 0;

		for (unsigned n = 0; n < 4096; n++) {
			struct peer_address peer = peer_of(n);

			assert_non_null(pending_add(t, &peer));
		}
		for (uint32_t i = 0; i <= t->index_mask; i++) {
			run = t->index[i] ? run + 1 : 0;
			longest = run > longest ? run : longest;
		}
		assert_true(longest < 100);
		pending_free(t);
	}
	(void)state;
}

static void refuses_nonsense(void **state)
{
	assert_null(pending_new(0, 1));
	assert_null(pending_new(UINT32_MAX, 1));
	pending_free(NULL);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_a_list),     cmocka_unit_test(one_cluster),
		cmocka_unit_test(stays_and_starts_empty), cmocka_unit_test(ports_differ),
		cmocka_unit_test(siphash_vector),         cmocka_unit_test(spread),
		cmocka_unit_test(refuses_nonsense),
	};

	srand(22);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
