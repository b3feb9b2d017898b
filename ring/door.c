/* See door.h. */
#include "ring/door.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { DOOR_MODE = 0660, EVENTS_PER_TURN = 16, LISTENER = DOOR_ASKERS_MAX };

struct asker {
	int fd; /* -1: a free place */
	size_t len;
	char question[DOOR_QUESTION_MAX];
};

struct door {
	int listen_fd, epoll_fd;
	bool listening; /* the listener is watched: there is a free place */
	struct sockaddr_un address;
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

/* A socket that nobody listens on is in the way; anything else is not ours to remove. */
static bool make_way(const struct sockaddr_un *address)
{
	struct stat status;
	int fd, error = 0;

	if (lstat(address->sun_path, &status) != 0)
		return errno == ENOENT;
	if (!S_ISSOCK(status.st_mode)) {
		errno = EEXIST;
		return false;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		error = EADDRINUSE;
	close(fd);
	if (error == 0)
		return unlink(address->sun_path) == 0;
	errno = error;
	return false;
}

static bool listen_at(struct door *d)
{
	mode_t mask;
	bool bound;

	if (!make_way(&d->address))
		return false;
	d->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->listen_fd < 0)
		return false;
	mask = umask(0777 & ~DOOR_MODE); /* never open to others, not for a moment */
	bound = bind(d->listen_fd, (struct sockaddr *)&d->address, sizeof(d->address)) == 0;
	umask(mask);
	if (!bound) {
		d->address.sun_path[0] = '\0'; /* not ours to remove */
		return false;
	}
	return listen(d->listen_fd, DOOR_ASKERS_MAX) == 0;
}

struct door *door_open(const char *path, size_t answer_max, door_answer *answer, const void *context)
{
	struct door *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->listen_fd = d->epoll_fd = -1;
	d->answer = answer;
	d->context = context;
	d->address.sun_family = AF_UNIX;
	for (unsigned i = 0; i < DOOR_ASKERS_MAX; i++)
		d->askers[i].fd = -1;
	if (strlen(path) >= sizeof(d->address.sun_path)) {
		errno = ENAMETOOLONG;
		goto err;
	}
	d->out = malloc(answer_max);
	d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (d->out == NULL || d->epoll_fd < 0)
		goto err;
	strcpy(d->address.sun_path, path); /* NOLINT(clang-analyzer-security.insecureAPI.strcpy): it fits */
	if (!listen_at(d) || watch(d, d->listen_fd, LISTENER) != 0)
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
		if (d->address.sun_path[0] != '\0')
			unlink(d->address.sun_path);
	}
	if (d->epoll_fd >= 0)
		close(d->epoll_fd);
	free(d->out);
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
