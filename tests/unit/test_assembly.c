/* A client's messages from fragments: any order, overlaps, lies; and the order of the messages themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/assembly.h"

static uint8_t body[20000];

static size_t write_fragment(uint8_t *out, uint8_t type, uint32_t message_len, uint16_t seq, uint32_t from,
			     uint32_t len)
{
	const uint8_t header[HANDSHAKE_HEADER_LEN] = {type,
						      (uint8_t)(message_len >> 16),
						      (uint8_t)(message_len >> 8),
						      (uint8_t)message_len,
						      (uint8_t)(seq >> 8),
						      (uint8_t)seq,
						      (uint8_t)(from >> 16),
						      (uint8_t)(from >> 8),
						      (uint8_t)from,
						      (uint8_t)(len >> 16),
						      (uint8_t)(len >> 8),
						      (uint8_t)len};

	memcpy(out, header, sizeof header);
	memcpy(out + sizeof header, body + from, len);
	return sizeof header + len;
}

static bool add(struct assembly *a, uint8_t type, uint32_t message_len, uint16_t seq, uint32_t from,
		uint32_t len)
{
	uint8_t *bytes = malloc(HANDSHAKE_HEADER_LEN + len); /* exact, for ASan */
	bool again;

	assert_non_null(bytes);
	again = assembly_add(a, bytes, write_fragment(bytes, type, message_len, seq, from, len));
	free(bytes);
	return again;
}

static void expect_message(struct assembly *a, uint8_t type, uint32_t len, uint16_t seq)
{
	struct assembly_message *m = assembly_take(a);
	const uint8_t *header;

	assert_non_null(m);
	header = m->bytes + ASSEMBLY_ROOM;
	assert_int_equal(m->type, type);
	assert_int_equal(m->body_len, len);
	assert_int_equal(header[0], type);
	assert_int_equal(header[2] << 8 | header[3], len);
	assert_int_equal(header[4] << 8 | header[5], seq);
	assert_int_equal(header[6] | header[7] | header[8], 0);
	assert_int_equal(header[10] << 8 | header[11], len);
	assert_memory_equal(header + HANDSHAKE_HEADER_LEN, body, len);
	assembly_drop(m);
}

static void whole_flight(struct assembly *a, uint16_t seq)
{
	add(a, HANDSHAKE_CLIENT_HELLO, 200, seq, 0, 200);
	expect_message(a, HANDSHAKE_CLIENT_HELLO, 200, seq);
}

static void test_flights(void **state)
{
	struct assembly a = {0};

	/* PSK */
	whole_flight(&a, 1);
	add(&a, HANDSHAKE_CLIENT_KEY_EXCHANGE, 20, 2, 0, 20);
	assert_false(a.flight_complete);
	expect_message(&a, HANDSHAKE_CLIENT_KEY_EXCHANGE, 20, 2);
	assert_true(a.flight_complete);
	assembly_fini(&a);

	/* with a certificate; message_seq may be anything, and wrap */
	memset(&a, 0, sizeof a);
	whole_flight(&a, 65534);
	add(&a, HANDSHAKE_CERTIFICATE_VERIFY, 72, 1, 0, 72);
	add(&a, HANDSHAKE_CLIENT_KEY_EXCHANGE, 66, 0, 0, 66);
	assert_null(assembly_take(&a));
	add(&a, HANDSHAKE_CERTIFICATE, 700, 65535, 0, 700);
	expect_message(&a, HANDSHAKE_CERTIFICATE, 700, 65535);
	expect_message(&a, HANDSHAKE_CLIENT_KEY_EXCHANGE, 66, 0);
	assert_false(a.flight_complete);
	expect_message(&a, HANDSHAKE_CERTIFICATE_VERIFY, 72, 1);
	assert_true(a.flight_complete);
	assert_null(assembly_take(&a));
	assembly_fini(&a);

	/* asked for a certificate, it has none */
	memset(&a, 0, sizeof a);
	whole_flight(&a, 1);
	add(&a, HANDSHAKE_CERTIFICATE, 3, 2, 0, 3);
	add(&a, HANDSHAKE_CLIENT_KEY_EXCHANGE, 66, 3, 0, 66);
	expect_message(&a, HANDSHAKE_CERTIFICATE, 3, 2);
	expect_message(&a, HANDSHAKE_CLIENT_KEY_EXCHANGE, 66, 3);
	assert_true(a.flight_complete);
	assembly_fini(&a);
}

/* What breaks the order is dropped, and leaves the place to what fits. */
static void test_order(void **state)
{
	struct assembly a = {0};

	add(&a, HANDSHAKE_CLIENT_KEY_EXCHANGE, 20, 1, 0, 20); /* before any ClientHello */
	assert_null(assembly_take(&a));
	whole_flight(&a, 1);
	add(&a, HANDSHAKE_CERTIFICATE_VERIFY, 20, 2, 0, 20);
	add(&a, HANDSHAKE_FINISHED, 12, 2, 0, 12); /* in the clear */
	add(&a, HANDSHAKE_SERVER_HELLO, 12, 2, 0, 12);
	add(&a, HANDSHAKE_CLIENT_HELLO, 12, 2, 0, 12);
	assert_null(assembly_take(&a));
	add(&a, HANDSHAKE_CLIENT_KEY_EXCHANGE, 20, 2, 0, 20);
	expect_message(&a, HANDSHAKE_CLIENT_KEY_EXCHANGE, 20, 2);
	add(&a, HANDSHAKE_CERTIFICATE_VERIFY, 20, 3, 0, 20); /* of no certificate */
	assert_null(assembly_take(&a));
	add(&a, HANDSHAKE_CLIENT_KEY_EXCHANGE, 20, 3, 0, 20); /* twice */
	assert_null(assembly_take(&a));
	add(&a, HANDSHAKE_CERTIFICATE_VERIFY, 20, 5, 0, 20); /* behind the end */
	add(&a, HANDSHAKE_CERTIFICATE_VERIFY, 20, 65535, 0, 20);
	assert_null(assembly_take(&a));
	assert_true(a.flight_complete);
	assembly_fini(&a);
}

static void test_hello_again(void **state)
{
	struct assembly a = {0};

	assert_false(add(&a, HANDSHAKE_CLIENT_HELLO, 200, 1, 0, 200));
	assert_false(add(&a, HANDSHAKE_CLIENT_HELLO, 200, 1, 0, 200)); /* not taken yet */
	expect_message(&a, HANDSHAKE_CLIENT_HELLO, 200, 1);
	assert_true(add(&a, HANDSHAKE_CLIENT_HELLO, 200, 1, 0, 200));
	assert_true(add(&a, HANDSHAKE_CLIENT_HELLO, 200, 1, 0, 100));
	assert_false(add(&a, HANDSHAKE_CLIENT_HELLO, 200, 1, 100, 100));
	assert_false(add(&a, HANDSHAKE_CLIENT_HELLO, 200, 0, 0, 200)); /* the one without a cookie */
	assert_null(assembly_take(&a));
	assembly_fini(&a);
}

/* Several messages in one record. */
static void test_coalesced(void **state)
{
	struct assembly a = {0};
	uint8_t bytes[2000];
	size_t len;

	whole_flight(&a, 1);
	len = write_fragment(bytes, HANDSHAKE_CERTIFICATE, 500, 2, 0, 500);
	len += write_fragment(bytes + len, HANDSHAKE_CLIENT_KEY_EXCHANGE, 66, 3, 0, 66);
	len += write_fragment(bytes + len, HANDSHAKE_CERTIFICATE_VERIFY, 72, 4, 0, 72);
	memset(bytes + len, 0xff, 20); /* and rubbish behind it */
	assert_false(assembly_add(&a, bytes, len + 20));
	expect_message(&a, HANDSHAKE_CERTIFICATE, 500, 2);
	expect_message(&a, HANDSHAKE_CLIENT_KEY_EXCHANGE, 66, 3);
	expect_message(&a, HANDSHAKE_CERTIFICATE_VERIFY, 72, 4);
	assembly_fini(&a);
}

static void test_lies(void **state)
{
	struct assembly a = {0};
	uint8_t bytes[HANDSHAKE_HEADER_LEN + 20];

	whole_flight(&a, 1);
	/* longer than anything that we take */
	add(&a, HANDSHAKE_CERTIFICATE, 16384, 2, 0, 100);
	add(&a, HANDSHAKE_CLIENT_KEY_EXCHANGE, 1025, 2, 0, 100);
	assert_null(a.messages[1].bytes);
	/* conflicting lengths and types for one message_seq: the first counts */
	add(&a, HANDSHAKE_CERTIFICATE, 300, 2, 0, 100);
	add(&a, HANDSHAKE_CERTIFICATE, 200, 2, 100, 100);
	add(&a, HANDSHAKE_CLIENT_KEY_EXCHANGE, 300, 2, 100, 200);
	assert_null(assembly_take(&a));
	add(&a, HANDSHAKE_CERTIFICATE, 300, 2, 100, 200);
	expect_message(&a, HANDSHAKE_CERTIFICATE, 300, 2);
	/* a fragment that ends behind the message, or behind the record */
	write_fragment(bytes, HANDSHAKE_CLIENT_KEY_EXCHANGE, 30, 3, 0, 20);
	bytes[8] = 11; /* offset 11 + 20 > 30 */
	(void)assembly_add(&a, bytes, sizeof bytes);
	assert_null(a.messages[2].bytes);
	write_fragment(bytes, HANDSHAKE_CLIENT_KEY_EXCHANGE, 30, 3, 0, 20);
	(void)assembly_add(&a, bytes, sizeof bytes - 1);
	assert_null(a.messages[2].bytes);
	for (size_t len = 0; len < HANDSHAKE_HEADER_LEN; len++)
		(void)assembly_add(&a, bytes, len);
	assert_null(a.messages[2].bytes);
	assembly_fini(&a);
}

static unsigned runs(const uint8_t *seen, uint32_t len)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < len; i++)
		n += seen[i] && (i == 0 || !seen[i - 1]);
	return n;
}

/* Fragments at random against an array that notes each byte. */
static void test_agrees_with_model(void **state)
{
	unsigned whole = 0, refused = 0;

	srand(2);
	for (int round = 0; round < 1000; round++) {
		struct assembly a = {0};
		uint32_t len = 4 + (uint32_t)rand() % 2000, most = 1 + (uint32_t)rand() % 300;
		uint8_t *seen = calloc(1, len), *then = malloc(len);

		assert_true(seen && then);
		whole_flight(&a, 1);
		for (int i = 0; i < 2000 && memchr(seen, 0, len); i++) {
			uint32_t from = (uint32_t)rand() % len, n = 1 + (uint32_t)rand() % most;

			if (i % 4) /* mostly in order, or few would ever be whole */
				from = (uint32_t)((uint8_t *)memchr(seen, 0, len) - seen);
			n = from + n > len ? len - from : n;
			assert_null(assembly_take(&a));
			add(&a, HANDSHAKE_CERTIFICATE, len, 2, from, n);
			memcpy(then, seen, len);
			memset(then + from, 1, n);
			if (runs(then, len) <= ASSEMBLY_SPANS)
				memcpy(seen, then, len);
			else
				refused++;
		}
		if (!memchr(seen, 0, len)) {
			whole++;
			expect_message(&a, HANDSHAKE_CERTIFICATE, len, 2);
		}
		free(seen);
		free(then);
		assembly_fini(&a);
	}
	assert_in_range(whole, 900, 1000);
	assert_in_range(refused, 100, 1000000); /* both ways were gone */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flights),     cmocka_unit_test(test_order),
		cmocka_unit_test(test_hello_again), cmocka_unit_test(test_coalesced),
		cmocka_unit_test(test_lies),        cmocka_unit_test(test_agrees_with_model),
	};

	srand(3);
	for (size_t i = 0; i < sizeof body; i++)
		body[i] = (uint8_t)rand();
	body[0] = 1; /* a Certificate's list is not empty */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
