/* controlplane/store_lmdb.c and store_write.c: the store agrees with a plain array whatever is done to it,
 * grows, tells its changes to another process, and turns every kind of damage into an error.
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
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "controlplane/store_private.h"

static char directory[] = "/tmp/sluice-test-store-XXXXXX";
static char path[64], key_file[64], other_key_file[64], error[512];

static int make_directory(void **state)
{
	if (mkdtemp(directory) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/store", directory);
	snprintf(key_file, sizeof(key_file), "%s/key", directory);
	snprintf(other_key_file, sizeof(other_key_file), "%s/other", directory);
	return wrap_create_key(key_file) | wrap_create_key(other_key_file);
}

static int remove_store(void **state)
{
	char file[80];

	snprintf(file, sizeof(file), "%s/data.mdb", path);
	unlink(file);
	snprintf(file, sizeof(file), "%s/lock.mdb", path);
	unlink(file);
	rmdir(path);
	return 0;
}

static int remove_directory(void **state)
{
	remove_store(state);
	unlink(key_file);
	unlink(other_key_file);
	return rmdir(directory);
}

/* The rest of a test makes no sense without its store. */
static struct store *open_store(const struct store_options *options)
{
	struct store *s = store_open(options, error, sizeof(error));

	if (s == NULL) {
		print_error("%s\n", error);
		exit(1);
	}
	return s;
}

static struct store *open_new(void)
{
	return open_store(&(struct store_options){.path = path, .create = true, .write = true});
}

static struct store *open_reader(void)
{
	return open_store(&(struct store_options){.path = path});
}

/* Credential number n with a key made of `value`; identity lengths differ so that rows do. */
static void fill(struct credential *c, unsigned n, uint8_t value)
{
	memset(c, 0, sizeof(*c));
	c->id.kind = SLUICE_CREDENTIAL_PSK;
	snprintf(c->id.tenant, sizeof(c->id.tenant), "%s", n % 3 == 0 ? "" : "tenant");
	c->id.name_len = (uint8_t)snprintf((char *)c->id.name, sizeof(c->id.name), "device-%u", n);
	c->psk.key_len = 16;
	memset(c->psk.key, value, 16);
	c->psk.registree.kind = SLUICE_IDENTITY_LWM2M_ENDPOINT;
	c->psk.registree.identities_count = 1;
	memset(c->psk.registree.identities[0], 'e', 1 + n % 200);
}

struct job {
	unsigned first, count;
	uint8_t value;
	bool removing, failing, again;
	int result;
};

static int run_job(struct store_writer *w, bool again, void *context)
{
	struct job *job = context;
	struct credential c;

	job->again |= again;
	for (unsigned i = 0; i < job->count; i++) {
		fill(&c, job->first + i, job->value);
		job->result = job->removing ? store_delete(w, &c.id) : store_put(w, &c, true, NULL);
		if (job->result < 0)
			return job->result;
	}
	return job->failing ? -ECANCELED : 0;
}

static int put_many(struct store *s, unsigned first, unsigned count, uint8_t value)
{
	struct job job = {.first = first, .count = count, .value = value};
	int err = store_write(s, run_job, &job);

	return err != 0 ? err : job.result;
}

static int remove_many(struct store *s, unsigned first, unsigned count)
{
	struct job job = {.first = first, .count = count, .removing = true};
	int err = store_write(s, run_job, &job);

	return err != 0 ? err : job.result;
}

/* The first byte of the key; 0: there is none; or -errno. */
static int look_up(struct store *s, unsigned n)
{
	struct psk_credential out;
	struct credential c;
	int result;

	fill(&c, n, 0);
	result = store_lmdb.find_psk(s, c.id.tenant, c.id.name, c.id.name_len, &out);
	if (result == 1) {
		assert_string_equal(out.registree.identities[0], c.psk.registree.identities[0]);
		assert_string_equal(out.registree.tenant, c.id.tenant);
	}
	return result == 1 ? out.key[0] : result;
}

static uint64_t count_rows(struct store *s)
{
	uint64_t rows = 0, last;

	assert_int_equal(store_counts(s, &rows, &last), 0);
	return rows;
}

/* ---- what it is for */

static void rows_are_found(void **state)
{
	struct store *s = open_new(), *reader;

	assert_int_equal(put_many(s, 0, 10, 7), STORE_ADDED);
	assert_int_equal(look_up(s, 3), 7);
	assert_int_equal(look_up(s, 10), 0);
	reader = open_reader();
	assert_int_equal(look_up(reader, 9), 7);
	assert_int_equal(put_many(s, 3, 1, 8), STORE_REPLACED);
	assert_int_equal(put_many(s, 3, 1, 8), STORE_UNCHANGED);
	assert_int_equal(look_up(reader, 3), 8);
	assert_int_equal(remove_many(s, 4, 1), 1);
	assert_int_equal(remove_many(s, 4, 1), 0);
	assert_int_equal(look_up(reader, 4), 0);
	assert_int_equal(count_rows(reader), 9);
	store_close(reader);
	store_close(s);
}

static void a_failed_change_leaves_nothing(void **state)
{
	struct store *s = open_new();
	struct job job = {.first = 0, .count = 100, .value = 1, .failing = true};

	assert_int_equal(put_many(s, 0, 1, 9), STORE_ADDED);
	assert_int_equal(store_write(s, run_job, &job), -ECANCELED);
	assert_int_equal(count_rows(s), 1);
	assert_int_equal(look_up(s, 0), 9);
	store_close(s);
}

static int put_certificate(struct store_writer *w, bool again, void *context)
{
	return store_put(w, context, false, NULL) < 0 ? -EIO : 0;
}

/* A certificate's row is found by its name under its root alone; a raw public key's by any of its names. */
static void certificates_and_public_keys(void **state)
{
	static const uint8_t lengths[] = {32, 16, 15};
	struct credential c = {.id.kind = SLUICE_CREDENTIAL_X509, .id.name_len = 3, .id.digest_len = 32};
	struct registree found;
	struct store *s = open_new();

	memcpy(c.id.name, "cse", 3);
	memset(c.id.digest, 0xaa, 32);
	c.psk.registree.kind = SLUICE_IDENTITY_CSE_ID;
	c.psk.registree.identities_count = 1;
	strcpy(c.psk.registree.identities[0], "/cse-1");
	assert_int_equal(store_write(s, put_certificate, &c), 0);
	assert_int_equal(store_lmdb.find(s, &c.id, &found), 1);
	assert_string_equal(found.identities[0], "/cse-1");
	c.id.digest[31] ^= 1;
	assert_int_equal(store_lmdb.find(s, &c.id, &found), 0);
	for (size_t i = 0; i < sizeof(lengths); i++) {
		c.id = (struct credential_id){.kind = SLUICE_CREDENTIAL_RPK, .digest_len = lengths[i]};
		memset(c.id.digest, (int)i + 1, lengths[i]);
		assert_int_equal(store_write(s, put_certificate, &c), 0);
		memset(c.id.digest, (int)i + 1, 32);
		c.id.digest_len = 32;
		assert_int_equal(store_lmdb.find(s, &c.id, &found), 1);
		c.id.digest[0] ^= 0xff;
		assert_int_equal(store_lmdb.find(s, &c.id, &found), 0);
	}
	store_close(s);
}

static int count_visit(const struct credential *c, int err, void *context)
{
	unsigned *visited = context;

	assert_int_equal(err, 0);
	(*visited)++;
	return 0;
}

static void walks_by_kind_and_tenant(void **state)
{
	struct store *s = open_new();
	unsigned visited = 0;

	put_many(s, 0, 30, 1);
	assert_int_equal(store_walk(s, 0, NULL, count_visit, &visited), 0);
	assert_int_equal(visited, 30);
	visited = 0;
	assert_int_equal(store_walk(s, SLUICE_CREDENTIAL_PSK, "", count_visit, &visited), 0);
	assert_int_equal(visited, 10);
	visited = 0;
	assert_int_equal(store_walk(s, SLUICE_CREDENTIAL_RPK, NULL, count_visit, &visited), 0);
	assert_int_equal(visited, 0);
	store_close(s);
}

/* Any order of additions, changes and removals, against an array. */
static void store_agrees_with_model(void **state)
{
	enum { ROWS = 300, STEPS = 3000 };
	struct store *s = open_new(), *reader = open_reader();
	uint8_t model[ROWS] = {0};
	unsigned rows = 0;

	mdb_env_set_flags(s->env, MDB_NOSYNC,
			  1); /* thousands of transactions, none of which must survive a crash */
	srand(1);
	for (unsigned i = 0; i < STEPS; i++) {
		unsigned n = (unsigned)rand() % ROWS;
		uint8_t value = (uint8_t)(1 + rand() % 3);

		if (rand() % 3 == 0) {
			assert_int_equal(remove_many(s, n, 1), model[n] != 0);
			rows -= model[n] != 0;
			model[n] = 0;
		} else {
			assert_int_equal(put_many(s, n, 1, value), model[n] == 0       ? STORE_ADDED
								   : model[n] == value ? STORE_UNCHANGED
										       : STORE_REPLACED);
			rows += model[n] == 0;
			model[n] = value;
		}
		n = (unsigned)rand() % ROWS;
		assert_int_equal(look_up(reader, n), model[n]);
	}
	assert_int_equal(count_rows(reader), rows);
	store_close(reader);
	store_close(s);
}

static void map_grows(void **state)
{
	struct store *s = open_store(&(struct store_options){
		.path = path, .create = true, .write = true, .map_bytes = 128 * 1024});
	struct store *reader = open_store(&(struct store_options){.path = path, .map_bytes = 128 * 1024});
	struct job job = {.count = 20000, .value = 5};

	assert_int_equal(look_up(reader, 1), 0);
	assert_int_equal(store_write(s, run_job, &job), 0);
	assert_true(job.again); /* or nothing was tested */
	assert_int_equal(count_rows(s), 20000);
	assert_int_equal(look_up(reader, 19999), 5); /* its map was too small, too */
	assert_int_equal(store_reserve(s, 64 * 1024 * 1024), 0);
	job = (struct job){.first = 20000, .count = 20000, .value = 5};
	assert_int_equal(store_write(s, run_job, &job), 0);
	assert_false(job.again);
	assert_int_equal(look_up(reader, 39999), 5);
	store_close(reader);
	store_close(s);
}

/* ---- changes */

static void changes_are_told_in_order(void **state)
{
	struct store *s = open_new(), *reader = open_reader();
	struct credential_change changes[8];
	uint64_t number = UINT64_MAX;

	put_many(s, 0, 10, 1);
	assert_int_equal(store_changes(reader, &number, changes, 8), 0);
	assert_true(number == 10);
	put_many(s, 10, 5, 1); /* added rows are no news to live sessions */
	assert_int_equal(store_changes(reader, &number, changes, 8), 0);
	assert_true(number == 15);
	put_many(s, 3, 1, 2);
	remove_many(s, 4, 1);
	put_many(s, 5, 1, 1); /* unchanged */
	assert_int_equal(store_changes(reader, &number, changes, 8), 2);
	assert_false(changes[0].removed);
	assert_memory_equal(changes[0].id.name, "device-3", 8);
	assert_true(changes[1].removed);
	assert_true(changes[1].number == 17);
	assert_memory_equal(changes[1].id.name, "device-4", 8);
	assert_int_equal(store_changes(reader, &number, changes, 8), 0);
	remove_many(s, 6, 4);
	assert_int_equal(store_changes(reader, &number, changes, 3), 3);
	assert_int_equal(store_changes(reader, &number, changes, 3), 1);
	assert_int_equal(store_changes(reader, &number, changes, 3), 0);
	store_close(reader);
	store_close(s);
}

static void the_log_is_bounded(void **state)
{
	struct store *s = open_store(
		&(struct store_options){.path = path, .create = true, .write = true, .log_max = 10});
	struct credential_change changes[64];
	uint64_t slow, quick;

	put_many(s, 0, 50, 1);
	slow = quick = 50;
	remove_many(s, 0, 10);
	assert_int_equal(store_changes(s, &quick, changes, 64), 10);
	remove_many(s, 10, 10);
	assert_int_equal(store_changes(s, &quick, changes, 64), 10);
	assert_memory_equal(changes[9].id.name, "device-19", 9);
	assert_int_equal(store_changes(s, &slow, changes, 64), -ESTALE); /* once; then it goes on from now */
	assert_int_equal(store_changes(s, &slow, changes, 64), 0);
	slow = 1000000; /* another store's number */
	assert_int_equal(store_changes(s, &slow, changes, 64), -ESTALE);
	store_close(s);
}

/* ---- other processes */

static void another_process_is_heard(void **state)
{
	struct credential_change changes[8];
	struct store *s = open_new();
	uint64_t number = UINT64_MAX;
	int status;
	pid_t child;

	put_many(s, 0, 3, 1);
	store_close(s);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		s = store_open(&(struct store_options){.path = path, .write = true}, error, sizeof(error));
		usleep(100000);
		_exit(s != NULL && remove_many(s, 1, 1) == 1 ? 0 : 1);
	}
	s = open_reader();
	assert_int_equal(store_changes(s, &number, changes, 8), 0);
	assert_int_equal(look_up(s, 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(store_changes(s, &number, changes, 8), 1);
	assert_int_equal(look_up(s, 1), 0);
	store_close(s);
}

/* Killed in the middle of a change: the change did not happen, and nobody is locked out. */
static void a_killed_writer_does_no_harm(void **state)
{
	struct store *s = open_new();
	pid_t child;

	put_many(s, 0, 100, 1);
	store_close(s);
	for (unsigned i = 0; i < 10; i++) {
		child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			s = store_open(&(struct store_options){.path = path, .write = true}, error,
				       sizeof(error));
			for (unsigned value = 2; put_many(s, 0, 100, (uint8_t)(value % 200 + 1)) >= 0;)
				value++;
			_exit(1);
		}
		usleep(5000 + 7000 * i);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		s = open_store(&(struct store_options){.path = path, .write = true});
		assert_int_equal(count_rows(s), 100);
		for (unsigned n = 1; n < 100; n++)
			assert_int_equal(look_up(s, n), look_up(s, 0)); /* all of a change, or none of it */
		assert_true(put_many(s, 0, 1, look_up(s, 1) == 250 ? 251 : 250) >= 0);
		assert_true(put_many(s, 0, 1, (uint8_t)look_up(s, 1)) >= 0);
		store_close(s);
	}
}

static void a_store_that_was_replaced_is_noticed(void **state)
{
	struct store *s = open_new(), *reader = open_reader();
	struct credential_change changes[8];
	char data[80], moved[80];
	uint64_t number = UINT64_MAX;

	put_many(s, 0, 3, 1);
	assert_int_equal(store_changes(reader, &number, changes, 8), 0);
	snprintf(data, sizeof(data), "%s/data.mdb", path);
	snprintf(moved, sizeof(moved), "%s/moved", directory);
	assert_int_equal(rename(data, moved), 0);
	assert_int_equal(store_changes(reader, &number, changes, 8), -ENODEV);
	assert_int_equal(look_up(reader, 1), 1); /* what is open goes on */
	assert_int_equal(rename(moved, data), 0);
	assert_int_equal(store_changes(reader, &number, changes, 8), 0);
	store_close(reader);
	store_close(s);
}

/* No room to write: an error, and everything is as it was. */
static void a_full_disk_does_no_harm(void **state)
{
	struct store *s = open_new();
	struct rlimit before, full;
	struct stat st;

	put_many(s, 0, 100, 1);
	assert_int_equal(stat(s->data_file, &st), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	full = (struct rlimit){(rlim_t)st.st_size + 16384, before.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
	assert_true(put_many(s, 0, 5000, 2) < 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(count_rows(s), 100);
	assert_int_equal(look_up(s, 7), 1);
	assert_int_equal(put_many(s, 0, 5000, 2), STORE_ADDED);
	assert_int_equal(look_up(s, 7), 2);
	store_close(s);
}

/* ---- damage */

static void expect_refusal(const struct store_options *options, const char *sentence)
{
	assert_null(store_open(options, error, sizeof(error)));
	if (strstr(error, sentence) == NULL)
		fail_msg("expected \"%s\", got \"%s\"", sentence, error);
}

/* Writes behind the store's back. */
static void put_raw(struct store *s, unsigned n, const void *bytes, size_t len)
{
	uint8_t key[ROW_KEY_MAX];
	struct credential c;
	MDB_val at, row = {len, (void *)(uintptr_t)bytes};
	MDB_txn *txn;

	fill(&c, n, 0);
	at = (MDB_val){row_key_encode(&c.id, key), key};
	assert_int_equal(mdb_txn_begin(s->env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_put(txn, s->rows, &at, &row, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
}

static int count_damaged(const struct credential *c, int err, void *context)
{
	*(unsigned *)context += err == -EBADMSG;
	return 0;
}

static void a_damaged_row_is_an_error(void **state)
{
	struct store *s = open_new();
	unsigned damaged = 0;

	put_many(s, 0, 3, 1);
	put_raw(s, 1, "\1garbage, but long enough to be a row", 38);
	assert_int_equal(look_up(s, 1), -EBADMSG);
	put_raw(s, 1, "", 0);
	assert_int_equal(look_up(s, 1), -EBADMSG);
	put_raw(s, 2, "\2 of the future, also long enough", 34);
	assert_int_equal(look_up(s, 2), -EPROTO);
	assert_int_equal(look_up(s, 0), 1);
	assert_int_equal(store_walk(s, 0, NULL, count_damaged, &damaged), 0);
	assert_int_equal(damaged, 1);
	assert_int_equal(put_many(s, 1, 1, 4), STORE_REPLACED); /* which repairs it */
	assert_int_equal(look_up(s, 1), 4);
	store_close(s);
}

static void a_damaged_file_is_an_error(void **state)
{
	struct store_options options = {.path = path};
	char data[80];
	struct stat st;
	int fd;

	store_close(open_new());
	snprintf(data, sizeof(data), "%s/data.mdb", path);
	assert_int_equal(chmod(data, 0644), 0);
	expect_refusal(&options, "must be closed to others");
	assert_int_equal(chmod(data, 0600), 0);
	assert_int_equal(chmod(path, 0777), 0);
	expect_refusal(&options, "must be closed to others");
	assert_int_equal(chmod(path, 0750), 0);
	assert_int_equal(stat(data, &st), 0);
	fd = open(data, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, st.st_size / 2), 0);
	expect_refusal(&options, "damaged");
	assert_int_equal(ftruncate(fd, 0), 0);
	expect_refusal(&options, "cannot be used");
	assert_int_equal(pwrite(fd, path, sizeof(path), 0), sizeof(path));
	assert_int_equal(ftruncate(fd, 65536), 0);
	expect_refusal(&options, "damaged");
	close(fd);
	assert_int_equal(unlink(data), 0);
	expect_refusal(&options, "There is no credential store");
	assert_int_equal(mkdir(data, 0700), 0);
	expect_refusal(&options, "is not a regular file");
	assert_int_equal(rmdir(data), 0);
	expect_refusal(&(struct store_options){.path = "/nowhere/at/all"}, "There is no credential store");
	expect_refusal(&(struct store_options){.path = "/nowhere/at/all", .create = true, .write = true},
		       "No such file");
	expect_refusal(&(struct store_options){.path = "/dev/null"}, "is not a directory");
}

static void keys_are_wrapped(void **state)
{
	struct store_options options = {.path = path, .key_file = key_file, .create = true, .write = true};
	struct store *s = open_store(&options);

	put_many(s, 0, 3, 0xcc);
	assert_int_equal(look_up(s, 1), 0xcc);
	assert_int_equal(put_many(s, 1, 1, 0xcc), STORE_UNCHANGED); /* in spite of another nonce */
	store_close(s);
	expect_refusal(&(struct store_options){.path = path}, "no key file was given");
	options.key_file = other_key_file;
	expect_refusal(&options, "another key file");
	options.key_file = "/nowhere";
	expect_refusal(&options, "cannot be read");
	remove_store(state);
	store_close(open_new());
	options.key_file = key_file;
	expect_refusal(&options, "not wrapped");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(rows_are_found, remove_store),
		cmocka_unit_test_teardown(a_failed_change_leaves_nothing, remove_store),
		cmocka_unit_test_teardown(certificates_and_public_keys, remove_store),
		cmocka_unit_test_teardown(walks_by_kind_and_tenant, remove_store),
		cmocka_unit_test_teardown(store_agrees_with_model, remove_store),
		cmocka_unit_test_teardown(map_grows, remove_store),
		cmocka_unit_test_teardown(changes_are_told_in_order, remove_store),
		cmocka_unit_test_teardown(the_log_is_bounded, remove_store),
		cmocka_unit_test_teardown(another_process_is_heard, remove_store),
		cmocka_unit_test_teardown(a_killed_writer_does_no_harm, remove_store),
		cmocka_unit_test_teardown(a_store_that_was_replaced_is_noticed, remove_store),
		cmocka_unit_test_teardown(a_full_disk_does_no_harm, remove_store),
		cmocka_unit_test_teardown(a_damaged_row_is_an_error, remove_store),
		cmocka_unit_test_teardown(a_damaged_file_is_an_error, remove_store),
		cmocka_unit_test_teardown(keys_are_wrapped, remove_store),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
