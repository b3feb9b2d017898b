/* Packet buffers in memory of our own: all there, apart from each other, spread over the cache, given back.
 */
#include "dataplane/pool.h"
#include "tests/unit/eal_start.h"

#include <rte_memory.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { COUNT = 1000, ROOM = 2304, PAGE = 4096, LINES = PAGE / 64 };

static int by_address(const void *a, const void *b)
{
	const struct rte_mbuf *x = *(struct rte_mbuf *const *)a, *y = *(struct rte_mbuf *const *)b;

	return (x > y) - (x < y);
}

static unsigned mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned lines = 0;
	int c;

	assert_non_null(maps);
	while ((c = fgetc(maps)) != EOF)
		lines += c == '\n';
	(void)fclose(maps);
	return lines;
}

/* Takes every buffer of the pool, in the order of their addresses. */
static void take_all(struct rte_mempool *pool, struct rte_mbuf *all[COUNT])
{
	assert_int_equal(rte_pktmbuf_alloc_bulk(pool, all, COUNT), 0);
	assert_null(rte_pktmbuf_alloc(pool));
	qsort(all, COUNT, sizeof(all[0]), by_address);
}

static void check_buffers(struct rte_mbuf *const all[COUNT], const struct rte_mempool *pool)
{
	for (unsigned i = 0; i < COUNT; i++) {
		assert_ptr_equal(all[i]->pool, pool);
		assert_int_equal(all[i]->buf_len, ROOM);
		assert_int_equal(rte_mbuf_refcnt_read(all[i]), 1);
		assert_int_equal((uintptr_t)all[i] % RTE_CACHE_LINE_SIZE, 0);
		memset(all[i]->buf_addr, 0xa5, all[i]->buf_len);
		if (i > 0)
			assert_true((uint8_t *)all[i] >= (uint8_t *)all[i - 1]->buf_addr + ROOM);
	}
}

static void buffers_are_whole_and_apart(void **state)
{
	for (unsigned own = 0; own < 2; own++) {
		struct rte_mempool *pool = pool_new("whole", COUNT, ROOM, own);
		struct rte_mbuf *all[COUNT];

		assert_non_null(pool);
		take_all(pool, all);
		check_buffers(all, pool);
		rte_pktmbuf_free_bulk(all, COUNT);
		take_all(pool, all);
		check_buffers(all, pool);
		rte_pktmbuf_free_bulk(all, COUNT);
		rte_mempool_free(pool);
	}
	(void)state;
}

/* What it is for: the descriptors of a burst do not all want the same few lines of the cache. */
static void own_memory_spreads_over_the_cache(void **state)
{
	struct rte_mempool *pool = pool_new("spread", COUNT, ROOM, true);
	struct rte_mbuf *all[COUNT];
	unsigned at_line[LINES] = {0};

	assert_non_null(pool);
	take_all(pool, all);
	for (unsigned i = 0; i < COUNT; i++) {
		assert_null(rte_mem_virt2memseg(all[i], NULL)); /* not the EAL's */
		at_line[(uintptr_t)all[i] % PAGE / 64]++;
	}
	for (unsigned i = 0; i < LINES; i++)
		assert_in_range(at_line[i], 0, COUNT / 8);
	rte_pktmbuf_free_bulk(all, COUNT);
	rte_mempool_free(pool);
	(void)state;
}

static void the_end_leaves_nothing_mapped(void **state)
{
	unsigned before = 0;

	for (unsigned round = 0; round < 3; round++) {
		struct rte_mempool *pool = pool_new("end", COUNT, ROOM, true);

		assert_non_null(pool);
		rte_mempool_free(pool);
		if (round == 0)
			before = mappings();
		assert_int_equal(mappings(), before);
	}
	(void)state;
}

static void without_room_for_the_rest_there_is_none(void **state)
{
	assert_null(pool_new("much", 1U << 30, ROOM, true)); /* the ring of its pointers alone is too much */
	assert_null(pool_new("much", 1U << 30, ROOM, false));
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buffers_are_whole_and_apart),
		cmocka_unit_test(own_memory_spreads_over_the_cache),
		cmocka_unit_test(the_end_leaves_nothing_mapped),
		cmocka_unit_test(without_room_for_the_rest_there_is_none),
	};

	if (!eal_start(64))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
