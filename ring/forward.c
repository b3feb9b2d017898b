/* sluice-forward: takes cleartext from the gateway's ring and forwards it as UDP to a plain CoAP server (any
 * UDP server), from a source address of its own for each session; brings the answers back. One thread, one
 * socket.
 *
 *   ring -> SESSION_UP: source_take()     DATA: source_find() -> backend_send() ... backend_flush()
 *   backend_receive() -> source_slot() -> source_session() -> sluice_send() ... sluice_flush() -> ring
 *
 * source.c holds the table of addresses, backend.c the socket. Nothing is allocated per packet.
 */
#include "ring/backend.h"
#include "ring/sluice.h"
#include "ring/source.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define LOCAL_NET_DEFAULT "127.64.0.0/10"

enum {
	HOLD_S_DEFAULT = 247, /* EXCHANGE_LIFETIME, RFC 7252 4.8.2: the latest answer to a CoAP request */
	HOLD_S_MAX = 1000000,
	RETRY_MS = 200,
	RECEIVE_BATCH = 64,
	EXIT_USAGE = 2,
};

struct options {
	const char *ring;
	const char *backend;
	const char *local_net;
	const char *prefix;
	uint64_t hold_ns;
	uint16_t port;
	bool verbose;
};

#define COUNTERS(X)                                                                                          \
	X(sessions_up, "sessions announced")                                                                 \
	X(sessions_down, "sessions ended")                                                                   \
	X(no_address, "sessions refused: every source address is in use or held")                            \
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
};

struct forward {
	struct options options;
	struct sluice *sluice; /* NULL while there is no gateway */
	struct source_pool *sources;
	struct backend *backend;
	struct counters counters;
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
	char text[INET6_ADDRSTRLEN];

	inet_ntop(AF_INET6, peer->ip, text, sizeof(text));
	printf(" peer [%s]:%u", text, (unsigned)ntohs(peer->port));
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
	if (slot == SOURCE_NONE)
		f->counters.no_address++;
	else if (f->options.verbose)
		print_up(f, up, slot);
}

static void session_down(struct forward *f, const struct sluice_session_down *down, uint64_t now_ns)
{
	f->counters.sessions_down++;
	if (f->options.verbose)
		print_down(f, down);
	source_release(f->sources, down->ref, now_ns);
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
		/* PEER_MOVED changes nothing here: the backend knows the session by its source address. */
	}
	backend_flush(f->backend); /* payloads lie in the ring until the next sluice_receive() */
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
	};

	if (sluice_sleep(f->sluice))
		(void)poll(waited, 3, -1); /* EINTR: a signal, and wake_fd is readable */
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
		obey_signals(f);
		if (received == 0 && !more && !stop_wanted)
			sleep_until_needed(f);
	}
}

/* Tries until it works or a signal stops us; says why it waits, once per reason. */
static struct sluice *attach_patiently(const struct forward *f)
{
	struct pollfd waited = {.fd = wake_fd, .events = POLLIN};
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
		(void)poll(&waited, 1, RETRY_MS);
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
	}
}

/* ---- set-up */

static const char usage[] =
	"usage: sluice-forward --ring PATH --backend HOST:PORT [OPTION...]\n"
	"Forwards the cleartext of a Sluice gateway to a plain UDP server, and its answers back. The server "
	"sees\n"
	"each session at a source address of its own.\n"
	"\n"
	"  --ring PATH          the gateway's ring socket\n"
	"  --backend HOST:PORT  the server; [ADDRESS]:PORT for IPv6\n"
	"  --local-net NET      IPv4 addresses to send from (" LOCAL_NET_DEFAULT
	", for a server on this host)\n"
	"  --prefix PREFIX      IPv6 addresses to send from, such as 2001:db8:1::/64, for a server on "
	"another host\n"
	"  --port PORT          source port (chosen by the system)\n"
	"  --hold SECONDS       how long an address rests between two sessions (247)\n"
	"  --verbose            one line on standard output for each session: its address and its identity\n"
	"  --version, --help\n"
	"\n"
	"SIGUSR1 prints the counters on standard error; so does the end (SIGTERM, SIGINT).\n"
	"\n"
	"All of 127.0.0.0/8 is local already. Any other net needs a route on this host, so that the answers "
	"are\n"
	"taken in, and one on the server's host, so that they are sent here:\n"
	"  here:   ip -6 route add local 2001:db8:1::/64 dev lo\n"
	"  there:  ip -6 route add 2001:db8:1::/64 via ADDRESS-OF-THIS-HOST\n";

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("sluice-forward: ", stderr);
	vfprintf(stderr, format, arguments); /* NOLINT(clang-analyzer-valist.Uninitialized): it is not */
	fputs("\nsluice-forward --help lists the options\n", stderr);
	va_end(arguments);
	exit(EXIT_USAGE);
}

static unsigned long parse_number(const char *name, const char *text, unsigned long max)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value > max)
		die("--%s %s: a number from 0 to %lu", name, text, max);
	return value;
}

static void parse_options(struct options *o, int argc, char **argv)
{
	static const struct option known[] = {
		{"ring", required_argument, NULL, 'r'},
		{"backend", required_argument, NULL, 'b'},
		{"local-net", required_argument, NULL, 'l'},
		{"prefix", required_argument, NULL, 'p'},
		{"port", required_argument, NULL, 'P'},
		{"hold", required_argument, NULL, 'H'},
		{"verbose", no_argument, NULL, 'v'},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c;

	*o = (struct options){.hold_ns = HOLD_S_DEFAULT * UINT64_C(1000000000)};
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case 'r':
			o->ring = optarg;
			break;
		case 'b':
			o->backend = optarg;
			break;
		case 'l':
			o->local_net = optarg;
			break;
		case 'p':
			o->prefix = optarg;
			break;
		case 'P':
			o->port = (uint16_t)parse_number("port", optarg, UINT16_MAX);
			break;
		case 'H':
			o->hold_ns = parse_number("hold", optarg, HOLD_S_MAX) * UINT64_C(1000000000);
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'V':
			puts("sluice-forward " SLUICE_FORWARD_VERSION);
			exit(0);
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			exit(EXIT_USAGE); /* getopt_long() said why */
		}
	}
	if (optind < argc)
		die("no argument '%s' is expected", argv[optind]);
	if (o->ring == NULL || o->backend == NULL)
		die("--ring and --backend are needed");
	if (o->local_net != NULL && o->prefix != NULL)
		die("--local-net and --prefix exclude each other");
}

/* The server's address, and the net that its sessions come from. */
static void choose_net(const struct options *o, struct backend_address *address, struct source_net *net)
{
	const char *wrong = backend_resolve(address, o->prefix != NULL ? AF_INET6 : AF_INET, o->backend);

	if (wrong != NULL && o->prefix == NULL && o->local_net == NULL) /* to tell what is missing */
		wrong = backend_resolve(address, AF_UNSPEC, o->backend);
	if (wrong != NULL)
		die("--backend %s: %s", o->backend, wrong);
	if (address->ip.ss_family == AF_INET6) {
		if (o->prefix == NULL)
			die("an IPv6 backend needs --prefix");
		if (!source_net_parse(net, AF_INET6, o->prefix))
			die("--prefix %s: an IPv6 prefix such as 2001:db8:1::/64, at most /125", o->prefix);
		return;
	}
	if (o->local_net == NULL && !backend_is_loopback(address))
		die("the backend is on another host, which cannot answer to 127.x.y.z: give its IPv6 address "
		    "and "
		    "--prefix, or a --local-net that is routed to this host");
	if (!source_net_parse(net, AF_INET, o->local_net != NULL ? o->local_net : LOCAL_NET_DEFAULT))
		die("--local-net %s: an IPv4 net such as " LOCAL_NET_DEFAULT ", at most /29", o->local_net);
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
	if (wake_fd < 0 || f->sources == NULL || f->backend == NULL) {
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

	parse_options(&f.options, argc, argv);
	started = forward_init(&f);
	if (started) {
		forward_until_stopped(&f);
		print_statistics(&f);
	}
	backend_close(f.backend);
	source_free(f.sources);
	return started ? 0 : 1;
}
