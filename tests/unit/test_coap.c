/* coap.c: messages as RFC 7252 3 writes them, whole and damaged, and the answers that are made of them. */
#include "ring/coap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define READ(m, bytes) read_exactly(m, bytes, sizeof(bytes) - 1)

/* From memory of just that size, so that a sanitizer sees every step too far. */
static enum coap_shape read_exactly(struct coap_message *m, const char *bytes, size_t len)
{
	static uint8_t *copy;

	free(copy);
	copy = malloc(len > 0 ? len : 1);
	if (len > 0)
		memcpy(copy, bytes, len);
	return coap_read(m, copy, len);
}

static void assert_option(const struct coap_message *m, struct coap_option *at, uint32_t number,
			  const char *value)
{
	assert_true(coap_option_next(m, at));
	assert_int_equal(at->number, number);
	assert_int_equal(at->len, strlen(value));
	assert_memory_equal(at->value, value, at->len);
}

static void a_request_is_read(void **state)
{
	struct coap_option at = {0};
	struct coap_message m;

	(void)state;
	/* CON POST, token "tk", Uri-Path "rd", Uri-Query "ep=a" and "lt=60", payload */
	assert_int_equal(READ(&m, "\x42\x02\x12\x34tk\xb2rd\x44"
				  "ep=a\x05lt=60\xff</1/0>"),
			 COAP_GOOD);
	assert_int_equal(m.type, COAP_CONFIRMABLE);
	assert_int_equal(m.code, COAP_POST);
	assert_int_equal(m.id, 0x1234);
	assert_int_equal(m.token_len, 2);
	assert_memory_equal(m.token, "tk", 2);
	assert_true(coap_is_request(&m));
	assert_option(&m, &at, COAP_URI_PATH, "rd");
	assert_option(&m, &at, COAP_URI_QUERY, "ep=a");
	assert_option(&m, &at, COAP_URI_QUERY, "lt=60");
	assert_false(coap_option_next(&m, &at));
}

/* RFC 7252 3.1: differences and lengths of one and of two more bytes. */
static void long_options_are_read(void **state)
{
	char bytes[600] = "\x40\x01\x00\x01\xdd\xf3\x00";
	struct coap_option at = {0};
	struct coap_message m;

	(void)state;
	memset(bytes + 7, 'n', 13); /* option 256 of 13 bytes */
	memcpy(bytes + 20, "\xee\xff\xff\x00\x0a", 5);
	assert_int_equal(read_exactly(&m, bytes, 20), COAP_GOOD);
	assert_option(&m, &at, COAP_ONEM2M_FR, "nnnnnnnnnnnnn");
	assert_false(coap_option_next(&m, &at));
	/* 256 + 269 + 65535 is above 65535 */
	memset(bytes + 25, 'v', 279);
	assert_int_equal(read_exactly(&m, bytes, 25 + 279), COAP_MALFORMED);
	memcpy(bytes + 20, "\xee\x00\x01\x00\x0a", 5);
	assert_int_equal(read_exactly(&m, bytes, 25 + 279), COAP_GOOD);
	at = (struct coap_option){0};
	assert_true(coap_option_next(&m, &at) && coap_option_next(&m, &at));
	assert_int_equal(at.number, 256 + 270);
	assert_int_equal(at.len, 279);
	assert_int_equal(read_exactly(&m, bytes, 25 + 278), COAP_MALFORMED);
}

static void messages_without_a_request(void **state)
{
	struct coap_message m;

	(void)state;
	assert_int_equal(READ(&m, "\x40\x00\x00\x07"), COAP_GOOD); /* a ping: RFC 7252 4.3 */
	assert_false(coap_is_request(&m));
	assert_int_equal(READ(&m, "\x60\x00\x00\x07"), COAP_GOOD);
	assert_int_equal(READ(&m, "\x70\x00\x00\x07"), COAP_GOOD);
	assert_int_equal(READ(&m, "\x61\x45\x00\x07t\xffok"), COAP_GOOD); /* 2.05 */
	assert_false(coap_is_request(&m));
}

static void what_is_no_coap_is_told_apart(void **state)
{
	struct coap_message m;

	(void)state;
	assert_int_equal(read_exactly(&m, "", 0), COAP_FOREIGN);
	assert_int_equal(READ(&m, "\x40\x01\x00"), COAP_FOREIGN);
	assert_int_equal(READ(&m, "\x80\x01\x00\x01"), COAP_FOREIGN);
	assert_int_equal(READ(&m, "\x00\x01\x00\x01"), COAP_FOREIGN);
}

static void malformed_messages(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} of[] = {
#define M(bytes) {bytes, sizeof(bytes) - 1}
		M("\x49\x01\x00\x01"
		  "123456789"),                /* token of nine bytes: reserved */
		M("\x42\x01\x00\x01t"),        /* token cut */
		M("\x40\x01\x00\x01\xff"),     /* marker without a payload */
		M("\x40\x01\x00\x01\xf0"),     /* difference 15 is the marker's alone */
		M("\x40\x01\x00\x01\x0f"),     /* length 15 */
		M("\x40\x01\x00\x01\xb3rd"),   /* value cut */
		M("\x40\x01\x00\x01\xd0"),     /* extension missing */
		M("\x40\x01\x00\x01\xe0\x00"), /* half of it */
		M("\x40\x01\x00\x01\x0e\x00"), /* the same of a length */
		M("\x41\x00\x00\x01t"),        /* Empty with more than a header */
		M("\x50\x00\x00\x01"),         /* Empty, not confirmable: RFC 7252 4.3 */
		M("\x60\x01\x00\x01"),         /* a request in an acknowledgement */
		M("\x70\x02\x00\x01"),         /* and in a Reset */
		M("\x40\x20\x00\x01"),         /* class 1 */
		M("\x40\xc0\x00\x01"),         /* class 6 */
		M("\x40\xe1\x00\x01"),         /* class 7: of CoAP over TCP */
#undef M
	};
	struct coap_message m;

	(void)state;
	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		assert_int_equal(read_exactly(&m, of[i].bytes, of[i].len), COAP_MALFORMED);
		assert_int_equal(m.type, (uint8_t)of[i].bytes[0] >> 4 & 3);
		assert_int_equal(m.id, 1);
	}
}

static void answers(void **state)
{
	const struct coap_option status = {COAP_ONEM2M_RSC, (const uint8_t *)"\x10\x07", 2};
	struct coap_option at = {0};
	struct coap_message m;
	uint8_t out[64];
	size_t len;

	(void)state;
	assert_int_equal(READ(&m, "\x44\x02\xab\xcd\x01\x02\x03\x04"), COAP_GOOD);
	len = coap_answer(out, sizeof(out), &m, COAP_FORBIDDEN, 0x5555);
	assert_int_equal(len, 8);
	assert_memory_equal(out, "\x64\x83\xab\xcd\x01\x02\x03\x04", 8);
	len = coap_add_option(out, sizeof(out), len, 0, &status);
	len = coap_add_payload(out, sizeof(out), len, "no");
	assert_int_equal(read_exactly(&m, (const char *)out, len), COAP_GOOD);
	assert_option(&m, &at, COAP_ONEM2M_RSC, "\x10\x07");
	assert_memory_equal(out + len - 3, "\xffno", 3);
	assert_int_equal(READ(&m, "\x51\x02\xab\xcdt"), COAP_GOOD);
	assert_int_equal(coap_answer(out, sizeof(out), &m, COAP_BAD_REQUEST, 0x5555), 5);
	assert_memory_equal(out, "\x51\x80\x55\x55t", 5);
	assert_int_equal(coap_answer(out, 4, &m, COAP_BAD_REQUEST, 0x5555), 0);
	coap_reset(out, &m);
	assert_memory_equal(out, "\x70\x00\xab\xcd", 4);
}

/* Options of every length between the bounds of their encoding come out as they went in. */
static void what_is_added_is_read(void **state)
{
	static const uint32_t numbers[] = {1, 12, 13, 14, 268, 269, 270, 65535};
	static const size_t lengths[] = {0, 1, 12, 13, 14, 268, 269, 270, 1000};
	static uint8_t value[1000], out[1100];
	struct coap_message request, m;

	(void)state;
	memset(value, 0xa5, sizeof(value));
	assert_int_equal(READ(&request, "\x40\x02\x00\x01"), COAP_GOOD);
	for (unsigned n = 0; n < sizeof(numbers) / sizeof(numbers[0]); n++) {
		for (unsigned l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++) {
			const struct coap_option option = {numbers[n], value, lengths[l]};
			struct coap_option at = {0};
			size_t start = coap_answer(out, sizeof(out), &request, COAP_FORBIDDEN, 0);
			size_t len = coap_add_option(out, sizeof(out), start, 0, &option);

			assert_true(len > start);
			assert_int_equal(read_exactly(&m, (const char *)out, len), COAP_GOOD);
			assert_true(coap_option_next(&m, &at));
			assert_int_equal(at.number, option.number);
			assert_int_equal(at.len, option.len);
			assert_false(coap_option_next(&m, &at));
			assert_int_equal(coap_add_option(out, len - 1, start, 0, &option), 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_read),          cmocka_unit_test(long_options_are_read),
		cmocka_unit_test(messages_without_a_request), cmocka_unit_test(what_is_no_coap_is_told_apart),
		cmocka_unit_test(malformed_messages),         cmocka_unit_test(answers),
		cmocka_unit_test(what_is_added_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
