/* What one record costs a worker: frames in mbufs go in at the port, cleartext comes out of the ring at a
 * second thread, and in the echo case the answers go out again at the port. Everything is the gateway's own
 * code but the NIC, which is a pair of rte_rings filled and emptied outside the measured time.
 *
 * A sample is one chunk of frames, each from a session picked at random; a session's frame is sealed with a
 * key computed from its number, so that making it does not bring the session's own lines into the cache.
 * Counted are the TSC cycles of those turns of the loop that did some work.
 */
#include <getopt.h>
#include <pthread.h>
#include <rte_eal.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/rig/rig.h"

enum { CHUNK = 1024, SAMPLES_MAX = 4000, ATTEMPTS_PER_SAMPLE = 20 };

struct bench {
	struct rig rig;
	uint8_t (*cids)[8]; /* of each session; apart, so that looking one up does not touch the session */
	uint32_t sessions;
	uint32_t payload;
	uint64_t seq;
	uint64_t random;
	bool by_cid, echo;
	uint64_t stages[STAGES]; /* of the chunk in progress */
	_Atomic bool consuming;
};

static const char *const stage_names[STAGES] = {"mail",   "receive", "parse",   "find",
						"crypto", "deliver", "dispose", "send"};

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

		if (n < 0)
			die("the ring makes no sense");
		for (int i = 0; i < n && b->echo; i++) {
			const struct sluice_data *d = messages[i].data;

			if (messages[i].type == SLUICE_DATA)
				while (sluice_send(s, d->ref, d + 1, d->payload_len, 0) != 0)
					sluice_flush(s);
		}
		if (n > 0 && b->echo)
			sluice_flush(s);
		if (n == 0)
			rte_pause();
	}
	sluice_detach(s);
	return NULL;
}

/* One chunk of frames through the worker; returns the cycles of the turns that worked. */
static uint64_t run_chunk(struct bench *b, uint64_t now_ns)
{
	const struct worker_counters *c = b->rig.worker->counters;
	uint64_t records_before = counter_get(&c->records[RECORD_APP]), cycles = 0;
	unsigned answers = 0;

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
		if (b->echo)
			answers += drain_answers(b);
		if (rte_ring_empty(b->rig.rx) && (!b->echo || answers >= CHUNK))
			break;
	}
	if (counter_get(&c->records[RECORD_APP]) - records_before != CHUNK)
		die("records got lost on the way");
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
 * another process got the CPU says nothing about us. */
static void take_sample(struct bench *b, float sample[STAGES + 1])
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
			return;
	}
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static size_t resident_bytes(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (size_t)usage.ru_maxrss * 1024;
}

static void report(const struct bench *b, float (*samples)[STAGES + 1], unsigned n)
{
	static float column[SAMPLES_MAX];

	for (int stage = STAGES; stage >= 0; stage--) { /* the total first */
		for (unsigned i = 0; i < n; i++)
			column[i] = samples[i][stage];
		qsort(column, n, sizeof(*column), compare);
		if (stage == STAGES) {
			printf("%-7s %-8s %-5s %10u %7u %8.1f %8.1f %8.1f %9.2f", "worker",
			       b->by_cid ? "cid" : "address", b->echo ? "echo" : "up", b->sessions,
			       b->payload, column[0], column[n / 2], column[n * 9 / 10],
			       (double)rte_get_tsc_hz() / column[n / 2] / 1e6);
			continue;
		}
		printf(" %7.1f", column[n / 2]);
	}
	printf("  %.0f MiB\n", (double)resident_bytes() / 1048576);
	fflush(stdout);
}

static void usage(void)
{
	puts("Usage: bench_worker [EAL arguments --] [--sessions N] [--payload BYTES] [--by cid|address] "
	     "[--echo]\n"
	     "                    [--samples N] [--engine NAME] [--header]\n"
	     "One worker in process; prints min, median and 90th percentile of TSC cycles per record, "
	     "million records\n"
	     "per second at the median, and where the cycles go.");
}

static void print_header(void)
{
	printf("%-7s %-8s %-5s %10s %7s %8s %8s %8s %9s", "#", "by", "job", "sessions", "payload", "min",
	       "median", "p90", "Mrec/s");
	for (int i = STAGES - 1; i >= 0; i--)
		printf(" %7s", stage_names[i]);
	puts("  resident");
}

static void read_options(struct bench *b, int argc, char **argv, unsigned *samples)
{
	static const struct option longs[] = {
		{"sessions", required_argument, NULL, 's'},
		{"payload", required_argument, NULL, 'p'},
		{"by", required_argument, NULL, 'b'},
		{"echo", no_argument, NULL, 'e'},
		{"samples", required_argument, NULL, 'n'},
		{"engine", required_argument, NULL, 'x'},
		{"header", no_argument, NULL, 'H'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (option) {
		case 's':
			b->sessions = (uint32_t)strtoul(optarg, NULL, 0);
			break;
		case 'p':
			b->payload = (uint32_t)strtoul(optarg, NULL, 0);
			break;
		case 'b':
			b->by_cid = strcmp(optarg, "cid") == 0;
			break;
		case 'e':
			b->echo = true;
			break;
		case 'n':
			*samples = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'x':
			b->rig.config.crypto_engine = optarg;
			break;
		case 'H':
			print_header();
			break;
		default:
			usage();
			exit(option == 'h' ? 0 : 2);
		}
	}
	if (b->sessions == 0 || b->payload > 1300 || *samples == 0 || *samples > SAMPLES_MAX) {
		usage();
		exit(2);
	}
}

int main(int argc, char **argv)
{
	static struct bench bench = {.sessions = 1000, .payload = 64, .by_cid = true, .seq = 2, .random = 42};
	static float samples[SAMPLES_MAX][STAGES + 1];
	struct bench *b = &bench;
	unsigned count = 500;
	pthread_t consumer;
	int eal = rte_eal_init(argc, argv);

	if (eal < 0)
		die("the EAL does not start");
	optind = 1;
	rig_defaults(&b->rig);
	read_options(b, argc - eal, argv + eal, &count);
	b->rig.config.sessions.max = b->sessions;
	rig_open(&b->rig);
	rig_listen(&b->rig);
	atomic_store(&b->consuming, true);
	if (pthread_create(&consumer, NULL, consumer_main, b) != 0)
		die("no consumer thread");
	rig_accept(&b->rig, 1, 1 << 24, 1 << 24);
	install_sessions(b);
	b->rig.worker->stage_cycles = b->stages;
	for (unsigned i = 0; i < 8; i++)
		run_chunk(b, b->rig.now_ns);
	for (unsigned i = 0; i < count; i++)
		take_sample(b, samples[i]);
	report(b, samples, count);
	atomic_store(&b->consuming, false);
	pthread_join(consumer, NULL);
	free(b->cids);
	rig_close(&b->rig);
	rte_eal_cleanup();
	return 0;
}
