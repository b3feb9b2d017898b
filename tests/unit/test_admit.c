/* The rates at which handshakes may begin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/admit.h"

#define SECOND_NS 1000000000ULL

static struct peer_address ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	return (struct peer_address){.ip = {[10] = 0xff, [11] = 0xff, a, b, c, d}, .port = 1};
}

static unsigned admitted(struct admit *a, const struct peer_address *peer, unsigned asks, uint64_t now_ns)
{
	unsigned n = 0;

	for (unsigned i = 0; i < asks; i++)
		n += admit_ask(a, peer, now_ns) == ADMITTED;
	return n;
}

static void test_prefix(void **state)
{
	struct admit *a = admit_new(1000, 10, 42, 0);
	struct peer_address one = ipv4(192, 0, 2, 1), neighbour = ipv4(192, 0, 2, 200),
			    other = ipv4(192, 0, 3, 1);
	uint64_t now = 5 * SECOND_NS;

	assert_non_null(a);
	assert_int_equal(admitted(a, &one, 100, now), 10);
	assert_int_equal(admit_ask(a, &one, now), ADMIT_PREFIX_EXCEEDED);
	assert_int_equal(admit_ask(a, &neighbour, now), ADMIT_PREFIX_EXCEEDED); /* the same /24 */
	assert_int_equal(admitted(a, &other, 100, now), 10);
	assert_int_equal(admitted(a, &one, 100, now + SECOND_NS / 2), 5);
	assert_int_equal(admitted(a, &one, 100, now + SECOND_NS / 2), 0);
	assert_int_equal(admitted(a, &one, 100, now + 100 * SECOND_NS),
			 10); /* no more than a second's worth */
	admit_free(a);
}

static void test_prefix_ipv6(void **state)
{
	struct admit *a = admit_new(1000, 3, 42, 0);
	struct peer_address one = {.ip = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 1, 0, 9, 9}};
	struct peer_address same = {.ip = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 1, 0xff, 8, 8}};
	struct peer_address other = {.ip = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 2, 0, 9, 9}};

	assert_int_equal(admitted(a, &one, 10, SECOND_NS), 3);
	assert_int_equal(admitted(a, &same, 10, SECOND_NS), 0); /* the same /56 */
	assert_int_equal(admitted(a, &other, 10, SECOND_NS), 3);
	admit_free(a);
}

static void test_total(void **state)
{
	struct admit *a = admit_new(50, 10, 42, 0);
	unsigned n = 0;

	for (unsigned i = 0; i < 100; i++) {
		struct peer_address peer = ipv4(10, (uint8_t)i, 0, 1);

		n += admit_ask(a, &peer, SECOND_NS) == ADMITTED;
	}
	assert_int_equal(n, 50);
	/* what the total refused cost its network nothing */
	for (unsigned i = 0; i < 10; i++) {
		struct peer_address peer = ipv4(10, 99, 0, 1);

		assert_int_equal(admit_ask(a, &peer, 3 * SECOND_NS), ADMITTED);
	}
	admit_free(a);
}

/* Over a long time, the rate comes out; a flood from everywhere does not grow anything. */
static void test_rate(void **state)
{
	struct admit *a = admit_new(1000, 1000, 7, 0);
	uint64_t now = SECOND_NS;
	unsigned n = 0;

	srand(4);
	for (unsigned i = 0; i < 1000000; i++) {
		struct peer_address peer = ipv4((uint8_t)rand(), (uint8_t)rand(), (uint8_t)rand(), 1);

		now += 10000; /* 100,000 per second */
		n += admit_ask(a, &peer, now) == ADMITTED;
	}
	assert_in_range(n, 10990, 11010); /* ten seconds, and one second's worth at the start */
	admit_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_prefix_ipv6),
		cmocka_unit_test(test_total),
		cmocka_unit_test(test_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
