/* The choice of engines, with the real ones and with broken ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crypto/choice.c"

static bool never(const struct cpu_features *cpu, enum protection_id protection)
{
	return false;
}

static void accept_all(void *worker, struct record_op **ops, unsigned count)
{
	engine_reference.open_burst(worker, ops, count);
	for (unsigned i = 0; i < count; i++)
		ops[i]->ok = true;
}

static void slow_open(void *worker, struct record_op **ops, unsigned count)
{
	struct timespec pause = {.tv_nsec = 2000000}; /* beyond what sanitizers and a busy machine add */

	(void)nanosleep(&pause, NULL);
	engine_reference.open_burst(worker, ops, count);
}

static struct record_engine broken;
static struct record_engine elsewhere;
static struct record_engine slow;

static int set_up(void **state)
{
	broken = engine_reference;
	broken.name = "broken";
	broken.open_burst = accept_all;
	elsewhere = engine_reference;
	elsewhere.name = "elsewhere";
	elsewhere.usable = never;
	slow = engine_reference;
	slow.name = "slow";
	slow.open_burst = slow_open;
	return 0;
}

static void picks_one_for_every_protection(void **state)
{
	struct record_choice choice;
	char why[1024];

	assert_int_equal(record_choice_make(&choice, NULL, why, sizeof why), 0);
	print_message("%s\n", why);
	for (unsigned p = 1; p < PROTECTIONS; p++) {
		assert_non_null(choice.engine[p]);
		assert_non_null(strstr(why, protection_get(p)->name));
	}
	assert_null(choice.engine[PROTECTION_NONE]);
	assert_null(strchr(why, '\n'));
	assert_int_equal(record_choice_make(&choice, NULL, NULL, 0), 0);
}

static void takes_the_fastest(void **state)
{
	const struct record_engine *const engines[] = {&slow, &engine_reference};
	struct record_choice choice;

	assert_int_equal(choice_among(&choice, engines, 2, NULL, NULL, 0), 0);
	for (unsigned p = 1; p < PROTECTIONS; p++)
		assert_ptr_equal(choice.engine[p], &engine_reference);
}

static void takes_the_wanted(void **state)
{
	const struct record_engine *const engines[] = {&slow, &engine_reference};
	const struct record_engine *const reversed[] = {&engine_reference, &slow};
	struct record_choice choice;

	assert_int_equal(choice_among(&choice, engines, 2, "slow", NULL, 0), 0);
	assert_ptr_equal(choice.engine[PROTECTION_AES_128_GCM], &slow);
	assert_int_equal(choice_among(&choice, reversed, 2, "slow", NULL, 0), 0);
	assert_ptr_equal(choice.engine[PROTECTION_AES_128_GCM], &slow);
	assert_int_equal(record_choice_make(&choice, "reference", NULL, 0), 0);
	for (unsigned p = 1; p < PROTECTIONS; p++)
		assert_ptr_equal(choice.engine[p], &engine_reference);
}

static void refuses_a_name_that_is_none(void **state)
{
	struct record_choice choice;
	char why[256];

	assert_int_equal(record_choice_make(&choice, "abacus", why, sizeof why), -ENOENT);
	assert_non_null(strstr(why, "abacus"));
	assert_int_equal(record_choice_make(&choice, "ipsec-mb-naive", why, sizeof why), -ENOENT);
}

static void refuses_what_cannot_run(void **state)
{
	const struct record_engine *const engines[] = {&elsewhere, &engine_reference};
	struct record_choice choice;
	char why[256];

	assert_int_equal(choice_among(&choice, engines, 2, "elsewhere", why, sizeof why), -ENOTSUP);
	assert_non_null(strstr(why, "elsewhere"));
	assert_int_equal(choice_among(&choice, engines, 2, NULL, why, sizeof why), 0);
	assert_ptr_equal(choice.engine[PROTECTION_AES_128_CCM_8], &engine_reference);
}

/* An engine that fails known answers is not used, not even when asked for, and the line says so. */
static void drops_a_broken_engine(void **state)
{
	const struct record_engine *const engines[] = {&broken, &slow};
	struct record_choice choice;
	char why[1024];

	assert_int_equal(choice_among(&choice, engines, 2, "broken", why, sizeof why), 0);
	for (unsigned p = 1; p < PROTECTIONS; p++)
		assert_ptr_equal(choice.engine[p], &slow);
	assert_non_null(strstr(why, "broken FAILED"));
	assert_int_equal(choice_among(&choice, engines, 1, NULL, why, sizeof why), -EBADMSG);
}

/* A line that is too short for its text is cut, not overrun. */
static void cuts_the_line(void **state)
{
	struct record_choice choice;
	char why[40];

	why[39] = 'x';
	assert_int_equal(record_choice_make(&choice, "reference", why, 39), 0);
	assert_int_equal(strlen(why), 38);
	assert_int_equal(why[39], 'x');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(picks_one_for_every_protection),
		cmocka_unit_test(takes_the_fastest),
		cmocka_unit_test(takes_the_wanted),
		cmocka_unit_test(refuses_a_name_that_is_none),
		cmocka_unit_test(refuses_what_cannot_run),
		cmocka_unit_test(drops_a_broken_engine),
		cmocka_unit_test(cuts_the_line),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
