/* The session table's memory: planned as taken, each kind of pages, kept out of core dumps, wiped, and
 * attached by another process.
 */
#include "dataplane/session_memory.c" /* for the kinds of pages that this machine would not choose */

#include <sys/wait.h>

#include "dataplane/session.h"
#include "tests/unit/session_helpers.h"

static const struct session_limits limits_small = {
	.max = 30000, .reserved_max = 100, .big_max = 1000, .idle_timeout_s = 86400};

/* What the kernel says about the mapping that begins at base. */
struct mapping {
	size_t size, resident;
	bool not_dumped;
};

static struct mapping mapping_of(const void *base)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	struct mapping m = {0};
	bool inside = false;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long from, to, kib;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = from == (uintptr_t)base;
		if (!inside)
			continue;
		if (sscanf(line, "Size: %lu", &kib) == 1)
			m.size = kib * 1024;
		if (sscanf(line, "Rss: %lu", &kib) == 1)
			m.resident = kib * 1024;
		if (strncmp(line, "VmFlags:", 8) == 0)
			m.not_dumped = strstr(line, " dd") != NULL;
	}
	(void)fclose(f);
	return m;
}

static void the_plan_is_the_mapping(void **state)
{
	static const struct session_limits cases[] = {
		{.max = 1, .reserved_max = 1, .idle_timeout_s = 1},
		{.max = 1000, .reserved_max = 16, .big_max = 1000, .idle_timeout_s = 60},
		{.max = 100000, .reserved_max = 4096, .big_max = 10000, .idle_timeout_s = 86400},
		{.max = 1000000, .reserved_max = 4096, .big_max = 0, .idle_timeout_s = 31536000},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct session_memory plan;
		struct session_table *t = session_table_new(&cases[i], test_cid_key, test_tick_ns(1));
		struct mapping m;

		assert_non_null(t);
		session_memory_plan(&cases[i], &plan);
		m = mapping_of(t->head);
		assert_int_equal(m.size, plan.total);
		assert_int_equal(plan.rx + plan.tx + plan.big + plan.index + plan.other, plan.total);
		assert_true(m.not_dumped);
		assert_int_equal(m.resident, plan.total - plan.big);
		session_table_free(t);
	}
}

/* The most that a session with a 128-bit AEAD key may take, everything counted. */
static void a_session_takes_256_bytes_at_most(void **state)
{
	static const uint32_t counts[] = {100000, 1000000, 10000000, 16000000};

	for (unsigned i = 0; i < 4; i++) {
		struct session_limits limits = {.max = counts[i],
						.reserved_max = 4096,
						.big_max = counts[i],
						.idle_timeout_s = 31536000};
		struct session_memory plan;

		session_memory_plan(&limits, &plan);
		assert_true(plan.per_session > 192.0 && plan.per_session <= 256.0);
		assert_true((double)(plan.total - plan.big) == plan.per_session * counts[i]);
	}
}

static void impossible_limits_are_refused(void **state)
{
	static const struct session_limits cases[] = {
		{.max = 0, .reserved_max = 1},
		{.max = 1 << 24, .reserved_max = 1},
		{.max = UINT32_MAX, .reserved_max = 2},
		{.max = 100, .reserved_max = UINT32_MAX},
		{.max = 100, .worker = 256},
		{.max = 100, .big_max = 101},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct session_memory plan;

		errno = 0;
		assert_null(session_table_new(&cases[i], test_cid_key, 0));
		assert_int_equal(errno, EINVAL);
		session_memory_plan(&cases[i], &plan);
		assert_int_equal(plan.total, 0);
	}
}

/* Each kind of pages that this system has holds what is written, reads as zero before, and is not dumped. */
static void check_kind(struct session_memory_map *m, size_t size)
{
	assert_true(session_memory_populate(m, size));
	assert_true(mapping_of(m->base).resident >= size);
	for (size_t at = 0; at < size; at += 64 * 1024) {
		assert_int_equal(m->base[at], 0);
		m->base[at] = (uint8_t)(at / 4096 | 1);
	}
	for (size_t at = 0; at < size; at += 64 * 1024)
		assert_int_equal(m->base[at], (uint8_t)(at / 4096 | 1));
	assert_true((uintptr_t)m->base % huge_page == 0);
	session_memory_unmap(m);
}

static struct session_memory_map space(size_t size)
{
	struct session_memory_map m = {.size = size, .fd = -1};

	m.base = address_space(size);
	assert_non_null(m.base);
	return m;
}

static void every_kind_of_pages_works(void **state)
{
	size_t size = 4 * huge_page;
	struct session_memory_map m = space(size);

	m.fd = memfd_map(&m, 0);
	assert_true(m.fd >= 0);
	m.pages = SESSION_PAGES_SMALL;
	check_kind(&m, size);

	m = space(size);
	m.fd = memfd_map(&m, 0);
	(void)collapse(m.base, size); /* all stays as it was where the kernel cannot do it */
	check_kind(&m, size);

	m = space(size);
	if (map_anonymous(&m)) {
		assert_int_equal(m.pages, SESSION_PAGES_ANONYMOUS);
		assert_int_equal(m.fd, -1);
	}
	check_kind(&m, size);

	m = space(size);
	m.fd = memfd_map(&m, MFD_HUGETLB);
	if (m.fd >= 0) { /* an operator reserved some */
		m.pages = SESSION_PAGES_RESERVED;
		check_kind(&m, size);
	} else {
		session_memory_unmap(&m);
	}
}

/* The first choice that works is taken, and told. */
static void the_kind_is_told(void **state)
{
	struct session_table *t = session_table_new(&limits_small, test_cid_key, test_tick_ns(1));
	enum session_pages pages;

	assert_non_null(t);
	pages = session_table_pages(t);
	assert_true((session_table_fd(t) >= 0) == (pages != SESSION_PAGES_ANONYMOUS));
	assert_string_not_equal(session_pages_text(pages), "unknown");
	assert_string_equal(session_pages_text((enum session_pages)77), "unknown");
	session_table_free(t);
}

/* The pool of large keys takes memory only from those who use it. */
static void large_keys_come_into_memory_as_they_are_used(void **state)
{
	enum { COUNT = 100000, BIGS = 30000 };
	struct session_limits limits = {
		.max = COUNT, .reserved_max = 100, .big_max = COUNT, .idle_timeout_s = 600};
	struct session_table *t = session_table_new(&limits, test_cid_key, test_tick_ns(1));
	size_t before, after;

	assert_non_null(t);
	for (uint32_t i = 0; i < COUNT - BIGS; i++)
		(void)test_open(t, i, test_tick_ns(2));
	before = mapping_of(t->head).resident;
	for (uint32_t i = 0; i < BIGS; i++) {
		struct session_install in = test_install(t, session_reserve(t), COUNT + i);
		uint32_t replaced, evicted;

		in.protection = PROTECTION_AES_128_CBC_ETM;
		assert_int_equal(session_install(t, &in, test_tick_ns(3), &replaced, &evicted), 0);
	}
	after = mapping_of(t->head).resident;
	assert_in_range(after - before, BIGS * 192UL, BIGS * 192UL + 2 * huge_page);
	session_table_free(t);
}

static bool contains(const void *memory, size_t len, const void *what, size_t what_len)
{
	return memmem(memory, len, what, what_len) != NULL;
}

/* A key is nowhere in the table after the session's end, be it in its lines or in the pool. */
static void keys_are_wiped(void **state)
{
	static const enum protection_id protections[] = {PROTECTION_AES_128_CCM_8, PROTECTION_AES_256_CCM_8,
							 PROTECTION_AES_128_CBC_ETM};
	struct session_table *t = session_table_new(&limits_small, test_cid_key, test_tick_ns(1));

	assert_non_null(t);
	for (unsigned i = 0; i < 3; i++) {
		uint32_t slot = session_reserve(t);
		struct session_install in = test_install(t, slot, i);
		uint8_t rx_key[16], tx_key[16];
		uint32_t replaced, evicted;

		in.protection = protections[i];
		memset(rx_key, 0x11 + (int)i, 16);
		memset(tx_key, 0x41 + (int)i, 16);
		memcpy(&in.rx_key, rx_key, 16);
		memcpy(&in.tx_key, tx_key, 16);
		assert_int_equal(session_install(t, &in, test_tick_ns(2), &replaced, &evicted), 0);
		assert_true(contains(t->head, t->memory.size, rx_key, 16));
		assert_true(contains(t->head, t->memory.size, tx_key, 16));
		assert_true(session_remove(t, slot, SLUICE_REASON_CLOSED));
		assert_false(contains(t->head, t->memory.size, rx_key, 16));
		assert_false(contains(t->head, t->memory.size, tx_key, 16));
		session_release(t, slot);
	}
	session_table_free(t);
}

/* Whoever still holds the memory after session_table_free() finds no key in it, nor the CIDs' secret. */
static void nothing_is_left_behind(void **state)
{
	struct session_table *t = session_table_new(&limits_small, test_cid_key, test_tick_ns(1));
	uint8_t rx_key[12], tx_key[12];
	struct stat status;
	void *left;
	int fd;

	assert_non_null(t);
	if (session_table_fd(t) < 0) {
		session_table_free(t);
		skip();
	}
	fd = dup(session_table_fd(t));
	for (uint32_t i = 0; i < 1000; i++)
		(void)test_open(t, i, test_tick_ns(2));
	session_table_free(t);
	assert_int_equal(fstat(fd, &status), 0);
	left = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(left != MAP_FAILED);
	memset(rx_key, 0xa5, sizeof(rx_key)); /* as test_install() sets them */
	memset(tx_key, 0x5a, sizeof(tx_key));
	assert_false(contains(left, (size_t)status.st_size, rx_key, sizeof(rx_key)));
	assert_false(contains(left, (size_t)status.st_size, tx_key, sizeof(tx_key)));
	assert_false(contains(left, (size_t)status.st_size, test_cid_key, sizeof(test_cid_key)));
	(void)munmap(left, (size_t)status.st_size);
	(void)close(fd);
}

/* In the other process: every session is there, and the table works on. */
static int check_attached(int fd, const uint8_t cids[][CID_LEN], uint32_t count)
{
	struct session_table *t = session_table_attach(fd);
	uint32_t replaced, evicted;
	struct session_install in;
	uint32_t slot;

	if (!t || session_live_count(t) != count)
		return 1;
	if (mapping_of(t->head).resident < t->head->layout.at_start) /* no page to wait for */
		return 6;
	for (uint32_t i = 0; i < limits_small.reserved_max; i++) /* none is in use by a handshake any more */
		if (session_reserve(t) == SESSION_NONE)
			return 5;
	for (slot = 0; slot < session_slots(t); slot++)
		session_unreserve(t, slot);
	for (uint32_t i = 0; i < count; i++) {
		slot = test_by_peer(t, i);
		if (slot == SESSION_NONE || test_by_cid(t, cids[i]) != slot)
			return 2;
	}
	if (!session_remove(t, test_by_peer(t, 5), SLUICE_REASON_CLOSED) ||
	    session_down_pending(t) == SESSION_NONE)
		return 3;
	session_release(t, session_down_pending(t));
	slot = session_reserve(t);
	in = test_install(t, slot, count);
	if (session_install(t, &in, test_tick_ns(3), &replaced, &evicted) || test_by_peer(t, count) != slot)
		return 4;
	session_table_detach(t);
	return 0;
}

static void another_process_attaches_it(void **state)
{
	enum { COUNT = 20000 };
	static uint8_t cids[COUNT][CID_LEN];
	struct session_table *t = session_table_new(&limits_small, test_cid_key, test_tick_ns(1));
	int status;
	pid_t child;

	assert_non_null(t);
	if (session_table_fd(t) < 0) {
		session_table_free(t);
		skip();
	}
	for (uint32_t i = 0; i < COUNT; i++)
		session_cid(t, test_open(t, i, test_tick_ns(2)), cids[i]);
	for (uint32_t i = 0; i < limits_small.reserved_max; i++)
		assert_int_not_equal(session_reserve(t), SESSION_NONE);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(check_attached(dup(session_table_fd(t)), cids, COUNT));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(test_by_peer(t, 5), SESSION_NONE);
	assert_int_not_equal(test_by_peer(t, COUNT), SESSION_NONE);
	session_table_free(t);
}

static void expect_refused(int fd)
{
	assert_null(session_table_attach(fd));
	assert_int_equal(errno, EPROTO);
	assert_true(fcntl(fd, F_GETFD) >= 0); /* it is still ours */
}

static void what_is_no_table_is_not_attached(void **state)
{
	struct session_table *t = session_table_new(&limits_small, test_cid_key, test_tick_ns(1));
	struct session_table *attached;
	int empty = memfd_create("empty", MFD_CLOEXEC);

	assert_non_null(t);
	assert_null(session_table_attach(-1));
	assert_null(session_table_attach(empty));
	assert_int_equal(errno, EPROTO);
	assert_int_equal(ftruncate(empty, 4096), 0);
	assert_null(session_table_attach(empty));
	if (session_table_fd(t) >= 0) {
		int fd = dup(session_table_fd(t));

		t->head->version++;
		expect_refused(fd);
		t->head->version--;
		t->head->layout.area[AREA_TX].at += 64;
		expect_refused(fd);
		t->head->layout.area[AREA_TX].at -= 64;
		t->head->limits.max++;
		expect_refused(fd);
		t->head->limits.max--;
		t->head->magic[0]++;
		expect_refused(fd);
		t->head->magic[0]--;
		attached = session_table_attach(fd); /* nothing else was wrong with it */
		assert_non_null(attached);
		session_table_detach(attached);
	}
	(void)close(empty);
	session_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_plan_is_the_mapping),
		cmocka_unit_test(a_session_takes_256_bytes_at_most),
		cmocka_unit_test(impossible_limits_are_refused),
		cmocka_unit_test(every_kind_of_pages_works),
		cmocka_unit_test(the_kind_is_told),
		cmocka_unit_test(large_keys_come_into_memory_as_they_are_used),
		cmocka_unit_test(keys_are_wiped),
		cmocka_unit_test(nothing_is_left_behind),
		cmocka_unit_test(another_process_attaches_it),
		cmocka_unit_test(what_is_no_table_is_not_attached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
