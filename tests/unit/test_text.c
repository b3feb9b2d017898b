/* JSON of bytes that anybody may have chosen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/text.h"

static void expect_json(const char *bytes, size_t len, const char *json)
{
	struct text t = {0};

	text_json(&t, bytes, len);
	assert_false(t.failed);
	assert_int_equal(t.len, strlen(json));
	assert_memory_equal(t.at, json, t.len);
	text_fini(&t);
}

static void strings(void **state)
{
	expect_json("", 0, "\"\"");
	expect_json("urn:dev:1", 9, "\"urn:dev:1\"");
	expect_json("a\"b\\c", 5, "\"a\\\"b\\\\c\"");
	expect_json("\0\n\x1b\x7f", 4, "\"\\u0000\\u000a\\u001b\\u007f\"");
	expect_json("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 14,
		    "\"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"");
	expect_json("\xc2\x9b", 2, "\"\\u009b\""); /* C1: a terminal would take it for ESC [ */
	/* not UTF-8: alone, cut short, overlong, a surrogate, above U+10FFFF */
	expect_json("\xff", 1, "\"\\ufffd\"");
	expect_json("\xc3", 1, "\"\\ufffd\"");
	expect_json("\xe2\x82", 2, "\"\\ufffd\\ufffd\"");
	expect_json("\xc0\xaf", 2, "\"\\ufffd\\ufffd\"");
	expect_json("\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\"");
	expect_json("\xf4\x90\x80\x80", 4, "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
	(void)state;
}

/* Every string of two bytes becomes a JSON string that ends where it should, in well-formed UTF-8. */
static void all_pairs(void **state)
{
	for (unsigned i = 0; i < 65536; i++) {
		const uint8_t pair[2] = {(uint8_t)(i >> 8), (uint8_t)i};
		struct text t = {0};

		text_json(&t, pair, 2);
		assert_true(text_is_plain(t.at, t.len));
		assert_true(t.at[0] == '"' && t.at[t.len - 1] == '"');
		for (size_t at = 1; at + 1 < t.len; at++) {
			assert_int_not_equal(t.at[at], '"');
			at += t.at[at] == '\\';
		}
		text_fini(&t);
	}
	(void)state;
}

static void members(void **state)
{
	static const char expected[] =
		"{\"name\":\"x\",\"id\":\"\\ufffd\",\"id_hex\":\"ff\",\"n\":18446744073709551615,"
		"\"yes\":true,\"list\":[{\"a\":\"b\"}]}";
	struct text t = {0};

	text_add(&t, "{", 1);
	text_member(&t, "name", "x");
	text_member_bytes(&t, "id", "\xff", 1);
	text_member_number(&t, "n", UINT64_MAX);
	text_member_bool(&t, "yes", true);
	text_member_open(&t, "list", '[');
	text_add(&t, "{", 1);
	text_member(&t, "a", "b");
	text_add(&t, "}]}", 3);
	assert_int_equal(t.len, strlen(expected));
	assert_memory_equal(t.at, expected, t.len);
	text_clear(&t);
	assert_int_equal(t.len, 0);
	for (unsigned i = 0; i < 10000; i++)
		text_printf(&t, "%u,", i);
	assert_false(t.failed);
	assert_int_equal(t.len, 10 * 2 + 90 * 3 + 900 * 4 + 9000 * 5);
	text_fini(&t);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strings),
		cmocka_unit_test(all_pairs),
		cmocka_unit_test(members),
	};

	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
