/* The application at the other end of the ring: one at a time attaches to the socket, gets the memory of
 * every worker, and then a SESSION_UP for each session that is live already.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "controlplane/internal.h"
#include "crypto/secret.h"
#include "ring/listen.h"

enum {
	ANNOUNCE_PER_TURN = 256,
	WALK_PER_TURN = 65536, /* slots looked at */
};
#define ANNOUNCE_AGAIN_NS 20000000ULL

/* ---- memory */

static struct uplink **free_place(struct application *app)
{
	struct uplink **grown;

	for (unsigned i = 0; i < app->uplinks_room; i++) {
		if (!app->uplinks[i])
			return &app->uplinks[i];
	}
	grown = realloc(app->uplinks, (app->uplinks_room + 8) * sizeof *grown);
	if (!grown)
		return NULL;
	app->uplinks = grown;
	memset(grown + app->uplinks_room, 0, 8 * sizeof *grown);
	app->uplinks_room += 8;
	return &grown[app->uplinks_room - 8];
}

static uint64_t ring_bytes(uint32_t kib)
{
	uint64_t bytes = (uint64_t)kib * 1024;

	return bytes < UPLINK_BYTES_MIN ? UPLINK_BYTES_MIN : bytes;
}

static struct uplink *take_uplink(struct control *c)
{
	struct uplink **place = free_place(&c->application);

	if (!place)
		return NULL;
	*place = uplink_new(ring_bytes(c->config->ring.uplink_kib), ring_bytes(c->config->ring.downlink_kib));
	return *place;
}

void application_returned(struct control *c, struct uplink *uplink)
{
	struct application *app = &c->application;

	for (unsigned i = 0; uplink && i < app->uplinks_room; i++) {
		if (app->uplinks[i] == uplink) {
			uplink_free(uplink);
			app->uplinks[i] = NULL;
			return;
		}
	}
}

/* ---- attach and detach */

static void tell_workers(struct control *c, struct uplink *const *uplinks)
{
	for (unsigned i = 0; i < c->workers; i++) {
		struct mail_uplink mail = {.uplink = uplinks ? uplinks[i] : NULL,
					   .attach = c->application.attach};

		if (outbox_send(&c->outboxes[i], MAIL_UPLINK, &mail, sizeof mail, NULL, 0))
			log_write(LOG_LEVEL_ERROR, "out of memory: worker %u does not know its application",
				  i);
	}
}

/* 0 or -errno; the memory is the workers' afterwards, or gone. */
static int hand_out(struct control *c, int fd)
{
	struct uplink *uplinks[UPLINK_WORKERS_MAX] = {NULL};
	int ret = c->workers <= UPLINK_WORKERS_MAX ? 0 : -E2BIG;

	for (unsigned i = 0; ret == 0 && i < c->workers; i++) {
		uplinks[i] = take_uplink(c);
		if (!uplinks[i])
			ret = -ENOMEM;
	}
	if (ret == 0)
		ret = uplink_hand_over(fd, uplinks, c->workers);
	if (ret) {
		for (unsigned i = 0; i < c->workers && i < UPLINK_WORKERS_MAX; i++)
			application_returned(c, uplinks[i]);
		return ret;
	}
	c->application.attach++;
	tell_workers(c, uplinks);
	return 0;
}

void application_disconnected(struct control *c)
{
	struct application *app = &c->application;

	if (app->connection_fd < 0)
		return;
	log_write(LOG_LEVEL_INFO, "the application has detached from the ring");
	(void)epoll_ctl(c->epoll_fd, EPOLL_CTL_DEL, app->connection_fd, NULL);
	close(app->connection_fd);
	app->connection_fd = -1;
	app->announce_worker = c->workers;
	tell_workers(c, NULL);
}

void application_broken(struct control *c, uint32_t attach)
{
	if (attach != c->application.attach || c->application.connection_fd < 0)
		return; /* another one has attached since */
	log_write(LOG_LEVEL_WARNING,
		  "the application wrote an impossible index into the ring, or shut its wake-up down: it is "
		  "cut off");
	application_disconnected(c);
}

/* The application sends nothing: readable means gone. */
static bool is_gone(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) > 0;
}

static void attach(struct control *c, int fd, unsigned uid, int pid)
{
	struct application *app = &c->application;
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};
	int ret = hand_out(c, fd);

	if (ret) {
		log_write(LOG_LEVEL_ERROR, "process %d cannot attach to the ring: %s", pid, strerror(-ret));
		uplink_refuse(fd, -ret);
		return;
	}
	app->connection_fd = fd;
	app->announce_worker = 0;
	app->announce_slot = 0;
	if (epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &event))
		application_disconnected(c);
	else
		log_write(LOG_LEVEL_INFO, "process %d (user %u) has attached to the ring", pid, uid);
}

void application_connect(struct control *c)
{
	struct application *app = &c->application;
	unsigned uid = 0;
	int pid = 0, fd = uplink_accept(app->listen_fd, &uid, &pid);

	if (fd == -EPROTO)
		log_write(LOG_LEVEL_WARNING, "process %d was refused at the ring: it speaks another version",
			  pid);
	if (fd < 0)
		return;
	if (app->connection_fd >= 0 && is_gone(app->connection_fd))
		application_disconnected(c);
	if (app->connection_fd >= 0) {
		log_write(LOG_LEVEL_WARNING,
			  "process %d was refused at the ring: another application is attached", pid);
		uplink_refuse(fd, EBUSY);
		return;
	}
	attach(c, fd, uid, pid);
}

/* ---- announcements */

static bool announce(struct control *c, const struct association *a)
{
	_Alignas(8) uint8_t up[SESSION_UP_MAX];
	size_t len = association_announcement(a, up);
	bool posted = outbox_try(&c->outboxes[association_up(a)->ref.worker], MAIL_ANNOUNCE, up,
				 (uint32_t)len, NULL, 0);

	secret_wipe(up, len);
	return posted;
}

void application_not_announced(struct control *c, struct sluice_ref ref)
{
	struct association *a = association_find(c->associations, ref);

	if (a && c->application.connection_fd >= 0)
		association_retry_later(c->associations, a, c->now_ns, ANNOUNCE_AGAIN_NS);
}

static void announce_retries(struct control *c)
{
	struct association *a;

	for (unsigned i = 0; i < ANNOUNCE_PER_TURN; i++) {
		a = associations_retry(c->associations, c->now_ns);
		if (!a)
			return;
		if (!announce(c, a)) {
			association_retry_later(c->associations, a, c->now_ns, ANNOUNCE_AGAIN_NS);
			return;
		}
	}
}

bool application_announce(struct control *c)
{
	struct application *app = &c->application;

	announce_retries(c);
	for (unsigned i = 0; app->announce_worker < c->workers && i < ANNOUNCE_PER_TURN; i++) {
		struct association *a = associations_walk(c->associations, app->announce_worker,
							  &app->announce_slot, WALK_PER_TURN);

		if (a && !announce(c, a)) {
			app->announce_slot = association_up(a)->ref.index; /* when there is room again */
			return false;
		}
		if (!a && app->announce_slot < UINT32_MAX)
			return true;
		if (app->announce_slot == UINT32_MAX) {
			app->announce_worker++;
			app->announce_slot = 0;
		}
	}
	return app->announce_worker < c->workers;
}

/* ---- start and end */

int application_open(struct control *c, char *error, size_t error_len)
{
	const struct config_ring *ring = &c->config->ring;
	unsigned mode = ring->mode ? (unsigned)strtoul(ring->mode, NULL, 8) : 0660;
	struct epoll_event event = {.events = EPOLLIN};
	int fd = uplink_listen(ring->socket, mode, ring->group);

	c->application.connection_fd = -1;
	c->application.listen_fd = fd;
	c->application.announce_worker = c->workers;
	if (fd < 0) {
		snprintf(error, error_len, "ring.socket: %s cannot be opened: %s", ring->socket,
			 listen_fault(fd));
		return fd;
	}
	event.data.fd = fd;
	if (epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
		snprintf(error, error_len, "ring.socket: %s", strerror(errno));
		return -errno;
	}
	return 0;
}

/* Main thread, after the workers have ended: nobody uses the rings any more. */
void application_close(struct control *c)
{
	struct application *app = &c->application;

	for (unsigned i = 0; i < app->uplinks_room; i++)
		uplink_free(app->uplinks[i]);
	free(app->uplinks);
	if (app->connection_fd >= 0)
		close(app->connection_fd);
	if (app->listen_fd >= 0) {
		close(app->listen_fd);
		unlink(c->config->ring.socket);
	}
}
