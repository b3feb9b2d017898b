/* What it costs to find a session, by the number of sessions: by CID, by address, and by an address that
 * nobody has. A sample is one burst of 32 look-ups of random sessions, with one read from each session's
 * receive line, in TSC cycles per look-up. Then what it costs to open and end one.
 *
 * Names: find/by/sessions and life/sessions. Choose some by --benchmark_filter=REGEX.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/machine.h"
#include "bench/shim.h"
#include "dataplane/session.h"

enum { BURST = 32, SAMPLES = 20000, DRAWS = 1 << 22, CASES_MAX = 64 };

enum by { BY_CID, BY_ADDRESS, BY_STRANGER, LIFE, KINDS };

static const char *const kind_names[] = {"find/cid", "find/address", "find/stranger", "life"};
static const uint32_t session_counts[] = {1000, 100000, 1000000, 4000000, 10000000};

enum { SESSION_COUNTS = sizeof(session_counts) / sizeof(session_counts[0]) };

struct bench_case {
	enum by by;
	uint32_t sessions;
	bool done;
	struct spread cycles;
	char name[64];
};

static struct bench_case cases[CASES_MAX];
static unsigned case_count;
static struct machine machine;

/* The table of the current number of sessions; session n has peer n. */
static struct session_table *table;
static uint32_t table_sessions;
static float samples[SAMPLES];

/* Who is looked for: so many that they are not in the cache any more when they are drawn again. */
static struct draw {
	uint32_t session;
	uint8_t cid[CID_LEN];
} draws[DRAWS];
static unsigned drawn;

static uint64_t random_next(void)
{
	static uint64_t state = 88172645463325252;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct path path_of(uint32_t n)
{
	struct path p = {.mac = {2}, .peer = {.ip = {[10] = 0xff, [11] = 0xff, [12] = 10}}};

	p.peer.ip[13] = (uint8_t)(n >> 24);
	p.peer.ip[14] = (uint8_t)(n >> 16);
	p.peer.ip[15] = (uint8_t)(n >> 8);
	p.peer.port = (uint16_t)(n << 8 | 0x16);
	return p;
}

static uint32_t session_open(uint32_t peer, uint64_t now)
{
	uint32_t slot = session_reserve(table);
	uint32_t replaced, evicted;
	struct session_install in = {
		.path = path_of(peer),
		.protection = PROTECTION_AES_128_CCM_8,
		.has_cid = true,
		.epoch = 1,
		.rx_highest = 1,
		.tx_seq_next = 1,
	};

	if (slot == SESSION_NONE)
		return slot;
	in.ref = session_ref(table, slot);
	if (session_install(table, &in, now, &replaced, &evicted))
		return SESSION_NONE;
	return slot;
}

static bool table_make(uint32_t sessions)
{
	struct session_limits limits = {.max = sessions, .reserved_max = 4096, .idle_timeout_s = 86400};
	uint8_t cid_key[16] = {1};
	uint64_t now = now_ns();

	if (sessions == 0)
		return false;
	if (table && table_sessions == sessions)
		return true;
	session_table_free(table);
	table_sessions = sessions;
	table = session_table_new(&limits, cid_key, now);
	if (!table)
		return false;
	for (uint32_t i = 0; i < sessions; i++)
		if (session_open(i, now) != i)
			return false;
	for (unsigned i = 0; i < DRAWS; i++) {
		draws[i].session = (uint32_t)(random_next() % sessions);
		session_cid(table, draws[i].session, draws[i].cid);
	}
	return true;
}

/* One burst, timed; `wrong` counts what was not found as it should. */
static uint64_t burst_find(enum by by, unsigned *wrong)
{
	struct session_query queries[BURST];
	struct path paths[BURST];
	uint32_t expected[BURST];
	uint64_t begin, end;
	uint64_t sum = 0;

	for (unsigned i = 0; i < BURST; i++) {
		const struct draw *d = &draws[drawn++ % DRAWS];

		expected[i] = by == BY_STRANGER ? SESSION_NONE : d->session;
		paths[i] = path_of(by == BY_STRANGER ? d->session + table_sessions : d->session);
		queries[i] = (struct session_query){.address = &paths[i].peer};
		if (by == BY_CID)
			queries[i].cid = d->cid;
	}
	begin = tsc_now();
	session_find_burst(table, queries, BURST);
	for (unsigned i = 0; i < BURST; i++)
		if (queries[i].slot != SESSION_NONE)
			sum += session_rx(table, queries[i].slot)->replay.highest;
	__asm__ volatile("" : : "r"(sum));
	end = tsc_now();
	for (unsigned i = 0; i < BURST; i++)
		*wrong += queries[i].slot != expected[i];
	return end - begin;
}

/* Random sessions end and begin again. */
static uint64_t burst_life(unsigned *wrong)
{
	uint32_t peers[BURST];
	uint64_t now = now_ns();
	uint64_t begin;

	for (unsigned i = 0; i < BURST; i++)
		peers[i] = (uint32_t)(random_next() % table_sessions);
	begin = tsc_now();
	for (unsigned i = 0; i < BURST; i++) {
		(void)session_remove(table, peers[i], SLUICE_REASON_CLOSED);
		session_release(table, peers[i]);
		*wrong += session_open(peers[i], now) != peers[i]; /* the slot freed last is taken first */
	}
	return tsc_now() - begin;
}

static void case_run(struct bench *bench, void *context)
{
	struct bench_case *c = context;
	unsigned count = c->by == LIFE ? SAMPLES / 10 : SAMPLES;
	unsigned wrong = 0;

	if (!table_make(c->sessions)) {
		bench_fail(bench, "out of memory");
		return;
	}
	while (bench_next(bench)) {
		for (unsigned i = 0; i < count; i++) {
			uint64_t took = c->by == LIFE ? burst_life(&wrong) : burst_find(c->by, &wrong);

			samples[i] = (float)took / BURST;
		}
		c->cycles = spread_of(samples, count);
		bench_took(bench, c->cycles.median / machine.tsc_hz);
	}
	if (wrong) {
		bench_fail(bench, "wrong result");
		return;
	}
	c->done = true;
	bench_counter(bench, "cycles_min", c->cycles.least);
	bench_counter(bench, "cycles_median", c->cycles.median);
	bench_counter(bench, "cycles_quartiles", c->cycles.high - c->cycles.low);
}

static void results_print(void)
{
	struct session_limits limits = {.max = 10000000, .reserved_max = 4096, .idle_timeout_s = 86400};
	struct session_memory plan;

	printf("\n### TSC cycles per session, in bursts of %u: median (least)\n\n| |", BURST);
	for (unsigned i = 0; i < SESSION_COUNTS; i++)
		printf(" %u |", session_counts[i]);
	printf("\n|---|---|---|---|---|---|\n");
	for (unsigned by = 0; by < KINDS; by++) {
		printf("| %s |", kind_names[by]);
		for (unsigned i = 0; i < SESSION_COUNTS; i++) {
			const struct bench_case *c = &cases[i * KINDS + by];

			if (c->done)
				printf(" %.0f (%.0f) |", c->cycles.median, c->cycles.least);
			else
				printf(" |");
		}
		printf("\n");
	}
	session_memory_plan(&limits, &plan);
	printf("\n10 million sessions take %.2f GB, %.1f bytes each", (double)plan.total / 1e9,
	       plan.per_session);
	printf("; memory here: %s\n", table ? session_pages_text(session_table_pages(table)) : "-");
}

int main(int argc, char **argv)
{
	/* In the order of registration, so that each table is made once. */
	static char once[] = "--benchmark_repetitions=1",
		    order[] = "--benchmark_enable_random_interleaving=false",
		    all[] = "--benchmark_display_aggregates_only=false";
	char **arguments = calloc((size_t)argc + 4, sizeof(*arguments));
	int count = argc + 3;

	if (!arguments)
		return 1;
	machine_measure(&machine);
	machine_print(&machine, argc, argv);
	arguments[0] = argv[0];
	arguments[1] = once;
	arguments[2] = order;
	arguments[3] = all;
	memcpy(arguments + 4, argv + 1, (size_t)(argc - 1) * sizeof(*argv));
	for (unsigned i = 0; i < SESSION_COUNTS * KINDS; i++) {
		struct bench_case *c = &cases[case_count++];

		*c = (struct bench_case){.by = i % KINDS, .sessions = session_counts[i / KINDS]};
		(void)snprintf(c->name, sizeof(c->name), "%s/%u", kind_names[c->by], c->sessions);
		bench_register(c->name, case_run, c);
	}
	if (bench_run(&count, arguments))
		return 1;
	results_print();
	session_table_free(table);
	free(arguments);
	return 0;
}
