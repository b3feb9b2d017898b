/* What the tests of the session table share: peers by number, installation in one call, a random sequence
 * that a failing run can repeat.
 */
#ifndef TESTS_SESSION_HELPERS_H
#define TESTS_SESSION_HELPERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dataplane/session.h"

static const uint8_t test_cid_key[16] = {1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 7, 11, 17, 19};

/* xorshift64*: quick, and the same in every run. */
static inline uint64_t test_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dULL;
}

static inline uint64_t test_tick_ns(uint64_t tick)
{
	return tick * SESSION_TICK_NS + tick % 7;
}

/* Peer n: IPv4 behind a few networks, every fourth one IPv6. */
static inline struct path test_path(uint32_t n)
{
	struct path p = {.mac = {2, 0, 0, 0, 0, 1}};

	if (n % 4 == 3) {
		p.peer.ip[0] = 0x20;
		p.peer.ip[1] = 0x01;
	} else {
		p.peer.ip[10] = p.peer.ip[11] = 0xff;
		p.peer.ip[12] = 10;
	}
	p.peer.ip[13] = (uint8_t)(n >> 24);
	p.peer.ip[14] = (uint8_t)(n >> 16);
	p.peer.ip[15] = (uint8_t)(n >> 8);
	p.peer.port = (uint16_t)(n << 8 | 0x16);
	return p;
}

static inline struct session_install test_install(struct session_table *t, uint32_t slot, uint32_t peer)
{
	struct session_install in = {
		.ref = session_ref(t, slot),
		.path = test_path(peer),
		.suite = 0xc0a8,
		.protection = PROTECTION_AES_128_CCM_8,
		.has_cid = true,
		.epoch = 1,
		.rx_highest = 1,
		.tx_seq_next = 1,
	};

	memset(&in.rx_key, 0xa5, sizeof(in.rx_key));
	memset(&in.tx_key, 0x5a, sizeof(in.tx_key));
	memcpy(in.rx_key.aead.key, &peer, sizeof(peer));
	return in;
}

/* Reserves and installs; there must be room. Returns the slot. */
static inline uint32_t test_open(struct session_table *t, uint32_t peer, uint64_t now_ns)
{
	uint32_t slot = session_reserve(t);
	uint32_t replaced, evicted;
	struct session_install in;

	assert_int_not_equal(slot, SESSION_NONE);
	in = test_install(t, slot, peer);
	assert_int_equal(session_install(t, &in, now_ns, &replaced, &evicted), 0);
	assert_int_equal(replaced, SESSION_NONE);
	assert_int_equal(evicted, SESSION_NONE);
	return slot;
}

/* The same for a holder, at an address where `ends` has to go, which it does. */
static inline uint32_t test_open_of(struct session_table *t, uint32_t peer, uint64_t holder, bool has_cid,
				    uint32_t ends)
{
	uint32_t slot = session_reserve(t);
	uint32_t replaced, evicted;
	struct session_install in = test_install(t, slot, peer);

	in.holder = holder;
	in.has_cid = has_cid;
	assert_int_equal(session_install(t, &in, test_tick_ns(60), &replaced, &evicted), 0);
	assert_int_equal(replaced, ends);
	assert_int_equal(evicted, SESSION_NONE);
	if (ends != SESSION_NONE) {
		assert_true(session_remove(t, ends, SLUICE_REASON_REPLACED));
		session_release(t, ends);
	}
	return slot;
}

static inline void test_end(struct session_table *t, uint32_t slot)
{
	assert_true(session_remove(t, slot, SLUICE_REASON_CLOSED));
	session_release(t, slot);
}

static inline uint32_t test_by_peer(struct session_table *t, uint32_t peer)
{
	struct path path = test_path(peer);
	struct session_query q = {.address = &path.peer};

	session_find_burst(t, &q, 1);
	return q.slot;
}

static inline uint32_t test_by_cid(struct session_table *t, const uint8_t cid[CID_LEN])
{
	struct session_query q = {.cid = cid};

	session_find_burst(t, &q, 1);
	return q.slot;
}

#endif
