/* The stateless answer to a ClientHello: what is answered, what is let in, what is dropped.
 * test_cookie_wolfssl.c holds the bytes against wolfSSL's. Names in brackets are those of the list of what a
 * gateway must withstand.
 */
#include "dataplane/cookie.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/hello_builder.h"

static struct cookie_secrets secrets;
static const struct peer_address somebody = {.ip = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}, .port = 0x3316};
static uint8_t answer[HELLO_VERIFY_LEN];
static struct client_hello hello;
static const struct cookie_secret *matched;

static void new_secret(uint8_t secret[COOKIE_SECRET_LEN])
{
	hello_random_bytes(secret, COOKIE_SECRET_LEN);
}

static int fresh_secrets(void **state)
{
	uint8_t secret[COOKIE_SECRET_LEN];

	new_secret(secret);
	cookie_secrets_init(&secrets, secret);
	(void)state;
	return 0;
}

/* From a copy of exact size, so that a read behind it is seen by the address sanitizer. */
static enum hello_verdict check_from(const struct peer_address *peer, const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len);
	struct record r;
	enum record_verdict verdict;
	enum hello_verdict result;

	memcpy(copy, bytes, len);
	assert_int_equal(record_read(copy, len, &r, &verdict), len);
	assert_int_equal(verdict, RECORD_APP);
	memset(answer, 0, sizeof(answer));
	matched = &secrets.previous;
	result = cookie_check(&secrets, peer, &r, &hello, answer, &matched);
	if (result != HELLO_VALID)
		assert_null(matched);
	if (result == HELLO_ANSWER)
		assert_true(len >= sizeof(answer)); /* [C02] */
	free(copy);
	return result;
}

static enum hello_verdict check_parts(const struct peer_address *peer, const struct hello_parts *h)
{
	uint8_t bytes[HELLO_RECORD_MAX];

	return check_from(peer, bytes, hello_whole(h, bytes));
}

/* The hello repeated with the cookie of the answer, as a client does it. */
static void take_cookie(struct hello_parts *h)
{
	memcpy(h->cookie, answer + HELLO_VERIFY_LEN - COOKIE_LEN, COOKIE_LEN);
	h->cookie_len = COOKIE_LEN;
	h->message_seq++;
	h->seq = (h->seq + 1) & ((1ULL << 48) - 1);
}

/* A hello that is let in, whose every change must not be. */
static struct hello_parts proven_parts(void)
{
	struct hello_parts h = hello_random_parts();

	assert_int_equal(check_parts(&somebody, &h), HELLO_ANSWER);
	take_cookie(&h);
	assert_int_equal(check_parts(&somebody, &h), HELLO_VALID);
	return h;
}

/* [C01] No cookie: an answer. [C05] 0xfeff inside, the record's sequence number and the message's repeated.
 */
static void answers_and_lets_in(void **state)
{
	for (unsigned i = 0; i < 2000; i++) {
		struct hello_parts h = hello_random_parts();
		uint8_t head[28] = {
			22, 0xfe, 0xfd, [12] = 0x2f, [13] = 3, [16] = 0x23, [24] = 0x23, 0xfe, 0xff, 0x20};

		for (unsigned k = 0; k < 6; k++)
			head[5 + k] = (uint8_t)(h.seq >> 8 * (5 - k));
		assert_int_equal(check_parts(&somebody, &h), HELLO_ANSWER);
		assert_memory_equal(answer, head, sizeof(head));
		take_cookie(&h);
		assert_int_equal(check_parts(&somebody, &h), HELLO_VALID);
		assert_ptr_equal(matched, &secrets.current);
		assert_int_equal(hello.message_seq, 1);
	}
	(void)state;
}

/* What was read is what was written. */
static void reads_the_fields(void **state)
{
	struct hello_parts h = hello_random_parts();
	uint8_t bytes[HELLO_RECORD_MAX];
	struct record r;
	enum record_verdict verdict;

	h.message_seq = 0x1234;
	h.session_id_len = 32;
	hello_random_extensions(&h);
	h.cookie_len = 5;
	record_read(bytes, hello_whole(&h, bytes), &r, &verdict);
	assert_int_equal(cookie_check(&secrets, &somebody, &r, &hello, answer, &matched), HELLO_ANSWER);
	assert_int_equal(hello.version, h.version);
	assert_int_equal(hello.message_seq, h.message_seq);
	assert_memory_equal(hello.random, h.random, 32);
	assert_int_equal(hello.session_id_len, 32);
	assert_memory_equal(hello.session_id, h.session_id, 32);
	assert_int_equal(hello.cookie_len, 5);
	assert_memory_equal(hello.cookie, h.cookie, 5);
	assert_int_equal(hello.suites_len, h.suites_len);
	assert_memory_equal(hello.suites, h.suites, h.suites_len);
	assert_int_equal(hello.compression_len, h.compression_len);
	assert_memory_equal(hello.compression, h.compression, h.compression_len);
	assert_int_equal(hello.extensions_len, h.extensions_len);
	assert_memory_equal(hello.extensions, h.extensions, (size_t)h.extensions_len);
	assert_false(hello.fragmented);
	(void)state;
}

/* [C03] Another address, by any bit of it and of the port. */
static void wrong_source(void **state)
{
	struct hello_parts h = proven_parts();

	for (unsigned bit = 0; bit < 8 * sizeof(somebody); bit++) {
		struct peer_address other = somebody;

		((uint8_t *)&other)[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(check_parts(&other, &h), HELLO_ANSWER);
	}
	assert_int_equal(check_parts(&somebody, &h), HELLO_VALID);
	(void)state;
}

/* [C03] [S07] Another version, random, session_id, suites or compression. */
static void changed_parameters(void **state)
{
	for (unsigned i = 0; i < 300; i++) {
		const struct hello_parts good = proven_parts();
		struct hello_parts h = good;

		h.version = DTLS_1_0;
		assert_int_equal(check_parts(&somebody, &h), HELLO_ANSWER);
		h = good;
		h.random[rand() % 32] ^= (uint8_t)(1 << rand() % 8);
		assert_int_equal(check_parts(&somebody, &h), HELLO_ANSWER);
		h = good;
		h.session_id_len = h.session_id_len == 32 ? 31 : (uint8_t)(h.session_id_len + 1);
		assert_int_equal(check_parts(&somebody, &h), HELLO_ANSWER);
		h = good;
		h.suites[rand() % h.suites_len] ^= (uint8_t)(1 << rand() % 8);
		assert_int_equal(check_parts(&somebody, &h), HELLO_ANSWER);
		h = good;
		h.suites_len += 2;
		assert_int_equal(check_parts(&somebody, &h), HELLO_ANSWER);
		h = good;
		h.compression[rand() % h.compression_len] ^= (uint8_t)(1 << rand() % 8);
		assert_int_equal(check_parts(&somebody, &h), HELLO_ANSWER);
		assert_int_equal(check_parts(&somebody, &good), HELLO_VALID);
	}
	(void)state;
}

/* [C07] Every bit of the cookie, and every other length: treated as no cookie. */
static void wrong_cookies(void **state)
{
	const struct hello_parts good = proven_parts();
	uint8_t expected[HELLO_VERIFY_LEN];
	struct hello_parts h = good;

	h.cookie_len = 0;
	assert_int_equal(check_parts(&somebody, &h), HELLO_ANSWER);
	memcpy(expected, answer, sizeof(expected));
	for (unsigned bit = 0; bit < 8 * COOKIE_LEN; bit++) {
		h = good;
		h.cookie[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(check_parts(&somebody, &h), HELLO_ANSWER);
		assert_memory_equal(answer, expected, sizeof(expected));
	}
	for (unsigned len = 0; len < 256; len++) {
		h = good;
		h.cookie_len = (uint8_t)len;
		assert_int_equal(check_parts(&somebody, &h), len == COOKIE_LEN ? HELLO_VALID : HELLO_ANSWER);
	}
	(void)state;
}

/* [C04] The secret before is still good, the one before that is not; answers are made with the new one. */
static void rotation(void **state)
{
	struct hello_parts old = proven_parts();
	struct hello_parts newer;
	uint8_t secret[COOKIE_SECRET_LEN];
	uint8_t first_secret[COOKIE_SECRET_LEN];

	memcpy(first_secret, secrets.current.secret, sizeof(first_secret));
	new_secret(secret);
	cookie_secrets_rotate(&secrets, secret);
	assert_int_equal(check_parts(&somebody, &old), HELLO_VALID);
	assert_ptr_equal(matched, &secrets.previous);
	assert_memory_equal(matched->secret, first_secret, sizeof(first_secret));
	newer = proven_parts();
	assert_int_equal(check_parts(&somebody, &newer), HELLO_VALID);
	assert_ptr_equal(matched, &secrets.current);

	new_secret(secret);
	cookie_secrets_rotate(&secrets, secret);
	assert_int_equal(check_parts(&somebody, &old), HELLO_ANSWER);
	assert_int_equal(check_parts(&somebody, &newer), HELLO_VALID);
	assert_ptr_equal(matched, &secrets.previous);

	cookie_secrets_init(&secrets, secret);
	assert_int_equal(check_parts(&somebody, &newer), HELLO_ANSWER); /* init forgets both */
	(void)state;
}

/* A secret of zeros that was never set must not be good: without a previous one there is none. */
static void no_previous_secret(void **state)
{
	static const uint8_t zeros[COOKIE_SECRET_LEN];
	struct cookie_secrets kept = secrets;
	struct hello_parts h;

	cookie_secrets_init(&secrets, zeros);
	h = proven_parts();
	secrets = kept;
	assert_false(secrets.has_previous);
	assert_int_equal(check_parts(&somebody, &h), HELLO_ANSWER);
	cookie_secrets_wipe(&kept);
	for (size_t i = 0; i < sizeof(kept); i++)
		assert_int_equal(((const uint8_t *)&kept)[i], 0);
	(void)state;
}

/* [C02] The shortest hello there is, and the same with one byte less, which is none. */
static void never_more_out_than_in(void **state)
{
	struct hello_parts h = {.record_version = DTLS_1_0,
				.version = DTLS_1_2,
				.suites_len = 2,
				.compression_len = 1,
				.extensions_len = -1};
	uint8_t body[HELLO_RECORD_MAX];
	uint8_t bytes[HELLO_RECORD_MAX];
	size_t len = hello_whole(&h, bytes);

	assert_int_equal(len, 67);
	assert_int_equal(check_from(&somebody, bytes, len), HELLO_ANSWER);
	hello_body(&h, body);
	len = hello_record(&h, 1, body, 41, 0, 41, bytes);
	assert_int_equal(check_from(&somebody, bytes, len), HELLO_MALFORMED);
	(void)state;
}

/* [H12] DTLS 1.0 only, SSL 3.0, TLS and versions that there are not: nobody is refused aloud before the
 * address is proved, so that no third party gets an alert. */
static void versions(void **state)
{
	for (unsigned version = 0; version < 65536; version++) {
		struct hello_parts h = {.record_version = DTLS_1_0,
					.version = (uint16_t)version,
					.suites_len = 2,
					.compression_len = 1,
					.extensions_len = -1};
		bool known = version >> 8 == 0xfe || version >> 8 == 3; /* 3: SSL 3.0 and TLS */

		h.seq = version;
		assert_int_equal(check_parts(&somebody, &h), known ? HELLO_ANSWER : HELLO_MALFORMED);
		if (!known)
			continue;
		take_cookie(&h);
		assert_int_equal(check_parts(&somebody, &h), HELLO_VALID);
	}
	(void)state;
}

/* [C06] A first fragment is judged when it reaches through compression_methods, with the same cookie as the
 * whole; a shorter one is dropped. */
static void first_fragment(void **state)
{
	for (unsigned i = 0; i < 20; i++) {
		struct hello_parts h = hello_random_parts();
		uint8_t body[HELLO_RECORD_MAX];
		uint8_t bytes[HELLO_RECORD_MAX];
		uint8_t cookie[COOKIE_LEN];
		uint32_t whole, needed;

		hello_random_extensions(&h);
		assert_int_equal(check_parts(&somebody, &h), HELLO_ANSWER);
		memcpy(cookie, answer + HELLO_VERIFY_LEN - COOKIE_LEN, COOKIE_LEN);
		for (unsigned with_cookie = 0; with_cookie < 2; with_cookie++) {
			whole = (uint32_t)hello_body(&h, body);
			needed = whole - 2 - (uint32_t)h.extensions_len;
			for (uint32_t len = 0; len < whole; len++) {
				size_t record_len = hello_record(&h, 1, body, whole, 0, len, bytes);
				enum hello_verdict good = with_cookie ? HELLO_VALID : HELLO_ANSWER;

				assert_int_equal(check_from(&somebody, bytes, record_len),
						 len < needed ? HELLO_MALFORMED : good);
				if (len < needed)
					continue;
				assert_true(hello.fragmented);
				assert_null(hello.extensions);
				if (!with_cookie)
					assert_memory_equal(answer + HELLO_VERIFY_LEN - COOKIE_LEN, cookie,
							    COOKIE_LEN);
			}
			take_cookie(&h);
		}
	}
	(void)state;
}

/* Later fragments and other messages are not for the cookie to judge, whatever is in them. */
static void not_a_hello(void **state)
{
	struct hello_parts h = hello_random_parts();
	uint8_t body[HELLO_RECORD_MAX];
	uint8_t bytes[HELLO_RECORD_MAX];
	uint32_t whole = (uint32_t)hello_body(&h, body);

	for (unsigned type = 0; type < 256; type++) {
		size_t len = hello_record(&h, (uint8_t)type, body, whole, 0, whole, bytes);

		assert_int_equal(check_from(&somebody, bytes, len), type == 1 ? HELLO_ANSWER : HELLO_NOT);
	}
	for (uint32_t offset = 1; offset < whole; offset++) {
		size_t len = hello_record(&h, 1, body, whole, offset, whole - offset, bytes);

		assert_int_equal(check_from(&somebody, bytes, len), HELLO_NOT);
	}
	for (unsigned type = 20; type < 24; type++) {
		size_t len = hello_whole(&h, bytes);

		bytes[0] = (uint8_t)type;
		bytes[2] = 0xfd;
		assert_int_equal(check_from(&somebody, bytes, len), type == 22 ? HELLO_ANSWER : HELLO_NOT);
	}
	(void)state;
}

/* Cut at every length, with headers that say so and with headers that do not. */
static void truncated_at_every_length(void **state)
{
	struct hello_parts h = hello_random_parts();
	uint8_t body[HELLO_RECORD_MAX];
	uint8_t bytes[HELLO_RECORD_MAX];
	uint32_t whole, without_extensions;

	h.session_id_len = 20;
	hello_random_extensions(&h);
	whole = (uint32_t)hello_body(&h, body);
	without_extensions = whole - 2 - (uint32_t)h.extensions_len;
	for (uint32_t len = 0; len < whole; len++) {
		size_t record_len = hello_record(&h, 1, body, len, 0, len, bytes);

		assert_int_equal(check_from(&somebody, bytes, record_len),
				 len == without_extensions ? HELLO_ANSWER : HELLO_MALFORMED);
	}
	for (size_t len = 1; len < 12 + whole;
	     len++) { /* the record is shorter than the message's header says */
		hello_record(&h, 1, body, whole, 0, whole, bytes);
		bytes[11] = (uint8_t)(len >> 8);
		bytes[12] = (uint8_t)len;
		assert_int_equal(check_from(&somebody, bytes, RECORD_HEADER_LEN + len), HELLO_MALFORMED);
	}
	(void)state;
}

static enum hello_verdict check_record(const struct hello_parts *h, const uint8_t *body, uint32_t length,
				       uint32_t fragment_len, size_t really)
{
	uint8_t bytes[HELLO_RECORD_MAX];
	size_t len = hello_record(h, 1, body, length, 0, (uint32_t)really, bytes);

	bytes[RECORD_HEADER_LEN + 9] = (uint8_t)(fragment_len >> 16);
	bytes[RECORD_HEADER_LEN + 10] = (uint8_t)(fragment_len >> 8);
	bytes[RECORD_HEADER_LEN + 11] = (uint8_t)fragment_len;
	return check_from(&somebody, bytes, len);
}

/* Lengths of the handshake header that contradict each other, and one that no record could ever hold. */
static void contradicting_lengths(void **state)
{
	struct hello_parts h = hello_random_parts();
	uint8_t body[HELLO_RECORD_MAX] = {0};
	uint32_t whole = (uint32_t)hello_body(&h, body);

	assert_int_equal(check_record(&h, body, whole, whole, whole), HELLO_ANSWER);
	assert_int_equal(check_record(&h, body, whole, whole, whole + 1),
			 HELLO_MALFORMED); /* something behind it */
	hello_random_extensions(&h);
	whole = (uint32_t)hello_body(&h, body);
	body[whole] = 0; /* inside the message, behind its extensions */
	assert_int_equal(check_record(&h, body, whole, whole, whole), HELLO_ANSWER);
	assert_int_equal(check_record(&h, body, whole + 1, whole + 1, whole + 1), HELLO_MALFORMED);
	assert_int_equal(check_record(&h, body, whole, whole + 1, whole), HELLO_MALFORMED);
	assert_int_equal(check_record(&h, body, whole - 1, whole, whole), HELLO_MALFORMED);
	assert_int_equal(check_record(&h, body, whole, 0xffffff, whole), HELLO_MALFORMED);
	assert_int_equal(check_record(&h, body, 0xffffff, whole, whole), HELLO_MALFORMED);
	assert_int_equal(check_record(&h, body, 8192 + 1, whole, whole), HELLO_MALFORMED);
	/* The first fragment of the longest that is answered: it must not be too long when the cookie is in
	 * it. */
	h.cookie_len = 0;
	whole = (uint32_t)hello_body(&h, body);
	assert_int_equal(check_record(&h, body, 8192 - COOKIE_LEN, whole, whole), HELLO_ANSWER);
	assert_int_equal(check_record(&h, body, 8192 - COOKIE_LEN + 1, whole, whole), HELLO_MALFORMED);
	(void)state;
}

static void malformed_fields(void **state)
{
	struct hello_parts h = hello_random_parts();

	h.session_id_len = 33;
	assert_int_equal(check_parts(&somebody, &h), HELLO_MALFORMED);
	h.session_id_len = 32;
	assert_int_equal(check_parts(&somebody, &h), HELLO_ANSWER);
	h.suites_len = 0;
	assert_int_equal(check_parts(&somebody, &h), HELLO_MALFORMED);
	h.suites_len = 3;
	assert_int_equal(check_parts(&somebody, &h), HELLO_MALFORMED);
	h.suites_len = 4;
	assert_int_equal(check_parts(&somebody, &h), HELLO_ANSWER);
	h.compression_len = 0;
	assert_int_equal(check_parts(&somebody, &h), HELLO_MALFORMED);
	(void)state;
}

/* [H16] The list must be filled exactly. */
static void extension_lists(void **state)
{
	static const struct {
		uint8_t bytes[12];
		int len;
		enum hello_verdict verdict;
	} lists[] = {
		{{0}, 0, HELLO_ANSWER},
		{{0}, 1, HELLO_MALFORMED},
		{{0, 1}, 2, HELLO_MALFORMED},
		{{0, 1, 0}, 3, HELLO_MALFORMED},
		{{0, 1, 0, 0}, 4, HELLO_ANSWER},
		{{0, 1, 0, 1}, 4, HELLO_MALFORMED},
		{{0, 1, 0, 1, 9}, 5, HELLO_ANSWER},
		{{0, 1, 0, 0, 9}, 5, HELLO_MALFORMED},
		{{0, 1, 0xff, 0xff, 9}, 5, HELLO_MALFORMED},
		{{0, 1, 0, 0, 0, 2, 0, 2, 7, 7}, 10, HELLO_ANSWER},
		{{0, 1, 0, 0, 0, 2, 0, 3, 7, 7}, 10, HELLO_MALFORMED},
		{{0, 1, 0, 0, 0, 2, 0, 1, 7, 7}, 10, HELLO_MALFORMED},
	};

	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct hello_parts h = hello_random_parts();

		memcpy(h.extensions, lists[i].bytes, sizeof(lists[i].bytes));
		h.extensions_len = lists[i].len;
		assert_int_equal(check_parts(&somebody, &h), lists[i].verdict);
	}
	(void)state;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, fresh_secrets)
	const struct CMUnitTest tests[] = {
		T(answers_and_lets_in),
		T(reads_the_fields),
		T(wrong_source),
		T(changed_parameters),
		T(wrong_cookies),
		T(rotation),
		T(no_previous_secret),
		T(never_more_out_than_in),
		T(versions),
		T(first_fragment),
		T(not_a_hello),
		T(truncated_at_every_length),
		T(contradicting_lengths),
		T(malformed_fields),
		T(extension_lists),
	};

	srand(24);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
