/* See door.h. */
#include "ring/door.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ring/listen.h"

enum { DOOR_MODE = 0660, EVENTS_PER_TURN = 16, LISTENER = DOOR_ASKERS_MAX };

struct asker {
	int fd; /* -1: a free place */
	size_t len;
	char question[DOOR_QUESTION_MAX];
};

struct door {
	int listen_fd, epoll_fd;
	bool listening; /* the listener is watched: there is a free place */
	char *path;     /* the socket's: ours to remove when there is a listener */
	door_answer *answer;
	const void *context;
	char *out;
	struct asker askers[DOOR_ASKERS_MAX];
};

static int watch(const struct door *d, int fd, uint32_t number)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};

	return epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

struct door *door_open(const char *path, size_t answer_max, door_answer *answer, const void *context)
{
	struct door *d = calloc(1, sizeof(*d));
	int listener;

	if (d == NULL)
		return NULL;
	d->listen_fd = d->epoll_fd = -1;
	d->answer = answer;
	d->context = context;
	for (unsigned i = 0; i < DOOR_ASKERS_MAX; i++)
		d->askers[i].fd = -1;
	d->path = strdup(path);
	d->out = malloc(answer_max);
	d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (d->path == NULL || d->out == NULL || d->epoll_fd < 0)
		goto err;
	listener = listen_local(path, SOCK_STREAM, DOOR_MODE, NULL);
	if (listener < 0) {
		errno = -listener;
		goto err;
	}
	d->listen_fd = listener;
	if (watch(d, d->listen_fd, LISTENER) != 0)
		goto err;
	d->listening = true;
	return d;
err:
	door_close(d);
	return NULL;
}

static void cut_off(struct door *d, struct asker *a)
{
	close(a->fd);
	a->fd = -1;
	a->len = 0;
	if (!d->listening)
		d->listening = watch(d, d->listen_fd, LISTENER) == 0;
}

void door_close(struct door *d)
{
	int error = errno;

	if (d == NULL)
		return;
	d->listening = true; /* it need not be watched again */
	for (unsigned i = 0; i < DOOR_ASKERS_MAX; i++) {
		if (d->askers[i].fd >= 0)
			cut_off(d, &d->askers[i]);
	}
	if (d->listen_fd >= 0) {
		close(d->listen_fd);
		unlink(d->path);
	}
	if (d->epoll_fd >= 0)
		close(d->epoll_fd);
	free(d->out);
	free(d->path);
	free(d);
	errno = error;
}

int door_fd(const struct door *d)
{
	return d->epoll_fd;
}

/* While every place is taken the listener is not watched, else it would stay readable. */
static void admit(struct door *d)
{
	for (unsigned i = 0; i < DOOR_ASKERS_MAX; i++) {
		struct asker *a = &d->askers[i];

		if (a->fd >= 0)
			continue;
		a->fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (a->fd < 0)
			return;
		if (watch(d, a->fd, i) != 0)
			cut_off(d, a);
	}
	(void)epoll_ctl(d->epoll_fd, EPOLL_CTL_DEL, d->listen_fd, NULL);
	d->listening = false;
}

/* False when the asker does not take its answer. */
static bool reply(struct door *d, const struct asker *a, const char *question)
{
	size_t len = d->answer(d->context, question, d->out);

	return send(a->fd, d->out, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}

/* Answers every whole line. False when the asker is to be cut off. */
static bool read_lines(struct door *d, struct asker *a)
{
	char *newline;

	while ((newline = memchr(a->question, '\n', a->len)) != NULL) {
		size_t taken = (size_t)(newline + 1 - a->question);

		*newline = '\0';
		if (newline > a->question && newline[-1] == '\r')
			newline[-1] = '\0';
		if (!reply(d, a, a->question))
			return false;
		a->len -= taken;
		memmove(a->question, a->question + taken, a->len);
	}
	return a->len < sizeof(a->question);
}

static void hear(struct door *d, struct asker *a)
{
	ssize_t n = recv(a->fd, a->question + a->len, sizeof(a->question) - a->len, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		a->len += (size_t)n;
	if (n <= 0 || !read_lines(d, a))
		cut_off(d, a);
}

void door_process(struct door *d)
{
	struct epoll_event events[EVENTS_PER_TURN];
	int count = epoll_wait(d->epoll_fd, events, EVENTS_PER_TURN, 0);

	for (int i = 0; i < count; i++) {
		if (events[i].data.u32 == LISTENER)
			admit(d);
		else if (d->askers[events[i].data.u32].fd >= 0)
			hear(d, &d->askers[events[i].data.u32]);
	}
}
