/* The table of source addresses: any order of sessions coming and going keeps its promises. */
#include "ring/source.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#define SECOND_NS UINT64_C(1000000000)

enum { HOLD_S = 10 };

static uint64_t random_state = 0x2545f4914f6cdd1d;

static uint32_t random_below(uint32_t bound)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (uint32_t)((random_state * 0x2545f4914f6cdd1d >> 32) % bound);
}

static struct source_pool *pool_of(const char *text)
{
	struct source_net net;
	struct source_pool *p;

	assert_true(source_net_parse(&net, strchr(text, ':') != NULL ? AF_INET6 : AF_INET, text));
	p = source_new(&net, HOLD_S * SECOND_NS);
	assert_non_null(p);
	return p;
}

static struct sluice_ref ref_of(uint32_t index, uint32_t generation)
{
	return (struct sluice_ref){.index = index, .generation = generation};
}

static void nets_are_parsed_strictly(void **state)
{
	static const struct {
		int family;
		const char *text;
		bool ok;
	} cases[] = {
		{AF_INET, "127.64.0.0/10", true},
		{AF_INET, "127.0.0.0/8", true},
		{AF_INET, "10.9.8.0/29", true},
		{AF_INET, "10.9.8.0/30", false},
		{AF_INET, "127.64.0.1/10", false},
		{AF_INET, "127.64.0.0", false},
		{AF_INET, "127.64.0.0/", false},
		{AF_INET, "127.64.0.0/10x", false},
		{AF_INET, "127.64.0/10", false},
		{AF_INET, "127.64.0.0/+10", false},
		{AF_INET, "/10", false},
		{AF_INET, "2001:db8::/64", false},
		{AF_INET6, "2001:db8::/64", true},
		{AF_INET6, "2001:db8::/125", true},
		{AF_INET6, "2001:db8::/126", false},
		{AF_INET6, "2001:db8::1/64", false},
		{AF_INET6, "127.64.0.0/10", false},
		{AF_INET, "1111111111111111111111111111111111111111111111111111111111/8", false},
	};
	struct source_net net;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (source_net_parse(&net, cases[i].family, cases[i].text) != cases[i].ok)
			fail_msg("%s", cases[i].text);
	}
}

/* Every slot's address lies in the net and leads back to the slot; neighbours of the net lead nowhere. */
static void addresses_lead_back(void **state)
{
	static const char *const nets[] = {"10.9.8.0/24", "127.64.0.0/10", "2001:db8::/120",
					   "2001:db8:ffff::/48"};
	static const char *const outside[] = {"10.9.9.2", "127.128.0.2", "2001:db8::102", "2001:db8:fffe::2"};
	uint8_t ip[16], other[16];

	for (unsigned n = 0; n < sizeof(nets) / sizeof(nets[0]); n++) {
		struct source_pool *p = pool_of(nets[n]);
		int family = strchr(nets[n], ':') != NULL ? AF_INET6 : AF_INET;
		uint32_t step = source_capacity(p) > 10000 ? 997 : 1;

		for (uint32_t slot = 2; slot < 2 + source_capacity(p); slot += step) {
			source_address(p, slot, ip);
			assert_int_equal(source_slot(p, ip), slot);
		}
		inet_pton(family, outside[n], other);
		assert_int_equal(source_slot(p, other), SOURCE_NONE);
		source_address(p, 2, ip);
		ip[family == AF_INET ? 3 : 15] = 1; /* the first host of the net */
		assert_int_equal(source_slot(p, ip), SOURCE_NONE);
		ip[0] ^= 0x40;
		assert_int_equal(source_slot(p, ip), SOURCE_NONE);
		source_free(p);
	}
}

static void address_is_the_same_after_a_restart(void **state)
{
	struct source_pool *first = pool_of("127.64.0.0/10"), *second = pool_of("127.64.0.0/10");
	uint32_t slots[1000], same = 0;

	for (uint32_t i = 0; i < 1000; i++)
		slots[i] = source_take(first, ref_of(i, 3), 1000 + i, 0);
	for (uint32_t i = 1000; i-- > 0;) /* announced in another order */
		same += source_take(second, ref_of(i, 3), 1000 + i, 0) == slots[i];
	assert_true(same >= 998); /* collisions: 1000 * 1000 / 2 / 4 million */
	source_free(first);
	source_free(second);
}

static void returned_address_is_held(void **state)
{
	struct source_pool *p = pool_of("10.9.8.0/29"); /* 5 addresses */
	uint32_t slots[5];

	assert_int_equal(source_capacity(p), 5);
	for (uint32_t i = 0; i < 5; i++) {
		slots[i] = source_take(p, ref_of(i, 1), i, 0);
		assert_int_not_equal(slots[i], SOURCE_NONE);
		for (uint32_t j = 0; j < i; j++)
			assert_int_not_equal(slots[i], slots[j]);
	}
	assert_int_equal(source_take(p, ref_of(9, 1), 9, 0), SOURCE_NONE);
	source_release(p, ref_of(3, 1), SECOND_NS);
	assert_int_equal(source_find(p, ref_of(3, 1)), SOURCE_NONE);
	assert_int_equal(source_take(p, ref_of(9, 1), 9, 2 * SECOND_NS), SOURCE_NONE);
	assert_int_equal(source_take(p, ref_of(3, 2), 3, (HOLD_S + 1) * SECOND_NS), SOURCE_NONE);
	/* The very session that had it may have it back, and nobody who only looks alike. */
	assert_int_equal(source_take(p, ref_of(3, 1), 4, 2 * SECOND_NS), SOURCE_NONE);
	assert_int_equal(source_take(p, ref_of(9, 1), 9, (HOLD_S + 2) * SECOND_NS), slots[3]);
	source_free(p);
}

static void same_session_gets_its_address_back(void **state)
{
	struct source_pool *p = pool_of("127.64.0.0/10");
	uint32_t slot = source_take(p, ref_of(7, 1), 42, 0);

	assert_int_equal(source_take(p, ref_of(7, 1), 42, 0), slot);
	source_release_all(p, SECOND_NS);
	assert_int_equal(source_live(p), 0);
	assert_int_equal(source_take(p, ref_of(7, 1), 42, SECOND_NS), slot);
	source_release_all(p, SECOND_NS);
	assert_int_not_equal(source_take(p, ref_of(7, 1), 43, SECOND_NS), slot); /* a restarted gateway's */
	source_free(p);
}

static void new_generation_replaces_the_old(void **state)
{
	struct source_pool *p = pool_of("127.64.0.0/10");
	uint32_t first = source_take(p, ref_of(7, 1), 42, 0);
	uint32_t second = source_take(p, ref_of(7, 2), 42, 0);
	struct sluice_ref ref;

	assert_int_not_equal(first, second);
	assert_int_equal(source_live(p), 1);
	assert_int_equal(source_find(p, ref_of(7, 1)), SOURCE_NONE);
	assert_int_equal(source_find(p, ref_of(7, 2)), second);
	assert_false(source_session(p, first, &ref));
	source_release(p, ref_of(7, 1), 0); /* late: the old one is gone already */
	assert_int_equal(source_live(p), 1);
	source_free(p);
}

static void bounds_are_kept(void **state)
{
	struct source_pool *p = pool_of("127.64.0.0/10");
	struct sluice_ref far = {.index = UINT32_MAX}, worker = {.worker = SOURCE_WORKERS_MAX}, got;

	assert_int_equal(source_take(p, far, 1, 0), SOURCE_NONE);
	assert_int_equal(source_take(p, worker, 1, 0), SOURCE_NONE);
	assert_int_equal(source_find(p, far), SOURCE_NONE);
	assert_int_equal(source_find(p, worker), SOURCE_NONE);
	assert_false(source_session(p, SOURCE_NONE, &got));
	assert_false(source_session(p, UINT32_MAX, &got));
	source_release(p, far, 0);
	source_free(p);
}

/* The model: who has which slot, and since when a slot is free. */
enum { MODEL_SESSIONS = 300, MODEL_SLOTS = 256 };

struct model {
	uint32_t generation[MODEL_SESSIONS], slot[MODEL_SESSIONS];
	uint32_t free_since[MODEL_SLOTS]; /* seconds; 0: never used */
	bool live[MODEL_SLOTS];
};

static void model_take(struct source_pool *p, struct model *m, uint32_t i, uint32_t now_s)
{
	unsigned usable = 0;
	uint32_t slot;

	m->generation[i]++;
	for (uint32_t s = 2; s < MODEL_SLOTS - 1; s++)
		usable += !m->live[s] && (m->free_since[s] == 0 || now_s - m->free_since[s] > HOLD_S);
	slot = source_take(p, ref_of(i, m->generation[i]), i % 7, now_s * SECOND_NS);
	m->slot[i] = slot;
	assert_int_equal(slot != SOURCE_NONE, usable > 0); /* none is refused while there is one */
	if (slot == SOURCE_NONE)
		return;
	assert_false(m->live[slot]);
	assert_true(m->free_since[slot] == 0 || now_s - m->free_since[slot] > HOLD_S);
	m->live[slot] = true;
}

static void model_release(struct source_pool *p, struct model *m, uint32_t i, uint32_t now_s)
{
	source_release(p, ref_of(i, m->generation[i]), now_s * SECOND_NS);
	m->live[m->slot[i]] = false;
	m->free_since[m->slot[i]] = now_s;
	m->slot[i] = SOURCE_NONE;
}

static void agrees_with_model(void **state)
{
	struct source_pool *p = pool_of("10.9.8.0/24");
	struct model m = {0};
	struct sluice_ref ref;
	unsigned refused = 0;

	for (uint32_t step = 1; step < 300000; step++) {
		uint32_t i = random_below(MODEL_SESSIONS), now_s = 1 + step / 20;

		if (m.slot[i] == SOURCE_NONE) {
			model_take(p, &m, i, now_s);
			refused += m.slot[i] == SOURCE_NONE;
		} else if (step / 20000 % 2 == 0 || random_below(3) > 0) { /* busy times and quiet times */
			assert_int_equal(source_find(p, ref_of(i, m.generation[i])), m.slot[i]);
			assert_true(source_session(p, m.slot[i], &ref));
			assert_int_equal(ref.index, i);
			assert_int_equal(ref.generation, m.generation[i]);
			if (random_below(4) == 0)
				model_release(p, &m, i, now_s);
		} else {
			model_release(p, &m, i, now_s);
		}
	}
	assert_true(refused > 100);
	source_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nets_are_parsed_strictly),
		cmocka_unit_test(addresses_lead_back),
		cmocka_unit_test(address_is_the_same_after_a_restart),
		cmocka_unit_test(returned_address_is_held),
		cmocka_unit_test(same_session_gets_its_address_back),
		cmocka_unit_test(new_generation_replaces_the_old),
		cmocka_unit_test(bounds_are_kept),
		cmocka_unit_test(agrees_with_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
