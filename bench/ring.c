/* What the application's ring carries and how fast it wakes: two threads, each on a core of its own.
 *
 *   carry/PATH/batch:N   messages of 64 bytes per second, N published and taken at a time:
 *                        spsc      ring/spsc.h alone
 *                        rte_ring  DPDK's, one producer and consumer, elements of 64 bytes copied in and out
 *                        uplink    gateway to libsluice, payloads of 64 bytes, which are 128 in the ring
 *   answer/poll          from the gateway's publish until its answer is back, both sides polling
 *   wake/ring            from the gateway's publish until the sleeping application has the message
 *   wake/eventfd         the same by a bare eventfd: what the wake-up by socket pair costs more than that
 *
 * Each result is the median of its samples, counters show the best too. Every message is checked.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <rte_version.h>

#include "bench/machine.h"
#include "bench/shim.h"
#include "ring/attach.h"
#include "tests/unit/fake_gateway.h"

enum {
	RING_BYTES = FAKE_UP_BYTES,
	MESSAGE = 64,
	PAYLOAD = 64,
	MESSAGES = 1 << 13, /* in one sample: short, so that most are not cut by another program, and the
			       rings hold them */
	BATCH_MAX = 32,
	SAMPLES = 301,
	WAKE_SAMPLES = 300,
	ANSWER_SAMPLES = 20000,
	SETTLE_US = 200, /* for a thread to fall asleep */
};

static double now_s(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static cpu_set_t cores; /* that the process may use */

/* The first core of them or the second. Where there is but one the threads share it. */
static void run_on(unsigned number)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int core = 0; core < CPU_SETSIZE; core++) {
		if (!CPU_ISSET(core, &cores) || (number > 0 && CPU_COUNT(&cores) > 1 && number-- > 0))
			continue;
		CPU_SET(core, &set);
		break;
	}
	(void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

/* Another thread may need this core, when there are few. */
static void wait_a_little(unsigned *turns)
{
	__builtin_ia32_pause();
	if (++*turns % 4096 == 0)
		sched_yield();
}

/* ---- the paths of carry/: put() and get() return how many of count they did, and publish or release those;
 * the first 8 bytes of a message are its number */

struct path {
	const char *name;
	bool (*open)(void);
	void (*close)(void);
	unsigned (*put)(uint64_t number, unsigned count);
	unsigned (*get)(uint64_t *sum, unsigned count);
};

static struct {
	struct spsc_control control;
	void *data;
	_Alignas(128) struct spsc_producer producer; /* of different threads: never in one line */
	_Alignas(128) struct spsc_consumer consumer;
} bare;

static bool spsc_open(void)
{
	memset(&bare.control, 0, sizeof(bare.control));
	bare.data = aligned_alloc(64, RING_BYTES);
	if (bare.data == NULL)
		return false;
	memset(bare.data, 0, RING_BYTES);
	spsc_producer_init(&bare.producer, &bare.control, bare.data, RING_BYTES);
	spsc_consumer_init(&bare.consumer, &bare.control, bare.data, RING_BYTES);
	return true;
}

static void spsc_close(void)
{
	free(bare.data);
}

static unsigned spsc_put(uint64_t number, unsigned count)
{
	enum { BODY = MESSAGE - sizeof(struct spsc_header) };
	unsigned n;

	for (n = 0; n < count; n++, number++) {
		uint8_t *body = spsc_reserve(&bare.producer, 1, BODY);

		if (body == NULL)
			break;
		memset(body, (int)(number & 0xff), BODY);
		memcpy(body, &number, sizeof(number));
	}
	(void)spsc_publish(&bare.producer);
	return n;
}

static unsigned spsc_get(uint64_t *sum, unsigned count)
{
	struct spsc_message message;
	uint64_t number;
	unsigned n;

	for (n = 0; n < count && spsc_next(&bare.consumer, &message); n++) {
		memcpy(&number, message.body, sizeof(number));
		*sum += number;
	}
	spsc_release(&bare.consumer);
	return n;
}

static struct rte_ring *dpdk_ring;

static bool rte_ring_open(void)
{
	unsigned count = RING_BYTES / MESSAGE;
	ssize_t len = rte_ring_get_memsize_elem(MESSAGE, count);

	dpdk_ring = len < 0 ? NULL : aligned_alloc(RTE_CACHE_LINE_SIZE, (size_t)len);
	return dpdk_ring != NULL &&
	       rte_ring_init(dpdk_ring, "bench", count, RING_F_SP_ENQ | RING_F_SC_DEQ) == 0;
}

static void rte_ring_close(void)
{
	free(dpdk_ring);
}

static unsigned rte_ring_put(uint64_t number, unsigned count)
{
	uint8_t elements[BATCH_MAX][MESSAGE];

	for (unsigned i = 0; i < count; i++, number++) {
		memset(elements[i], (int)(number & 0xff), MESSAGE);
		memcpy(elements[i], &number, sizeof(number));
	}
	return rte_ring_sp_enqueue_burst_elem(dpdk_ring, elements, MESSAGE, count, NULL);
}

static unsigned rte_ring_get(uint64_t *sum, unsigned count)
{
	uint8_t elements[BATCH_MAX][MESSAGE];
	unsigned n = rte_ring_sc_dequeue_burst_elem(dpdk_ring, elements, MESSAGE, count, NULL);
	uint64_t number;

	for (unsigned i = 0; i < n; i++) {
		memcpy(&number, elements[i], sizeof(number));
		*sum += number;
	}
	return n;
}

static struct fake_gateway gateway;
static struct sluice *application;

static void *attach_run(void *path)
{
	return sluice_attach(path);
}

static bool uplink_open(void)
{
	pthread_t thread;
	void *attached;
	int ret;

	if (!fake_gateway_start(&gateway) || pthread_create(&thread, NULL, attach_run, gateway.path) != 0)
		return false;
	ret = fake_gateway_attach(&gateway);
	pthread_join(thread, &attached);
	application = attached;
	return ret == 0 && application != NULL;
}

static void uplink_close(void)
{
	sluice_detach(application);
	fake_gateway_stop(&gateway);
}

static unsigned uplink_put(uint64_t number, unsigned count)
{
	struct sluice_data data = {.payload_len = PAYLOAD};
	uint8_t payload[PAYLOAD];
	unsigned n;

	for (n = 0; n < count; n++, number++) {
		memset(payload, (int)(number & 0xff), PAYLOAD);
		memcpy(payload, &number, sizeof(number));
		if (!uplink_data(gateway.uplinks[0], &data, payload))
			break;
	}
	uplink_publish(gateway.uplinks[0]);
	return n;
}

static unsigned uplink_get(uint64_t *sum, unsigned count)
{
	struct sluice_message messages[BATCH_MAX];
	int n = sluice_receive(application, messages, count);
	uint64_t number;

	for (int i = 0; i < n; i++) {
		memcpy(&number, messages[i].data + 1, sizeof(number));
		*sum += number;
	}
	return n < 0 ? 0 : (unsigned)n;
}

static const struct path paths[] = {
	{"spsc", spsc_open, spsc_close, spsc_put, spsc_get},
	{"rte_ring", rte_ring_open, rte_ring_close, rte_ring_put, rte_ring_get},
	{"uplink", uplink_open, uplink_close, uplink_put, uplink_get},
};

/* ---- carry/ */

struct carry {
	const struct path *path;
	unsigned batch;
	_Atomic unsigned started, finished; /* threads that did, over all samples */
	uint64_t sum;
	double end_s;
	char name[64];
};

/* Waits until both threads have come here for this sample. */
static void meet(_Atomic unsigned *count, unsigned sample)
{
	unsigned turns = 0;

	atomic_fetch_add(count, 1);
	while (atomic_load(count) < 2 * (sample + 1))
		wait_a_little(&turns);
}

static void *carry_consume(void *argument)
{
	struct carry *c = argument;

	run_on(1);
	for (unsigned sample = 0; sample < SAMPLES; sample++) {
		unsigned taken = 0, turns = 0;

		meet(&c->started, sample);
		while (taken < MESSAGES) {
			unsigned n = c->path->get(&c->sum, c->batch);

			taken += n;
			if (n == 0)
				wait_a_little(&turns);
		}
		c->end_s = now_s();
		meet(&c->finished, sample);
	}
	return NULL;
}

/* Seconds for one message; below 0 when one was lost or changed. */
static double carry_sample(struct carry *c, unsigned sample)
{
	unsigned put = 0, turns = 0;
	double begin_s;

	c->sum = 0;
	meet(&c->started, sample);
	begin_s = now_s();
	while (put < MESSAGES) {
		unsigned left = MESSAGES - put;
		unsigned n = c->path->put(put, left < c->batch ? left : c->batch);

		put += n;
		if (n == 0)
			wait_a_little(&turns);
	}
	meet(&c->finished, sample);
	if (c->sum != (uint64_t)MESSAGES * (MESSAGES - 1) / 2)
		return -1;
	return (c->end_s - begin_s) / MESSAGES;
}

static void carry(struct bench *bench, void *context)
{
	struct carry *c = context;
	float samples[SAMPLES];
	struct spread spread;
	pthread_t thread;

	if (!c->path->open()) {
		bench_fail(bench, "cannot be set up");
		return;
	}
	while (bench_next(bench)) {
		c->started = c->finished = 0;
		if (pthread_create(&thread, NULL, carry_consume, c) != 0)
			abort();
		for (unsigned i = 0; i < SAMPLES; i++)
			samples[i] = (float)carry_sample(c, i);
		pthread_join(thread, NULL);
		spread = spread_of(samples, SAMPLES);
		bench_took(bench, spread.median);
		bench_counter(bench, "M/s", 1e-6 / spread.median);
		bench_counter(bench, "M/s_best", 1e-6 / spread.least);
		if (spread.least < 0)
			bench_fail(bench, "a message was lost");
	}
	c->path->close();
}

/* ---- answer/ */

static _Atomic bool answers_end;

static void *answer_run(void *unused)
{
	struct sluice_message message;
	unsigned turns = 0;

	run_on(1);
	while (!atomic_load(&answers_end)) {
		if (sluice_receive(application, &message, 1) == 1) {
			(void)sluice_send(application, message.data->ref, message.data + 1, PAYLOAD, 0);
			sluice_flush(application);
		} else {
			wait_a_little(&turns);
		}
	}
	return unused;
}

static double answer_sample(void)
{
	struct uplink *u = gateway.uplinks[0];
	struct sluice_data data;
	uint8_t payload[PAYLOAD];
	uint64_t malformed = 0;
	unsigned turns = 0;
	double begin_s = now_s();

	(void)uplink_put(0, 1);
	while (uplink_take(u, &data, payload, sizeof(payload), &malformed) == 0)
		wait_a_little(&turns);
	spsc_release(&u->down);
	return now_s() - begin_s;
}

static void answer(struct bench *bench, void *context)
{
	static float samples[ANSWER_SAMPLES];
	struct spread spread;
	pthread_t thread;

	(void)context;
	if (!uplink_open()) {
		bench_fail(bench, "cannot be set up");
		return;
	}
	atomic_store(&answers_end, false);
	if (pthread_create(&thread, NULL, answer_run, NULL) != 0)
		abort();
	while (bench_next(bench)) {
		for (unsigned i = 0; i < ANSWER_SAMPLES; i++)
			samples[i] = (float)answer_sample();
		spread = spread_of(samples, ANSWER_SAMPLES);
		bench_took(bench, spread.median);
		bench_counter(bench, "us_best", 1e6 * spread.least);
	}
	atomic_store(&answers_end, true);
	pthread_join(thread, NULL);
	uplink_close();
}

/* ---- wake/ */

struct wake {
	bool by_eventfd;
	int event_fd;
	_Atomic double woken_s; /* 0: not yet */
	_Atomic bool asleep;
};

static void wake_wait(struct wake *w)
{
	struct pollfd waited = {.fd = w->event_fd, .events = POLLIN};
	struct sluice_message message;
	uint64_t count;

	if (w->by_eventfd) {
		(void)poll(&waited, 1, -1);
		(void)!read(w->event_fd, &count, sizeof(count));
		return;
	}
	do
		(void)sluice_wait(application, -1);
	while (sluice_receive(application, &message, 1) != 1);
}

static void *wake_run(void *argument)
{
	struct wake *w = argument;

	run_on(1);
	for (unsigned i = 0; i < WAKE_SAMPLES; i++) {
		atomic_store(&w->asleep, true);
		wake_wait(w);
		atomic_store(&w->woken_s, now_s());
	}
	return NULL;
}

/* What the kick itself takes goes to *kick. */
static double wake_sample(struct wake *w, float *kick)
{
	uint64_t one = 1;
	unsigned turns = 0;
	double begin_s;

	while (!atomic_exchange(&w->asleep, false))
		wait_a_little(&turns);
	usleep(SETTLE_US);
	atomic_store(&w->woken_s, 0);
	begin_s = now_s();
	if (w->by_eventfd)
		(void)!write(w->event_fd, &one, sizeof(one));
	else
		(void)uplink_put(0, 1);
	*kick = (float)(now_s() - begin_s);
	while (atomic_load(&w->woken_s) == 0)
		wait_a_little(&turns);
	return atomic_load(&w->woken_s) - begin_s;
}

static void wake(struct bench *bench, void *context)
{
	struct wake w = {.by_eventfd = context != NULL, .event_fd = eventfd(0, EFD_CLOEXEC)};
	float samples[WAKE_SAMPLES], kicks[WAKE_SAMPLES];
	struct spread spread;
	pthread_t thread;

	if (!uplink_open()) {
		bench_fail(bench, "cannot be set up");
		return;
	}
	while (bench_next(bench)) {
		if (pthread_create(&thread, NULL, wake_run, &w) != 0)
			abort();
		for (unsigned i = 0; i < WAKE_SAMPLES; i++)
			samples[i] = (float)wake_sample(&w, &kicks[i]);
		pthread_join(thread, NULL);
		spread = spread_of(samples, WAKE_SAMPLES);
		bench_took(bench, spread.median);
		bench_counter(bench, "us_best", 1e6 * spread.least);
		bench_counter(bench, "kick_us", 1e6 * spread_of(kicks, WAKE_SAMPLES).median);
	}
	uplink_close();
	close(w.event_fd);
}

int main(int argc, char **argv)
{
	static struct carry carries[16];
	static const unsigned batches[] = {1, 8, 32};
	struct utsname system;
	unsigned count = 0;

	(void)uname(&system);
	(void)sched_getaffinity(0, sizeof(cores), &cores);
	printf("# %s %s, %d cores, %s\n", system.sysname, system.release, CPU_COUNT(&cores), rte_version());
	run_on(0);
	for (unsigned b = 0; b < sizeof(batches) / sizeof(batches[0]); b++) {
		for (unsigned p = 0; p < sizeof(paths) / sizeof(paths[0]); p++) {
			struct carry *c = &carries[count++];

			c->path = &paths[p];
			c->batch = batches[b];
			snprintf(c->name, sizeof(c->name), "carry/%s/batch:%u", c->path->name, c->batch);
			bench_register(c->name, carry, c);
		}
	}
	bench_register("answer/poll", answer, NULL);
	bench_register("wake/ring", wake, NULL);
	bench_register("wake/eventfd", wake, carries);
	return bench_run(&argc, argv) == 0 ? 0 : 1;
}
