/* The file of pre-shared keys that changes while it is used: taken whole when it has come to rest, or not at
 * all; and what becomes of those who look credentials up meanwhile. The errand is run by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "controlplane/psk_file.h"

static struct psk_file *open_and_more(const char *path, char *error, size_t error_len);

#define psk_file_open open_and_more
#include "controlplane/psk_live.c"
#undef psk_file_open

static char directory[] = "/tmp/sluice-psk-XXXXXX";
static char path[64], other[64];
static unsigned told, faults;
static char last_line[1024];

/* What becomes of the file before it has been read to its end, once; NULL: nothing. */
static void (*meanwhile)(void);

static struct psk_file *open_and_more(const char *name, char *error, size_t error_len)
{
	struct psk_file *f = psk_file_open(name, error, error_len);
	void (*happens)(void) = meanwhile;

	meanwhile = NULL;
	if (happens)
		happens();
	return f;
}

static void note_line(enum log_level level, const char *line)
{
	told += level == LOG_LEVEL_INFO;
	faults += level == LOG_LEVEL_ERROR;
	snprintf(last_line, sizeof last_line, "%s", line);
}

static void write_to(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	assert_int_equal(fchmod(fileno(f), 0600), 0);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

/* By rename: another file, whatever the clock says. */
static void replace(const char *text)
{
	write_to(other, text);
	assert_int_equal(rename(other, path), 0);
}

static struct psk_live *open_live(const char *text)
{
	struct psk_live *l;
	char error[512];

	replace(text);
	told = faults = 0;
	l = psk_live_open(path, error, sizeof error);
	if (!l)
		fail_msg("%s", error);
	errands_cancel(l->errands, &l->errand);
	return l;
}

static void look_now(struct psk_live *l)
{
	(void)look(&l->errand, errand_now_ns());
}

static int poll_changes(struct psk_live *l)
{
	uint64_t number = 17;
	int ret = psk_live_ops.changes(l, &number, NULL, 0);

	assert_int_equal(number, 17);
	return ret;
}

/* 0: it is not there. */
static unsigned key_of(struct psk_live *l, const char *identity)
{
	struct psk_credential found;
	int ret = psk_live_ops.find_psk(l, "", (const uint8_t *)identity, strlen(identity), &found);

	return ret == 1 ? found.key[0] : 0;
}

static void a_changed_file_is_taken_once_it_rests(void **state)
{
	struct psk_live *l = open_live("a:01\nb:02\n");
	struct renewal_state s;

	look_now(l);
	assert_int_equal(poll_changes(l), 0);
	replace("a:01\nb:03\nc:04\n");
	look_now(l);
	assert_int_equal(poll_changes(l), 0); /* it may still be written */
	look_now(l);
	assert_int_equal(key_of(l, "c"), 0); /* not before the control thread is ready for it */
	assert_int_equal(poll_changes(l), -ESTALE);
	assert_int_equal(poll_changes(l), 0);
	assert_int_equal(key_of(l, "a"), 1);
	assert_int_equal(key_of(l, "b"), 3);
	assert_int_equal(key_of(l, "c"), 4);
	assert_int_equal(psk_live_rows(l), 3);
	assert_int_equal(told, 1);
	assert_non_null(strstr(last_line, "3 pre-shared keys from "));
	replace("b:03\n");
	look_now(l);
	look_now(l);
	assert_int_equal(poll_changes(l), -ESTALE);
	assert_int_equal(key_of(l, "a"), 0);
	psk_live_state(l, &s);
	assert_int_equal(s.taken, 2);
	assert_int_equal(s.refused, 0);
	psk_live_close(l);
}

static void somebody_who_asks_does_not_wait(void **state)
{
	struct psk_live *l = open_live("a:01\n");

	psk_live_look(l);
	look_now(l);
	assert_int_equal(poll_changes(l), 0); /* nothing has changed */
	replace("a:02\n");
	psk_live_look(l);
	look_now(l);
	assert_int_equal(poll_changes(l), -ESTALE);
	assert_int_equal(key_of(l, "a"), 2);
	psk_live_close(l);
}

/* Two changes before the control thread looks are one. */
static void the_newest_counts(void **state)
{
	struct psk_live *l = open_live("a:01\n");

	for (unsigned i = 2; i < 5; i++) {
		char text[16];

		snprintf(text, sizeof text, "a:%02x\n", i);
		replace(text);
		psk_live_look(l);
		look_now(l);
	}
	assert_int_equal(poll_changes(l), -ESTALE);
	assert_int_equal(poll_changes(l), 0);
	assert_int_equal(key_of(l, "a"), 4);
	replace("a:05\n");
	psk_live_look(l);
	look_now(l);
	assert_int_equal(poll_changes(l), -ESTALE);
	replace("a:06\n");
	psk_live_look(l);
	look_now(l); /* frees the one of 04 */
	assert_int_equal(poll_changes(l), -ESTALE);
	assert_int_equal(key_of(l, "a"), 6);
	psk_live_close(l);
}

/* In place: the file stays, and grows. */
static void append(const char *text)
{
	FILE *f = fopen(path, "a");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void append_a_line(void)
{
	append("b:02\n");
}

static void append_the_end_of_a_line(void)
{
	append("2\nc:03\n");
}

static void remove_it(void)
{
	assert_int_equal(unlink(path), 0);
}

/* Its writer paused from one look to the next, or somebody asks: asks. */
static void read_while(struct psk_live *l, void (*happens)(void), bool asks)
{
	if (asks)
		psk_live_look(l);
	else
		look_now(l);
	meanwhile = happens;
	look_now(l);
	assert_null(meanwhile);
	assert_int_equal(poll_changes(l), 0);
	assert_int_equal(told, 0);
	assert_int_equal(faults, 0);
}

static void half_of_a_file_is_not_taken(void **state)
{
	for (unsigned asks = 0; asks < 2; asks++) {
		struct psk_live *l = open_live("a:01\nb:02\n");

		replace("a:05\n");
		read_while(l, append_a_line, asks);
		assert_int_equal(key_of(l, "b"), 2);
		look_now(l);
		assert_int_equal(poll_changes(l), -ESTALE);
		assert_int_equal(key_of(l, "a"), 5);
		assert_int_equal(key_of(l, "b"), 2);
		psk_live_close(l);
	}
}

/* Neither is it a fault; what is wrong with the whole of it is. */
static void half_of_a_line_is_no_fault(void **state)
{
	for (unsigned asks = 0; asks < 2; asks++) {
		struct psk_live *l = open_live("a:01\n");

		replace("a:01\nb:0");
		read_while(l, append_the_end_of_a_line, asks);
		psk_live_look(l);
		look_now(l);
		assert_int_equal(poll_changes(l), -ESTALE);
		assert_int_equal(key_of(l, "b"), 2);
		assert_int_equal(key_of(l, "c"), 3);
		told = 0;
		replace("a:02\n");
		read_while(l, remove_it, asks);
		look_now(l);
		assert_int_equal(faults, 1);
		assert_non_null(strstr(last_line, "cannot be read: No such file"));
		assert_int_equal(key_of(l, "b"), 2);
		psk_live_close(l);
	}
}

static void expect_kept(struct psk_live *l, const char *what)
{
	struct renewal_state s;
	unsigned before = faults;

	look_now(l);
	look_now(l);
	assert_int_equal(faults, before + 1);
	if (!strstr(last_line, what) || !strstr(last_line, "credentials.psk_file: ") ||
	    !strstr(last_line, "What was read before stays in use"))
		fail_msg("\"%s\" does not say \"%s\"", last_line, what);
	look_now(l);
	assert_int_equal(faults, before + 1); /* once */
	assert_int_equal(poll_changes(l), 0);
	assert_int_equal(key_of(l, "a"), 1);
	psk_live_state(l, &s);
	assert_non_null(strstr(s.fault, what));
	psk_live_look(l);
	look_now(l);
	assert_int_equal(faults, before + 2); /* and again for somebody who asks */
}

static void what_cannot_be_used_changes_nothing(void **state)
{
	struct psk_live *l = open_live("a:01\nb:02\n");
	struct renewal_state s;

	replace("a:02\nb:0\n");
	expect_kept(l, "line 2: the key has an odd number of hexadecimal digits");
	assert_int_equal(unlink(path), 0);
	expect_kept(l, "cannot be read: No such file");
	replace("a:03\n");
	assert_int_equal(chmod(path, 0604), 0);
	expect_kept(l, "has mode 0604");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0); /* nobody waits for it */
	expect_kept(l, "is not a regular file");
	replace("a:04\n");
	look_now(l);
	look_now(l);
	assert_int_equal(poll_changes(l), -ESTALE);
	assert_int_equal(key_of(l, "a"), 4);
	psk_live_state(l, &s);
	assert_string_equal(s.fault, "");
	assert_int_equal(s.refused, 8);
	psk_live_close(l);
}

/* What was wrong outside of the file (no memory, a directory that is closed) is tried again after a while. */
static void a_fault_is_tried_again(void **state)
{
	struct psk_live *l = open_live("a:01\n");
	uint64_t now_ns = errand_now_ns();
	unsigned before;

	replace("a:0\n");
	look_now(l);
	look_now(l);
	before = faults;
	l->again_ns = now_ns + RENEWAL_AGAIN_S * SECOND_NS;
	(void)look(&l->errand, l->again_ns - 1);
	assert_int_equal(l->again_ns, now_ns + RENEWAL_AGAIN_S * SECOND_NS);
	(void)look(&l->errand, l->again_ns);
	assert_true(l->again_ns > now_ns + RENEWAL_AGAIN_S * SECOND_NS);
	assert_int_equal(faults, before); /* the log has it */
	psk_live_close(l);
}

/* With the errand's own thread. */
static void it_looks_by_itself(void **state)
{
	struct psk_live *l;
	char error[512];
	unsigned waited_ms = 0;

	replace("a:01\n");
	l = psk_live_open(path, error, sizeof error);
	assert_non_null(l);
	replace("a:02\n");
	for (; poll_changes(l) == 0 && waited_ms < 60000; waited_ms += 10)
		usleep(10000);
	assert_int_equal(key_of(l, "a"), 2);
	psk_live_close(l);
}

static int set_up(void **state)
{
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof path, "%s/psk", directory);
	snprintf(other, sizeof other, "%s/new", directory);
	log_route(note_line);
	return 0;
}

static int tear_down(void **state)
{
	unlink(path);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_changed_file_is_taken_once_it_rests),
		cmocka_unit_test(somebody_who_asks_does_not_wait),
		cmocka_unit_test(the_newest_counts),
		cmocka_unit_test(half_of_a_file_is_not_taken),
		cmocka_unit_test(half_of_a_line_is_no_fault),
		cmocka_unit_test(what_cannot_be_used_changes_nothing),
		cmocka_unit_test(a_fault_is_tried_again),
		cmocka_unit_test(it_looks_by_itself),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
