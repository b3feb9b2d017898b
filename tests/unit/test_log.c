/* Lines for the operator: levels, limits, and what strangers may write into them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/log.h"

static char lines[64][1100];
static unsigned count;

static void take_line(enum log_level level, const char *line)
{
	if (count < 64)
		snprintf(lines[count++], sizeof lines[0], "%d %s", (int)level, line);
}

static void test_levels(void **state)
{
	count = 0;
	log_set_level(LOG_LEVEL_WARNING);
	log_write(LOG_LEVEL_INFO, "not %d", 1);
	log_write(LOG_LEVEL_WARNING, "line %d", 2);
	log_write(LOG_LEVEL_ERROR, "line %d", 3);
	assert_int_equal(count, 2);
	assert_string_equal(lines[0], "1 line 2");
	assert_string_equal(lines[1], "0 line 3");
	assert_int_equal(log_level_by_name("debug"), LOG_LEVEL_DEBUG);
	assert_int_equal(log_level_by_name("error"), LOG_LEVEL_ERROR);
	assert_int_equal(log_level_by_name("loud"), LOG_LEVEL_INFO);
	assert_int_equal(log_level_by_name(NULL), LOG_LEVEL_INFO);
	log_set_level(LOG_LEVEL_INFO);
}

static void test_limit(void **state)
{
	struct log_limit limit = {.rate = 3};

	count = 0;
	for (int i = 0; i < 100; i++)
		log_limited(&limit, 5000000000ULL + (uint64_t)i, LOG_LEVEL_INFO, "line %d", i);
	assert_int_equal(count, 3);
	log_limited(&limit, 6000000000ULL, LOG_LEVEL_INFO, "line %d", 100);
	assert_int_equal(count, 5);
	assert_non_null(strstr(lines[3], "97 more lines"));
	assert_string_equal(lines[4], "2 line 100");
}

static void test_text(void **state)
{
	char out[24], small[8];

	assert_string_equal(log_text(out, sizeof out, "device-1", 8), "device-1");
	assert_string_equal(log_text(out, sizeof out, "a\n\"\\\0\x1b", 6), "a\\x0a\\x22\\x5c\\x00...");
	assert_string_equal(log_text(out, sizeof out, "", 0), "");
	assert_string_equal(log_text(small, sizeof small, "123456789", 9), "1...");
	for (size_t len = 0; len < 100; len++) {
		char *text = out;
		uint8_t bytes[100];

		memset(bytes, len % 2 ? 0xff : 'x', sizeof bytes);
		assert_true(strlen(log_text(text, sizeof out, bytes, len)) < sizeof out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_text),
	};

	log_route(take_line);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
