/* sluice-forward as it is installed: the real program between a gateway without packets and a real UDP
 * server.
 *
 *   this thread: fake gateway  <- ring ->  sluice-forward (child)  <- UDP on lo ->  echo server (thread)
 *
 * test_forward PROGRAM        IPv4, a backend on this host
 * test_forward PROGRAM ipv6   an IPv6 prefix, in a network namespace of its own (exit 77 where that is not
 * allowed)
 */
#include "fake_gateway.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

enum { SESSIONS_MANY = 10000, CHUNK = 250, ECHO_BYTES_MAX = 20000, WAIT_MS = 20000, SKIPPED = 77 };

static const char *program;
static int family = AF_INET;

/* Answers every datagram with the address it came from and its payload. */
struct echo {
	int fd;
	uint16_t port;
	pthread_t thread;
};

struct fixture {
	struct fake_gateway gateway;
	struct echo echo;
	pid_t child;
	int output; /* stdout and stderr of the child */
	char text[65536];
	size_t text_len;
};

static size_t address_len(void)
{
	return family == AF_INET ? 4 : 16;
}

static void *echo_run(void *argument)
{
	const struct echo *e = argument;
	static uint8_t buffer[16 + ECHO_BYTES_MAX];
	size_t head = address_len();

	for (;;) {
		struct sockaddr_in6 from; /* large enough for both */
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(e->fd, buffer + head, ECHO_BYTES_MAX, 0, (struct sockaddr *)&from,
				     &from_len);

		if (n < 0 || (n == 4 && memcmp(buffer + head, "stop", 4) == 0))
			return NULL;
		if (family == AF_INET)
			memcpy(buffer, &((struct sockaddr_in *)&from)->sin_addr, head);
		else
			memcpy(buffer, &from.sin6_addr, head);
		if (n == 5 && memcmp(buffer + head, "large", 5) == 0)
			n = ECHO_BYTES_MAX;
		(void)!sendto(e->fd, buffer, head + (size_t)n, 0, (struct sockaddr *)&from, from_len);
	}
}

static struct sockaddr_in6 loopback(uint16_t port, socklen_t *len)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback, .sin6_port = port};
	struct sockaddr_in v4 = {
		.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	*len = sizeof(v6);
	if (family == AF_INET) {
		*len = sizeof(v4);
		memcpy(&v6, &v4, sizeof(v4));
	}
	return v6;
}

static void echo_start(struct echo *e)
{
	socklen_t len;
	struct sockaddr_in6 address = loopback(0, &len);
	int size = 4 << 20;

	e->fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	setsockopt(e->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	assert_int_equal(bind(e->fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(e->fd, (struct sockaddr *)&address, &len), 0);
	e->port = address.sin6_port;
	assert_int_equal(pthread_create(&e->thread, NULL, echo_run, e), 0);
}

/* A datagram to the given port of the loopback address, from a socket of its own. */
static void send_from_elsewhere(uint16_t port, const char *text)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len;
	struct sockaddr_in6 address = loopback(port, &len);

	assert_int_equal(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&address, len), strlen(text));
	close(fd);
}

static void echo_stop(struct echo *e)
{
	send_from_elsewhere(e->port, "stop");
	pthread_join(e->thread, NULL);
	close(e->fd);
}

static void child_start(struct fixture *f)
{
	char backend[32];
	int pipe_fds[2];

	snprintf(backend, sizeof(backend), family == AF_INET ? "127.0.0.1:%u" : "[::1]:%u",
		 ntohs(f->echo.port));
	assert_int_equal(pipe(pipe_fds), 0);
	f->child = fork();
	if (f->child == 0) {
		dup2(pipe_fds[1], 1);
		dup2(pipe_fds[1], 2);
		close(pipe_fds[0]);
		execl(program, program, "--ring", f->gateway.path, "--backend", backend, "--verbose",
		      family == AF_INET ? "--local-net" : "--prefix",
		      family == AF_INET ? "127.64.0.0/10" : "2001:db8:1::/64", (char *)NULL);
		_exit(127);
	}
	close(pipe_fds[1]);
	f->output = pipe_fds[0];
	fcntl(f->output, F_SETFL, O_NONBLOCK);
}

/* Keeps what the child printed, so that it never blocks on the pipe; old text goes when there is too much. */
static void read_output(struct fixture *f)
{
	ssize_t n;

	if (f->text_len > sizeof(f->text) / 2) {
		memmove(f->text, f->text + f->text_len / 2, f->text_len - f->text_len / 2);
		f->text_len -= f->text_len / 2;
	}
	while ((n = read(f->output, f->text + f->text_len, sizeof(f->text) - 1 - f->text_len)) > 0)
		f->text_len += (size_t)n;
	f->text[f->text_len] = '\0';
}

/* Waits until the child has printed this. */
static void expect_output(struct fixture *f, const char *text)
{
	for (unsigned ms = 0; ms < WAIT_MS; ms++) {
		read_output(f);
		if (strstr(f->text, text) != NULL)
			return;
		usleep(1000);
	}
	fail_msg("no \"%s\" in: %s", text, f->text);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	if (!fake_gateway_start(&f->gateway))
		return -1;
	echo_start(&f->echo);
	child_start(f);
	return fake_gateway_attach(&f->gateway);
}

static void child_stop(struct fixture *f)
{
	int status;

	kill(f->child, SIGTERM);
	assert_int_equal(waitpid(f->child, &status, 0), f->child);
	f->child = 0;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->child > 0)
		child_stop(f);
	close(f->output);
	echo_stop(&f->echo);
	fake_gateway_stop(&f->gateway);
	free(f);
	return 0;
}

static uint8_t answer[UPLINK_PAYLOAD_MAX];

/* The next answer, from any worker's downlink; false after ms without one. */
static bool next_answer(struct fixture *f, struct sluice_data *data, unsigned ms)
{
	uint64_t malformed = 0;

	for (unsigned waited = 0; waited <= ms * 10; waited++) {
		for (unsigned w = 0; w < FAKE_WORKERS; w++) {
			struct uplink *u = f->gateway.uplinks[w];
			int type = uplink_take(u, data, answer, sizeof(answer), &malformed);

			spsc_release(&u->down);
			assert_int_equal(malformed, 0);
			if (type == SLUICE_DATA)
				return true;
		}
		usleep(100);
		read_output(f);
	}
	return false;
}

static struct sluice_ref ref_of(uint32_t i)
{
	return fake_ref(i % FAKE_WORKERS, i / FAKE_WORKERS);
}

static void announce(struct fixture *f, uint32_t i, bool again)
{
	char identity[32];

	snprintf(identity, sizeof(identity), "dev%u", i);
	while (!fake_session_up(&f->gateway, ref_of(i), identity, again)) {
		fake_publish(&f->gateway);
		usleep(100);
	}
}

/* Sends one payload through, and takes the source address that the backend saw. */
static void round_trip(struct fixture *f, uint32_t i, uint8_t *address)
{
	struct sluice_data data;

	assert_true(fake_data(&f->gateway, ref_of(i), &i, sizeof(i)));
	fake_publish(&f->gateway);
	assert_true(next_answer(f, &data, WAIT_MS));
	assert_int_equal(data.ref.worker, ref_of(i).worker);
	assert_int_equal(data.ref.index, ref_of(i).index);
	assert_int_equal(data.payload_len, address_len() + sizeof(i));
	assert_memory_equal(answer + address_len(), &i, sizeof(i));
	memcpy(address, answer, address_len());
}

static int compare_addresses(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

/* Every session has its own address inside the net, and its answers come back to it. */
static void many_sessions_share_one_socket(void **state)
{
	struct fixture *f = *state;
	static uint8_t addresses[SESSIONS_MANY][16];
	struct sluice_data data;
	uint32_t i;

	for (uint32_t start = 0; start < SESSIONS_MANY; start += CHUNK) {
		for (i = start; i < start + CHUNK; i++) {
			announce(f, i, false);
			assert_true(fake_data(&f->gateway, ref_of(i), &i, sizeof(i)));
		}
		fake_publish(&f->gateway);
		for (unsigned n = 0; n < CHUNK; n++) {
			assert_true(next_answer(f, &data, WAIT_MS));
			assert_int_equal(data.payload_len, address_len() + sizeof(i));
			memcpy(&i, answer + address_len(), sizeof(i));
			assert_true(i >= start && i < start + CHUNK);
			assert_int_equal(data.ref.worker, ref_of(i).worker);
			assert_int_equal(data.ref.index, ref_of(i).index);
			assert_int_equal(data.ref.generation, 1);
			memcpy(addresses[i], answer, address_len());
		}
	}
	qsort(addresses, SESSIONS_MANY, sizeof(addresses[0]), compare_addresses);
	for (i = 0; i < SESSIONS_MANY; i++) {
		if (family == AF_INET)
			assert_true(addresses[i][0] == 127 && addresses[i][1] >> 6 == 1);
		else
			assert_memory_equal(addresses[i], "\x20\x01\x0d\xb8\x00\x01\x00\x00", 8);
		assert_true(i == 0 || memcmp(addresses[i], addresses[i - 1], 16) != 0);
	}
}

static void ended_session_gets_no_answers(void **state)
{
	struct fixture *f = *state;
	struct sluice_data data;
	uint8_t first[16], second[16];

	announce(f, 0, false);
	round_trip(f, 0, first);
	assert_true(fake_session_down(&f->gateway, ref_of(0)));
	assert_true(fake_data(&f->gateway, ref_of(0), "gone", 4));
	announce(f, 1, false);
	round_trip(f, 1, second);
	assert_memory_not_equal(first, second, address_len());
	assert_false(next_answer(f, &data, 20));
	child_stop(f);
	expect_output(f, " 1 dropped: of a session without a source address");
}

/* The child's source port, as it prints it behind each address. */
static uint16_t own_port(struct fixture *f)
{
	unsigned port;

	expect_output(f, "up   ");
	expect_output(f, " peer ");
	assert_int_equal(sscanf(strstr(f->text, "up   "),
				family == AF_INET ? "up %*[0-9.]:%u" : "up [%*[^]]]:%u", &port),
			 1);
	return htons((uint16_t)port);
}

static void strangers_are_not_heard(void **state)
{
	struct fixture *f = *state;
	struct sluice_data data;
	uint8_t address[16];

	announce(f, 0, false);
	round_trip(f, 0, address);
	send_from_elsewhere(own_port(f), "not the backend");
	assert_false(next_answer(f, &data, 20));
	round_trip(f, 0, address);
	child_stop(f);
	expect_output(f, " 1 dropped: not from the backend");
}

static void answer_above_the_bound_is_dropped(void **state)
{
	struct fixture *f = *state;
	struct sluice_data data;
	uint8_t address[16];

	announce(f, 0, false);
	assert_true(fake_data(&f->gateway, ref_of(0), "large", 5));
	fake_publish(&f->gateway);
	assert_false(next_answer(f, &data, 50));
	round_trip(f, 0, address);
	child_stop(f);
	expect_output(f, " 1 answers dropped: above 16384 bytes");
}

static void empty_and_largest_payloads_pass(void **state)
{
	struct fixture *f = *state;
	struct sluice_data data;
	static uint8_t payload[UPLINK_PAYLOAD_MAX];
	size_t largest = sizeof(payload) - address_len();

	memset(payload, 0x5a, sizeof(payload));
	announce(f, 0, false);
	assert_true(fake_data(&f->gateway, ref_of(0), payload, 0));
	assert_true(fake_data(&f->gateway, ref_of(0), payload, largest));
	fake_publish(&f->gateway);
	assert_true(next_answer(f, &data, WAIT_MS));
	assert_int_equal(data.payload_len, address_len());
	assert_true(next_answer(f, &data, WAIT_MS));
	assert_int_equal(data.payload_len, sizeof(payload));
	assert_memory_equal(answer + address_len(), payload, largest);
}

/* The gateway goes and comes back: the same session has the same address, another one in its place has not.
 */
static void gateway_restart_is_survived(void **state)
{
	struct fixture *f = *state;
	uint8_t before[2][16], after[16];

	announce(f, 0, false);
	announce(f, 1, false);
	round_trip(f, 0, before[0]);
	round_trip(f, 1, before[1]);
	fake_gateway_close(&f->gateway);
	expect_output(f, "gateway lost");
	expect_output(f, "waiting for the gateway");
	assert_true(fake_gateway_listen(&f->gateway));
	assert_int_equal(fake_gateway_attach(&f->gateway), 0);
	announce(f, 0, true);
	round_trip(f, 0, after);
	assert_memory_equal(before[0], after, address_len());
	assert_true(fake_session_up(&f->gateway, ref_of(1), "somebody else", false));
	round_trip(f, 1, after);
	assert_memory_not_equal(before[1], after, address_len());
}

static void counters_are_printed_on_request_and_at_the_end(void **state)
{
	struct fixture *f = *state;
	uint8_t address[16];

	announce(f, 0, false);
	round_trip(f, 0, address);
	kill(f->child, SIGUSR1);
	expect_output(f, " 1 sessions live");
	expect_output(f, " 1 answers put into the ring");
	round_trip(f, 0, address); /* and it goes on */
	child_stop(f);
	expect_output(f, " 2 answers put into the ring");
}

/* A sentence and exit status 2, before anything is waited for. */
static void wrong_arguments_are_refused(void **state)
{
	static const struct {
		const char *backend, *option, *value, *says;
	} cases[] = {
		{"127.0.0.1:0", NULL, NULL, "port 0"},
		{"127.0.0.1", NULL, NULL, "HOST:PORT"},
		{"192.0.2.7:5683", NULL, NULL, "another host"},
		{"127.0.0.1:5683", "--hold", "x", "a number from"},
		{"127.0.0.1:5683", "--check", "mqtt", "onem2m, lwm2m or none"},
		{"127.0.0.1:5683", "--nonsense", NULL, "nonsense"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f = {0};
		int pipe_fds[2], status;

		assert_int_equal(pipe(pipe_fds), 0);
		f.output = pipe_fds[0];
		f.child = fork();
		if (f.child == 0) {
			dup2(pipe_fds[1], 2);
			alarm(60);
			execl(program, program, "--ring", "/nonexistent/ring", "--backend", cases[i].backend,
			      cases[i].option, cases[i].value, (char *)NULL);
			_exit(127);
		}
		close(pipe_fds[1]);
		assert_int_equal(waitpid(f.child, &status, 0), f.child);
		read_output(&f);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 2);
		assert_non_null(strstr(f.text, cases[i].says));
		close(f.output);
	}
	(void)state;
}

static void identity_is_printed_safely(void **state)
{
	struct fixture *f = *state;

	assert_true(fake_session_up(&f->gateway, ref_of(0), "C\x1b[2J\\x", false));
	fake_publish(&f->gateway);
	expect_output(f, "AE-ID C\\x1b[2J\\x5cx peer 192.0.2.7:");
	assert_true(fake_session_up_by_name(&f->gateway, ref_of(1), "psk1"));
	fake_publish(&f->gateway);
	expect_output(f, "credential psk1 peer ");
	assert_true(fake_session_down(&f->gateway, ref_of(0)));
	fake_publish(&f->gateway);
	expect_output(f, "closed by the peer");
}

/* Without privileges: in a user namespace, as its root. */
static bool become_root_of_namespace(void)
{
	char map[32];
	int len = snprintf(map, sizeof(map), "0 %u 1", (unsigned)geteuid());
	int fd;
	bool mapped;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
		return false;
	fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
	mapped = fd >= 0 && write(fd, map, (size_t)len) == len;
	close(fd);
	return mapped;
}

/* A namespace with nothing but lo, and the prefix routed to it as --help says. */
static bool enter_namespace(void)
{
	struct ifreq lo = {.ifr_name = "lo"};
	int fd;

	if (unshare(CLONE_NEWNET) != 0 && !become_root_of_namespace())
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	lo.ifr_flags = IFF_UP | IFF_RUNNING;
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) != 0)
		return false;
	close(fd);
	return system("ip -6 route add local 2001:db8:1::/64 dev lo") == 0; /* NOLINT(cert-env33-c) */
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(many_sessions_share_one_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(ended_session_gets_no_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(strangers_are_not_heard, setup, teardown),
		cmocka_unit_test_setup_teardown(answer_above_the_bound_is_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(empty_and_largest_payloads_pass, setup, teardown),
		cmocka_unit_test_setup_teardown(gateway_restart_is_survived, setup, teardown),
		cmocka_unit_test_setup_teardown(counters_are_printed_on_request_and_at_the_end, setup,
						teardown),
		cmocka_unit_test_setup_teardown(identity_is_printed_safely, setup, teardown),
		cmocka_unit_test(wrong_arguments_are_refused),
	};

	if (argc < 2)
		return 2;
	program = argv[1];
	if (argc > 2) {
		family = AF_INET6;
		if (!enter_namespace())
			return SKIPPED;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
