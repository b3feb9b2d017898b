/* A pre-shared key that came from a Redis server is in no memory of ours once it is forgotten. The rows are
 * written by another process, so that this one has the key from the server alone.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "controlplane/backend.h"
#include "controlplane/log.h"
#include "controlplane/store_redis.h"
#include "crypto/secret.h"
#include "tests/unit/memory_search.h"
#include "tests/unit/redis_process.h"

enum { DEVICES = 300, PATIENCE_S = 60, MASK = 0x5a };

static char directory[] = "/tmp/sluice-test-trace-XXXXXX";
static struct redis_process server;
static char address[128];

/* What all keys begin with, masked: see times_in_memory(). */
static const uint8_t secret[24] = {0x3b, 0x91, 0x07, 0xc4, 0x68, 0xee, 0x12, 0xb5, 0x4d, 0xa0, 0x77, 0xf9,
				   0x26, 0xdb, 0x83, 0x1e, 0x50, 0xca, 0x35, 0x98, 0x6f, 0xe1, 0x0c, 0xb7};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- as the operator, elsewhere */

static int put_all(struct backend_writer *w, bool again, void *context)
{
	int ret = 0;

	for (unsigned i = 0; ret == 0 && i < DEVICES; i++) {
		struct backend_row row = {.credential = {.id = {.kind = SLUICE_CREDENTIAL_PSK}}};
		struct credential *c = &row.credential;

		c->id.name_len = (uint8_t)snprintf((char *)c->id.name, sizeof c->id.name, "device-%u", i);
		for (size_t j = 0; j < sizeof secret; j++)
			c->psk.key[j] = secret[j] ^ MASK;
		c->psk.key_len = sizeof secret;
		c->psk.registree.kind = SLUICE_IDENTITY_CREDENTIAL;
		ret = backend_put(w, &row, 1, true);
	}
	return ret;
}

static void fill(void)
{
	const struct backend_options o = {.redis = address, .write = true, .create = true};
	struct backend b;
	char error[256];
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(!backend_open(&b, &o, error, sizeof error) ||
		      b.ops->write(b.store, put_all, NULL) != 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* ---- as the control thread */

static struct redis_store *open_store(void)
{
	const struct redis_store_options o = {.address = address, .timeout_ms = 10000, .cache_s = 1};
	struct redis_store *s;
	char error[256];

	s = redis_store_open(&o, error, sizeof error);
	if (!s)
		fail_msg("%s", error);
	return s;
}

static int find(struct redis_store *s, unsigned device)
{
	struct psk_credential found;
	char name[32];
	int len = snprintf(name, sizeof name, "device-%u", device);
	int ret = store_redis.find_psk(s, "", (const uint8_t *)name, (size_t)len, &found);

	if (ret == 1) {
		assert_int_equal(found.key_len, sizeof secret);
		assert_true((found.key[0] ^ MASK) == secret[0]);
	}
	secret_wipe(&found, sizeof found);
	return ret;
}

static void turn(struct redis_store *s)
{
	struct pollfd fd = {.fd = store_redis.fd(s), .events = POLLIN};

	(void)poll(&fd, 1, 5);
	(void)store_redis.process(s, now_ns());
}

/* All in one turn: so many answers come in pieces. */
static void find_all(struct redis_store *s)
{
	const uint64_t end = now_ns() + PATIENCE_S * 1000000000ULL;
	bool has[DEVICES] = {0};
	unsigned left = DEVICES;

	while (left > 0) {
		assert_true(now_ns() < end);
		for (unsigned i = 0; i < DEVICES; i++) {
			if (!has[i] && find(s, i) == 1) {
				has[i] = true;
				left--;
			}
		}
		if (left > 0)
			turn(s);
	}
}

static void a_forgotten_key_is_nowhere(void **state)
{
	const uint64_t end = now_ns() + PATIENCE_S * 1000000000ULL;
	struct redis_store *s = open_store();
	unsigned found;

	find_all(s);
	assert_true(times_in_memory(secret, sizeof secret) >= DEVICES); /* remembered */
	do {
		turn(s);
		found = times_in_memory(secret, sizeof secret);
	} while (found > 0 && now_ns() < end);
	assert_int_equal(found, 0); /* the connection is still there */
	assert_int_equal(redis_store_counts(s)->lost, 0);
	redis_store_close(s);
}

static void nor_is_one_when_the_store_is_closed(void **state)
{
	struct redis_store *s = open_store();

	find_all(s);
	assert_true(times_in_memory(secret, sizeof secret) >= DEVICES);
	redis_store_close(s);
	assert_int_equal(times_in_memory(secret, sizeof secret), 0);
}

/* Whatever had come by then. */
static void nor_when_the_server_goes_away_meanwhile(void **state)
{
	struct redis_store *s = open_store();

	find_all(s);
	for (unsigned i = 0; i < DEVICES; i++)
		(void)find(s, i);
	turn(s);
	redis_process_stop(&server);
	for (unsigned i = 0; i < 10; i++)
		turn(s);
	redis_store_close(s);
	assert_int_equal(times_in_memory(secret, sizeof secret), 0);
}

static void no_log(enum log_level level, const char *line)
{
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_forgotten_key_is_nowhere),
		cmocka_unit_test(nor_is_one_when_the_store_is_closed),
		cmocka_unit_test(nor_when_the_server_goes_away_meanwhile),
	};
	int failed;

	if (argc == 2 && !redis_process_there(argv[1]))
		return TEST_SKIPPED;
	if (argc != 2 || !mkdtemp(directory)) {
		fputs("usage: test_redis_trace REDIS-SERVER\n", stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	log_route(no_log);
	server.program = argv[1];
	snprintf(server.socket, sizeof server.socket, "%s/redis.sock", directory);
	snprintf(address, sizeof address, "unix:%s", server.socket);
	if (!redis_process_start(&server))
		return 1;
	fill();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	redis_process_stop(&server);
	rmdir(directory);
	return failed;
}
