/* Errands: what would keep the control thread waiting (files, HTTP) runs on threads of its own, at its time.
 * The threads start with the first errand, so that a gateway without such work has none.
 */
#ifndef CONTROLPLANE_ERRAND_H
#define CONTROLPLANE_ERRAND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct errands;

/* Inside of what it is about; to begin with: all zero but `run`. */
struct errand {
	/* On one of the threads, never on two at once. Returns when it is to run again (CLOCK_MONOTONIC), or
	 * 0: it is over, may have freed itself, and must not be cancelled. */
	uint64_t (*run)(struct errand *e, uint64_t now_ns);
	/* the rest belongs to errand.c */
	uint64_t due_ns;
	bool queued, running, cancelled;
	TAILQ_ENTRY(errand) next;
};

/* Main thread. threads 0: whatever is added only waits. NULL when out of memory. No errand may be
 * left at errands_free(), NULL is fine there. */
struct errands *errands_new(unsigned threads);
void errands_free(struct errands *es);

/* Any thread. due_ns: 0: at once. 0, or -errno when no thread can be started: then it will not run. */
int errands_add(struct errands *es, struct errand *e, uint64_t due_ns);
/* Any thread. One that waits for its time runs at once; one that runs does not run again for it. */
void errands_hurry(struct errands *es, struct errand *e);
/* Any thread but its own. Waits for its end if it runs; it will not run any more. */
void errands_cancel(struct errands *es, struct errand *e);

uint64_t errand_now_ns(void); /* CLOCK_MONOTONIC */

#endif
