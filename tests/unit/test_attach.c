/* Who may attach and how; and what a hostile or dying program on either side of the ring can do to the other:
 * nothing. Programs on the other side are processes of their own where they get killed, threads where a
 * sanitizer should see both sides.
 */
#include "fake_gateway.h"
#include "ring/attach.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

static int setup(void **state)
{
	struct fake_gateway *g = calloc(1, sizeof(*g));

	*state = g;
	return fake_gateway_start(g) ? 0 : -1;
}

static int teardown(void **state)
{
	fake_gateway_stop(*state);
	free(*state);
	return 0;
}

/* sluice_attach() on a thread of its own, since it waits for this one. errno comes back too. */
struct attempt {
	const char *path;
	pthread_t thread;
	struct sluice *app;
	int error;
};

static void *attempt_run(void *argument)
{
	struct attempt *a = argument;

	a->app = sluice_attach(a->path);
	a->error = a->app == NULL ? errno : 0;
	return NULL;
}

static struct attempt *attempt_start(const struct fake_gateway *g)
{
	struct attempt *a = calloc(1, sizeof(*a));

	a->path = g->path;
	assert_int_equal(pthread_create(&a->thread, NULL, attempt_run, a), 0);
	return a;
}

static struct sluice *attempt_end(struct attempt *a, int error)
{
	struct sluice *app;

	pthread_join(a->thread, NULL);
	assert_int_equal(a->error, error);
	app = a->app;
	free(a);
	return app;
}

static int accept_patiently(const struct fake_gateway *g)
{
	struct pollfd waited = {.fd = g->listen_fd, .events = POLLIN};
	unsigned uid = 0;
	int pid = 0;
	int fd;

	assert_int_equal(poll(&waited, 1, FAKE_ACCEPT_MS), 1);
	fd = uplink_accept(g->listen_fd, &uid, &pid);
	assert_int_equal(uid, geteuid());
	assert_int_equal(pid, getpid());
	return fd;
}

/* A raw program: binds to this name (or none) and connects. */
static int raw_connect(const struct fake_gateway *g, const char *name)
{
	struct sockaddr_un own = {.sun_family = AF_UNIX}, gateway = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (name != NULL) {
		memcpy(own.sun_path + 1, name, strlen(name));
		assert_int_equal(bind(fd, (struct sockaddr *)&own,
				      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))),
				 0);
	}
	memcpy(gateway.sun_path, g->path, strlen(g->path));
	assert_int_equal(connect(fd, (struct sockaddr *)&gateway, sizeof(gateway)), 0);
	return fd;
}

/* ---- the listening socket */

static void listening_takes_over_a_dead_socket_alone(void **state)
{
	struct fake_gateway *g = *state;
	struct stat status;
	char other[64], link[64];
	int fd;

	assert_int_equal(stat(g->path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	assert_int_equal(uplink_listen(g->path, 0600, NULL), -EADDRINUSE); /* alive */
	assert_int_equal(accept_patiently(g), -EPROTO);                    /* that probe had no name */
	close(g->listen_fd);
	g->listen_fd = uplink_listen(g->path, 0660, NULL);
	assert_true(g->listen_fd >= 0);
	assert_int_equal(stat(g->path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0660);

	snprintf(other, sizeof(other), "%s/file", g->folder);
	snprintf(link, sizeof(link), "%s/link", g->folder);
	fd = open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(symlink(g->path, link), 0);
	assert_int_equal(uplink_listen(other, 0600, NULL), -EEXIST);
	assert_int_equal(uplink_listen(link, 0600, NULL), -EEXIST);
	assert_int_equal(stat(other, &status), 0);
	unlink(other);
	unlink(link);
	assert_int_equal(uplink_listen(other, 0600, "no-such-group"), -EINVAL);
	assert_int_equal(stat(other, &status), -1); /* nothing is left of it */
	assert_int_equal(uplink_listen("", 0600, NULL), -ENAMETOOLONG);
	assert_int_equal(uplink_listen("/nonexistent-folder/ring.sock", 0600, NULL), -ENOENT);
}

static void nobody_there_is_told(void **state)
{
	struct fake_gateway *g = *state;
	unsigned uid;
	int pid;

	assert_int_equal(uplink_accept(g->listen_fd, &uid, &pid), -EAGAIN);
	assert_null(sluice_attach("/nonexistent-folder/ring.sock"));
	assert_int_equal(errno, ENOENT);
	close(g->listen_fd);
	assert_null(sluice_attach(g->path));
	assert_int_equal(errno, ECONNREFUSED);
	assert_true(fake_gateway_listen(g));
}

static void second_application_is_refused(void **state)
{
	struct fake_gateway *g = *state;
	struct attempt *a = attempt_start(g);
	struct sluice *first;

	assert_int_equal(fake_gateway_attach(g), 0);
	first = attempt_end(a, 0);
	assert_non_null(first);
	a = attempt_start(g);
	uplink_refuse(accept_patiently(g), EBUSY);
	assert_null(attempt_end(a, EBUSY));
	assert_true(fake_data(g, fake_ref(0, 1), "x", 1)); /* and the first one does not notice */
	fake_publish(g);
	assert_int_equal(sluice_wait(first, FAKE_ACCEPT_MS), 1);
	sluice_detach(first);
}

/* Cleartext and the values of exporters pass through the ring: O11, on both sides. */
static void o11_no_core_dump_holds_the_ring(void **state)
{
	struct fake_gateway *g = *state;
	struct attempt *a = attempt_start(g);
	unsigned mapped = 0, kept_out = 0;
	struct sluice *app;
	bool of_ring = false;
	char line[512];
	FILE *maps;

	assert_int_equal(fake_gateway_attach(g), 0);
	app = attempt_end(a, 0);
	maps = fopen("/proc/self/smaps", "r");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps) != NULL) {
		if (strchr(line, '-') != NULL && strstr(line, " rw-s ") != NULL) {
			of_ring = strstr(line, "memfd:sluice-ring") != NULL;
			mapped += of_ring;
		} else if (strncmp(line, "VmFlags:", 8) == 0) {
			kept_out += of_ring && strstr(line, " dd") != NULL;
			of_ring = false;
		}
	}
	fclose(maps);
	assert_int_equal(mapped, 2 * FAKE_WORKERS);
	assert_int_equal(kept_out, mapped);
	sluice_detach(app);
}

static void other_versions_are_refused_by_the_gateway(void **state)
{
	struct fake_gateway *g = *state;
	static const char *const names[] = {NULL,
					    "",
					    "sluice-ring/",
					    "sluice-ring/0/x",
					    "sluice-ring/11/x",
					    "sluice-ring/2/x",
					    "sluice-ring/1",
					    "other-program/1/x"};
	struct attach_welcome welcome;

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int fd = raw_connect(g, names[i]);

		assert_int_equal(accept_patiently(g), -EPROTO);
		assert_int_equal(recv(fd, &welcome, sizeof(welcome), 0), sizeof(welcome));
		assert_int_equal(welcome.error, EPROTO);
		assert_int_equal(welcome.version, SLUICE_VERSION);
		assert_int_equal(recv(fd, &welcome, sizeof(welcome), 0), 0);
		close(fd);
	}
}

/* ---- a hostile gateway */

/* Everything that can be wrong with the gateway's one message. */
enum lie {
	LIE_NONE,
	LIE_MAGIC,
	LIE_VERSION,
	LIE_NO_WORKERS,
	LIE_WORKERS,
	LIE_SHORT,
	LIE_LONG,
	LIE_FEW_FDS,
	LIE_NO_FDS,
	LIE_SIZE_ODD,
	LIE_SIZE_HUGE,
	LIE_SIZE_SMALL,
	LIE_SIZE_WRONG,
	LIE_NOT_SEALED,
	LIE_NOT_MEMORY,
	LIE_ERROR_NEGATIVE,
	LIE_EMPTY,
	LIES,
};

static int memory_of(enum lie lie, const struct uplink *u)
{
	int fd;

	if (lie == LIE_NOT_MEMORY)
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	if (lie != LIE_NOT_SEALED)
		return fcntl(u->memory_fd, F_DUPFD_CLOEXEC, 0);
	fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(fd, (off_t)u->memory_len), 0);
	return fd;
}

static void send_lie(int connection_fd, enum lie lie, const struct uplink *u)
{
	struct {
		struct attach_welcome head;
		struct attach_worker worker;
		uint8_t more[UPLINK_WORKERS_MAX * sizeof(struct attach_worker)];
	} message = {{ATTACH_MAGIC, SLUICE_VERSION, 0, 1}, {u->up.size, u->down.size}, {0}};
	union {
		struct cmsghdr header;
		uint8_t bytes[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	int fds[2] = {memory_of(lie, u), fcntl(u->app_wake_fd, F_DUPFD_CLOEXEC, 0)};
	size_t fds_len = lie == LIE_FEW_FDS ? sizeof(int) : sizeof(fds);
	struct iovec part = {&message, sizeof(message.head) + sizeof(message.worker)};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	message.head.magic += lie == LIE_MAGIC;
	message.head.version += lie == LIE_VERSION;
	message.head.error = lie == LIE_ERROR_NEGATIVE ? INT32_MIN : 0;
	message.head.workers = lie == LIE_NO_WORKERS ? 0 : lie == LIE_WORKERS ? UINT32_MAX : 1;
	message.worker.up_bytes += lie == LIE_SIZE_ODD;
	message.worker.up_bytes = lie == LIE_SIZE_HUGE ? UINT64_C(1) << 63 : message.worker.up_bytes;
	message.worker.down_bytes = lie == LIE_SIZE_SMALL ? 4096 : message.worker.down_bytes;
	message.worker.down_bytes *= lie == LIE_SIZE_WRONG ? 2 : 1;
	part.iov_len -= lie == LIE_SHORT ? 1 : lie == LIE_EMPTY ? part.iov_len - 1 : 0;
	part.iov_len += lie == LIE_LONG ? sizeof(message.more) : 0;
	control.header = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(fds_len)};
	memcpy(CMSG_DATA(&control.header), fds, fds_len);
	if (lie != LIE_NO_FDS) {
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(fds_len);
	}
	assert_int_equal(sendmsg(connection_fd, &header, MSG_NOSIGNAL), part.iov_len);
	close(fds[0]);
	close(fds[1]);
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void lies_of_the_gateway_are_refused(void **state)
{
	struct fake_gateway *g = *state;
	struct uplink *u = uplink_new(UPLINK_BYTES_MIN, UPLINK_BYTES_MIN);
	unsigned before = open_descriptors();

	for (enum lie lie = LIE_NONE; lie < LIES; lie++) {
		struct attempt *a = attempt_start(g);
		int fd = accept_patiently(g);

		send_lie(fd, lie, u);
		sluice_detach(attempt_end(a, lie == LIE_NONE ? 0 : EPROTO));
		close(fd);
		if (open_descriptors() != before)
			fail_msg("lie %d leaks descriptors", lie);
	}
	uplink_free(u);
}

static void gateway_that_closes_is_refused(void **state)
{
	struct fake_gateway *g = *state;
	struct attempt *a = attempt_start(g);

	close(accept_patiently(g));
	assert_null(attempt_end(a, ECONNREFUSED));
}

static struct sluice *attach_to(struct fake_gateway *g)
{
	struct attempt *a = attempt_start(g);
	struct sluice *app;

	assert_int_equal(fake_gateway_attach(g), 0);
	app = attempt_end(a, 0);
	assert_non_null(app);
	return app;
}

/* Messages whose inner lengths or types are wrong end in EPROTO; those before them are still delivered. */
static void nonsense_from_the_gateway_ends_in_eproto(void **state)
{
	struct fake_gateway *g = *state;
	static uint8_t body[256];
	struct sluice_data data = {.payload_len = 100};
	struct sluice_session_up up = {.fields_len = 60};
	const struct {
		uint16_t type;
		uint32_t len;
		const void *start;
		size_t start_len;
	} bad[] = {
		{SLUICE_DATA, sizeof(data) + 99, &data, sizeof(data)},
		{SLUICE_DATA, sizeof(data) + 101, &data, sizeof(data)},
		{SLUICE_DATA, sizeof(data) - 1, body, 0},
		{SLUICE_DATA, 0, body, 0},
		{SLUICE_SESSION_UP, sizeof(up) + 59, &up, sizeof(up)},
		{SLUICE_SESSION_UP, sizeof(up) - 1, body, 0},
		{SLUICE_SESSION_DOWN, sizeof(struct sluice_session_down) - 1, body, 0},
		{SLUICE_SEND_FAILED, sizeof(struct sluice_send_failed) + 1, body, 0},
		{SLUICE_PEER_MOVED, 0, body, 0},
		{SLUICE_CLOSE, sizeof(struct sluice_close), body, 0},
		{99, 8, body, 0},
		{UINT16_MAX, 0, body, 0},
	};
	struct sluice_message messages[8];

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct sluice *app = attach_to(g);
		uint8_t *at;

		assert_true(fake_data(g, fake_ref(0, 1), "good", 4));
		at = spsc_reserve(&g->uplinks[0]->up, bad[i].type, bad[i].len);
		memset(at, 0, bad[i].len);
		memcpy(at, bad[i].start, bad[i].start_len);
		assert_true(fake_data(g, fake_ref(0, 1), "never seen", 10));
		fake_publish(g);
		assert_int_equal(sluice_receive(app, messages, 8), 1);
		assert_int_equal(sluice_receive(app, messages, 8), -1);
		assert_int_equal(errno, EPROTO);
		assert_int_equal(sluice_wait(app, 1000), 1); /* does not sleep over it */
		sluice_detach(app);
		fake_gateway_drop(g);
	}
}

static void fields_end_where_they_end(void **state)
{
	struct {
		struct sluice_session_up up;
		uint8_t fields[32];
	} m = {.up = {.fields_len = 0}};
	struct sluice_field field = {0};
	size_t one = fake_field(m.fields, SLUICE_FIELD_SNI, "abcde");

	(void)state;
	assert_false(sluice_field_next(&m.up, &field));
	fake_field(m.fields + one, SLUICE_FIELD_TENANT, "");
	m.up.fields_len = (uint16_t)(one + 4);
	field = (struct sluice_field){0};
	assert_true(sluice_field_next(&m.up, &field));
	assert_int_equal(field.len, 5);
	assert_true(sluice_field_next(&m.up, &field));
	assert_int_equal(field.type, SLUICE_FIELD_TENANT);
	assert_int_equal(field.len, 0);
	assert_false(sluice_field_next(&m.up, &field));
	for (m.up.fields_len = 0; m.up.fields_len < 9; m.up.fields_len++) { /* cut inside of the first */
		field = (struct sluice_field){0};
		assert_false(sluice_field_next(&m.up, &field));
	}
}

/* ---- a hostile application */

static void memory_cannot_be_resized_or_resealed(void **state)
{
	struct uplink *u = uplink_new(UPLINK_BYTES_MIN, UPLINK_BYTES_MIN);

	(void)state;
	assert_non_null(u);
	assert_int_equal(ftruncate(u->memory_fd, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(u->memory_fd, (off_t)u->memory_len * 2), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(fcntl(u->memory_fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
	assert_int_equal(errno, EPERM);
	uplink_free(u);
}

static void sizes_are_bounded(void **state)
{
	static const uint64_t bad[] = {0,
				       1,
				       UPLINK_BYTES_MIN / 2,
				       UPLINK_BYTES_MIN + 1,
				       UPLINK_BYTES_MIN * 3,
				       UPLINK_BYTES_MAX * 2,
				       UINT64_MAX};

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_null(uplink_new(bad[i], UPLINK_BYTES_MIN));
		assert_int_equal(errno, EINVAL);
		assert_null(uplink_new(UPLINK_BYTES_MIN, bad[i]));
		assert_int_equal(errno, EINVAL);
	}
}

static void malformed_downlink_is_counted_and_skipped(void **state)
{
	struct uplink *u = uplink_new(UPLINK_BYTES_MIN, UPLINK_BYTES_MIN);
	struct spsc_producer app; /* the application's end, held by a liar */
	struct sluice_data data = {.payload_len = 100}, got;
	static const uint32_t lens[] = {
		0, 1, sizeof(data) - 1, sizeof(data), sizeof(data) + 99, sizeof(data) + 101};
	static uint8_t buffer[UPLINK_PAYLOAD_MAX];
	uint64_t malformed = 0;
	unsigned bad = 0;
	int type = 0;
	uint8_t *at;

	(void)state;
	spsc_producer_init(&app, attach_down_control(u->memory), attach_down_data(u->memory, u->up.size),
			   u->down.size);
	for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++, bad++) {
		at = spsc_reserve(&app, SLUICE_DATA, lens[i]);
		memcpy(at, &data, lens[i] < sizeof(data) ? lens[i] : sizeof(data));
	}
	data.payload_len = UPLINK_PAYLOAD_MAX + 1;
	at = spsc_reserve(&app, SLUICE_DATA, sizeof(data) + data.payload_len);
	memcpy(at, &data, sizeof(data));
	spsc_reserve(&app, SLUICE_CLOSE, sizeof(struct sluice_close) + 1);
	spsc_reserve(&app, SLUICE_SESSION_UP, 40);
	spsc_reserve(&app, 77, 0);
	bad += 4;
	for (unsigned i = 0; i < 100; i++, bad++)
		spsc_reserve(&app, UINT16_MAX, 0);
	at = spsc_reserve(&app, SLUICE_DATA, sizeof(data) + 3);
	data = (struct sluice_data){.ref = fake_ref(0, 8), .payload_len = 3};
	memcpy(at, &data, sizeof(data));
	memcpy(at + sizeof(data), "yes", 3);
	spsc_publish(&app);

	assert_int_equal(uplink_take(u, &got, buffer, sizeof(buffer), &malformed), 0);
	assert_true(malformed > 0 && malformed < bad); /* it comes back in between */
	for (unsigned i = 0; i < bad && type == 0; i++)
		type = uplink_take(u, &got, buffer, sizeof(buffer), &malformed);
	assert_int_equal(type, SLUICE_DATA);
	assert_int_equal(malformed, bad);
	assert_int_equal(got.ref.index, 8);
	assert_memory_equal(buffer, "yes", 3);
	assert_false(u->down.broken);
	uplink_free(u);
}

/* Overwrites all that the application can reach, again and again, until told to stop. */
struct scribbler {
	pthread_t thread;
	uint64_t *words;
	size_t count;
	_Atomic bool stop;
};

static uint64_t scribble(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1d;
}

static void *scribbler_run(void *argument)
{
	struct scribbler *s = argument;
	uint64_t random = 99;

	while (!atomic_load(&s->stop)) {
		uint64_t value = scribble(&random);
		size_t at = scribble(&random) % s->count;

		/* Mostly the controls, and values that are nearly plausible as often as wild ones. */
		if (value % 4 == 0)
			at %= ATTACH_DATA / sizeof(uint64_t);
		if (value % 8 == 1)
			at = ATTACH_DOWN_CONTROL / sizeof(uint64_t);
		if (value % 3 != 0)
			value = value >> 40 & ~(uint64_t)63;
		__atomic_store_n(&s->words[at], value, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* One round of a worker's work with one uplink. */
static uint64_t work(struct uplink *u, uint64_t *malformed)
{
	static uint8_t buffer[UPLINK_PAYLOAD_MAX];
	struct sluice_data data = {.payload_len = 200};
	struct sluice_session_down down = {.reason = SLUICE_REASON_IDLE};
	uint64_t taken = 0;

	for (unsigned i = 0; i < 8; i++)
		(void)uplink_data(u, &data, buffer);
	(void)uplink_event(u, SLUICE_SESSION_DOWN, &down, sizeof(down));
	uplink_publish(u);
	for (unsigned i = 0; i < 32; i++) {
		int type = uplink_take(u, &data, buffer, sizeof(buffer), malformed);

		if (type == 0)
			break;
		assert_true(type == SLUICE_CLOSE ||
			    (type == SLUICE_DATA && data.payload_len <= UPLINK_PAYLOAD_MAX));
		taken++;
	}
	spsc_release(&u->down);
	(void)uplink_sleep(u);
	uplink_awake(u);
	return taken;
}

#if defined(__SANITIZE_THREAD__)
#define skip_under_tsan() skip() /* a race is what that test is about */
#else
#define skip_under_tsan() (void)0
#endif

enum { SCRIBBLE_ROUNDS = 300 };

/* The gateway works on; a ring that broke is renewed, as the control thread would do. */
static void scribbling_application_hurts_nobody(void **state)
{
	uint64_t malformed = 0, broken = 0, bad_tails = 0;

	(void)state;
	skip_under_tsan();
	for (unsigned round = 0; round < SCRIBBLE_ROUNDS; round++) {
		struct uplink *u = uplink_new(UPLINK_BYTES_MIN, UPLINK_BYTES_MIN);
		void *memory = mmap(NULL, u->memory_len, PROT_READ | PROT_WRITE, MAP_SHARED, u->memory_fd, 0);
		struct scribbler s = {.words = memory, .count = u->memory_len / sizeof(uint64_t)};

		assert_int_equal(pthread_create(&s.thread, NULL, scribbler_run, &s), 0);
		for (unsigned i = 0; i < 2000 && !u->down.broken; i++)
			work(u, &malformed);
		for (unsigned i = 0; i < 50; i++) /* broken: still no harm */
			work(u, &malformed);
		atomic_store(&s.stop, true);
		pthread_join(s.thread, NULL);
		broken += u->down.broken;
		bad_tails += u->up.bad_tails;
		munmap(memory, u->memory_len);
		uplink_free(u);
	}
	assert_true(broken > 0 && bad_tails > 0);
}

/* The application sets the wake-up to blocking and fills it in both directions: the worker's kick comes back.
 */
static void kick_never_blocks(void **state)
{
	struct uplink *u = uplink_new(UPLINK_BYTES_MIN, UPLINK_BYTES_MIN);
	struct spsc_control *up = attach_up_control(u->memory);
	struct sluice_data data = {.payload_len = 1};
	char bytes[4096] = {0};

	(void)state;
	assert_int_equal(fcntl(u->app_wake_fd, F_SETFL, 0), 0);
	while (send(u->app_wake_fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	alarm(60); /* a worker that blocks fails the test */
	for (unsigned i = 0; i < 2000; i++) {
		atomic_store(&up->sleeping, 1);
		atomic_store(&up->tail, atomic_load(&up->head));
		assert_true(uplink_data(u, &data, bytes));
		uplink_publish(u);
		uplink_awake(u);
	}
	alarm(0);
	uplink_free(u);
}

/* poll() would return at once for ever: a worker that sleeps would burn its core. */
static void shut_down_wake_up_breaks_the_ring(void **state)
{
	struct uplink *u = uplink_new(UPLINK_BYTES_MIN, UPLINK_BYTES_MIN);

	(void)state;
	assert_int_equal(send(u->app_wake_fd, "", 1, MSG_DONTWAIT), 1);
	uplink_awake(u); /* a kick */
	uplink_awake(u); /* nothing */
	assert_false(u->down.broken);
	assert_int_equal(shutdown(u->app_wake_fd, SHUT_RDWR), 0);
	uplink_awake(u);
	assert_true(u->down.broken);
	uplink_free(u);
}

/* ---- an application that dies */

/* The child: answers everything until it is killed. */
static void application_run(const char *path)
{
	struct sluice_message messages[32];
	struct sluice *app = sluice_attach(path);

	if (app == NULL)
		_exit(1);
	for (;;) {
		int n = sluice_receive(app, messages, 32);

		if (n < 0)
			_exit(2);
		for (int i = 0; i < n; i++) {
			if (messages[i].type == SLUICE_DATA)
				(void)sluice_send(app, messages[i].data->ref, messages[i].data + 1,
						  messages[i].data->payload_len, 7);
		}
		sluice_flush(app);
		if (n == 0)
			(void)sluice_wait(app, 100);
	}
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Keeps the rings busy until so many answers came back whole. */
static void load(struct fake_gateway *g, unsigned answers)
{
	uint64_t limit_ms = now_ms() + FAKE_ACCEPT_MS, malformed = 0;
	static uint8_t payload[700], buffer[UPLINK_PAYLOAD_MAX];
	struct sluice_data data;

	memset(payload, 0x42, sizeof(payload));
	while (answers > 0) {
		assert_true(now_ms() < limit_ms);
		for (unsigned w = 0; w < FAKE_WORKERS; w++) {
			for (uint32_t i = 0; i < 16; i++)
				(void)fake_data(g, fake_ref(w, i), payload, sizeof(payload));
			while (uplink_take(g->uplinks[w], &data, buffer, sizeof(buffer), &malformed) ==
			       SLUICE_DATA) {
				assert_int_equal(data.payload_len, sizeof(payload));
				assert_memory_equal(buffer, payload, sizeof(payload));
				answers -= answers > 0;
			}
			assert_false(g->uplinks[w]->down.broken);
			spsc_release(&g->uplinks[w]->down);
		}
		fake_publish(g);
	}
	assert_int_equal(malformed, 0);
}

static void killed_application_is_replaced_under_load(void **state)
{
	struct fake_gateway *g = *state;
	struct pollfd waited = {.events = POLLIN};
	unsigned before = open_descriptors();
	int status;
	pid_t child;

	for (unsigned round = 0; round < 20; round++) {
		child = fork();
		if (child == 0)
			application_run(g->path);
		assert_int_equal(fake_gateway_attach(g), 0);
		load(g, 2000 + 137 * round);
		kill(child, SIGKILL);
		for (unsigned i = 0; i < 100;
		     i++) { /* nobody is there any more: nothing blocks, nothing breaks */
			(void)fake_data(g, fake_ref(0, 1), "x", 1);
			fake_publish(g);
		}
		waited.fd = g->connection_fd;
		assert_int_equal(poll(&waited, 1, FAKE_ACCEPT_MS), 1);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		fake_gateway_drop(g);
	}
	assert_int_equal(open_descriptors(), before);
}

/* A stopped application: the ring fills, data is refused, events still fit, and nothing is lost afterwards.
 */
static void stopped_application_only_loses_data(void **state)
{
	struct fake_gateway *g = *state;
	unsigned refused = 0;
	pid_t child = fork();

	if (child == 0)
		application_run(g->path);
	assert_int_equal(fake_gateway_attach(g), 0);
	load(g, 100);
	kill(child, SIGSTOP);
	for (unsigned i = 0; i < 20000; i++) {
		refused += !fake_data(g, fake_ref(0, 1), "0123456789", 10);
		fake_publish(g);
	}
	assert_true(refused > 0);
	assert_true(fake_session_down(g, fake_ref(0, 1)));
	kill(child, SIGCONT);
	for (unsigned w = 0; w < FAKE_WORKERS; w++) { /* the short answers first, then all is as before */
		static uint8_t buffer[UPLINK_PAYLOAD_MAX];
		uint64_t limit_ms = now_ms() + FAKE_ACCEPT_MS, malformed = 0;
		struct sluice_data data;

		while (spsc_room(&g->uplinks[w]->up) < FAKE_UP_BYTES) {
			assert_true(now_ms() < limit_ms);
			while (uplink_take(g->uplinks[w], &data, buffer, sizeof(buffer), &malformed) != 0)
				;
			spsc_release(&g->uplinks[w]->down);
			fake_publish(g);
		}
		usleep(20000);
		while (uplink_take(g->uplinks[w], &data, buffer, sizeof(buffer), &malformed) != 0)
			;
		spsc_release(&g->uplinks[w]->down);
		assert_int_equal(malformed, 0);
	}
	load(g, 100);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(listening_takes_over_a_dead_socket_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_there_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(second_application_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(o11_no_core_dump_holds_the_ring, setup, teardown),
		cmocka_unit_test_setup_teardown(other_versions_are_refused_by_the_gateway, setup, teardown),
		cmocka_unit_test_setup_teardown(lies_of_the_gateway_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(gateway_that_closes_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(nonsense_from_the_gateway_ends_in_eproto, setup, teardown),
		cmocka_unit_test(fields_end_where_they_end),
		cmocka_unit_test(memory_cannot_be_resized_or_resealed),
		cmocka_unit_test(sizes_are_bounded),
		cmocka_unit_test(malformed_downlink_is_counted_and_skipped),
		cmocka_unit_test(scribbling_application_hurts_nobody),
		cmocka_unit_test(kick_never_blocks),
		cmocka_unit_test(shut_down_wake_up_breaks_the_ring),
		cmocka_unit_test_setup_teardown(killed_application_is_replaced_under_load, setup, teardown),
		cmocka_unit_test_setup_teardown(stopped_application_only_loses_data, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
