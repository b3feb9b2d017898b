/* The cold records of live sessions, the handshakes in flight with their timers, and flights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/association.h"
#include "controlplane/attempt.h"
#include "controlplane/proof.h"

#define SECOND_NS 1000000000ULL

static const uint32_t slots[2] = {100, 50};
static const struct path path = {.peer = {.ip = {1}, .port = 9}};

static struct association *add(struct associations *as, uint16_t worker, uint32_t index, uint32_t generation,
			       uint64_t now_ns)
{
	struct sluice_session_up up = {.ref = {.worker = worker, .index = index, .generation = generation}};
	struct flight flight = {.mtu = 1400};
	struct association *a;

	assert_true(flight_add(&flight, (const uint8_t *)"last flight", 11));
	a = association_add(as, &path, &up, sizeof up, &flight, now_ns);
	if (a)
		assert_null(flight.bytes); /* taken */
	flight_fini(&flight);
	return a;
}

static void test_refs(void **state)
{
	struct associations *as = associations_new(2, slots);
	struct association *a;

	assert_non_null(as);
	a = add(as, 0, 7, 1, 0);
	assert_non_null(a);
	assert_non_null(add(as, 1, 7, 1, 0)); /* another worker's */
	assert_ptr_equal(association_find(as, (struct sluice_ref){.index = 7, .generation = 1}), a);
	assert_null(association_find(as, (struct sluice_ref){.index = 7, .generation = 2}));
	assert_null(association_find(as, (struct sluice_ref){.index = 8, .generation = 1}));
	assert_null(association_find(as, (struct sluice_ref){.index = 100, .generation = 1}));
	assert_null(association_find(as, (struct sluice_ref){.worker = 2, .index = 7, .generation = 1}));
	assert_null(add(as, 0, 100, 1, 0));
	assert_null(add(as, 2, 0, 1, 0));
	assert_int_equal(associations_count(as), 2);
	assert_non_null(add(as, 0, 7, 2, 0)); /* the slot was used again: the old one is gone */
	assert_int_equal(associations_count(as), 2);
	assert_null(association_find(as, (struct sluice_ref){.index = 7, .generation = 1}));
	association_remove(as, association_find(as, (struct sluice_ref){.index = 7, .generation = 2}));
	assert_int_equal(associations_count(as), 1);
	associations_free(as);
}

/* Exporter values go with the last flight; what is announced afterwards is whole without them. */
static void test_exported_is_forgotten(void **state)
{
	static const uint16_t types[] = {SLUICE_FIELD_CREDENTIAL_ID, SLUICE_FIELD_EXPORTER_LABEL,
					 SLUICE_FIELD_EXPORTER_VALUE};
	static const char *const values[] = {"meter-1", "EXPORTER-a",
					     "0123456789abcdef0123456789abcdef0123456789abcdef"};
	_Alignas(8) uint8_t up[SESSION_UP_MAX] = {0}, out[SESSION_UP_MAX];
	uint8_t *at = up + sizeof(struct sluice_session_up);
	struct associations *as = associations_new(2, slots);
	struct flight flight = {.mtu = 1400};
	struct association *a;
	size_t len;

	for (int i = 0; i < 3; i++)
		at = session_up_field(at, types[i], values[i], strlen(values[i]));
	len = (size_t)(at - up);
	((struct sluice_session_up *)up)->fields_len = (uint16_t)(len - sizeof(struct sluice_session_up));
	assert_true(flight_add(&flight, (const uint8_t *)"last flight", 11));
	a = association_add(as, &path, up, len, &flight, 0);
	assert_int_equal(association_announcement(a, out), len);
	assert_memory_equal(out, up, len);
	assert_int_equal(association_up(a)->fields_len, 4 + 8);
	(void)associations_expire_flights(as, LAST_FLIGHT_NS);
	len = sizeof(struct sluice_session_up) + 4 + 8;
	assert_int_equal(association_announcement(a, out), len);
	assert_int_equal(((struct sluice_session_up *)out)->fields_len, 4 + 8);
	assert_memory_equal(out + sizeof(struct sluice_session_up), up + sizeof(struct sluice_session_up),
			    4 + 8);
	flight_fini(&flight);
	associations_free(as);
}

static void test_flights_expire(void **state)
{
	struct associations *as = associations_new(2, slots);
	struct association *first = add(as, 0, 1, 1, 10 * SECOND_NS),
			   *second = add(as, 0, 2, 1, 20 * SECOND_NS);

	assert_true(first->has_flight && second->has_flight);
	assert_int_equal(first->last_flight.room, first->last_flight.len); /* no byte too many */
	assert_true(associations_expire_flights(as, 69 * SECOND_NS) == 70 * SECOND_NS);
	assert_true(first->has_flight);
	assert_true(associations_expire_flights(as, 70 * SECOND_NS) == 80 * SECOND_NS);
	assert_false(first->has_flight);
	assert_true(second->has_flight);
	association_remove(as, second);
	assert_true(associations_expire_flights(as, 70 * SECOND_NS) == UINT64_MAX);
	associations_free(as);
}

static void test_walk(void **state)
{
	struct associations *as = associations_new(2, slots);
	uint32_t slot = 0, found = 0, calls = 0;

	for (uint32_t i = 0; i < 100; i += 9)
		assert_non_null(add(as, 0, i, i + 1, 0));
	while (slot != UINT32_MAX) {
		struct association *a = associations_walk(as, 0, &slot, 4);

		calls++;
		assert_in_range(calls, 1, 60);
		if (a) {
			assert_int_equal(association_up(a)->ref.index, 9 * found);
			found++;
		}
	}
	assert_int_equal(found, 12);
	slot = 0;
	assert_null(associations_walk(as, 1, &slot, 1000));
	assert_int_equal(slot, UINT32_MAX);
	associations_free(as);
}

static void test_retries(void **state)
{
	struct associations *as = associations_new(2, slots);
	struct association *a = add(as, 0, 1, 1, 0), *b = add(as, 0, 2, 1, 0);

	association_retry_later(as, a, 1000, 50);
	association_retry_later(as, b, 1010, 50);
	association_retry_later(as, a, 1020, 50); /* again: once, later */
	assert_int_equal(associations_retry_deadline(as), 1060);
	assert_null(associations_retry(as, 1059));
	assert_ptr_equal(associations_retry(as, 1080), b);
	association_remove(as, a);
	assert_null(associations_retry(as, 2000));
	assert_true(associations_retry_deadline(as) == UINT64_MAX);
	associations_free(as);
}

/* ---- handshakes in flight */

static struct tls_use use;
static const struct tls tls = {.packet_mtu = 1400, .use = &use};

static struct attempt *begin(struct attempts *as, uint32_t index, uint64_t now_ns)
{
	struct handshake_start start = {.ref = {.index = index, .generation = 1}};
	struct handshake *h = handshake_new(&tls, &start);
	struct attempt *a = attempt_add(as, start.ref, h, now_ns);

	if (!a)
		handshake_free(h);
	return a;
}

static void test_attempts(void **state)
{
	struct attempts *as = attempts_new(1000, SECOND_NS, 40 * SECOND_NS);
	struct attempt *a[1000];

	assert_non_null(as);
	for (uint32_t i = 0; i < 1000; i++) {
		a[i] = begin(as, i, i);
		assert_non_null(a[i]);
	}
	assert_null(begin(as, 1000, 1000)); /* bounded */
	assert_int_equal(attempts_count(as), 1000);
	assert_ptr_equal(attempts_oldest(as), a[0]);
	for (uint32_t i = 0; i < 1000; i++) {
		assert_ptr_equal(attempt_find(as, (struct sluice_ref){.index = i, .generation = 1}), a[i]);
		assert_null(attempt_find(as, (struct sluice_ref){.index = i, .generation = 2}));
	}
	for (uint32_t i = 0; i < 1000; i += 2)
		attempt_remove(as, a[i]);
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(attempt_find(as, (struct sluice_ref){.index = i, .generation = 1}) != NULL,
				 i % 2);
	assert_ptr_equal(attempts_oldest(as), a[1]);
	attempts_free(as);
}

/* RFC 6347 4.2.4.1: 1 s, then doubled, until it is given up. */
static void test_timers(void **state)
{
	struct attempts *as = attempts_new(10, SECOND_NS, 40 * SECOND_NS);
	struct attempt *a = begin(as, 1, 0), *b = begin(as, 2, SECOND_NS / 2);
	uint64_t fired[2][16] = {{0}}, ends[2] = {0, 0};
	unsigned count[2] = {0, 0};

	while (attempts_count(as) > 0) {
		uint64_t now = attempts_deadline(as);
		struct attempt *one;

		assert_true(now < 100 * SECOND_NS);
		while ((one = attempts_resend(as, now)))
			fired[one == b][count[one == b]++] = now;
		while ((one = attempts_timed_out(as, now))) {
			ends[one == b] = now;
			attempt_remove(as, one);
		}
	}
	assert_int_equal(count[0], 5);
	assert_int_equal(count[1], 5);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(fired[0][i] == ((2ULL << i) - 1) * SECOND_NS); /* 1, 3, 7, 15, 31 */
		assert_true(fired[1][i] == fired[0][i] + SECOND_NS / 2);
	}
	assert_true(ends[0] == 40 * SECOND_NS);
	assert_true(ends[1] == 40 * SECOND_NS + SECOND_NS / 2);
	assert_true(attempts_deadline(as) == UINT64_MAX);
	(void)a;
	attempts_free(as);
}

/* ---- flights */

static void test_flight(void **state)
{
	struct flight f = {.mtu = 100};
	uint8_t record[3000];
	uint32_t at = 0;
	uint16_t len;
	static const size_t lens[] = {60, 40, 1, 99, 100, 150, 10};
	static const uint16_t datagrams[] = {100, 100, 100, 150, 10};

	for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
		memset(record, (int)i, sizeof record);
		assert_true(flight_add(&f, record, lens[i]));
	}
	for (size_t i = 0; i < sizeof datagrams / sizeof datagrams[0]; i++) {
		assert_non_null(flight_next(&f, &at, &len));
		assert_int_equal(len, datagrams[i]);
	}
	assert_null(flight_next(&f, &at, &len));
	flight_clear(&f);
	at = 0;
	assert_null(flight_next(&f, &at, &len));
	/* bounded */
	for (unsigned i = 0; i < FLIGHT_MAX / 3002; i++)
		assert_true(flight_add(&f, record, 3000));
	assert_false(flight_add(&f, record, 3000));
	flight_fini(&f);
}

static void test_alert(void **state)
{
	uint8_t expected[] = {21, 0xfe, 0xfd, 0, 0, 1, 2, 3, 4, 5, 6, 0, 2, 2, 40};
	struct flight f = {.mtu = 100};
	uint32_t at = 0;
	uint16_t len;
	const uint8_t *datagram;

	assert_true(flight_add_alert(&f, DTLS_1_2, 0x010203040506, 40));
	datagram = flight_next(&f, &at, &len);
	assert_int_equal(len, sizeof expected);
	assert_memory_equal(datagram, expected, sizeof expected);
	flight_clear(&f);
	assert_true(flight_add_alert(&f, DTLS_1_0, 0x010203040506, 70));
	expected[2] = 0xff;
	expected[14] = 70;
	at = 0;
	datagram = flight_next(&f, &at, &len);
	assert_memory_equal(datagram, expected, sizeof expected);
	flight_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refs),
		cmocka_unit_test(test_flights_expire),
		cmocka_unit_test(test_exported_is_forgotten),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_retries),
		cmocka_unit_test(test_attempts),
		cmocka_unit_test(test_timers),
		cmocka_unit_test(test_flight),
		cmocka_unit_test(test_alert),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
