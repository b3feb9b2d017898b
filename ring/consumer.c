/* libsluice: the application's side of the ring (sluice.h). One thread per struct sluice. The gateway's
 * messages are checked too: an index, a length or a type that makes no sense ends in EPROTO, not in a crash.
 */
#include "ring/sluice.h"

#include "ring/attach.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	ATTACH_TIMEOUT_S = 5, /* for the gateway's answer on the socket */
	FIELD_ALIGN = 4,
	FIELD_HEADER = 4, /* u16 type, u16 length */
};

struct worker_ring {
	struct spsc_consumer up;
	struct spsc_producer down;
	void *memory;
	size_t memory_len;
	int wake_fd;
	bool secret; /* exporter values are in what has been taken and not yet given back */
};

struct sluice {
	int connection_fd;
	int epoll_fd; /* the connection and every wake_fd */
	unsigned workers;
	unsigned turn; /* where the next receive starts: workers take turns */
	bool asleep;   /* the sleeping flags are set, wake-ups may be waiting in the sockets */
	bool gone;     /* the gateway closed the connection */
	struct worker_ring rings[];
};

/* Connects from a name that carries our version (attach.h). Returns the fd or -errno. */
static int connect_named(const char *path)
{
	struct sockaddr_un gateway = {.sun_family = AF_UNIX}, own = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = ATTACH_TIMEOUT_S};
	size_t path_len = strlen(path);
	uint64_t random;
	int fd, name_len, error;

	if (path_len == 0 || path_len >= sizeof(gateway.sun_path))
		return -ENAMETOOLONG;
	memcpy(gateway.sun_path, path, path_len);
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	name_len = snprintf(own.sun_path + 1, sizeof(own.sun_path) - 1, "%s%u/%016llx", ATTACH_NAME,
			    (unsigned)SLUICE_VERSION, (unsigned long long)random);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&own,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)name_len)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) != 0 || /* of connect() */
	    connect(fd, (struct sockaddr *)&gateway, sizeof(gateway)) != 0) {
		error = errno == EAGAIN ? ETIMEDOUT : errno;
		close(fd);
		return -error;
	}
	return fd;
}

/* The gateway's one message, and the descriptors that came with it: all are ours to close. */
struct welcome {
	struct attach_welcome head;
	struct attach_worker workers[UPLINK_WORKERS_MAX];
	int fds[ATTACH_FDS_MAX];
	unsigned fds_count;
};

static void welcome_close(struct welcome *w)
{
	for (unsigned i = 0; i < w->fds_count; i++) {
		if (w->fds[i] >= 0)
			close(w->fds[i]);
	}
	w->fds_count = 0;
}

static void welcome_take_fds(struct welcome *w, struct msghdr *message)
{
	const struct cmsghdr *part = CMSG_FIRSTHDR(message);
	size_t len;

	if (part == NULL || part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
		return;
	len = part->cmsg_len - CMSG_LEN(0);
	assert(len <= sizeof(w->fds)); /* bounded by the control buffer */
	memcpy(w->fds, CMSG_DATA(part), len);
	w->fds_count = (unsigned)(len / sizeof(int));
}

static int welcome_check(const struct welcome *w, size_t len, int flags)
{
	if (len < sizeof(w->head) || w->head.magic != ATTACH_MAGIC || (flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
		return -EPROTO;
	if (w->head.error != 0)
		return w->head.error > 0 ? -w->head.error : -EPROTO;
	if (w->head.version != SLUICE_VERSION || w->head.workers == 0 ||
	    w->head.workers > UPLINK_WORKERS_MAX ||
	    len != sizeof(w->head) + w->head.workers * sizeof(w->workers[0]) ||
	    w->fds_count != w->head.workers * ATTACH_FDS_PER_WORKER)
		return -EPROTO;
	return 0;
}

static int welcome_receive(int connection_fd, struct welcome *w)
{
	union {
		struct cmsghdr header;
		uint8_t bytes[CMSG_SPACE(sizeof(w->fds))];
	} control;
	struct iovec parts[] = {{&w->head, sizeof(w->head)}, {w->workers, sizeof(w->workers)}};
	struct msghdr message = {.msg_iov = parts,
				 .msg_iovlen = 2,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	ssize_t len;
	int ret;

	do
		len = recvmsg(connection_fd, &message, MSG_CMSG_CLOEXEC);
	while (len < 0 && errno == EINTR);
	if (len < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	if (len == 0)
		return -ECONNREFUSED; /* the gateway went away in between */
	welcome_take_fds(w, &message);
	ret = welcome_check(w, (size_t)len, message.msg_flags);
	if (ret != 0)
		welcome_close(w);
	return ret;
}

/* Maps one worker's memory, which must be as large as announced and stay so. Takes no descriptor. */
static int ring_map(struct worker_ring *r, int memory_fd, const struct attach_worker *sizes)
{
	struct stat status;
	int seals = fcntl(memory_fd, F_GET_SEALS);

	if (!attach_size_ok(sizes->up_bytes) || !attach_size_ok(sizes->down_bytes))
		return -EPROTO;
	r->memory_len = attach_memory_len(sizes->up_bytes, sizes->down_bytes);
	if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(memory_fd, &status) != 0 ||
	    status.st_size != (off_t)r->memory_len)
		return -EPROTO;
	r->memory =
		mmap(NULL, r->memory_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory_fd, 0);
	if (r->memory == MAP_FAILED)
		return -errno;
	(void)madvise(r->memory, r->memory_len, MADV_DONTDUMP); /* cleartext, and values of exporters */
	spsc_consumer_init(&r->up, attach_up_control(r->memory), attach_up_data(r->memory), sizes->up_bytes);
	spsc_producer_init(&r->down, attach_down_control(r->memory),
			   attach_down_data(r->memory, sizes->up_bytes), sizes->down_bytes);
	return 0;
}

static int watch(const struct sluice *s, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

/* Moves the wake-ups from w to s. On failure sluice_detach() undoes what was done. */
static int map_all(struct sluice *s, struct welcome *w)
{
	for (unsigned i = 0; i < w->head.workers; i++) {
		struct worker_ring *r = &s->rings[i];
		int *fds = &w->fds[ATTACH_FDS_PER_WORKER * i];
		int ret = ring_map(r, fds[0], &w->workers[i]);

		if (ret != 0)
			return ret;
		r->wake_fd = fds[1];
		fds[1] = -1;
		s->workers++;
		ret = watch(s, r->wake_fd);
		if (ret != 0)
			return ret;
	}
	return watch(s, s->connection_fd);
}

/* Takes the connection over. */
static struct sluice *attach_to(int connection_fd, struct welcome *w)
{
	struct sluice *s = calloc(1, sizeof(*s) + w->head.workers * sizeof(s->rings[0]));
	int ret;

	if (s == NULL) {
		close(connection_fd);
		return NULL;
	}
	s->connection_fd = connection_fd;
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	ret = s->epoll_fd < 0 ? -errno : map_all(s, w);
	if (ret != 0) {
		sluice_detach(s);
		errno = -ret;
		return NULL;
	}
	return s;
}

struct sluice *sluice_attach(const char *socket_path)
{
	struct welcome welcome = {.fds_count = 0};
	struct sluice *s;
	int fd = connect_named(socket_path);
	int ret, error;

	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	ret = welcome_receive(fd, &welcome);
	if (ret != 0) {
		close(fd);
		errno = -ret;
		return NULL;
	}
	s = attach_to(fd, &welcome);
	error = errno;
	welcome_close(&welcome);
	errno = error;
	return s;
}

/* Gives back what has been taken. Exporter values are wiped before: the application has had its look. */
static void release(struct worker_ring *r)
{
	uint8_t *data = (uint8_t *)(uintptr_t)r->up.data; /* mapped for writing */
	uint64_t from = r->up.released & (r->up.size - 1), len = r->up.tail - r->up.released;
	uint64_t to_end = r->up.size - from;

	if (r->secret) {
		explicit_bzero(data + from, len < to_end ? len : to_end);
		explicit_bzero(data, len < to_end ? 0 : len - to_end);
	}
	r->secret = false;
	spsc_release(&r->up);
}

void sluice_detach(struct sluice *s)
{
	if (s == NULL)
		return;
	for (unsigned i = 0; i < s->workers; i++) {
		release(&s->rings[i]);
		munmap(s->rings[i].memory, s->rings[i].memory_len);
		close(s->rings[i].wake_fd);
	}
	close(s->connection_fd);
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	free(s);
}

int sluice_fd(const struct sluice *s)
{
	return s->epoll_fd;
}

/* Back from sleep: the gateway need not kick any more. */
static void clear_sleeping(struct sluice *s)
{
	s->asleep = false;
	for (unsigned i = 0; i < s->workers; i++)
		spsc_awake(&s->rings[i].up);
}

/* After a wait: takes the kicks, and notices the gateway's end. */
static void awake(struct sluice *s)
{
	char bytes[64];

	clear_sleeping(s);
	for (unsigned i = 0; i < s->workers; i++)
		(void)recv(s->rings[i].wake_fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	/* The gateway says nothing more on the connection: EAGAIN is its life, all else its end. */
	if (recv(s->connection_fd, bytes, sizeof(bytes), MSG_DONTWAIT) >= 0 || errno != EAGAIN)
		s->gone = true;
}

bool sluice_sleep(struct sluice *s)
{
	s->asleep = true;
	for (unsigned i = 0; i < s->workers; i++) {
		struct worker_ring *r = &s->rings[i];

		/* Unreleased messages could fill the ring, and then nothing would ever wake us. */
		release(r);
		if (r->up.broken || !spsc_sleep(&r->up)) {
			clear_sleeping(s);
			return false;
		}
	}
	return true;
}

int sluice_wait(struct sluice *s, int timeout_ms)
{
	struct pollfd waited = {.fd = s->epoll_fd, .events = POLLIN};
	int ready, error;

	if (!sluice_sleep(s))
		return 1;
	ready = poll(&waited, 1, timeout_ms);
	error = errno;
	awake(s);
	if (ready <= 0) {
		errno = error;
		return ready;
	}
	if (s->gone && sluice_sleep(s)) { /* gone, and nothing left in the rings */
		errno = EPIPE;
		return -1;
	}
	return 1;
}

/* Is the body what its type says? */
static bool body_ok(const struct spsc_message *m)
{
	const struct sluice_session_up *up = m->body;
	const struct sluice_data *data = m->body;

	switch ((enum sluice_type)m->type) {
	case SLUICE_SESSION_UP:
		return m->len >= sizeof(*up) && m->len == sizeof(*up) + up->fields_len;
	case SLUICE_DATA:
		return m->len >= sizeof(*data) && m->len == sizeof(*data) + data->payload_len;
	case SLUICE_SESSION_DOWN:
		return m->len == sizeof(struct sluice_session_down);
	case SLUICE_SEND_FAILED:
		return m->len == sizeof(struct sluice_send_failed);
	case SLUICE_PEER_MOVED:
		return m->len == sizeof(struct sluice_peer_moved);
	case SLUICE_CLOSE:
		break;
	}
	return false;
}

static bool has_exporters(const struct sluice_session_up *up)
{
	struct sluice_field field = {0};

	while (sluice_field_next(up, &field)) {
		if (field.type == SLUICE_FIELD_EXPORTER_VALUE)
			return true;
	}
	return false;
}

/* Up to max messages of one worker. A nonsensical one breaks the ring: what came before still counts. */
static unsigned receive_ring(struct worker_ring *r, struct sluice_message *messages, unsigned max)
{
	struct spsc_message m;
	unsigned count = 0;

	while (count < max && spsc_next(&r->up, &m)) {
		if (!body_ok(&m)) {
			r->up.broken = true;
			break;
		}
		messages[count].type = (enum sluice_type)m.type;
		messages[count].up = m.body;
		r->secret |= m.type == SLUICE_SESSION_UP && has_exporters(m.body);
		count++;
	}
	return count;
}

int sluice_receive(struct sluice *s, struct sluice_message *messages, unsigned max)
{
	unsigned count = 0;
	bool broken = false;

	if (s->asleep)
		awake(s);
	for (unsigned i = 0; i < s->workers; i++)
		release(&s->rings[i]);
	for (unsigned i = 0; i < s->workers; i++) {
		struct worker_ring *r = &s->rings[(s->turn + i) % s->workers];

		count += receive_ring(r, messages + count, max - count);
		broken |= r->up.broken;
	}
	s->turn++;
	if (count > 0 || (!broken && !s->gone))
		return (int)count;
	errno = broken ? EPROTO : EPIPE;
	return -1;
}

bool sluice_field_next(const struct sluice_session_up *up, struct sluice_field *at)
{
	const uint8_t *fields = (const uint8_t *)(up + 1);
	size_t start = 0;

	if (at->bytes != NULL) {
		start = (size_t)((const uint8_t *)at->bytes - fields) + at->len;
		start = (start + FIELD_ALIGN - 1) & ~(size_t)(FIELD_ALIGN - 1);
	}
	if (start + FIELD_HEADER > up->fields_len)
		return false;
	memcpy(&at->type, fields + start, sizeof(at->type));
	memcpy(&at->len, fields + start + sizeof(at->type), sizeof(at->len));
	at->bytes = fields + start + FIELD_HEADER;
	return start + FIELD_HEADER + at->len <= up->fields_len;
}

/* Room for a message to the worker that owns ref; NULL with errno set. */
static void *reserve(struct sluice *s, struct sluice_ref ref, enum sluice_type type, size_t len)
{
	void *at;

	if (ref.worker >= s->workers) {
		errno = EINVAL;
		return NULL;
	}
	at = spsc_reserve(&s->rings[ref.worker].down, (uint16_t)type, (uint32_t)len);
	if (at == NULL)
		errno = EAGAIN;
	return at;
}

int sluice_send(struct sluice *s, struct sluice_ref ref, const void *payload, size_t payload_len,
		uint64_t cookie)
{
	struct sluice_data data = {.ref = ref, .payload_len = (uint16_t)payload_len, .seq = cookie};
	uint8_t *at;

	if (payload_len > UPLINK_PAYLOAD_MAX) {
		errno = EMSGSIZE;
		return -1;
	}
	at = reserve(s, ref, SLUICE_DATA, sizeof(data) + payload_len);
	if (at == NULL)
		return -1;
	memcpy(at, &data, sizeof(data));
	if (payload_len > 0)
		memcpy(at + sizeof(data), payload, payload_len);
	return 0;
}

int sluice_close_session(struct sluice *s, struct sluice_ref ref)
{
	struct sluice_close message = {.ref = ref};
	void *at = reserve(s, ref, SLUICE_CLOSE, sizeof(message));

	if (at == NULL)
		return -1;
	memcpy(at, &message, sizeof(message));
	return 0;
}

void sluice_flush(struct sluice *s)
{
	for (unsigned i = 0; i < s->workers; i++) {
		struct worker_ring *r = &s->rings[i];

		/* EAGAIN: full of kicks, so the worker's end is readable already. */
		if (spsc_publish(&r->down))
			(void)send(r->wake_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
}

unsigned sluice_workers(const struct sluice *s)
{
	return s->workers;
}

const char *sluice_reason_text(enum sluice_reason reason)
{
	static const char *const texts[SLUICE_REASONS] = {
		[SLUICE_REASON_NONE] = "none",
		[SLUICE_REASON_CLOSE_NOTIFY] = "closed by the peer",
		[SLUICE_REASON_ALERT] = "fatal alert of the peer",
		[SLUICE_REASON_IDLE] = "idle for too long",
		[SLUICE_REASON_EVICTED] = "evicted, session table full",
		[SLUICE_REASON_REPLACED] = "replaced by a new handshake",
		[SLUICE_REASON_CLOSED] = "closed by the application",
		[SLUICE_REASON_ADMIN] = "closed by the operator",
		[SLUICE_REASON_CREDENTIAL_GONE] = "credential removed or replaced",
		[SLUICE_REASON_AUTH_FAILURES] = "too many records with a wrong tag",
		[SLUICE_REASON_SEQUENCE_END] = "sequence numbers used up",
		[SLUICE_REASON_SHUTDOWN] = "gateway shutting down",
		[SLUICE_REASON_NO_SESSION] = "no such session",
		[SLUICE_REASON_TOO_LARGE] = "payload above the MTU",
		[SLUICE_REASON_NO_ROUTE] = "no address of the peer's router known",
		[SLUICE_REASON_UNVERIFIED] = "peer's new address not verified",
		[SLUICE_REASON_PORT_FULL] = "port full",
		[SLUICE_REASON_REVOKED] = "certificate revoked",
	};

	return (unsigned)reason < SLUICE_REASONS && texts[reason] ? texts[reason] : "unknown";
}
