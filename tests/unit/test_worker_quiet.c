/* A turn of the worker's loop on the record path, both directions, neither allocates nor calls the kernel;
 * with neither there is no lock that could wait. A child process does the turns and is killed for any system
 * call but its exit.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <rte_malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/rig/rig.h"
#include "tests/unit/eal_start.h"
#include "tests/unit/quiet.h"

enum { SESSIONS = 32, BURSTS = 30, RECORDS = SESSIONS * BURSTS };

static struct rig rig;
static struct sluice *app;

static void *attach_main(void *unused)
{
	(void)unused;
	app = sluice_attach(rig.socket);
	return NULL;
}

static void set_up(void)
{
	pthread_t thread;

	rig_defaults(&rig);
	rig_open(&rig);
	rig_listen(&rig);
	assert_int_equal(pthread_create(&thread, NULL, attach_main, NULL), 0);
	rig_accept(&rig, 1, 1 << 20, 1 << 20);
	pthread_join(thread, NULL);
	assert_non_null(app);
}

/* Frames wait at the port and answers in the ring. */
static void prepare(void)
{
	struct rig_record records[SESSIONS];
	uint8_t cids[SESSIONS][CID_LEN];
	struct sluice_ref refs[SESSIONS];

	for (uint32_t i = 0; i < SESSIONS; i++) {
		uint32_t slot = rig_install(&rig, i, i % 2);

		session_cid(rig.worker->sessions, slot, cids[i]);
		refs[i] = session_ref(rig.worker->sessions, slot);
	}
	for (uint64_t seq = 1; seq <= BURSTS; seq++) {
		for (uint32_t i = 0; i < SESSIONS; i++) {
			records[i] = (struct rig_record){.device = i,
							 .cid = i % 2 ? cids[i] : NULL,
							 .epoch_seq = 1ULL << 48 | seq,
							 .payload = "coap",
							 .payload_len = 4,
							 .type = CONTENT_APPLICATION_DATA,
							 .spoil = seq % 10 == 0};
			assert_int_equal(sluice_send(app, refs[i], "answer", 6, 0), 0);
		}
		rig_send(&rig, records, SESSIONS);
	}
	sluice_flush(app);
}

/* Exit status of the child: 0 when every record came through. */
static int do_turns(void)
{
	const struct worker_counters *c = rig.link.counters;
	unsigned before = allocator_calls;
	size_t blocks = dpdk_blocks();

	for (unsigned i = 0; i < 4 * BURSTS; i++)
		worker_poll(rig.worker, rig.now_ns);
	if (allocator_calls != before || dpdk_blocks() != blocks)
		return 1;
	if (counter_get(&c->records[RECORD_APP]) + counter_get(&c->records[RECORD_DROP_AUTH]) != RECORDS)
		return 2;
	return counter_get(&c->records_out) == RECORDS ? 0 : 3;
}

static int child_end(int (*job)(void))
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		forbid_system_calls();
		_exit(job());
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static int call_the_kernel(void)
{
	return getppid() > 0;
}

static void a_turn_neither_allocates_nor_calls_the_kernel(void **state)
{
	int status;

	(void)state;
	set_up();
	prepare();
	status = child_end(do_turns);
	sluice_detach(app);
	rig_close(&rig);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* The positive controls. */
static void a_system_call_would_be_noticed(void **state)
{
	int status = child_end(call_the_kernel);

	(void)state;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void an_allocation_would_be_noticed(void **state)
{
	void *volatile memory; /* or the compiler leaves both calls out */
	unsigned before = allocator_calls;

	(void)state;
	memory = malloc(1);
	free(memory);
	assert_int_equal(allocator_calls, before + 2);
}

/* A heap that has room is asked without a call of the kernel, which alone would not tell of it. */
static int allocate_from_dpdk(void)
{
	unsigned before = allocator_calls;
	size_t blocks = dpdk_blocks();
	void *memory = rte_zmalloc(NULL, 64, 0);

	if (!memory || allocator_calls != before + 1)
		return 1;
	if (dpdk_blocks() != blocks + 1)
		return 2;
	rte_free(memory);
	return allocator_calls == before + 2 ? 0 : 3;
}

static void an_allocation_from_dpdk_would_be_noticed(void **state)
{
	int status = child_end(allocate_from_dpdk);

	(void)state;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void every_allocator_of_dpdk_is_counted(void **state)
{
	unsigned before = allocator_calls;
	void *memory[8];

	(void)state;
	memory[0] = rte_malloc(NULL, 64, 0);
	memory[1] = rte_malloc_socket(NULL, 64, 0, SOCKET_ID_ANY);
	memory[2] = rte_zmalloc(NULL, 64, 0);
	memory[3] = rte_zmalloc_socket(NULL, 64, 0, SOCKET_ID_ANY);
	memory[4] = rte_calloc(NULL, 2, 32, 0);
	memory[5] = rte_calloc_socket(NULL, 2, 32, 0, SOCKET_ID_ANY);
	memory[6] = rte_realloc(NULL, 64, 0);
	memory[7] = rte_realloc_socket(NULL, 64, 0, SOCKET_ID_ANY);
	assert_int_equal(allocator_calls, before + 8);
	for (unsigned i = 0; i < RTE_DIM(memory); i++) {
		assert_non_null(memory[i]);
		rte_free(memory[i]);
	}
	assert_int_equal(allocator_calls, before + 16);
}

/* Past the linker, by a pointer from the loader, as another library would: the heaps tell. */
static void what_a_library_takes_from_dpdk_is_noticed(void **state)
{
	void *(*allocate)(const char *, size_t, unsigned) = NULL;
	unsigned before = allocator_calls;
	size_t blocks = dpdk_blocks();
	void *memory;

	(void)state;
	*(void **)&allocate = dlsym(RTLD_DEFAULT, "rte_malloc");
	if (!allocate)
		skip(); /* DPDK is linked statically: then nothing gets past the linker */
	memory = allocate(NULL, 64, 0);
	assert_non_null(memory);
	assert_int_equal(allocator_calls, before);
	assert_int_equal(dpdk_blocks(), blocks + 1);
	rte_free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_system_call_would_be_noticed),
		cmocka_unit_test(an_allocation_would_be_noticed),
		cmocka_unit_test(an_allocation_from_dpdk_would_be_noticed),
		cmocka_unit_test(every_allocator_of_dpdk_is_counted),
		cmocka_unit_test(what_a_library_takes_from_dpdk_is_noticed),
		cmocka_unit_test(a_turn_neither_allocates_nor_calls_the_kernel),
	};

	if (!eal_start(128))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
