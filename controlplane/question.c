/* See question.h. */
#include "controlplane/question.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

/* The credential store counts its own from 1. */
#define NUMBER_FIRST (UINT64_C(1) << 63)

struct question {
	STAILQ_ENTRY(question) next;
	struct questions *of;
	uint64_t number;
};

STAILQ_HEAD(question_list, question);

struct questions {
	int fd;
	pthread_mutex_t lock;
	/* behind the lock */
	uint64_t number;
	struct question_list answered;
};

struct questions *questions_new(void)
{
	struct questions *qs = calloc(1, sizeof *qs);

	if (!qs)
		return NULL;
	qs->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (qs->fd < 0) {
		free(qs);
		return NULL;
	}
	pthread_mutex_init(&qs->lock, NULL);
	STAILQ_INIT(&qs->answered);
	qs->number = NUMBER_FIRST;
	return qs;
}

void questions_free(struct questions *qs)
{
	if (!qs)
		return;
	while (questions_next_answered(qs))
		;
	pthread_mutex_destroy(&qs->lock);
	close(qs->fd);
	free(qs);
}

int questions_fd(const struct questions *qs)
{
	return qs->fd;
}

struct question *question_new(struct questions *qs)
{
	struct question *q = calloc(1, sizeof *q);

	if (!q)
		return NULL;
	q->of = qs;
	pthread_mutex_lock(&qs->lock);
	q->number = qs->number++;
	pthread_mutex_unlock(&qs->lock);
	return q;
}

uint64_t question_number(const struct question *q)
{
	return q->number;
}

void question_drop(struct question *q)
{
	free(q);
}

void question_answered(struct question *q)
{
	static const uint64_t one = 1;
	struct questions *qs = q->of;
	int fd = qs->fd;

	pthread_mutex_lock(&qs->lock);
	STAILQ_INSERT_TAIL(&qs->answered, q, next);
	pthread_mutex_unlock(&qs->lock);
	(void)!write(fd, &one, sizeof one);
}

uint64_t questions_next_answered(struct questions *qs)
{
	struct question *q;
	uint64_t number = 0;

	pthread_mutex_lock(&qs->lock);
	q = STAILQ_FIRST(&qs->answered);
	if (q) {
		number = q->number;
		STAILQ_REMOVE_HEAD(&qs->answered, next);
	}
	pthread_mutex_unlock(&qs->lock);
	free(q);
	return number;
}
