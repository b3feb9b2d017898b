/* The gateway's side of the application ring (uplink.h): shared memory, the socket where applications attach,
 * and the messages. The upper half runs on the control thread, the lower half on the worker. The application
 * can write every byte of the shared memory at any time: what is read from it is copied, then checked.
 */
#include "ring/uplink.h"

#include "ring/attach.h"
#include "ring/listen.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	MALFORMED_PER_CALL = 32, /* uplink_take() comes back to the worker after so many */
};

static_assert(sizeof(struct sluice_data) + sizeof(struct spsc_header) == 64, "the payload starts on a line");
static_assert(sizeof(struct sluice_data) + UPLINK_PAYLOAD_MAX + SPSC_ALIGN < UPLINK_BYTES_MIN / 4,
	      "the largest payload fits in the smallest ring");
static_assert(UPLINK_EVENT_RESERVE < UPLINK_BYTES_MIN / 2, "the smallest ring has room for DATA");
static_assert(sizeof(struct spsc_control) <= ATTACH_DOWN_CONTROL, "controls do not overlap");

/* A memfd of which nobody can change the size or the seals any more, mapped and filled with pages. */
static int memory_new(struct uplink *u)
{
	int error;

	u->memory_fd = memfd_create("sluice-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (u->memory_fd < 0)
		return -errno;
	if (ftruncate(u->memory_fd, (off_t)u->memory_len) != 0 ||
	    fcntl(u->memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		goto err_close;
	u->memory =
		mmap(NULL, u->memory_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, u->memory_fd, 0);
	if (u->memory == MAP_FAILED)
		goto err_close;
	(void)madvise(u->memory, u->memory_len, MADV_DONTDUMP); /* cleartext, and values of exporters */
	return 0;
err_close:
	error = errno;
	close(u->memory_fd);
	return -error;
}

struct uplink *uplink_new(uint64_t up_bytes, uint64_t down_bytes)
{
	struct uplink *u;
	int wake[2];

	if (!attach_size_ok(up_bytes) || !attach_size_ok(down_bytes)) {
		errno = EINVAL;
		return NULL;
	}
	u = calloc(1, sizeof(*u));
	if (u == NULL)
		return NULL;
	u->memory_len = attach_memory_len(up_bytes, down_bytes);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, wake) != 0)
		goto err_free;
	errno = -memory_new(u);
	if (errno != 0)
		goto err_wake;
	u->wake_fd = wake[0];
	u->app_wake_fd = wake[1];
	spsc_producer_init(&u->up, attach_up_control(u->memory), attach_up_data(u->memory), up_bytes);
	spsc_consumer_init(&u->down, attach_down_control(u->memory), attach_down_data(u->memory, up_bytes),
			   down_bytes);
	return u;
err_wake:
	close(wake[0]);
	close(wake[1]);
err_free:
	free(u);
	return NULL;
}

void uplink_free(struct uplink *u)
{
	if (u == NULL)
		return;
	munmap(u->memory, u->memory_len);
	close(u->memory_fd);
	close(u->wake_fd);
	close(u->app_wake_fd);
	free(u);
}

int uplink_listen(const char *path, unsigned mode, const char *group)
{
	return listen_local(path, SOCK_SEQPACKET, mode, group);
}

/* Is the peer's name "\0sluice-ring/VERSION/..." with our version? */
static bool version_ok(const struct sockaddr_un *peer, socklen_t peer_len)
{
	char want[sizeof(peer->sun_path)];
	int want_len = snprintf(want, sizeof(want), "%s%u/", ATTACH_NAME, (unsigned)SLUICE_VERSION);
	size_t offset = offsetof(struct sockaddr_un, sun_path) + 1;

	return peer_len >= offset + (size_t)want_len && peer->sun_path[0] == '\0' &&
	       memcmp(peer->sun_path + 1, want, (size_t)want_len) == 0;
}

int uplink_accept(int listen_fd, unsigned *uid, int *pid)
{
	struct sockaddr_un peer = {0};
	socklen_t peer_len = sizeof(peer);
	struct ucred credentials;
	socklen_t credentials_len = sizeof(credentials);
	int fd = accept4(listen_fd, (struct sockaddr *)&peer, &peer_len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int error;

	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &credentials_len) != 0) {
		error = errno;
		close(fd);
		return -error;
	}
	*uid = credentials.uid;
	*pid = credentials.pid;
	if (!version_ok(&peer, peer_len)) {
		uplink_refuse(fd, EPROTO);
		return -EPROTO;
	}
	return fd;
}

int uplink_hand_over(int connection_fd, struct uplink *const *uplinks, unsigned count)
{
	union {
		struct cmsghdr header;
		uint8_t bytes[CMSG_SPACE(ATTACH_FDS_MAX * sizeof(int))];
	} control = {0};
	struct attach_welcome welcome = {.magic = ATTACH_MAGIC, .version = SLUICE_VERSION, .workers = count};
	struct attach_worker workers[UPLINK_WORKERS_MAX];
	int fds[ATTACH_FDS_MAX];
	struct iovec parts[] = {{&welcome, sizeof(welcome)}, {workers, count * sizeof(workers[0])}};
	size_t fds_len = count * ATTACH_FDS_PER_WORKER * sizeof(int);
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2, .msg_control = &control};

	if (count == 0 || count > UPLINK_WORKERS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < count; i++) {
		workers[i] = (struct attach_worker){uplinks[i]->up.size, uplinks[i]->down.size};
		fds[ATTACH_FDS_PER_WORKER * i] = uplinks[i]->memory_fd;
		fds[ATTACH_FDS_PER_WORKER * i + 1] = uplinks[i]->app_wake_fd;
	}
	control.header = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(fds_len)};
	memcpy(CMSG_DATA(&control.header), fds, fds_len);
	message.msg_controllen = CMSG_SPACE(fds_len);
	return sendmsg(connection_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

void uplink_refuse(int connection_fd, int error)
{
	struct attach_welcome welcome = {.magic = ATTACH_MAGIC, .version = SLUICE_VERSION, .error = error};

	/* An application that is gone already need not be told. */
	(void)send(connection_fd, &welcome, sizeof(welcome), MSG_DONTWAIT | MSG_NOSIGNAL);
	close(connection_fd);
}

bool uplink_data(struct uplink *u, const struct sluice_data *data, const void *payload)
{
	struct sluice_data *to = uplink_data_reserve(u, data->payload_len);

	if (to == NULL)
		return false;
	*to = *data;
	memcpy(to + 1, payload, data->payload_len);
	return true;
}

bool uplink_event(struct uplink *u, enum sluice_type type, const void *body, uint32_t len)
{
	void *at = len <= UPLINK_EVENT_MAX ? spsc_reserve(&u->up, (uint16_t)type, len) : NULL;

	if (at == NULL)
		return false;
	memcpy(at, body, len);
	return true;
}

void uplink_publish(struct uplink *u)
{
	/* EAGAIN: the socket is full of kicks, so the application's end is readable already. */
	if (spsc_publish(&u->up))
		(void)send(u->wake_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool uplink_sleep(struct uplink *u)
{
	return spsc_sleep(&u->down);
}

void uplink_awake(struct uplink *u)
{
	char kicks[64];

	spsc_awake(&u->down);
	/* We hold the other end as well: its end is none of closing but of shutdown(), and poll() would never
	 * wait again. */
	if (recv(u->wake_fd, kicks, sizeof(kicks), MSG_DONTWAIT) == 0)
		u->down.broken = true;
}

/* One downlink message, of which every byte may still change: 0 when it is malformed. */
static int take_message(const struct spsc_message *m, struct sluice_data *data, void *buffer, uint32_t room)
{
	if (m->type == SLUICE_CLOSE && m->len == sizeof(struct sluice_close)) {
		*data = (struct sluice_data){0};
		memcpy(&data->ref, m->body, sizeof(data->ref));
		return SLUICE_CLOSE;
	}
	if (m->type != SLUICE_DATA || m->len < sizeof(*data))
		return 0;
	memcpy(data, m->body, sizeof(*data));
	if (m->len != sizeof(*data) + data->payload_len || data->payload_len > UPLINK_PAYLOAD_MAX)
		return 0;
	if (data->payload_len <= room)
		memcpy(buffer, (const uint8_t *)m->body + sizeof(*data), data->payload_len);
	return SLUICE_DATA;
}

int uplink_take(struct uplink *u, struct sluice_data *data, void *buffer, uint32_t room, uint64_t *malformed)
{
	struct spsc_message message;
	int type;

	for (unsigned i = 0; i < MALFORMED_PER_CALL && spsc_next(&u->down, &message); i++) {
		type = take_message(&message, data, buffer, room);
		if (type != 0)
			return type;
		++*malformed;
	}
	return 0;
}
