/* See errand.h. The queue is short: it is searched. */
#include "controlplane/errand.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define SECOND_NS 1000000000ULL

enum { THREADS_MAX = 16 };

TAILQ_HEAD(errand_list, errand);

struct errands {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* something was queued, or all is to end */
	pthread_cond_t ended;   /* an errand has run */
	struct errand_list queue;
	unsigned threads, started;
	bool stop;
	pthread_t thread[THREADS_MAX];
};

uint64_t errand_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

/* NULL, and when one may be due at the earliest. */
static struct errand *take_due(struct errands *es, uint64_t now_ns, uint64_t *earliest_ns)
{
	struct errand *e;

	*earliest_ns = UINT64_MAX;
	TAILQ_FOREACH (e, &es->queue, next) {
		if (e->due_ns <= now_ns) {
			TAILQ_REMOVE(&es->queue, e, next);
			e->queued = false;
			return e;
		}
		if (e->due_ns < *earliest_ns)
			*earliest_ns = e->due_ns;
	}
	return NULL;
}

static void wait_until(struct errands *es, uint64_t until_ns)
{
	struct timespec t = {.tv_sec = (time_t)(until_ns / SECOND_NS),
			     .tv_nsec = (long)(until_ns % SECOND_NS)};

	if (until_ns == UINT64_MAX)
		pthread_cond_wait(&es->changed, &es->lock);
	else
		pthread_cond_timedwait(&es->changed, &es->lock, &t);
}

static void queue(struct errands *es, struct errand *e, uint64_t due_ns)
{
	e->due_ns = due_ns;
	e->queued = true;
	TAILQ_INSERT_TAIL(&es->queue, e, next);
	pthread_cond_signal(&es->changed);
}

/* With the lock, which is given back while the errand runs. One that is over may be gone by then. */
static void run(struct errands *es, struct errand *e, uint64_t now_ns)
{
	uint64_t again_ns;

	e->running = true;
	pthread_mutex_unlock(&es->lock);
	again_ns = e->run(e, now_ns);
	pthread_mutex_lock(&es->lock);
	if (again_ns) {
		e->running = false;
		if (!e->cancelled)
			queue(es, e, again_ns);
	}
	pthread_cond_broadcast(&es->ended);
}

static void *work(void *argument)
{
	struct errands *es = argument;
	uint64_t earliest_ns;

	pthread_mutex_lock(&es->lock);
	while (!es->stop) {
		uint64_t now_ns = errand_now_ns();
		struct errand *e = take_due(es, now_ns, &earliest_ns);

		if (e)
			run(es, e, now_ns);
		else
			wait_until(es, earliest_ns);
	}
	pthread_mutex_unlock(&es->lock);
	return NULL;
}

struct errands *errands_new(unsigned threads)
{
	struct errands *es = calloc(1, sizeof *es);
	pthread_condattr_t monotonic;

	if (!es)
		return NULL;
	es->threads = threads < THREADS_MAX ? threads : THREADS_MAX;
	TAILQ_INIT(&es->queue);
	pthread_mutex_init(&es->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&es->changed, &monotonic);
	pthread_cond_init(&es->ended, NULL);
	pthread_condattr_destroy(&monotonic);
	return es;
}

void errands_free(struct errands *es)
{
	if (!es)
		return;
	pthread_mutex_lock(&es->lock);
	es->stop = true;
	pthread_cond_broadcast(&es->changed);
	pthread_mutex_unlock(&es->lock);
	for (unsigned i = 0; i < es->started; i++)
		pthread_join(es->thread[i], NULL);
	pthread_cond_destroy(&es->changed);
	pthread_cond_destroy(&es->ended);
	pthread_mutex_destroy(&es->lock);
	free(es);
}

/* With the lock. Signals are for the threads that wait for them. */
static int start_threads(struct errands *es)
{
	sigset_t all, before;
	int ret = 0;

	if (es->started == es->threads)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (ret == 0 && es->started < es->threads) {
		ret = -pthread_create(&es->thread[es->started], NULL, work, es);
		es->started += ret == 0;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return es->started > 0 ? 0 : ret;
}

int errands_add(struct errands *es, struct errand *e, uint64_t due_ns)
{
	int ret;

	pthread_mutex_lock(&es->lock);
	ret = start_threads(es);
	if (ret == 0)
		queue(es, e, due_ns);
	pthread_mutex_unlock(&es->lock);
	return ret;
}

void errands_hurry(struct errands *es, struct errand *e)
{
	pthread_mutex_lock(&es->lock);
	if (e->queued) {
		e->due_ns = 0;
		pthread_cond_signal(&es->changed);
	}
	pthread_mutex_unlock(&es->lock);
}

void errands_cancel(struct errands *es, struct errand *e)
{
	pthread_mutex_lock(&es->lock);
	e->cancelled = true;
	if (e->queued)
		TAILQ_REMOVE(&es->queue, e, next);
	e->queued = false;
	while (e->running)
		pthread_cond_wait(&es->ended, &es->lock);
	pthread_mutex_unlock(&es->lock);
}
