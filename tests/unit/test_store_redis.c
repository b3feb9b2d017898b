/* The gateway's store in Redis against a redis-server that this test starts, pauses, changes and kills. Rows
 * are written as sluicectl writes them.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "controlplane/backend.h"
#include "controlplane/log.h"
#include "controlplane/store_redis.h"
#include "tests/unit/redis_process.h"

enum { TIMEOUT_MS = 300, PATIENCE_MS = 60000 };
#define MS 1000000ULL

static char directory[] = "/tmp/sluice-test-redis-XXXXXX";
static struct redis_process server;
static char address[128], logged[4096];

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void keep_log(enum log_level level, const char *line)
{
	size_t used = strlen(logged);

	snprintf(logged + used, sizeof logged - used, "%s\n", line);
}

/* ---- as the operator */

static struct credential psk(const char *identity, const char *key)
{
	struct credential c = {.id = {.kind = SLUICE_CREDENTIAL_PSK, .name_len = (uint8_t)strlen(identity)}};

	memcpy(c.id.name, identity, strlen(identity));
	memcpy(c.psk.key, key, strlen(key));
	c.psk.key_len = (uint8_t)strlen(key);
	c.psk.registree.kind = SLUICE_IDENTITY_CREDENTIAL;
	return c;
}

struct edit {
	struct credential credential;
	bool remove;
};

static int edit_one(struct backend_writer *w, bool again, void *context)
{
	const struct edit *edit = context;
	struct backend_row row = {.credential = edit->credential};

	if (edit->remove)
		return w->ops->del(w->writer, &edit->credential.id) == 1 ? 0 : -ENOENT;
	return backend_put(w, &row, 1, true);
}

static void edit(const struct credential *c, bool remove, const char *key_file)
{
	const struct backend_options o = {
		.redis = address, .key_file = key_file, .write = true, .create = true};
	struct edit edit = {*c, remove};
	struct backend b;
	char error[256];

	if (!backend_open(&b, &o, error, sizeof error))
		fail_msg("%s", error);
	assert_int_equal(b.ops->write(b.store, edit_one, &edit), 0);
	backend_close(&b);
}

static void put(const char *identity, const char *key)
{
	struct credential c = psk(identity, key);

	edit(&c, false, NULL);
}

static void del(const char *identity)
{
	struct credential c = psk(identity, "x");

	edit(&c, true, NULL);
}

/* ---- as the control thread */

static struct redis_store *open_store(const char *key_file, const char *password_file)
{
	const struct redis_store_options o = {.address = address,
					      .key_file = key_file,
					      .password_file = password_file,
					      .timeout_ms = TIMEOUT_MS,
					      .cache_s = 1};
	struct redis_store *s;
	char error[256];

	s = redis_store_open(&o, error, sizeof error);
	if (!s)
		fail_msg("%s", error);
	return s;
}

/* One turn: sleeps no longer than the store wants. Returns how many answers came. */
static unsigned turn(struct redis_store *s)
{
	struct pollfd fd = {.fd = store_redis.fd(s), .events = POLLIN};
	uint64_t deadline = store_redis.deadline(s), now = now_ns();
	int ms = deadline <= now ? 0 : deadline - now > 20 * MS ? 20 : (int)((deadline - now) / MS) + 1;

	(void)poll(&fd, 1, ms);
	return store_redis.process(s, now_ns());
}

static void turns(struct redis_store *s, unsigned ms)
{
	const uint64_t end = now_ns() + ms * MS;

	while (now_ns() < end)
		(void)turn(s);
}

static int find_now(struct redis_store *s, const char *identity, struct psk_credential *out)
{
	return store_redis.find_psk(s, "", (const uint8_t *)identity, strlen(identity), out);
}

/* As a handshake does: asks, waits, and asks again when answers came. */
static int find(struct redis_store *s, const char *identity, struct psk_credential *out)
{
	const uint64_t end = now_ns() + PATIENCE_MS * MS;
	int result = find_now(s, identity, out);

	while (result == -EAGAIN && now_ns() < end) {
		if (turn(s) > 0)
			result = find_now(s, identity, out);
	}
	return result;
}

static void expect_key(struct redis_store *s, const char *identity, const char *key)
{
	struct psk_credential found = {0};
	int result = find(s, identity, &found);

	if (result != 1)
		fail_msg("%s: %d; %s", identity, result, logged);
	assert_int_equal(found.key_len, strlen(key));
	assert_memory_equal(found.key, key, strlen(key));
	assert_string_equal(found.registree.identities[0], identity);
}

static void expect_result(struct redis_store *s, const char *identity, int result)
{
	struct psk_credential found;
	int got = find(s, identity, &found);

	if (got != result)
		fail_msg("%s: %d instead of %d; %s", identity, got, result, logged);
}

/* The same of a server that comes back: within two seconds. */
static void expect_key_soon(struct redis_store *s, const char *identity, const char *key)
{
	const uint64_t end = now_ns() + 2000 * MS;
	struct psk_credential found;

	while (find(s, identity, &found) == -ENOTCONN && now_ns() < end)
		(void)turn(s);
	(void)turn(s);
	expect_key(s, identity, key);
}

static struct redis_store *open_ready(void)
{
	struct redis_store *s = open_store(NULL, NULL);

	expect_result(s, "nobody", 0);
	return s;
}

/* ---- set-up */

static int start(void **state)
{
	logged[0] = 0;
	return redis_process_start(&server) ? 0 : -1;
}

static int stop(void **state)
{
	redis_process_stop(&server);
	return 0;
}

/* ---- look-ups */

static void test_finds(void **state)
{
	struct credential tenant = psk("dev", "other key");
	struct redis_store *s;
	struct psk_credential found;

	put("dev", "the key");
	strcpy(tenant.id.tenant, "acme");
	edit(&tenant, false, NULL);
	s = open_store(NULL, NULL);
	assert_int_equal(find_now(s, "dev", &found), -EAGAIN);
	expect_key(s, "dev", "the key");
	expect_result(s, "other", 0);
	assert_int_equal(find_now(s, "", &found), 0);
	for (int i = 0; i < 2; i++) {
		int result;

		while ((result = store_redis.find_psk(s, "acme", (const uint8_t *)"dev", 3, &found)) ==
		       -EAGAIN)
			(void)turn(s);
		assert_int_equal(result, 1);
		assert_int_equal(found.key_len, 9);
		assert_string_equal(found.registree.tenant, "acme");
	}
	redis_store_close(s);
}

/* Many at once, more than one turn's answers. */
static void test_pipelines(void **state)
{
	struct redis_store *s;
	struct psk_credential found;
	unsigned open = 2000, asked = 0;
	char name[32];

	put("dev-7", "key");
	s = open_ready();
	for (unsigned i = 0; i < open; i++) {
		snprintf(name, sizeof name, "dev-%u", i);
		assert_int_equal(find_now(s, name, &found), -EAGAIN);
	}
	for (unsigned answers; open > 0; open -= answers) {
		answers = turn(s);
		assert_true(answers <= open);
		assert_true(asked++ < 10000);
	}
	expect_key(s, "dev-7", "key");
	redis_store_close(s);
}

/* Whoever waits is named by a number, and an answer names those whose it is. */
static void test_an_answer_has_its_number(void **state)
{
	const uint64_t end = now_ns() + PATIENCE_MS * MS;
	struct redis_store *s;
	struct psk_credential found;
	uint64_t numbers[2];

	put("dev", "key");
	s = open_ready();
	for (int round = 0; round < 2; round++) { /* asked of the server; remembered, and held back */
		(void)turn(s);                    /* what was ripe is so no longer */
		assert_int_equal(find_now(s, "dev", &found), -EAGAIN);
		numbers[0] = store_redis.question(s);
		assert_int_equal(find_now(s, "nobody else", &found), -EAGAIN);
		numbers[1] = store_redis.question(s);
		assert_int_equal(find_now(s, "dev", &found), -EAGAIN);
		assert_int_equal(store_redis.question(s), numbers[0]);
		assert_true(numbers[0] != 0 && numbers[1] != 0 && numbers[0] != numbers[1]);
		for (unsigned told = 0; told != 3 && now_ns() < end;) {
			unsigned answers = turn(s);
			uint64_t number;

			for (; (number = store_redis.next_answer(s)); answers--) {
				unsigned which = number == numbers[1];

				assert_int_equal(number, numbers[which]);
				assert_int_equal(find_now(s, which ? "nobody else" : "dev", &found), !which);
				told |= 1U << which;
			}
			assert_int_equal(answers, 0);
		}
	}
	assert_true(now_ns() < end);
	redis_store_close(s);
}

static void test_certificates_and_keys(void **state)
{
	struct credential certificate = {.id = {.kind = SLUICE_CREDENTIAL_X509,
						.name = "cse-7.example",
						.name_len = 13,
						.digest = "root",
						.digest_len = 32}};
	struct credential key = {.id = {.kind = SLUICE_CREDENTIAL_RPK, .digest = "0123456789abcdef"}};
	struct registree *r = &certificate.psk.registree, found;
	struct credential_id whole = {.kind = SLUICE_CREDENTIAL_RPK, .digest_len = 32};
	struct redis_store *s;
	int result;

	r->kind = SLUICE_IDENTITY_CSE_ID;
	r->identities_count = 1;
	strcpy(r->identities[0], "/cse-7");
	key.psk.registree = *r;
	key.id.digest_len = 15; /* RFC 6920: sha-256-120 */
	edit(&certificate, false, NULL);
	edit(&key, false, NULL);
	memcpy(whole.digest, "0123456789abcdefXXXXXXXXXXXXXXXX", 32);
	s = open_ready();
	while ((result = store_redis.find(s, &certificate.id, &found)) == -EAGAIN)
		(void)turn(s);
	assert_int_equal(result, 1);
	assert_string_equal(found.identities[0], "/cse-7");
	assert_int_equal(store_redis.find(s, &certificate.id, &found), 1); /* at once: nothing to hide */
	while ((result = store_redis.find(s, &whole, &found)) == -EAGAIN)
		(void)turn(s);
	assert_int_equal(result, 1);
	whole.digest[0] ^= 1;
	while ((result = store_redis.find(s, &whole, &found)) == -EAGAIN)
		(void)turn(s);
	assert_int_equal(result, 0);
	redis_store_close(s);
}

/* Whoever asks for what is known already waits about as long as the first one did. */
static void test_known_is_not_quicker(void **state)
{
	struct redis_store *s;
	struct psk_credential found;
	uint64_t began;
	const char *names[] = {"dev", "nobody"};

	put("dev", "key");
	s = open_ready();
	for (int i = 0; i < 2; i++) {
		/* the server takes 50 ms, several times over */
		for (int n = 0; n < 3; n++) {
			char name[32];

			snprintf(name, sizeof name, "x%d%d", i, n);
			assert_true(redis_process_do(&server, "CLIENT PAUSE 50 ALL"));
			expect_result(s, name, 0);
		}
		assert_int_equal(find(s, names[i], &found), i == 0);
		assert_true(turn(s) == 0);
		began = now_ns();
		assert_int_equal(find_now(s, names[i], &found), -EAGAIN);
		assert_int_equal(find(s, names[i], &found), i == 0);
		assert_in_range(now_ns() - began, 5 * MS, 60 * MS);
	}
	redis_store_close(s);
}

static void test_wrapped(void **state)
{
	char key_file[128], other[128], error[256];
	struct credential c = psk("dev", "sealed");
	struct redis_store *s;
	struct psk_credential found;

	snprintf(key_file, sizeof key_file, "%s/key", directory);
	snprintf(other, sizeof other, "%s/other", directory);
	assert_int_equal(wrap_create_key(key_file), 0);
	assert_int_equal(wrap_create_key(other), 0);
	edit(&c, false, key_file);
	s = open_store(key_file, NULL);
	expect_key(s, "dev", "sealed");
	redis_store_close(s);
	s = open_store(other, NULL);
	turns(s, 300);
	assert_int_equal(find_now(s, "dev", &found), -ENOTCONN);
	assert_non_null(strstr(logged, "another key file"));
	redis_store_close(s);
	s = open_store(NULL, NULL);
	turns(s, 300);
	assert_int_equal(find_now(s, "dev", &found), -ENOTCONN);
	assert_non_null(strstr(logged, "no key file was given"));
	redis_store_close(s);
	assert_int_equal(chmod(other, 0644), 0);
	assert_null(redis_store_open(&(struct redis_store_options){.address = address, .key_file = other},
				     error, sizeof error));
	assert_non_null(strstr(error, "others must have no access"));
	unlink(key_file);
	unlink(other);
}

static void test_password(void **state)
{
	char file[128];
	struct redis_store *s;
	struct psk_credential found;
	FILE *f;

	put("dev", "key");
	assert_true(redis_process_do(&server, "CONFIG SET requirepass secret"));
	snprintf(file, sizeof file, "%s/password", directory);
	for (int good = 0; good < 2; good++) {
		f = fopen(file, "w");
		assert_true(f && fputs(good ? "secret\n" : "wrong\n", f) > 0 && fchmod(fileno(f), 0600) == 0);
		fclose(f);
		s = open_store(NULL, file);
		if (good) {
			expect_key(s, "dev", "key");
		} else {
			turns(s, 300);
			assert_int_equal(find_now(s, "dev", &found), -ENOTCONN);
			assert_non_null(strstr(logged, "WRONGPASS"));
			assert_null(strstr(logged, "secret"));
		}
		redis_store_close(s);
	}
	unlink(file);
}

static void write_password(const char *path, const char *text)
{
	char new[160];
	FILE *f;

	snprintf(new, sizeof new, "%s.new", path);
	f = fopen(new, "w");
	assert_true(f && fputs(text, f) > 0 && fchmod(fileno(f), 0600) == 0);
	fclose(f);
	assert_int_equal(rename(new, path), 0);
}

/* Until the store says that; every other connection is cut before. */
static void expect_after_cut(redisContext *admin, struct redis_store *s, const char *line)
{
	const uint64_t end = now_ns() + 60000 * MS;

	logged[0] = 0;
	freeReplyObject(redisCommand(admin, "CLIENT KILL TYPE normal SKIPME yes"));
	while (!strstr(logged, line) && now_ns() < end)
		(void)turn(s);
	if (!strstr(logged, line))
		fail_msg("no \"%s\" in %s", line, logged);
}

/* One that changes is read for the next connection; what cannot be read leaves the one before. */
static void test_password_changes(void **state)
{
	redisContext *admin = redisConnectUnix(server.socket); /* stays who it is */
	struct redis_store *s;
	char file[128];

	put("dev", "key");
	snprintf(file, sizeof file, "%s/password", directory);
	write_password(file, "first\n");
	freeReplyObject(redisCommand(admin, "CONFIG SET requirepass first"));
	s = open_store(NULL, file);
	expect_key(s, "dev", "key");
	write_password(file, "two\nlines\n");
	expect_after_cut(admin, s, "password must hold one line, the password. What was read before stays");
	expect_key_soon(s, "dev", "key");
	freeReplyObject(redisCommand(admin, "CONFIG SET requirepass second"));
	expect_after_cut(admin, s, "WRONGPASS");
	write_password(file, "second\n");
	expect_after_cut(admin, s, "has been read anew");
	assert_null(strstr(logged, "second"));
	expect_key_soon(s, "dev", "key");
	redis_store_close(s);
	redisFree(admin);
	unlink(file);
}

/* ---- what goes wrong */

static void test_not_there(void **state)
{
	struct redis_store *s;
	struct psk_credential found;

	redis_process_stop(&server);
	s = open_store(NULL, NULL);
	expect_result(s, "dev", -ENOTCONN);
	assert_int_equal(find_now(s, "dev", &found), -ENOTCONN); /* at once, from now on */
	assert_non_null(strstr(logged, "cannot be used: "));
	assert_true(redis_process_start(&server));
	while (!strstr(logged, "there is no credential store in it"))
		(void)turn(s);
	assert_int_equal(find_now(s, "dev", &found), -ENOTCONN);
	put("dev", "key");
	expect_key_soon(s, "dev", "key");
	assert_non_null(strstr(logged, "can be used"));
	redis_store_close(s);
}

/* Killed and started again, it is found again within two seconds; what was asked in between is told. */
static void test_restarts(void **state)
{
	struct redis_store *s;

	put("dev", "key");
	s = open_ready();
	for (int i = 0; i < 2; i++) {
		redis_process_stop(&server);
		turns(s, 300);
		expect_result(s, "dev", -ENOTCONN);
		assert_true(redis_process_start(&server));
		put("dev", "key");
		expect_key_soon(s, "dev", "key");
		assert_int_equal(redis_store_counts(s)->lost, i + 1);
	}
	redis_store_close(s);
}

/* A connection that breaks while the server is well is not noticed at all. */
static void test_broken_connection(void **state)
{
	struct redis_store *s;
	struct psk_credential found;

	put("dev", "key");
	s = open_ready();
	for (int i = 0; i < 30; i++) {
		char name[32];

		snprintf(name, sizeof name, "new-%d", i);
		if (i % 3 > 0)
			assert_int_equal(find_now(s, name, &found), -EAGAIN);
		if (i % 3 > 1) /* it is under way */
			assert_int_equal(store_redis.process(s, now_ns()), 0);
		assert_true(redis_process_do(&server, "CLIENT KILL TYPE normal SKIPME yes"));
		expect_result(s, name, 0);
		expect_key(s, "dev", "key");
		(void)turn(s);
	}
	assert_null(strstr(logged, "refused"));
	redis_store_close(s);
}

/* CLIENT PAUSE: questions time out, nobody is blocked, and afterwards all is well. */
static void test_slow(void **state)
{
	struct redis_store *s;
	uint64_t began;
	unsigned turns = 0;

	put("dev", "key");
	s = open_ready();
	assert_true(redis_process_do(&server, "CLIENT PAUSE 1200 ALL"));
	began = now_ns();
	expect_result(s, "dev", -ETIMEDOUT);
	assert_in_range(now_ns() - began, TIMEOUT_MS * MS, PATIENCE_MS * MS);
	for (; now_ns() - began < 1200 * MS; turns++) {
		(void)store_redis.process(s, now_ns());
		usleep(1000);
	}
	assert_true(turns > 2); /* one that waits for the server would be the only one */
	expect_key_soon(s, "dev", "key");
	redis_store_close(s);
}

static void test_damaged(void **state)
{
	struct redis_store *s;
	struct psk_credential found;

	put("dev", "key");
	s = open_ready();
	{
		redisContext *c = redisConnectUnix(server.socket);
		struct credential id = psk("dev", "");
		uint8_t key[ROW_KEY_MAX];
		size_t len = row_key_encode(&id.id, key);

		freeReplyObject(
			redisCommand(c, "HSET sluice:rows %b %s", key, len, "\001a damaged row of ours"));
		redisFree(c);
	}
	expect_result(s, "dev", -EBADMSG);
	put("dev", "key2"); /* a damaged one can be replaced */
	turns(s, 400);
	expect_key(s, "dev", "key2");
	assert_true(redis_process_do(&server, "DEL sluice:rows"));
	assert_true(redis_process_do(&server, "SET sluice:rows foreign"));
	expect_result(s, "another", -EIO);
	assert_true(redis_store_counts(s)->failed >= 2);
	assert_int_equal(redis_store_counts(s)->damaged, 1);
	assert_non_null(strstr(logged, "WRONGTYPE"));
	assert_true(redis_process_do(&server, "FLUSHALL"));
	turns(s, 400);
	assert_int_equal(find_now(s, "dev", &found), -ENOTCONN);
	redis_store_close(s);
}

/* ---- changes */

static int changes(struct redis_store *s, uint64_t *number, struct credential_change *out, unsigned max)
{
	return store_redis.changes(s, number, out, max);
}

static void test_changes(void **state)
{
	static struct credential_change out[8];
	uint64_t number = UINT64_MAX, began;
	struct redis_store *s;
	int n;

	put("a", "1");
	put("b", "1");
	put("a", "2");
	s = open_store(NULL, NULL);
	assert_int_equal(changes(s, &number, out, 8), 0);
	assert_true(number == UINT64_MAX); /* it does not know yet where "now" is */
	expect_key(s, "a", "2");
	assert_int_equal(changes(s, &number, out, 8), 0);
	assert_int_equal(number, 3);
	put("c", "1"); /* nobody stands on it */
	put("b", "2");
	del("a");
	began = now_ns();
	for (n = 0; n < 2;) {
		int more;

		(void)turn(s);
		more = changes(s, &number, out + n, 1); /* one at a time */
		assert_true(more >= 0 && now_ns() - began < PATIENCE_MS * MS);
		n += more;
	}
	assert_false(out[0].removed);
	assert_memory_equal(out[0].id.name, "b", 1);
	assert_true(out[1].removed);
	assert_memory_equal(out[1].id.name, "a", 1);
	assert_int_equal(out[1].number, 6);
	turns(s, 500);
	assert_int_equal(changes(s, &number, out, 8), 0);
	assert_int_equal(number, 6);
	expect_result(s, "a", 0); /* and what was remembered is forgotten */
	expect_key(s, "b", "2");
	redis_store_close(s);
}

/* What happens while the server is away is told afterwards; another store in its place makes everything
 * stale. */
static void test_changes_missed(void **state)
{
	static struct credential_change out[8];
	uint64_t number = UINT64_MAX;
	struct redis_store *s;

	put("a", "1");
	put("a", "2");
	s = open_ready();
	assert_int_equal(changes(s, &number, out, 8), 0);
	for (int i = 0; i < 3; i++) /* with nobody looking */
		put("a", i % 2 ? "2" : "1");
	turns(s, 500);
	assert_int_equal(changes(s, &number, out, 8), 3);
	assert_int_equal(changes(s, &number, out, 8), 0);
	assert_int_equal(number, 5);
	assert_true(redis_process_do(&server, "FLUSHALL"));
	turns(s, 300);
	assert_int_equal(changes(s, &number, out, 8), 0); /* there is nothing new to be known */
	put("a", "1");
	expect_key_soon(s, "a", "1");
	assert_int_equal(changes(s, &number, out, 8), -ESTALE);
	assert_int_equal(number, 1);
	assert_int_equal(changes(s, &number, out, 8), 0);
	redis_store_close(s);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_finds, start, stop),
		cmocka_unit_test_setup_teardown(test_pipelines, start, stop),
		cmocka_unit_test_setup_teardown(test_an_answer_has_its_number, start, stop),
		cmocka_unit_test_setup_teardown(test_certificates_and_keys, start, stop),
		cmocka_unit_test_setup_teardown(test_known_is_not_quicker, start, stop),
		cmocka_unit_test_setup_teardown(test_wrapped, start, stop),
		cmocka_unit_test_setup_teardown(test_password, start, stop),
		cmocka_unit_test_setup_teardown(test_password_changes, start, stop),
		cmocka_unit_test_setup_teardown(test_not_there, start, stop),
		cmocka_unit_test_setup_teardown(test_restarts, start, stop),
		cmocka_unit_test_setup_teardown(test_broken_connection, start, stop),
		cmocka_unit_test_setup_teardown(test_slow, start, stop),
		cmocka_unit_test_setup_teardown(test_damaged, start, stop),
		cmocka_unit_test_setup_teardown(test_changes, start, stop),
		cmocka_unit_test_setup_teardown(test_changes_missed, start, stop),
	};
	int failed;

	if (argc == 2 && !redis_process_there(argv[1]))
		return TEST_SKIPPED;
	if (argc != 2 || !mkdtemp(directory)) {
		fputs("usage: test_store_redis REDIS-SERVER\n", stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	log_route(keep_log);
	server.program = argv[1];
	snprintf(server.socket, sizeof server.socket, "%s/redis.sock", directory);
	snprintf(address, sizeof address, "unix:%s", server.socket);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(directory);
	return failed;
}
