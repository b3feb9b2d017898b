/* What one record costs a worker: frames in mbufs go in at the port, cleartext comes out of the ring at a
 * second thread, and in the echo case the answers go out again at the port. Everything is the gateway's own
 * code but the NIC, which is a pair of rte_rings filled and emptied outside the measured time.
 *
 * Every combination of the sessions, look-ups, jobs and payloads asked for is one case. A sample of a case is
 * one chunk of frames, each from a session picked at random; a session's frame is sealed with a key computed
 * from its number, so that making it does not bring the session's own lines into the cache. Counted are the
 * TSC cycles of those turns of the loop that did some work.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <rte_eal.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/worker_report.h"
#include "tests/rig/rig.h"

enum {
	CHUNK = 1024,
	SAMPLES_MAX = 4000,
	ATTEMPTS_PER_SAMPLE = 20,
	WARM_UP_CHUNKS = 8,
	IDLE_TURNS_MAX = 100000000, /* seconds: the consumer may have lost its CPU */
	LIST_MAX = 16,
	RESULTS_MAX = 512,
	PAYLOAD_MAX = 1300,
	SESSIONS_MAX = 1 << 24, /* less the reserved ones: the table refuses what is too much */
};

/* What was asked for on the command line. */
struct plan {
	uint32_t sessions[LIST_MAX], payloads[LIST_MAX];
	unsigned session_counts, payload_counts;
	bool by_cid, by_address, uplink, echo;
	unsigned samples;
	char *engine, *json;
};

struct bench {
	struct rig rig;
	uint8_t (*cids)[8]; /* of each session; apart, so that looking one up does not touch the session */
	uint32_t sessions;
	uint32_t payload;
	uint64_t seq;
	uint64_t random;
	bool by_cid;
	uint64_t stages[STAGES]; /* of the chunk in progress */
	_Atomic bool echo, consuming;
};

static struct worker_result results[RESULTS_MAX];
static unsigned result_count;

static void die(const char *what)
{
	fprintf(stderr, "bench/worker: %s\n", what);
	exit(1);
}

static void install_sessions(struct bench *b)
{
	b->cids = malloc(sizeof(*b->cids) * b->sessions);
	if (!b->cids)
		die("no memory for the devices");
	for (uint32_t i = 0; i < b->sessions; i++)
		session_cid(b->rig.worker->sessions, rig_install(&b->rig, i, b->by_cid), b->cids[i]);
}

static void make_frames(struct bench *b)
{
	static const uint8_t payload[1500] = "x";
	struct rig_record records[RECORD_BURST_MAX];

	for (unsigned i = 0; i < RECORD_BURST_MAX; i++) {
		uint32_t device = (uint32_t)(((rig_mix(b->random++) >> 32) * b->sessions) >> 32);

		records[i] = (struct rig_record){
			.device = device,
			.cid = b->by_cid ? b->cids[device] : NULL,
			.epoch_seq = 1ULL << 48 | b->seq++,
			.payload = payload,
			.payload_len = (uint16_t)b->payload,
			.type = CONTENT_APPLICATION_DATA,
		};
	}
	rig_send(&b->rig, records, RECORD_BURST_MAX);
}

static unsigned drain_answers(struct bench *b)
{
	struct rte_mbuf *mbufs[64];
	unsigned n, drained = 0;

	while ((n = rte_ring_dequeue_burst(b->rig.tx, (void **)mbufs, RTE_DIM(mbufs), NULL)) != 0) {
		rte_pktmbuf_free_bulk(mbufs, n);
		drained += n;
	}
	return drained;
}

/* Away from the worker's CPU, which the EAL has pinned this process to. */
static void leave_worker_cpu(void)
{
	cpu_set_t set;
	int mine = sched_getcpu();

	CPU_ZERO(&set);
	for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++)
		if (cpu != mine)
			CPU_SET(cpu, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set) != 0)
		die("the application needs a second CPU");
}

/* The application: takes everything, answers each payload when asked to. */
static void *consumer_main(void *arg)
{
	struct bench *b = arg;
	struct sluice_message messages[64];
	struct sluice *s;

	leave_worker_cpu();
	s = sluice_attach(b->rig.socket);
	if (!s)
		die("the consumer cannot attach");
	while (atomic_load_explicit(&b->consuming, memory_order_relaxed)) {
		int n = sluice_receive(s, messages, RTE_DIM(messages));
		bool echo = atomic_load_explicit(&b->echo, memory_order_relaxed);

		if (n < 0)
			die("the ring makes no sense");
		for (int i = 0; i < n && echo; i++) {
			const struct sluice_data *d = messages[i].data;

			if (messages[i].type == SLUICE_DATA)
				while (sluice_send(s, d->ref, d + 1, d->payload_len, 0) != 0)
					sluice_flush(s);
		}
		if (n > 0 && echo)
			sluice_flush(s);
		if (n == 0)
			rte_pause();
	}
	sluice_detach(s);
	return NULL;
}

/* The consumer may have lost its CPU for a while: a ring that it has not emptied would say nothing about us.
 */
static void wait_for_consumer(struct bench *b)
{
	uint64_t message = sizeof(struct spsc_header) + sizeof(struct sluice_data) + b->payload + SPSC_ALIGN;

	while (spsc_room(&b->rig.uplink->up) < 2 * UPLINK_EVENT_RESERVE + CHUNK * message)
		sched_yield();
}

/* One chunk of frames through the worker; returns the cycles of the turns that worked. */
static uint64_t run_chunk(struct bench *b, uint64_t now_ns)
{
	const struct worker_counters *c = b->rig.worker->counters;
	uint64_t records_before = counter_get(&c->records[RECORD_APP]), cycles = 0;
	bool echo = atomic_load(&b->echo);
	unsigned answers = 0, idle_turns = 0;

	wait_for_consumer(b);
	for (unsigned i = 0; i < CHUNK; i += RECORD_BURST_MAX)
		make_frames(b);
	for (;;) {
		uint64_t start = rte_rdtsc(), idle[STAGES];
		unsigned work;

		memcpy(idle, b->stages, sizeof(idle));
		b->rig.worker->stage_start = start;
		work = worker_poll(b->rig.worker, now_ns);
		if (work)
			cycles += rte_rdtsc() - start;
		else
			memcpy(b->stages, idle, sizeof(idle));
		if (echo)
			answers += drain_answers(b);
		if (!work && rte_ring_empty(b->rig.rx) && ++idle_turns > IDLE_TURNS_MAX)
			die("records got lost on the way");
		if (counter_get(&c->records[RECORD_APP]) - records_before == CHUNK &&
		    (!echo || answers >= CHUNK))
			break;
	}
	return cycles;
}

/* How often the kernel has taken the CPU away from us. */
static long preemptions(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nivcsw + usage.ru_nvcsw;
}

/* Cycles per record of one undisturbed chunk, in all and by stage: on a shared machine a sample in which
 * another process got the CPU says nothing about us. False when there was no undisturbed one, however often
 * it was tried. */
static bool take_sample(struct bench *b, float sample[STAGES + 1])
{
	for (unsigned i = 0; i < ATTEMPTS_PER_SAMPLE; i++) {
		long before = preemptions();
		uint64_t cycles;

		memset(b->stages, 0, sizeof(b->stages));
		cycles = run_chunk(b, b->rig.now_ns);
		sample[STAGES] = (float)cycles / CHUNK;
		for (unsigned stage = 0; stage < STAGES; stage++)
			sample[stage] = (float)b->stages[stage] / CHUNK;
		if (preemptions() == before)
			return true;
	}
	return false;
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

/* Of the whole process, ring and packet buffers included. */
static size_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	unsigned long all, resident = 0;

	if (file && fscanf(file, "%lu %lu", &all, &resident) != 2)
		resident = 0;
	if (file)
		(void)fclose(file);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void fill_result(const struct bench *b, float (*samples)[STAGES + 1], unsigned n,
			struct worker_result *r)
{
	static float column[SAMPLES_MAX];

	*r = (struct worker_result){
		.by_cid = b->by_cid,
		.echo = atomic_load(&b->echo),
		.sessions = b->sessions,
		.payload = b->payload,
		.samples = n,
		.engine = b->rig.choice.engine[PROTECTION_AES_128_CCM_8]->name,
		.pages = session_pages_text(session_table_pages(b->rig.worker->sessions)),
		.resident_bytes = resident_bytes(),
	};
	for (unsigned stage = 0; stage <= STAGES; stage++) {
		for (unsigned i = 0; i < n; i++)
			column[i] = samples[i][stage];
		qsort(column, n, sizeof(*column), compare);
		if (stage < STAGES) {
			r->stage_least[stage] = column[0];
			r->stage_median[stage] = column[n / 2];
			continue;
		}
		r->least = column[0];
		r->median = column[n / 2];
		r->p90 = column[n * 9 / 10];
	}
}

static void run_case(struct bench *b, const struct plan *plan, uint32_t payload, bool echo,
		     const struct machine *machine)
{
	static float samples[SAMPLES_MAX][STAGES + 1];
	uint32_t disturbed = 0;

	if (result_count == RESULTS_MAX)
		die("too many cases at once");
	b->payload = payload;
	atomic_store(&b->echo, echo);
	for (unsigned i = 0; i < WARM_UP_CHUNKS; i++)
		run_chunk(b, b->rig.now_ns);
	for (unsigned i = 0; i < plan->samples; i++)
		disturbed += !take_sample(b, samples[i]);
	fill_result(b, samples, plan->samples, &results[result_count]);
	results[result_count].disturbed = disturbed;
	worker_report_line(&results[result_count++], machine->tsc_hz);
}

/* All cases of one table: a gateway of that many sessions with a consumer attached. */
static void run_table(struct bench *b, const struct plan *plan, uint32_t sessions, bool by_cid,
		      const struct machine *machine)
{
	pthread_t consumer;

	*b = (struct bench){.sessions = sessions, .by_cid = by_cid, .seq = 2, .random = 42};
	rig_defaults(&b->rig);
	b->rig.config.sessions.max = sessions;
	b->rig.config.crypto_engine = plan->engine;
	rig_open(&b->rig);
	rig_listen(&b->rig);
	atomic_store(&b->consuming, true);
	if (pthread_create(&consumer, NULL, consumer_main, b) != 0)
		die("no consumer thread");
	rig_accept(&b->rig, 1, 1 << 24, 1 << 24);
	install_sessions(b);
	b->rig.worker->stage_cycles = b->stages;
	for (unsigned i = 0; i < plan->payload_counts; i++) {
		if (plan->uplink)
			run_case(b, plan, plan->payloads[i], false, machine);
		if (plan->echo)
			run_case(b, plan, plan->payloads[i], true, machine);
	}
	atomic_store(&b->consuming, false);
	pthread_join(consumer, NULL);
	free(b->cids);
	rig_close(&b->rig);
}

static void usage(FILE *out)
{
	fputs("Usage: bench_worker [EAL arguments --] [OPTION...]\n"
	      "One worker in process: TSC cycles per record, and where they go.\n"
	      "  --sessions N[,N...]   sessions, each record of one picked at random (1000)\n"
	      "  --payload N[,N...]    bytes of cleartext per record (64)\n"
	      "  --by cid[,address]    how a record's session is found (cid)\n"
	      "  --job uplink[,echo]   into the ring alone, or the answer to each record as well (uplink)\n"
	      "  --samples N           chunks of 1024 records measured per case (500)\n"
	      "  --engine NAME         record engine (the fastest)\n"
	      "  --json FILE           write everything for other programs too\n",
	      out);
}

__attribute__((noreturn)) static void refuse(void)
{
	usage(stderr);
	exit(2);
}

static unsigned read_numbers(const char *text, uint32_t most, uint32_t *out, unsigned room)
{
	unsigned n = 0;

	for (;;) {
		char *end;
		unsigned long value = strtoul(text, &end, 10);

		if (end == text || n == room || value > most)
			refuse();
		out[n++] = (uint32_t)value;
		if (*end == 0)
			return n;
		if (*end != ',')
			refuse();
		text = end + 1;
	}
}

/* One or both of two words. */
static void read_words(const char *text, const char *first, bool *has_first, const char *second,
		       bool *has_second)
{
	*has_first = *has_second = false;
	while (*text) {
		size_t len = strcspn(text, ",");

		if (len == strlen(first) && memcmp(text, first, len) == 0)
			*has_first = true;
		else if (len == strlen(second) && memcmp(text, second, len) == 0)
			*has_second = true;
		else
			refuse();
		text += len + (text[len] == ',');
	}
	if (!*has_first && !*has_second)
		refuse();
}

static void read_options(struct plan *p, int argc, char **argv)
{
	static const struct option longs[] = {
		{"sessions", required_argument, NULL, 's'},
		{"payload", required_argument, NULL, 'p'},
		{"by", required_argument, NULL, 'b'},
		{"job", required_argument, NULL, 'j'},
		{"samples", required_argument, NULL, 'n'},
		{"engine", required_argument, NULL, 'x'},
		{"json", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (option) {
		case 's':
			p->session_counts = read_numbers(optarg, SESSIONS_MAX, p->sessions, LIST_MAX);
			break;
		case 'p':
			p->payload_counts = read_numbers(optarg, PAYLOAD_MAX, p->payloads, LIST_MAX);
			break;
		case 'b':
			read_words(optarg, "cid", &p->by_cid, "address", &p->by_address);
			break;
		case 'j':
			read_words(optarg, "uplink", &p->uplink, "echo", &p->echo);
			break;
		case 'n':
			(void)read_numbers(optarg, SAMPLES_MAX, &p->samples, 1);
			break;
		case 'x':
			p->engine = optarg;
			break;
		case 'o':
			p->json = optarg;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			refuse();
		}
	}
	if (optind < argc || p->samples == 0)
		refuse();
	for (unsigned i = 0; i < p->session_counts; i++)
		if (p->sessions[i] == 0)
			refuse();
}

int main(int argc, char **argv)
{
	static struct bench bench;
	struct plan plan = {.sessions = {1000},
			    .session_counts = 1,
			    .payloads = {64},
			    .payload_counts = 1,
			    .by_cid = true,
			    .uplink = true,
			    .samples = 500};
	struct machine machine;
	FILE *json = NULL;
	char **command = malloc(sizeof(*argv) * (size_t)argc);
	int eal;

	if (!command)
		die("no memory");
	memcpy(command, argv, sizeof(*argv) * (size_t)argc); /* the EAL changes argv */
	machine_measure(&machine);
	machine_print(&machine, argc, argv);
	eal = rte_eal_init(argc, argv);
	if (eal < 0)
		die("the EAL does not start");
	optind = 1;
	read_options(&plan, argc - eal, argv + eal);
	if (plan.json && !(json = fopen(plan.json, "w")))
		die(strerror(errno)); /* before the work, not after it */
	worker_report_head();
	for (unsigned i = 0; i < plan.session_counts; i++) {
		if (plan.by_cid)
			run_table(&bench, &plan, plan.sessions[i], true, &machine);
		if (plan.by_address)
			run_table(&bench, &plan, plan.sessions[i], false, &machine);
	}
	if (json) {
		worker_report_json(json, &machine, argc, command, results, result_count);
		if (fclose(json) != 0)
			die(strerror(errno));
	}
	free(command);
	rte_eal_cleanup();
	return 0;
}
