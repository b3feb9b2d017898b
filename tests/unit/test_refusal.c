/* The table of causes, and under which cause the suites of the past are counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/refusal.h"
#include "crypto/suite.h"

/* Names become label values and JSON: short, lower case, each once. */
static void names(void **state)
{
	for (unsigned i = 0; i < REFUSAL_CAUSES_COUNT; i++) {
		const char *name = refusal_name(i);

		assert_in_range(strlen(name), 3, 40);
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(name));
		assert_true(strlen(refusal_help(i)) > 5);
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(name, refusal_name(j));
	}
	assert_string_equal(refusal_name(REFUSAL_CAUSES_COUNT), "internal");
	assert_string_equal(refusal_help(UINT32_MAX), refusal_help(REFUSED_INTERNAL));
	(void)state;
}

static enum refusal_cause of(const char *hex)
{
	uint8_t bytes[64];
	unsigned len = 0;

	for (; *hex; hex += strspn(hex, " ")) {
		char *end;
		unsigned long suite = strtoul(hex, &end, 16);

		bytes[len++] = (uint8_t)(suite >> 8);
		bytes[len++] = (uint8_t)suite;
		hex = end;
	}
	return refusal_of_suites(bytes, len);
}

/* [H14] The best suite of an offer decides, in whatever order they stand; signals count for nothing. */
static void suites_of_the_past(void **state)
{
	assert_int_equal(of("0001"), REFUSED_SUITE_NULL);
	assert_int_equal(of("002c 00ff"), REFUSED_SUITE_NULL);
	assert_int_equal(of("c006 0a0a 1a1a fafa 5600"), REFUSED_SUITE_NULL);
	assert_int_equal(of("0018"), REFUSED_SUITE_ANONYMOUS);
	assert_int_equal(of("c018 0002"), REFUSED_SUITE_ANONYMOUS);
	assert_int_equal(of("0009"), REFUSED_SUITE_DES_EXPORT);
	assert_int_equal(of("0003"), REFUSED_SUITE_DES_EXPORT);
	assert_int_equal(of("0005 0004"), REFUSED_SUITE_RC4);
	assert_int_equal(of("c007"), REFUSED_SUITE_RC4);
	assert_int_equal(of("0005 000a"), REFUSED_SUITE_3DES);
	assert_int_equal(of("000a 0005"), REFUSED_SUITE_3DES);
	assert_int_equal(of("008b"), REFUSED_SUITE_3DES);
	assert_int_equal(of("000a 002f 0005"), REFUSED_SUITE_STATIC_RSA);
	assert_int_equal(of("c09c"), REFUSED_SUITE_STATIC_RSA);
	assert_int_equal(of("002f c02b"), REFUSED_SUITE_NOT_ENABLED);
	assert_int_equal(of("c02b 0005"), REFUSED_SUITE_NOT_ENABLED);
	assert_int_equal(of("00ff"), REFUSED_SUITE_NOT_ENABLED);
	assert_int_equal(of(""), REFUSED_SUITE_NOT_ENABLED);
	(void)state;
}

/* None of ours may be taken for one of the past. */
static void our_suites(void **state)
{
	unsigned count;
	const struct suite *all = suite_all(&count);

	assert_true(count > 5);
	for (unsigned i = 0; i < count; i++) {
		const uint8_t id[2] = {(uint8_t)(all[i].id >> 8), (uint8_t)all[i].id};

		if (refusal_of_suites(id, 2) != REFUSED_SUITE_NOT_ENABLED)
			fail_msg("%s is counted as %s", all[i].name, refusal_name(refusal_of_suites(id, 2)));
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(suites_of_the_past),
		cmocka_unit_test(our_suites),
	};

	return cmocka_run_group_tests_name("refusal", tests, NULL, NULL);
}
