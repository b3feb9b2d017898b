/* Options, rounds, the table and its JSON. Each round gives every server its turn, so that what disturbs the
 * machine disturbs all of them. The figures are the CPU time of the server's thread, the kernel's share
 * included, in TSC cycles per record.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/machine.h"
#include "bench/sockets/sockets.h"

enum { SAMPLES_MAX = 4000, SESSIONS_MAX = 20000, WARM_UP_CHUNKS = 2 };

struct subject {
	const struct socket_library *library; /* NULL: recvmmsg() alone */
	struct socket_server *server;
	unsigned count;
	float cycles[SAMPLES_MAX];
	struct spread spread;
	char name[80];
};

static struct subject subjects[] = {{.library = NULL},
				    {.library = &library_mbedtls},
				    {.library = &library_wolfssl},
				    {.library = &library_openssl}};
enum { SUBJECTS = sizeof(subjects) / sizeof(subjects[0]) };

struct options {
	uint32_t sessions, payload, queue, samples, rounds;
	const char *json;
};

static struct machine machine;
static struct receive_path path;
static bool has_path;

static void usage(FILE *out)
{
	fputs("Usage: bench_sockets [OPTIONS]\n"
	      "What a record costs a socket server: one thread, recvmmsg() of 64, sessions found by "
	      "address,\n"
	      "TLS_PSK_WITH_AES_128_CCM_8 over loopback; and recvmmsg() alone.\n"
	      "\n"
	      "  --sessions N   (1000)\n"
	      "  --payload N    bytes (64)\n"
	      "  --queue N      datagrams that wait in the server's socket when its turn comes (8192)\n"
	      "  --samples N    chunks of each server in a round (8)\n"
	      "  --rounds N     (5)\n"
	      "  --json FILE    write the figures for other programs too\n",
	      out);
}

/* -1: go on; otherwise the exit status. */
static int read_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{"sessions", required_argument, NULL, 's'}, {"payload", required_argument, NULL, 'p'},
		{"queue", required_argument, NULL, 'q'},    {"samples", required_argument, NULL, 'n'},
		{"rounds", required_argument, NULL, 'r'},   {"json", required_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		uint32_t number = optarg ? (uint32_t)strtoul(optarg, NULL, 10) : 0;

		switch (option) {
		case 's':
			o->sessions = number;
			break;
		case 'p':
			o->payload = number;
			break;
		case 'q':
			o->queue = number;
			break;
		case 'n':
			o->samples = number;
			break;
		case 'r':
			o->rounds = number;
			break;
		case 'j':
			o->json = optarg;
			break;
		default:
			usage(option == 'h' ? stdout : stderr);
			return option == 'h' ? 0 : 2;
		}
	}
	if (optind == argc && o->sessions >= 1 && o->sessions <= SESSIONS_MAX && o->payload >= 4 &&
	    o->payload <= PAYLOAD_MAX && o->queue >= RECVMMSG_BATCH && o->queue <= QUEUE_MAX &&
	    o->samples >= 1 && o->rounds >= 1 && (uint64_t)o->samples * o->rounds <= SAMPLES_MAX)
		return -1;
	usage(stderr);
	return 2;
}

static bool subjects_make(const struct options *o)
{
	for (unsigned i = 0; i < SUBJECTS; i++) {
		struct subject *s = &subjects[i];

		if (s->library && !s->library->init()) {
			fprintf(stderr, "bench_sockets: %s does not start\n", s->library->name);
			return false;
		}
		(void)snprintf(s->name, sizeof(s->name), "%s%s%s",
			       s->library ? s->library->name : "recvmmsg alone", s->library ? " " : "",
			       s->library ? s->library->version() : "");
		fprintf(stderr, "%s: %u sessions\n", s->name, o->sessions);
		s->server = socket_server_new(s->library, o->sessions, o->payload, o->queue);
		if (!s->server)
			return false;
	}
	return true;
}

static void subjects_free(void)
{
	for (unsigned i = 0; i < SUBJECTS; i++) {
		socket_server_free(subjects[i].server);
		if (subjects[i].library)
			subjects[i].library->fini();
	}
}

/* The first chunks of a turn bring the sessions back into the caches. */
static bool subject_round(struct subject *s, unsigned samples)
{
	for (unsigned i = 0; i < WARM_UP_CHUNKS + samples; i++) {
		double ns = socket_server_chunk(s->server);

		if (ns < 0)
			return false;
		if (i >= WARM_UP_CHUNKS)
			s->cycles[s->count++] = (float)(ns * machine.tsc_hz / 1e9);
	}
	return true;
}

static bool measure(const struct options *o)
{
	for (unsigned round = 0; round < o->rounds; round++)
		for (unsigned i = 0; i < SUBJECTS; i++)
			if (!subject_round(&subjects[i], o->samples))
				return false;
	for (unsigned i = 0; i < SUBJECTS; i++)
		subjects[i].spread = spread_of(subjects[i].cycles, subjects[i].count);
	return true;
}

static void print_table(const struct options *o)
{
	printf("\n# CPU time of the server per record, TSC cycles; %u sessions, %u bytes of payload, queues "
	       "of %u\n"
	       "%-24s %9s %9s %9s %9s %12s\n",
	       o->sessions, o->payload, o->queue, "# server", "min", "median", "q3", "krec/s",
	       "per recvmmsg");
	for (unsigned i = 0; i < SUBJECTS; i++) {
		const struct subject *s = &subjects[i];

		printf("%-24s %9.0f %9.0f %9.0f %9.0f %12.1f\n", s->name, s->spread.least, s->spread.median,
		       s->spread.high, machine.tsc_hz / s->spread.median / 1e3,
		       socket_server_batch(s->server));
	}
}

static void measure_path(const struct options *o)
{
	const size_t record = 13 + 8 + (size_t)o->payload + 8;

	has_path = receive_path_measure(record, &path);
	if (!has_path) {
		printf("# the kernel's receive path was not measured: that needs root and /dev/net/tun\n");
		return;
	}
	printf("# not in these: the kernel's receive path, from IP to the socket, at least %.0f cycles a "
	       "datagram "
	       "(%.0f with\n# the system call and the buffer of a TAP)\n",
	       (path.whole_ns - path.foreign_ns) * machine.tsc_hz / 1e9,
	       path.whole_ns * machine.tsc_hz / 1e9);
}

static int write_json(const struct options *o)
{
	FILE *f = fopen(o->json, "w");

	if (!f)
		return -1;
	fprintf(f,
		"{\n  \"bench\": \"sockets\", \"version\": 1, \"unit\": \"TSC cycles per record\",\n"
		"  \"machine\": {\"cpu\": \"%s\", \"tsc_hz\": %.0f},\n"
		"  \"sessions\": %u, \"payload\": %u, \"receive_path\": %.1f,\n  \"results\": [\n",
		machine.name, machine.tsc_hz, o->sessions, o->payload,
		has_path ? (path.whole_ns - path.foreign_ns) * machine.tsc_hz / 1e9 : 0);
	for (unsigned i = 0; i < SUBJECTS; i++)
		fprintf(f,
			"    {\"server\": \"%s\", \"library\": %s, \"cycles\": {\"min\": %.1f, \"median\": "
			"%.1f}}%s\n",
			subjects[i].name, subjects[i].library ? "true" : "false", subjects[i].spread.least,
			subjects[i].spread.median, i + 1 < SUBJECTS ? "," : "");
	fprintf(f, "  ]\n}\n");
	return fclose(f);
}

int main(int argc, char **argv)
{
	struct options o = {.sessions = 1000, .payload = 64, .queue = QUEUE_MAX, .samples = 8, .rounds = 5};
	int status = read_options(argc, argv, &o);
	bool good;

	if (status >= 0)
		return status;
	machine_measure(&machine);
	machine_print(&machine, argc, argv);
	good = subjects_make(&o) && measure(&o);
	if (good) {
		print_table(&o);
		measure_path(&o);
	}
	if (good && o.json && write_json(&o) != 0) {
		perror(o.json);
		good = false;
	}
	subjects_free();
	return good ? 0 : 1;
}
