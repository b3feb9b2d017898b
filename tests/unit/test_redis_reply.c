/* What a Redis server may answer to a look-up, also one that is none: controlplane/store_redis.c without a
 * connection.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../controlplane/store_redis.c"

enum { ELEMENTS_MAX = 5 };

static struct redis_store *store;

static int setup(void **state)
{
	const struct redis_store_options o = {
		.address = "unix:/nowhere/redis.sock", .timeout_ms = 300, .cache_s = 1};
	char error[256];

	store = redis_store_open(&o, error, sizeof error);
	return store ? 0 : -1;
}

static int teardown(void **state)
{
	redis_store_close(store);
	return 0;
}

/* As send_lookup() leaves it. */
static struct query *ask_for(const struct credential_id *id)
{
	struct query *q = malloc(sizeof *q);
	struct registree found;
	uint8_t key[ROW_KEY_MAX];
	struct lookup *l;
	struct keys keys;

	assert_non_null(q);
	assert_int_equal(redis_find(store, id, &found), -EAGAIN);
	l = lookups_find(store->lookups, key, row_key_encode(id, key));
	assert_non_null(l);
	make_keys(&keys, id);
	*q = (struct query){.store = store, .lookup = l, .keys_count = keys.count};
	lookup_sent(store->lookups, l, &q->lookup);
	return q;
}

/* The row that stands under the nth of the names of id; of the first one when it has not so many. */
static void make_row(const struct credential_id *id, size_t n, uint8_t bytes[ROW_MAX], redisReply *row)
{
	struct credential c = {.psk.registree.kind = SLUICE_IDENTITY_CREDENTIAL, .psk.registree.version = 9};
	struct keys keys;
	int len;

	make_keys(&keys, id);
	n = n < keys.count ? n : 0;
	assert_int_equal(row_key_decode(keys.bytes[n], keys.lens[n], &c.id), 0);
	len = row_encode(&c, NULL, bytes);
	assert_true(len > 0);
	*row = (redisReply){.type = REDIS_REPLY_STRING, .str = (char *)bytes, .len = (size_t)len};
}

/* The server answers with so many elements, all nil but the last, which is a row. What is told then. */
static int answer(const struct credential_id *id, size_t elements)
{
	redisReply nil = {.type = REDIS_REPLY_NIL}, row, *element[ELEMENTS_MAX];
	redisReply reply = {.type = REDIS_REPLY_ARRAY, .elements = elements, .element = element};
	struct query *q = ask_for(id);
	struct registree found;
	uint8_t bytes[ROW_MAX];
	int ret;

	make_row(id, elements > 0 ? elements - 1 : 0, bytes, &row);
	for (size_t i = 0; i < elements; i++)
		element[i] = i + 1 == elements ? &row : &nil;
	take_lookup_reply(NULL, &reply, q);
	ret = redis_find(store, id, &found);
	store->now_ns += 10000000000ULL; /* forgotten */
	lookups_timers(store->lookups, store->now_ns, 0);
	return ret;
}

static void only_as_many_elements_as_keys(void **state)
{
	struct credential_id id = {.kind = SLUICE_CREDENTIAL_RPK, .digest_len = 32};

	for (size_t elements = 0; elements <= ELEMENTS_MAX; elements++)
		assert_int_equal(answer(&id, elements), elements == 3 ? 1 : -EIO);
	id.digest_len = 16; /* it has one shorter name */
	for (size_t elements = 0; elements <= ELEMENTS_MAX; elements++)
		assert_int_equal(answer(&id, elements), elements == 2 ? 1 : -EIO);
}

static void no_array_at_all(void **state)
{
	const struct credential_id id = {.kind = SLUICE_CREDENTIAL_RPK, .digest_len = 32};
	redisReply reply = {.type = REDIS_REPLY_INTEGER, .integer = 3};
	struct registree found;

	take_lookup_reply(NULL, &reply, ask_for(&id));
	assert_int_equal(redis_find(store, &id, &found), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(only_as_many_elements_as_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(no_array_at_all, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
