/* One socket server with its sessions, and the process that sends to it. They take turns: the sender fills
 * the socket's buffer while the server waits, so that every recvmmsg() of the server is full and the kernel's
 * receive path runs on the sender's CPU and account. That is the best case of a socket server but for one
 * thing: datagrams of a short queue are still in a cache that both CPUs share, or near it.
 */
#include "bench/sockets/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	DATAGRAM_MAX = 2048,
	SOCKET_BUFFER = 1 << 26,
	BYTES_PER_DATAGRAM = 2304, /* at most, of the socket's buffer */
	CLIENT_PORT = 20000,
	CONTROL_LEN = CMSG_SPACE(sizeof(struct in_pktinfo)),
	DEVICES_NET = 0x7f010001, /* 127.1.0.1: all of 127/8 is local */
};

/* Open addressing; as full as a quarter. */
struct address_entry {
	uint64_t key; /* address << 16 | port; 0: none */
	uint32_t session;
};

struct batch {
	struct mmsghdr messages[RECVMMSG_BATCH];
	struct iovec iov[RECVMMSG_BATCH];
	struct sockaddr_in names[RECVMMSG_BATCH];
	_Alignas(struct cmsghdr) uint8_t control[RECVMMSG_BATCH][CONTROL_LEN];
	uint8_t bytes[RECVMMSG_BATCH][DATAGRAM_MAX];
};

struct socket_server {
	const struct socket_library *library; /* NULL: none */
	uint32_t sessions, payload, chunk;
	void **session;
	struct address_entry *addresses;
	uint32_t address_mask;
	struct peer **clients; /* the sender's, once there is one */
	struct peer_options options;
	int fd, turn; /* turn: a byte to the sender to begin, one back at its end */
	pid_t sender;
	struct sockaddr_in address;
	struct batch batch;
	uint64_t calls, received;
	uint8_t application[1 << 16]; /* where the cleartext goes */
	size_t application_at;
	uint64_t wrong;
};

const uint8_t socket_psk[PSK_LEN] = "sixteen bytes ok";
struct wire wire;

static bool failed(const char *what)
{
	fprintf(stderr, "bench_sockets: %s: %s\n", what, strerror(errno));
	return false;
}

/* ---- sessions by address */

static struct address_entry *address_find(const struct socket_server *s, uint64_t key)
{
	uint32_t at = (uint32_t)(key * 0x9e3779b97f4a7c15ULL >> 32);

	while (s->addresses[at & s->address_mask].key && s->addresses[at & s->address_mask].key != key)
		at++;
	return &s->addresses[at & s->address_mask];
}

static uint64_t address_key(const struct sockaddr_in *name)
{
	return (uint64_t)ntohl(name->sin_addr.s_addr) << 16 | ntohs(name->sin_port);
}

static bool addresses_make(struct socket_server *s)
{
	uint32_t size = 4;

	while (size < 4 * s->sessions)
		size *= 2;
	s->address_mask = size - 1;
	s->addresses = calloc(size, sizeof(*s->addresses));
	for (uint32_t i = 0; s->addresses && i < s->sessions; i++) {
		uint64_t key = (uint64_t)(DEVICES_NET + i) << 16 | CLIENT_PORT;

		*address_find(s, key) = (struct address_entry){key, i};
	}
	return s->addresses;
}

/* ---- handshakes, in process */

static bool shake_one(struct socket_server *s, uint32_t i)
{
	static uint8_t datagram[PEER_DATAGRAM_MAX];
	enum shake_state server = SHAKE_GOES_ON;
	enum peer_state client = peer_wolfssl.run(s->clients[i], NULL, 0);
	bool moved = true;
	size_t len;

	while (moved && server != SHAKE_FAILED && client != PEER_FAILED) {
		moved = false;
		while ((len = peer_wolfssl.take(s->clients[i], datagram)) > 0) {
			wire.in = datagram;
			wire.in_len = len;
			server = s->library->shake(s->session[i]);
			moved = true;
		}
		wire.in = NULL;
		while ((len = peer_queue_take(&wire.out, datagram, sizeof(datagram))) > 0) {
			client = peer_wolfssl.run(s->clients[i], datagram, len);
			moved = true;
		}
	}
	return server == SHAKE_DONE && client == PEER_CONNECTED;
}

static bool sessions_make(struct socket_server *s)
{
	s->options = (struct peer_options){.ciphers = "PSK-AES128-CCM-8",
					   .psk_identity = PSK_IDENTITY,
					   .psk = socket_psk,
					   .psk_len = PSK_LEN};
	s->session = calloc(s->sessions, sizeof(*s->session));
	s->clients = calloc(s->sessions, sizeof(*s->clients));
	for (uint32_t i = 0; s->session && s->clients && i < s->sessions; i++) {
		s->session[i] = s->library->session_new();
		if (!s->session[i])
			return failed("no memory for a session");
		s->clients[i] = peer_wolfssl.new(&s->options);
		if (!shake_one(s, i)) {
			fprintf(stderr, "bench_sockets: %s: a handshake failed\n", s->library->name);
			return false;
		}
	}
	return s->session && s->clients;
}

static void clients_free(struct socket_server *s)
{
	for (uint32_t i = 0; s->clients && i < s->sessions && s->clients[i]; i++)
		peer_wolfssl.free(s->clients[i]);
	free(s->clients);
	s->clients = NULL;
}

/* ---- the sender, a process of its own */

/* Everything that is on the first of our CPUs leaves the last one to the server. */
static void use_cpu(bool first)
{
	cpu_set_t all, one;
	int chosen = -1;

	if (sched_getaffinity(0, sizeof(all), &all) != 0)
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && (chosen < 0 || !first))
			chosen = cpu;
	CPU_ZERO(&one);
	CPU_SET(chosen, &one);
	(void)sched_setaffinity(0, sizeof(one), &one);
}

static void batch_init(struct batch *b)
{
	for (unsigned i = 0; i < RECVMMSG_BATCH; i++) {
		b->iov[i] = (struct iovec){b->bytes[i], DATAGRAM_MAX};
		b->messages[i].msg_hdr = (struct msghdr){.msg_iov = &b->iov[i], .msg_iovlen = 1};
	}
}

/* A record with the number of its session at the front of the payload; as long without a library. */
static size_t write_datagram(struct socket_server *s, uint32_t session, uint8_t *out)
{
	uint8_t payload[PAYLOAD_MAX] = {0};

	if (!s->library)
		return 13 + 8 + s->payload + 8;
	memcpy(payload, &session, sizeof(session));
	if (!peer_wolfssl.write(s->clients[session], payload, s->payload))
		return 0;
	return peer_wolfssl.take(s->clients[session], out);
}

static void address_message(struct batch *b, unsigned i, struct sockaddr_in *to, uint32_t session)
{
	struct msghdr *h = &b->messages[i].msg_hdr;
	struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(DEVICES_NET + session)};
	struct cmsghdr *c = (struct cmsghdr *)b->control[i];

	h->msg_name = to;
	h->msg_namelen = sizeof(*to);
	h->msg_control = c;
	h->msg_controllen = CONTROL_LEN;
	c->cmsg_level = IPPROTO_IP;
	c->cmsg_type = IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof(info));
	memcpy(CMSG_DATA(c), &info, sizeof(info));
}

static bool send_batch(struct socket_server *s, int fd, unsigned count, uint64_t *random)
{
	static uint8_t datagram[PEER_DATAGRAM_MAX];
	struct batch *b = &s->batch;

	for (unsigned i = 0; i < count; i++) {
		uint32_t session;

		*random = *random * 6364136223846793005ULL + 1442695040888963407ULL;
		session = (uint32_t)(((*random >> 32) * s->sessions) >> 32);
		b->iov[i].iov_len = write_datagram(s, session, datagram);
		if (b->iov[i].iov_len == 0 || b->iov[i].iov_len > DATAGRAM_MAX)
			return false;
		memcpy(b->bytes[i], datagram, b->iov[i].iov_len);
		address_message(b, i, &s->address, session);
	}
	for (unsigned sent = 0; sent < count;) {
		int n = sendmmsg(fd, b->messages + sent, count - sent, 0);

		if (n < 0)
			return failed("sendmmsg");
		sent += (unsigned)n;
	}
	return true;
}

static int sender_main(struct socket_server *s, int turn)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(CLIENT_PORT)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
	uint64_t random = 42;
	char byte;

	use_cpu(true);
	/* There is one sender for each server, all with the same addresses. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) != 0) {
		failed("the sender's socket");
		return 1;
	}
	while (read(turn, &byte, 1) == 1) {
		for (uint32_t sent = 0; sent < s->chunk; sent += RECVMMSG_BATCH)
			if (!send_batch(s, fd, RECVMMSG_BATCH, &random))
				return 1;
		if (write(turn, &byte, 1) != 1)
			return 1;
	}
	return 0;
}

static bool sender_start(struct socket_server *s)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return failed("socketpair");
	fflush(NULL);
	s->sender = fork();
	if (s->sender == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		_exit(sender_main(s, pair[1]));
	}
	close(pair[1]);
	s->turn = pair[0];
	return s->sender > 0 || failed("fork");
}

/* ---- the server */

static bool socket_open(struct socket_server *s, uint32_t queue)
{
	socklen_t len = sizeof(s->address), size_len = sizeof(int);
	int size = SOCKET_BUFFER;

	s->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&s->address, len) != 0 ||
	    getsockname(s->fd, (struct sockaddr *)&s->address, &len) != 0)
		return failed("the server's socket");
	if (setsockopt(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0)
		(void)setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (getsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &size, &size_len) != 0)
		return failed("SO_RCVBUF");
	s->chunk = (uint32_t)size / BYTES_PER_DATAGRAM;
	s->chunk = (s->chunk < queue ? s->chunk : queue) / RECVMMSG_BATCH * RECVMMSG_BATCH;
	if (s->chunk == 0)
		s->chunk = RECVMMSG_BATCH;
	return true;
}

struct socket_server *socket_server_new(const struct socket_library *library, uint32_t sessions,
					uint32_t payload, uint32_t queue)
{
	struct socket_server *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->library = library;
	s->sessions = sessions;
	s->payload = payload;
	s->fd = s->turn = -1;
	batch_init(&s->batch);
	if (!socket_open(s, queue) || !addresses_make(s) || (library && !sessions_make(s)) ||
	    !sender_start(s)) {
		socket_server_free(s);
		return NULL;
	}
	clients_free(s);
	for (unsigned i = 0; library && i < RECVMMSG_BATCH;
	     i++) { /* alone, recvmmsg() need not tell addresses */
		s->batch.messages[i].msg_hdr.msg_name = &s->batch.names[i];
		s->batch.messages[i].msg_hdr.msg_namelen = sizeof(s->batch.names[i]);
	}
	use_cpu(false);
	return s;
}

void socket_server_free(struct socket_server *s)
{
	if (!s)
		return;
	if (s->turn >= 0)
		close(s->turn);
	if (s->sender > 0) {
		(void)kill(s->sender, SIGKILL); /* senders begun later hold its socket open */
		(void)waitpid(s->sender, NULL, 0);
	}
	if (s->fd >= 0)
		close(s->fd);
	clients_free(s);
	for (uint32_t i = 0; s->session && i < s->sessions && s->session[i]; i++)
		s->library->session_free(s->session[i]);
	free(s->session);
	free(s->addresses);
	free(s);
}

/* To the application: it gets a copy, as a ring or a queue would hold it. */
static void hand_on(struct socket_server *s, uint32_t session, const uint8_t *cleartext, size_t len)
{
	uint32_t claimed;

	memcpy(&claimed, cleartext, sizeof(claimed));
	s->wrong += len != s->payload || claimed != session;
	if (s->application_at + len > sizeof(s->application))
		s->application_at = 0;
	memcpy(s->application + s->application_at, cleartext, len);
	s->application_at += len;
}

static void take_datagram(struct socket_server *s, unsigned i)
{
	uint8_t cleartext[DATAGRAM_MAX];
	const struct address_entry *e = address_find(s, address_key(&s->batch.names[i]));
	size_t len;

	if (!e->key) {
		s->wrong++;
		return;
	}
	wire.in = s->batch.bytes[i];
	wire.in_len = s->batch.messages[i].msg_len;
	len = s->library->open(s->session[e->session], cleartext, sizeof(cleartext));
	if (len > 0)
		hand_on(s, e->session, cleartext, len);
	else
		s->wrong++;
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

double socket_server_chunk(struct socket_server *s)
{
	uint32_t got = 0;
	uint64_t start;
	char byte = 0;

	if (write(s->turn, &byte, 1) != 1 || read(s->turn, &byte, 1) != 1) {
		fprintf(stderr, "bench_sockets: the sender is gone\n");
		return -1;
	}
	start = cpu_ns();
	while (got < s->chunk) {
		int n = recvmmsg(s->fd, s->batch.messages, RECVMMSG_BATCH, MSG_DONTWAIT, NULL);

		if (n <= 0)
			break;
		for (int i = 0; s->library && i < n; i++)
			take_datagram(s, (unsigned)i);
		got += (uint32_t)n;
		s->calls++;
	}
	s->received += got;
	start = cpu_ns() - start;
	if (got == s->chunk && s->wrong == 0)
		return (double)start / got;
	fprintf(stderr, "bench_sockets: %u of %u records came, %llu did not open\n", got, s->chunk,
		(unsigned long long)s->wrong);
	return -1;
}

double socket_server_batch(const struct socket_server *s)
{
	return s->calls ? (double)s->received / (double)s->calls : 0;
}
