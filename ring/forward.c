/* sluice-forward: takes cleartext from the gateway's ring and forwards it as UDP to a plain CoAP server (any
 * UDP server), from a source address of its own for each session; brings the answers back. One thread, one
 * socket.
 *
 *   ring -> SESSION_UP: source_take()     DATA: source_find() -> backend_send() ... backend_flush()
 *             peer_set()                    edge_judge() -> or back: sluice_send()
 *   backend_receive() -> source_slot() -> source_session() -> sluice_send() ... sluice_flush() -> ring
 *
 * source.c holds the table of addresses, peer.c who stands behind each of them where that is asked for
 * (--check, --door), backend.c the socket. Nothing is allocated per packet.
 */
#include "ring/backend.h"
#include "ring/door.h"
#include "ring/edge.h"
#include "ring/listen.h"
#include "ring/lookup.h"
#include "ring/options.h"
#include "ring/peer.h"
#include "ring/sluice.h"
#include "ring/source.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
	RETRY_MS = 200,
	RECEIVE_BATCH = 64,
};

#define COUNTERS(X)                                                                                          \
	X(sessions_up, "sessions announced")                                                                 \
	X(sessions_down, "sessions ended")                                                                   \
	X(no_address, "sessions refused: every source address is in use or held")                            \
	X(no_memory, "sessions of which nothing is known: out of memory")                                    \
	X(uplink, "datagrams taken from the ring")                                                           \
	X(uplink_no_session, "dropped: of a session without a source address")                               \
	X(downlink, "answers put into the ring")                                                             \
	X(downlink_no_session, "answers dropped: sent to an address of no session")                          \
	X(downlink_too_large, "answers dropped: above 16384 bytes")                                          \
	X(downlink_ring_full, "answers dropped: ring full")                                                  \
	X(send_failed, "answers that the gateway could not deliver")

struct counters {
#define X(name, text) uint64_t name;
	COUNTERS(X)
#undef X
	uint64_t send_failed_by_reason[SLUICE_REASONS];
	uint64_t edge[EDGE_VERDICTS_COUNT];
	uint64_t edge_answer_lost; /* no room in the ring */
};

struct forward {
	struct options options;
	struct sluice *sluice; /* NULL while there is no gateway */
	struct source_pool *sources;
	struct peers *peers; /* NULL: nobody asks for them */
	struct lookup lookup;
	struct door *door; /* NULL: there is none */
	struct backend *backend;
	struct counters counters;
	uint16_t own_id; /* next message ID of our own answers */
};

/* Set by the signal handler, which also makes wake_fd readable. */
static volatile sig_atomic_t stop_wanted, statistics_wanted;
static int wake_fd;

static void on_signal(int number)
{
	uint64_t one = 1;
	int error = errno;

	if (number == SIGUSR1)
		statistics_wanted = 1;
	else
		stop_wanted = 1;
	(void)!write(wake_fd, &one, sizeof(one));
	errno = error;
}

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- what a person reads */

static void print_edge(const struct counters *c)
{
	static const char *const texts[] = {
#define X(name, text) text,
		EDGE_VERDICTS(X)
#undef X
	};

	for (unsigned i = 0; i < EDGE_VERDICTS_COUNT; i++)
		fprintf(stderr, "%12" PRIu64 " checked: %s\n", c->edge[i], texts[i]);
	fprintf(stderr, "%12" PRIu64 " refusals that the device is not told: ring full\n",
		c->edge_answer_lost);
}

static void print_statistics(const struct forward *f)
{
	const struct backend_counters *b = backend_counters(f->backend);
	const struct counters *c = &f->counters;

	fprintf(stderr, "%12" PRIu32 " sessions live, %" PRIu32 " source addresses\n",
		source_live(f->sources), source_capacity(f->sources));
#define X(name, text) fprintf(stderr, "%12" PRIu64 " %s\n", c->name, text);
	COUNTERS(X)
#undef X
	for (unsigned i = 0; i < SLUICE_REASONS; i++) {
		if (c->send_failed_by_reason[i] > 0)
			fprintf(stderr, "%12" PRIu64 "   because: %s\n", c->send_failed_by_reason[i],
				sluice_reason_text((enum sluice_reason)i));
	}
	fprintf(stderr, "%12" PRIu64 " datagrams sent to the backend, %" PRIu64 " bytes\n", b->sent,
		b->sent_bytes);
	fprintf(stderr, "%12" PRIu64 " datagrams that the system refused to send\n", b->send_failed);
	fprintf(stderr, "%12" PRIu64 " datagrams received from the backend, %" PRIu64 " bytes\n", b->received,
		b->received_bytes);
	fprintf(stderr, "%12" PRIu64 " dropped: not from the backend\n", b->strangers);
	if (options_check(&f->options))
		print_edge(c);
}

/* An identity is the peer's text: what could play with a terminal is escaped. */
static void print_text(const void *text, size_t len)
{
	const uint8_t *bytes = text;

	for (size_t i = 0; i < len; i++) {
		if (bytes[i] >= 0x20 && bytes[i] < 0x7f && bytes[i] != '\\')
			putchar(bytes[i]);
		else
			printf("\\x%02x", bytes[i]);
	}
}

static void print_source(const struct forward *f, uint32_t slot)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t ip[16];
	int family = f->options.prefix != NULL ? AF_INET6 : AF_INET;

	source_address(f->sources, slot, ip);
	inet_ntop(family, ip, text, sizeof(text));
	printf(family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, (unsigned)backend_own_port(f->backend));
}

static void print_peer(const struct sluice_address *peer)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const bool v4 = memcmp(peer->ip, mapped, sizeof(mapped)) == 0;
	char text[INET6_ADDRSTRLEN];

	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? peer->ip + sizeof(mapped) : peer->ip, text, sizeof(text));
	printf(v4 ? " peer %s:%u" : " peer [%s]:%u", text, (unsigned)ntohs(peer->port));
}

/* The identities; the credential's own name where it stands for them and could not be written as text. */
static void print_identities(const struct sluice_session_up *up)
{
	struct sluice_field field = {0};
	bool named = false;

	while (sluice_field_next(up, &field)) {
		if (field.type == SLUICE_FIELD_IDENTITY)
			named = true;
		else if (field.type != SLUICE_FIELD_CREDENTIAL_ID || named ||
			 up->identity != SLUICE_IDENTITY_CREDENTIAL)
			continue;
		putchar(' ');
		print_text(field.bytes, field.len);
	}
}

static void print_up(const struct forward *f, const struct sluice_session_up *up, uint32_t slot)
{
	static const char *const kinds[] = {
		[SLUICE_IDENTITY_NONE] = "nothing proven",
		[SLUICE_IDENTITY_CREDENTIAL] = "credential",
		[SLUICE_IDENTITY_CSE_ID] = "CSE-ID",
		[SLUICE_IDENTITY_AE_ID] = "AE-ID",
		[SLUICE_IDENTITY_LWM2M_ENDPOINT] = "LwM2M endpoint",
	};

	printf("up   ");
	print_source(f, slot);
	printf(" %s", up->identity < sizeof(kinds) / sizeof(kinds[0]) ? kinds[up->identity] : "identity");
	print_identities(up);
	print_peer(&up->peer);
	putchar('\n');
}

static void print_down(const struct forward *f, const struct sluice_session_down *down)
{
	uint32_t slot = source_find(f->sources, down->ref);

	if (slot == SOURCE_NONE)
		return;
	printf("down ");
	print_source(f, slot);
	printf(" %s\n", sluice_reason_text((enum sluice_reason)down->reason));
}

/* ---- ring to backend */

static void session_up(struct forward *f, const struct sluice_session_up *up, uint64_t now_ns)
{
	uint32_t slot = source_take(f->sources, up->ref, source_fingerprint(up), now_ns);

	f->counters.sessions_up++;
	if (slot == SOURCE_NONE) {
		f->counters.no_address++;
		return;
	}
	if (f->peers != NULL && !peer_set(f->peers, slot, edge_check_of(&f->options.edge, up), up))
		f->counters.no_memory++;
	if (f->options.verbose)
		print_up(f, up, slot);
}

static void session_down(struct forward *f, const struct sluice_session_down *down, uint64_t now_ns)
{
	f->counters.sessions_down++;
	if (f->options.verbose)
		print_down(f, down);
	if (f->peers != NULL)
		peer_drop(f->peers, source_find(f->sources, down->ref));
	source_release(f->sources, down->ref, now_ns);
}

static void session_moved(struct forward *f, const struct sluice_peer_moved *moved)
{
	/* The backend knows the session by its source address, and notices nothing. */
	if (f->peers != NULL)
		peer_moved(f->peers, source_find(f->sources, moved->ref), &moved->peer);
}

/* May this datagram pass? If not, the device is told. */
static bool edge_passes(struct forward *f, uint32_t slot, const struct sluice_data *data)
{
	const struct peer *p = f->peers != NULL ? peer_get(f->peers, slot) : NULL;
	/* Of a session that did not fit into memory nothing is known: the checks refuse it. */
	enum edge_check check = p != NULL ? p->check : options_check(&f->options);
	struct edge_answer answer;
	enum edge_verdict verdict;

	if (check == EDGE_NONE)
		return true;
	verdict = edge_judge(check, p != NULL ? peer_up(p) : NULL, (const uint8_t *)(data + 1),
			     data->payload_len, f->own_id, &answer);
	f->counters.edge[verdict]++;
	if (verdict == EDGE_PASS)
		return true;
	f->own_id++;
	if (answer.len > 0 && sluice_send(f->sluice, data->ref, answer.bytes, answer.len, 0) != 0)
		f->counters.edge_answer_lost++;
	return false;
}

static void uplink_data(struct forward *f, const struct sluice_data *data)
{
	uint32_t slot = source_find(f->sources, data->ref);
	uint8_t from[16];

	f->counters.uplink++;
	if (slot == SOURCE_NONE) {
		f->counters.uplink_no_session++;
		return;
	}
	if (!edge_passes(f, slot, data))
		return;
	source_address(f->sources, slot, from);
	backend_send(f->backend, from, data + 1, data->payload_len);
}

static void send_failed(struct forward *f, const struct sluice_send_failed *failed)
{
	f->counters.send_failed++;
	if (failed->reason < SLUICE_REASONS)
		f->counters.send_failed_by_reason[failed->reason]++;
}

/* One batch. Returns how many, -1 when this gateway is of no more use (errno). */
static int forward_uplink(struct forward *f)
{
	struct sluice_message messages[RECEIVE_BATCH];
	int count = sluice_receive(f->sluice, messages, RECEIVE_BATCH);
	uint64_t now_ns = count > 0 ? clock_ns() : 0;

	for (int i = 0; i < count; i++) {
		const struct sluice_message *m = &messages[i];

		if (m->type == SLUICE_DATA)
			uplink_data(f, m->data);
		else if (m->type == SLUICE_SESSION_UP)
			session_up(f, m->up, now_ns);
		else if (m->type == SLUICE_SESSION_DOWN)
			session_down(f, m->down, now_ns);
		else if (m->type == SLUICE_SEND_FAILED)
			send_failed(f, m->failed);
		else if (m->type == SLUICE_PEER_MOVED)
			session_moved(f, m->moved);
	}
	backend_flush(f->backend); /* payloads lie in the ring until the next sluice_receive() */
	if (count > 0)
		sluice_flush(f->sluice); /* what the checks refused */
	return count;
}

/* ---- backend to ring */

static void downlink_answer(struct forward *f, const struct backend_answer *answer)
{
	struct sluice_ref ref;

	if (!source_session(f->sources, source_slot(f->sources, answer->to), &ref))
		f->counters.downlink_no_session++;
	else if (answer->len > BACKEND_PAYLOAD_MAX)
		f->counters.downlink_too_large++;
	else if (f->sluice == NULL || sluice_send(f->sluice, ref, answer->payload, answer->len, 0) != 0)
		f->counters.downlink_ring_full++;
	else
		f->counters.downlink++;
}

/* One batch. True when there is more. */
static bool forward_downlink(struct forward *f)
{
	struct backend_answer answers[BACKEND_BATCH];
	bool more;
	unsigned count = backend_receive(f->backend, answers, &more);

	for (unsigned i = 0; i < count; i++)
		downlink_answer(f, &answers[i]);
	if (count > 0)
		sluice_flush(f->sluice);
	return more;
}

/* ---- the loop */

/* Until something happens: a message, an answer, a signal. */
static void sleep_until_needed(struct forward *f)
{
	struct pollfd waited[] = {
		{.fd = sluice_fd(f->sluice), .events = POLLIN},
		{.fd = backend_fd(f->backend), .events = POLLIN},
		{.fd = wake_fd, .events = POLLIN},
		{.fd = f->door != NULL ? door_fd(f->door) : -1, .events = POLLIN},
	};

	if (sluice_sleep(f->sluice))
		(void)poll(waited, 4, -1); /* EINTR: a signal, and wake_fd is readable */
}

static void obey_signals(const struct forward *f)
{
	uint64_t count;

	if (!statistics_wanted)
		return;
	statistics_wanted = 0;
	(void)!read(wake_fd, &count, sizeof(count));
	print_statistics(f);
	fflush(stderr);
}

/* Until the gateway is gone or a signal stops us. */
static void forward_run(struct forward *f)
{
	while (!stop_wanted) {
		int received = forward_uplink(f);
		bool more;

		if (received < 0) {
			fprintf(stderr, "sluice-forward: gateway lost: %s\n",
				errno == EPIPE ? "it closed the connection" : strerror(errno));
			return;
		}
		more = forward_downlink(f);
		if (f->door != NULL)
			door_process(f->door);
		obey_signals(f);
		if (received == 0 && !more && !stop_wanted)
			sleep_until_needed(f);
	}
}

/* Tries until it works or a signal stops us; says why it waits, once per reason. */
static struct sluice *attach_patiently(const struct forward *f)
{
	struct pollfd waited[] = {
		{.fd = wake_fd, .events = POLLIN},
		{.fd = f->door != NULL ? door_fd(f->door) : -1, .events = POLLIN},
	};
	struct sluice *s;
	int told = 0;

	while (!stop_wanted) {
		s = sluice_attach(f->options.ring);
		if (s != NULL)
			return s;
		if (errno != told) {
			told = errno;
			fprintf(stderr, "sluice-forward: waiting for the gateway at %s: %s\n",
				f->options.ring,
				told == EBUSY    ? "another application is attached"
				: told == EPROTO ? "it speaks another version of the ring"
						 : strerror(told));
		}
		(void)poll(waited, 2, RETRY_MS);
		if (f->door != NULL)
			door_process(f->door);
		obey_signals(f);
	}
	return NULL;
}

static void forward_until_stopped(struct forward *f)
{
	while (!stop_wanted) {
		f->sluice = attach_patiently(f);
		if (f->sluice == NULL)
			break;
		fprintf(stderr, "sluice-forward: attached to %s, %u worker%s\n", f->options.ring,
			sluice_workers(f->sluice), sluice_workers(f->sluice) == 1 ? "" : "s");
		forward_run(f);
		sluice_detach(f->sluice);
		f->sluice = NULL;
		source_release_all(f->sources, clock_ns());
		if (f->peers != NULL)
			peers_clear(f->peers);
	}
}

/* ---- set-up */

/* The server's address, and the net that its sessions come from. */
static void choose_net(const struct options *o, struct backend_address *address, struct source_net *net)
{
	const char *wrong = backend_resolve(address, o->prefix != NULL ? AF_INET6 : AF_INET, o->backend);

	if (wrong != NULL && o->prefix == NULL && o->local_net == NULL) /* to tell what is missing */
		wrong = backend_resolve(address, AF_UNSPEC, o->backend);
	if (wrong != NULL)
		options_die("--backend %s: %s", o->backend, wrong);
	if (address->ip.ss_family == AF_INET6) {
		if (o->prefix == NULL)
			options_die("an IPv6 backend needs --prefix");
		if (!source_net_parse(net, AF_INET6, o->prefix))
			options_die("--prefix %s: an IPv6 prefix such as 2001:db8:1::/64, at most /125",
				    o->prefix);
		return;
	}
	if (o->local_net == NULL && !backend_is_loopback(address))
		options_die("the backend is on another host, which cannot answer to 127.x.y.z: give its IPv6 "
			    "address "
			    "and "
			    "--prefix, or a --local-net that is routed to this host");
	if (!source_net_parse(net, AF_INET, o->local_net != NULL ? o->local_net : LOCAL_NET_DEFAULT))
		options_die("--local-net %s: an IPv4 net such as " LOCAL_NET_DEFAULT ", at most /29",
			    o->local_net);
}

static size_t answer_question(const void *context, const char *question, char *out)
{
	return lookup_answer(context, question, out);
}

/* What --check and --door need. */
static bool open_peers(struct forward *f, int family)
{
	const struct options *o = &f->options;

	if (o->door == NULL && options_check(o) == EDGE_NONE)
		return true;
	f->peers = peers_new(SOURCE_SLOTS_MAX);
	if (f->peers == NULL || getrandom(&f->own_id, sizeof(f->own_id), 0) != sizeof(f->own_id))
		return false;
	f->lookup = (struct lookup){family, f->sources, f->peers};
	if (o->door == NULL)
		return true;
	f->door = door_open(o->door, LOOKUP_ANSWER_MAX, answer_question, &f->lookup);
	if (f->door == NULL)
		fprintf(stderr, "sluice-forward: --door %s: %s\n", o->door, listen_fault(-errno));
	return f->door != NULL;
}

static bool forward_init(struct forward *f)
{
	struct sigaction action = {.sa_handler = on_signal};
	struct backend_address address;
	struct source_net net;

	choose_net(&f->options, &address, &net);
	setvbuf(stdout, NULL, _IOLBF, 0);
	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->sources = source_new(&net, f->options.hold_ns);
	f->backend = backend_open(&address, &net, f->options.port);
	if (wake_fd < 0 || f->sources == NULL || f->backend == NULL || !open_peers(f, net.family)) {
		fprintf(stderr, "sluice-forward: cannot start: %s\n", strerror(errno));
		return false;
	}
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	signal(SIGPIPE, SIG_IGN); /* a reader of --verbose that goes away */
	return true;
}

int main(int argc, char **argv)
{
	struct forward f = {0};
	bool started;

	options_parse(&f.options, argc, argv);
	started = forward_init(&f);
	if (started) {
		forward_until_stopped(&f);
		print_statistics(&f);
	}
	door_close(f.door);
	backend_close(f.backend);
	peers_free(f.peers);
	source_free(f.sources);
	return started ? 0 : 1;
}
