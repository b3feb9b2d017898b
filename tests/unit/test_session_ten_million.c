/* Ten million sessions for real: the memory that they take, each found by CID and by address, the table full.
 * Suite 'slow': needs about 2.5 GB, and skips itself where they are not there.
 */
#include "dataplane/session_table.h"
#include "tests/unit/session_helpers.h"

enum { COUNT = 10000000, EVICTIONS = 20000, BURST = 64 };

static const struct session_limits limits = {
	.max = COUNT, .reserved_max = 4096, .big_max = COUNT, .idle_timeout_s = 86400, .worker = 1};

/* A figure of /proc, in bytes. */
static size_t proc_bytes(const char *file, const char *key)
{
	FILE *f = fopen(file, "re");
	char line[256];
	size_t kib = 0;

	assert_non_null(f);
	while (kib == 0 && fgets(line, sizeof(line), f))
		if (strncmp(line, key, strlen(key)) == 0)
			kib = strtoul(line + strlen(key), NULL, 10);
	(void)fclose(f);
	return kib * 1024;
}

static void every_one_is_found(struct session_table *t)
{
	for (uint32_t i = 0; i < COUNT; i += BURST) {
		struct session_query queries[BURST];
		struct path paths[BURST];
		uint8_t cids[BURST][CID_LEN];

		for (unsigned k = 0; k < BURST; k++) {
			paths[k] = test_path(i + k);
			queries[k] = (struct session_query){.address = &paths[k].peer};
			if (k % 2) {
				session_cid(t, i + k, cids[k]);
				queries[k].cid = cids[k];
			}
		}
		session_find_burst(t, queries, BURST);
		for (unsigned k = 0; k < BURST; k++)
			assert_int_equal(queries[k].slot, i + k);
	}
}

/* The first ones were heard from again: those behind them go, the oldest first. */
static void the_oldest_make_room(struct session_table *t)
{
	uint32_t slots[16];

	for (uint32_t i = 0; i < 1000; i++)
		session_touch(session_rx(t, i), test_tick_ns(5000));
	for (uint32_t i = 0; i < EVICTIONS; i++) {
		uint32_t slot = session_reserve(t);
		struct session_install in = test_install(t, slot, COUNT + i);
		uint32_t replaced, evicted;

		assert_int_equal(session_expire(t, test_tick_ns(5001), slots, 16), 0);
		assert_int_equal(session_install(t, &in, test_tick_ns(5001), &replaced, &evicted), 0);
		assert_int_equal(session_tx(t, evicted)->since_tick, 60);
		assert_int_equal(session_rx(t, evicted)->active_tick, 60);
		test_end(t, evicted);
		assert_int_equal(session_live_count(t), COUNT);
	}
}

static void ten_million_sessions_fit(void **state)
{
	struct session_memory plan;
	struct session_table *t;
	size_t resident;

	session_memory_plan(&limits, &plan);
	if (proc_bytes("/proc/meminfo", "MemAvailable:") < plan.total - plan.big + (512UL << 20))
		skip();
	t = session_table_new(&limits, test_cid_key, test_tick_ns(50));
	assert_non_null(t);
	for (uint32_t i = 0; i < COUNT; i++)
		assert_int_equal(test_open(t, i, test_tick_ns(60 + i / 1000000)), i);
	every_one_is_found(t);
	the_oldest_make_room(t);
	resident = proc_bytes("/proc/self/status", "VmRSS:");
	printf("%d sessions: %.3f GB planned, %.1f bytes each, %.3f GB resident, %s\n", COUNT,
	       (double)(plan.total - plan.big) / 1e9, plan.per_session, (double)resident / 1e9,
	       session_pages_text(session_table_pages(t)));
	assert_true(plan.per_session <= 256.0);
	assert_true(resident <= 2600000000UL);
	session_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(ten_million_sessions_fit)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
