/* controlplane/store_live.c, stores.c and fault.c: the gateway outlives whatever happens to the file of its
 * credential store, and finds it again; unknown names take as long as known ones.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "controlplane/fault.h"
#include "controlplane/log.h"
#include "controlplane/store_lmdb.h"
#include "controlplane/stores.h"

enum { ROWS = 3000, LINES_KEPT = 64 };

static char directory[] = "/tmp/sluice-test-live-XXXXXX";
static char path[64], data[80], aside[64], key_file[64], other_key_file[64], psk_path[64], error[512];
static char lines[LINES_KEPT][256];
static unsigned lines_count;

static void keep_line(enum log_level level, const char *line)
{
	snprintf(lines[lines_count++ % LINES_KEPT], sizeof lines[0], "%s", line);
}

static unsigned lines_with(const char *text)
{
	unsigned n = 0;

	for (unsigned i = 0; i < lines_count && i < LINES_KEPT; i++)
		n += strstr(lines[i], text) != NULL;
	return n;
}

/* ---- a store that another process writes: LMDB allows one opening per process */

struct job {
	unsigned first, count;
	const char *tenant;
	uint8_t value;
	bool removing;
};

static int run_job(struct store_writer *w, bool again, void *context)
{
	const struct job *job = context;
	struct credential c;
	int ret = 0;

	for (unsigned i = job->first; ret >= 0 && i < job->first + job->count; i++) {
		memset(&c, 0, sizeof c);
		c.id.kind = SLUICE_CREDENTIAL_PSK;
		snprintf(c.id.tenant, sizeof c.id.tenant, "%s", job->tenant);
		c.id.name_len = (uint8_t)snprintf((char *)c.id.name, sizeof c.id.name, "device-%05u", i);
		c.psk.key_len = 16;
		memset(c.psk.key, job->value, 16);
		c.psk.registree.kind = SLUICE_IDENTITY_CREDENTIAL;
		ret = job->removing ? store_delete(w, &c.id) : store_put(w, &c, true, NULL);
	}
	return ret < 0 ? ret : 0;
}

static void write_store(const char *where, const char *wrapped_with, const struct job *job)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		struct store_options o = {
			.path = where, .key_file = wrapped_with, .create = true, .write = true};
		struct store *s = store_open(&o, error, sizeof error);
		int ret = s ? store_write(s, run_job, (void *)(uintptr_t)job) : -1;

		store_close(s);
		_exit(ret != 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static const struct job all_rows = {.count = ROWS, .tenant = "", .value = 1};

static struct store_live *open_live(const char *wrapped_with)
{
	struct store_live *l = store_live_open(path, wrapped_with, error, sizeof error);

	if (!l)
		fail_msg("%s", error);
	return l;
}

static int find(struct store_live *l, const char *tenant, unsigned n)
{
	struct psk_credential out;
	char name[16];
	int ret;

	snprintf(name, sizeof name, "device-%05u", n);
	ret = store_live_ops.find_psk(l, tenant, (const uint8_t *)name, strlen(name), &out);
	return ret == 1 ? out.key[0] : ret;
}

static int changes(struct store_live *l, uint64_t *number)
{
	struct credential_change change[8];

	return store_live_ops.changes(l, number, change, 8);
}

/* As the control thread does, but for its patience. */
static bool comes_back(struct store_live *l, uint64_t *number)
{
	static const struct timespec nap = {.tv_nsec = 20000000};

	for (unsigned i = 0; i < 3000; i++) {
		int ret = changes(l, number);

		if (store_live_is_up(l))
			return ret == -ESTALE;
		nanosleep(&nap, NULL);
	}
	return false;
}

/* ---- */

static void test_changes_are_seen(void **state)
{
	struct store_live *l;
	uint64_t number = UINT64_MAX;

	write_store(path, NULL, &all_rows);
	l = open_live(NULL);
	assert_int_equal(store_live_rows(l), ROWS);
	assert_int_equal(changes(l, &number), 0);
	assert_int_equal(find(l, "", 7), 1);
	assert_int_equal(find(l, "other", 7), 0);
	write_store(path, NULL, &(struct job){.first = 7, .count = 1, .tenant = "", .value = 9});
	write_store(path, NULL, &(struct job){.first = 8, .count = 1, .tenant = "", .removing = true});
	assert_int_equal(find(l, "", 7), 9);
	assert_int_equal(find(l, "", 8), 0);
	assert_int_equal(changes(l, &number), 2);
	assert_int_equal(changes(l, &number), 0);
	assert_int_equal(store_live_counts(l)->failed, 0);
	store_live_close(l);
}

static void test_removed_and_put_back(void **state)
{
	struct store_live *l;
	uint64_t number = UINT64_MAX;

	write_store(path, NULL, &all_rows);
	l = open_live(NULL);
	assert_int_equal(changes(l, &number), 0);
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(changes(l, &number), -ENOTCONN);
	assert_false(store_live_is_up(l));
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(find(l, "", i), -ENOTCONN);
	assert_int_equal(lines_with("is lost: its file was removed or replaced"), 1);
	assert_int_equal(store_live_counts(l)->failed, 1000);
	assert_int_equal(rename(aside, path), 0);
	assert_true(comes_back(l, &number));
	assert_int_equal(lines_with("is back: 3000 credentials"), 1);
	assert_int_equal(find(l, "", 7), 1);
	assert_int_equal(changes(l, &number), 0);
	store_live_close(l);
}

/* A good one takes its place at once. */
static void test_replaced(void **state)
{
	struct store_live *l;
	uint64_t number = UINT64_MAX;

	write_store(path, NULL, &all_rows);
	write_store(aside, NULL, &(struct job){.first = 1, .count = 3, .tenant = "", .value = 5});
	l = open_live(NULL);
	assert_int_equal(changes(l, &number), 0);
	assert_int_equal(unlink(data), 0);
	snprintf(error, sizeof error, "%s/data.mdb", aside);
	assert_int_equal(rename(error, data), 0);
	assert_int_equal(changes(l, &number), -ESTALE);
	assert_true(store_live_is_up(l));
	assert_int_equal(find(l, "", 2), 5);
	assert_int_equal(find(l, "", 7), 0);
	store_live_close(l);
}

static void overwrite(off_t at, size_t len, int value)
{
	int fd = open(data, O_WRONLY);
	uint8_t *bytes = malloc(len);

	assert_true(fd >= 0 && bytes);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(value >= 0 ? value : rand());
	assert_int_equal(pwrite(fd, bytes, len, at), (ssize_t)len);
	free(bytes);
	close(fd);
}

/* Whatever the bytes, the answers are right, or errors; never the end of the process. */
static void look_at_all(struct store_live *l, unsigned *wrong)
{
	for (unsigned i = 0; i < ROWS; i++) {
		int ret = find(l, "", i);

		*wrong += ret > 0 && ret != 1;
	}
}

/* One command with two file names of ours in it. */
__attribute__((format(printf, 1, 0))) static void shell(const char *format, const char *a, const char *b)
{
	char command[256];

	snprintf(command, sizeof command, format, a, b);
	/* NOLINTNEXTLINE(cert-env33-c): the commands are all in this file */
	assert_int_equal(system(command), 0);
}

static void damage(void (*how)(off_t size))
{
	struct store_live *l;
	uint64_t number = UINT64_MAX;
	unsigned wrong = 0;
	struct stat st;

	write_store(path, NULL, &all_rows);
	l = open_live(NULL);
	assert_int_equal(changes(l, &number), 0);
	look_at_all(l, &wrong);
	assert_int_equal(store_live_counts(l)->failed, 0);
	shell("cp %s %s.good", data, data);
	assert_int_equal(stat(data, &st), 0);
	how(st.st_size);
	look_at_all(l, &wrong);
	(void)changes(l, &number);
	look_at_all(l, &wrong);
	(void)changes(l, &number);
	assert_int_equal(wrong, 0);
	assert_true(store_live_counts(l)->failed > 0);
	assert_true(lines_count > 0);
	shell("mv %s.good %s", data, data);
	assert_true(comes_back(l, &number));
	assert_int_equal(find(l, "", 7), 1);
	look_at_all(l, &wrong);
	assert_int_equal(wrong, 0);
	store_live_close(l);
}

static void cut_to_nothing(off_t size)
{
	assert_int_equal(truncate(data, 0), 0);
}

static void cut_in_half(off_t size)
{
	assert_int_equal(truncate(data, size / 2), 0);
}

static void all_zero(off_t size)
{
	overwrite(0, (size_t)size, 0);
}

static void all_ones(off_t size)
{
	overwrite(0, (size_t)size, 255);
}

static void noise(off_t size)
{
	overwrite(8192, (size_t)size - 8192, -1);
}

static void noise_here_and_there(off_t size)
{
	for (off_t at = 8192; at + 64 < size; at += 700)
		overwrite(at, 40, -1);
}

static void test_damaged(void **state)
{
	static void (*const how[])(off_t) = {cut_to_nothing, cut_in_half, all_zero,
					     all_ones,       noise,       noise_here_and_there};

	srand(1);
	for (unsigned i = 0; i < sizeof how / sizeof how[0]; i++) {
		print_message("damage %u\n", i);
		lines_count = 0;
		damage(how[i]);
	}
}

static void test_wrapped(void **state)
{
	struct store_live *l;
	uint64_t number = UINT64_MAX;

	write_store(path, key_file, &all_rows);
	assert_null(store_live_open(path, NULL, error, sizeof error));
	assert_non_null(strstr(error, "no key file was given"));
	assert_null(store_live_open(path, other_key_file, error, sizeof error));
	assert_non_null(strstr(error, "wrapped with another key file"));
	l = open_live(key_file);
	assert_int_equal(find(l, "", 7), 1);
	assert_int_equal(changes(l, &number), 0);
	/* one that others may read is refused while it runs, too */
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(changes(l, &number), -ENOTCONN);
	snprintf(error, sizeof error, "%s/data.mdb", aside);
	assert_int_equal(chmod(error, 0644), 0);
	assert_int_equal(rename(aside, path), 0);
	usleep(300000);
	assert_int_equal(changes(l, &number), -ENOTCONN);
	assert_int_equal(lines_with("must be closed to others"), 1);
	assert_int_equal(chmod(data, 0640), 0);
	assert_true(comes_back(l, &number));
	store_live_close(l);
	assert_null(store_live_open("/nowhere/store", NULL, error, sizeof error));
	assert_non_null(strstr(error, "There is no credential store /nowhere/store: "));
}

/* ---- a file before the store */

static void write_psk_file(const char *text)
{
	FILE *f = fopen(psk_path, "w");

	assert_non_null(f);
	assert_int_equal(fchmod(fileno(f), 0600), 0);
	fputs(text, f);
	fclose(f);
}

static void test_file_first(void **state)
{
	struct config_credentials config = {.psk_file = psk_path, .store = path};
	struct credential_change told[4];
	uint64_t number, before;
	struct psk_credential out;
	struct credentials c;
	struct stores *s;
	bool stale = false;

	write_psk_file("device-00007:ffff\nonly-here:eeee\n");
	write_store(path, NULL, &all_rows);
	write_store(path, NULL, &(struct job){.first = 7, .count = 1, .tenant = "water", .value = 3});
	assert_int_equal(stores_open(&config, &s, error, sizeof error), 0);
	c = stores_credentials(s);
	assert_false(c.default_only);
	assert_int_equal(c.ops->find_psk(c.store, "", (const uint8_t *)"device-00007", 12, &out), 1);
	assert_int_equal(out.key[0], 0xff);
	assert_int_equal(c.ops->find_psk(c.store, "", (const uint8_t *)"only-here", 9, &out), 1);
	assert_int_equal(c.ops->find_psk(c.store, "", (const uint8_t *)"device-00008", 12, &out), 1);
	assert_int_equal(out.key[0], 1);
	assert_int_equal(c.ops->find_psk(c.store, "", (const uint8_t *)"nowhere", 7, &out), 0);
	/* the file's are those of the default tenant */
	assert_int_equal(c.ops->find_psk(c.store, "water", (const uint8_t *)"device-00007", 12, &out), 1);
	assert_int_equal(out.key[0], 3);
	assert_int_equal(c.ops->find_psk(c.store, "water", (const uint8_t *)"only-here", 9, &out), 0);
	/* a change of either is told, and one of the file moves no number of the store's */
	number = UINT64_MAX;
	assert_int_equal(c.ops->changes(c.store, &number, told, 4), 0);
	write_store(path, NULL, &(struct job){.first = 8, .count = 1, .tenant = "", .value = 4});
	before = number;
	write_psk_file("device-00007:ffff\nonly-there:dddd\n");
	stores_look(s);
	for (unsigned i = 0; stale == 0 && i < 6000; i++) {
		uint64_t at = before; /* again and again, so that the order does not matter */

		stale = c.ops->changes(c.store, &at, told, 4) == -ESTALE;
		assert_true(!stale || at == before);
		usleep(10000);
	}
	assert_true(stale);
	assert_int_equal(c.ops->changes(c.store, &number, told, 4), 1);
	assert_memory_equal(told[0].id.name, "device-00008", 12);
	assert_int_equal(c.ops->find_psk(c.store, "", (const uint8_t *)"only-there", 10, &out), 1);
	assert_int_equal(out.key[0], 0xdd);
	assert_int_equal(c.ops->find_psk(c.store, "", (const uint8_t *)"only-here", 9, &out), 0);
	/* which need no store */
	assert_int_equal(truncate(data, 0), 0);
	assert_int_equal(c.ops->find_psk(c.store, "", (const uint8_t *)"device-00007", 12, &out), 1);
	assert_true(c.ops->find_psk(c.store, "", (const uint8_t *)"device-00008", 12, &out) < 0);
	stores_close(s);
	config.psk_file = NULL;
	assert_true(stores_open(&config, &s, error, sizeof error) < 0);
	assert_non_null(strstr(error, "credentials.store: "));
}

/* ---- time */

static uint64_t thread_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Checklist A01: a name that is not there takes as long as one that is, in turns on the same machine. */
static void known_against_unknown(const char *wrapped_with)
{
	enum { SAMPLES = 20000, middle = SAMPLES / 2 };
	static uint32_t took[2][SAMPLES];
	struct store_live *l;
	double ratio;

	write_store(path, wrapped_with, &all_rows);
	l = open_live(wrapped_with);
	for (unsigned i = 0; i < 2 * SAMPLES; i++) {
		unsigned n = (unsigned)rand() % ROWS;
		uint64_t start = thread_ns();
		int ret = find(l, i % 2 ? "none" : "", n);

		took[i % 2][i / 2] = (uint32_t)(thread_ns() - start);
		assert_int_equal(ret, i % 2 ? 0 : 1);
	}
	store_live_close(l);
	for (unsigned i = 0; i < 2; i++)
		qsort(took[i], SAMPLES, sizeof took[0][0], compare);
	ratio = (double)took[1][middle] / (double)took[0][middle];
	print_message("median ns: known %u, unknown %u\n", took[0][middle], took[1][middle]);
	assert_true(ratio > 0.6 && ratio < 1.6);
}

static void test_unknown_takes_as_long(void **state)
{
	known_against_unknown(NULL);
}

static void test_unknown_takes_as_long_wrapped(void **state)
{
	known_against_unknown(key_file);
}

/* ---- the guard alone */

static int read_behind_the_end(void *context)
{
	return *(volatile const char *)context;
}

static void test_guard_is_over_afterwards(void **state)
{
	char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pid_t child;
	int status;

	assert_true(page != MAP_FAILED);
	assert_true(signal(SIGBUS, SIG_DFL) != SIG_ERR); /* CMocka has its own */
	assert_true(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
	assert_int_equal(fault_init(), 0);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(fault_guard(read_behind_the_end, page), -EFAULT);
	assert_int_equal(mprotect(page, 4096, PROT_READ), 0);
	assert_int_equal(fault_guard(read_behind_the_end, page), 0);
	fault_cut_short(); /* nothing: there is no guard */
	child = fork();
	if (child == 0) {
		(void)mprotect(page, 4096, PROT_NONE);
		_exit(read_behind_the_end(page)); /* outside of a guard it is the end */
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0); /* a sanitizer exits */
	munmap(page, 4096);
}

static int make_directory(void **state)
{
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof path, "%s/store", directory);
	snprintf(data, sizeof data, "%s/data.mdb", path);
	snprintf(aside, sizeof aside, "%s/aside", directory);
	snprintf(key_file, sizeof key_file, "%s/key", directory);
	snprintf(other_key_file, sizeof other_key_file, "%s/other", directory);
	snprintf(psk_path, sizeof psk_path, "%s/psk", directory);
	log_route(keep_line);
	return wrap_create_key(key_file) | wrap_create_key(other_key_file);
}

static int remove_stores(void **state)
{
	lines_count = 0;
	shell("rm -rf %s %s", path, aside);
	return 0;
}

static int remove_directory(void **state)
{
	shell("rm -rf %s %s", directory, path);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_changes_are_seen, remove_stores),
		cmocka_unit_test_teardown(test_removed_and_put_back, remove_stores),
		cmocka_unit_test_teardown(test_replaced, remove_stores),
		cmocka_unit_test_teardown(test_damaged, remove_stores),
		cmocka_unit_test_teardown(test_wrapped, remove_stores),
		cmocka_unit_test_teardown(test_file_first, remove_stores),
		cmocka_unit_test_teardown(test_unknown_takes_as_long, remove_stores),
		cmocka_unit_test_teardown(test_unknown_takes_as_long_wrapped, remove_stores),
		cmocka_unit_test(test_guard_is_over_afterwards),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
