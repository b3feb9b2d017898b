/* Options, the loop, progress. */
#include <errno.h>
#include <getopt.h>
#include <rte_eal.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "bench/swarm/transport.h"

static struct swarm swarm = {
	.options =
		{
			.server = "127.0.0.1",
			.server_port = 5684,
			.devices_net = "127.1.0.1",
			.devices = 100,
			.records = 10,
			.handshake_flight = 64,
			.outstanding = 256,
			.answer_timeout_ms = 2000,
			.handshake_timeout_s = 30,
			.payload = 64,
			.suite = "TLS_PSK_WITH_AES_128_CCM_8",
			.psk_seed = "swarm",
			.psk_prefix = "urn:swarm:",
			.seed = 1,
		},
};

static void stop(int signal_number)
{
	(void)signal_number;
	swarm.stop = true;
}

uint64_t swarm_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static void usage(FILE *out)
{
	fputs("Usage: sluice-swarm --socket [OPTIONS]\n"
	      "       sluice-swarm --dpdk EAL-ARGUMENTS -- [OPTIONS]\n"
	      "       sluice-swarm --write-psk FILE [--devices N] [--psk-prefix P] [--psk-seed S]\n"
	      "\n"
	      "Simulates registrees: handshakes, then CoAP requests over DTLS, with faults and malice mixed "
	      "in.\n"
	      "\n"
	      "  --server ADDRESS[:PORT]   the gateway, IPv4 (127.0.0.1:5684)\n"
	      "  --devices N               how many (100)\n"
	      "  --devices-net ADDRESS     first address of the devices (127.1.0.1); outside 127/8 it must "
	      "be\n"
	      "                            local: ip route add local NET dev lo\n"
	      "  --suite NAME              TLS_PSK_WITH_AES_128_CCM_8, TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8\n"
	      "  --psk-prefix P            identity of device i is P followed by i (urn:swarm:)\n"
	      "  --psk-seed S              keys are computed from it (swarm)\n"
	      "  --write-psk FILE          write identity:hexkey of every device for the gateway, and end\n"
	      "  --certificate, --key, --ca FILE   PEM, for certificate suites\n"
	      "  --sni NAME                server name to ask for\n"
	      "  --cid                     offer a connection ID (RFC 9146)\n"
	      "  --handshake-rate N        new ones per second (as fast as it goes)\n"
	      "  --handshake-flight N      at a time (64)\n"
	      "  --handshake-timeout S     given up after so many seconds (30)\n"
	      "  --handshakes-first        no request before the last of them is over\n"
	      "  --preinstalled SEED       no handshakes: the sessions that sluice-bench-gateway has from "
	      "this "
	      "seed\n"
	      "  --cid-file FILE           their connection IDs, as the gateway wrote them\n"
	      "  --records N               requests of each device (10)\n"
	      "  --rate N                  requests per second, all devices (as fast as it goes)\n"
	      "  --outstanding N           requests without an answer at a time (256)\n"
	      "  --think MS                least time between two requests of one device (0)\n"
	      "  --payload BYTES           of a request, CoAP header included (64)\n"
	      "  --con                     CON instead of NON messages\n"
	      "  --no-answers              do not wait for answers\n"
	      "  --answer-timeout MS       then it counts as lost (2000)\n"
	      "  --loss, --duplicate, --reorder SHARE   of what is sent, 0..1 (0)\n"
	      "  --replay, --forge SHARE   records sent a second time, or with a wrong tag beside the right "
	      "one (0)\n"
	      "  --rebind-every N          after so many requests a device has another source port (0: "
	      "never)\n"
	      "  --reboot-every N          after so many requests a device starts over from the same "
	      "address\n"
	      "  --no-close                leave without a close_notify, as a device that loses its power\n"
	      "  --seconds S               stop after so long\n"
	      "  --seed N                  of everything random (1)\n"
	      "  --json FILE               the report for programs\n"
	      "\n"
	      "Exit status: 0 when every device got its session and every request its answer (those begun "
	      "before the\n"
	      "end of --seconds, at least one session), 1 otherwise, 2 for wrong arguments.\n",
	      out);
}

enum option_kind { TEXT, COUNT, SHARE, REAL, FLAG };

struct swarm_option {
	const char *name;
	enum option_kind kind;
	void *value;
};

#define O swarm.options
static const char *write_psk;
static bool use_socket, use_dpdk;
static const struct swarm_option options[] = {
	{"server", TEXT, &O.server},
	{"devices-net", TEXT, &O.devices_net},
	{"suite", TEXT, &O.suite},
	{"psk-prefix", TEXT, &O.psk_prefix},
	{"psk-seed", TEXT, &O.psk_seed},
	{"write-psk", TEXT, &write_psk},
	{"certificate", TEXT, &O.certificate},
	{"key", TEXT, &O.key},
	{"ca", TEXT, &O.ca},
	{"sni", TEXT, &O.sni},
	{"preinstalled", TEXT, &O.preinstalled},
	{"cid-file", TEXT, &O.cid_file},
	{"json", TEXT, &O.json},
	{"devices", COUNT, &O.devices},
	{"records", COUNT, &O.records},
	{"handshake-flight", COUNT, &O.handshake_flight},
	{"handshake-timeout", COUNT, &O.handshake_timeout_s},
	{"outstanding", COUNT, &O.outstanding},
	{"think", COUNT, &O.think_ms},
	{"payload", COUNT, &O.payload},
	{"answer-timeout", COUNT, &O.answer_timeout_ms},
	{"rebind-every", COUNT, &O.rebind_every},
	{"reboot-every", COUNT, &O.reboot_every},
	{"seconds", COUNT, &O.seconds},
	{"seed", COUNT, &O.seed},
	{"handshake-rate", REAL, &O.handshake_rate},
	{"rate", REAL, &O.record_rate},
	{"loss", SHARE, &O.loss},
	{"duplicate", SHARE, &O.duplicate},
	{"reorder", SHARE, &O.reorder},
	{"replay", SHARE, &O.replay},
	{"forge", SHARE, &O.forge},
	{"cid", FLAG, &O.cid},
	{"con", FLAG, &O.coap_con},
	{"no-answers", FLAG, &O.no_answers},
	{"no-close", FLAG, &O.no_close},
	{"handshakes-first", FLAG, &O.handshakes_first},
	{"socket", FLAG, &use_socket},
	{"dpdk", FLAG, &use_dpdk},
};
enum { OPTIONS = sizeof(options) / sizeof(options[0]) };

static bool set_option(const struct swarm_option *o, const char *text)
{
	char *end = NULL;

	unsigned long count;

	switch (o->kind) {
	case TEXT:
		*(const char **)o->value = text;
		return true;
	case COUNT:
		count = strtoul(text, &end, 10);
		*(uint32_t *)o->value = (uint32_t)count;
		if (count > UINT32_MAX)
			end = NULL;
		break;
	case SHARE:
	case REAL:
		*(double *)o->value = strtod(text, &end);
		if (o->kind == SHARE && !(*(double *)o->value <= 1)) {
			fprintf(stderr, "sluice-swarm: --%s %s: a share from 0 to 1\n", o->name, text);
			return false;
		}
		break;
	case FLAG:
		*(bool *)o->value = true;
		return true;
	}
	if (((text[0] >= '0' && text[0] <= '9') || text[0] == '.') && end && *end == '\0')
		return true;
	fprintf(stderr, "sluice-swarm: --%s %s: a number is needed\n", o->name, text);
	return false;
}

/* "ADDRESS" or "ADDRESS:PORT". */
static bool split_server(void)
{
	static char address[64];
	const char *colon = strchr(O.server, ':');
	size_t len = colon ? (size_t)(colon - O.server) : strlen(O.server);
	unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : O.server_port;

	if (len >= sizeof(address) || port == 0 || port > 65535)
		return false;
	memcpy(address, O.server, len);
	O.server = address;
	O.server_port = (uint16_t)port;
	return true;
}

static bool read_options(int argc, char **argv)
{
	struct option longs[OPTIONS + 2] = {{"help", no_argument, NULL, 'h'}};
	int index, got;

	for (unsigned i = 0; i < OPTIONS; i++)
		longs[i + 1] =
			(struct option){options[i].name,
					options[i].kind == FLAG ? no_argument : required_argument, NULL, 'x'};
	while ((got = getopt_long(argc, argv, "", longs, &index)) != -1) {
		if (got == 'h') {
			usage(stdout);
			exit(0);
		}
		if (got != 'x' || !set_option(&options[index - 1], optarg))
			return false;
	}
	if (optind < argc || (!use_socket && !use_dpdk && !write_psk) || !split_server())
		return false;
	if (O.devices == 0 || O.devices > 1U << 24 || O.payload > 1350 || O.handshake_flight == 0 ||
	    O.outstanding == 0) {
		fprintf(stderr,
			"sluice-swarm: --devices 1..16777216, --payload up to 1350, --handshake-flight and "
			"--outstanding at least 1\n");
		return false;
	}
	return true;
}

static int write_psk_file(void)
{
	FILE *f = fopen(write_psk, "w");

	if (!f || fchmod(fileno(f), 0600) != 0) {
		fprintf(stderr, "sluice-swarm: %s: %s\n", write_psk, strerror(errno));
		return 1;
	}
	for (uint32_t i = 0; i < O.devices; i++) {
		char identity[128];
		uint8_t key[16];

		device_identity(&swarm, i, identity, sizeof(identity));
		device_key(&swarm, i, key);
		fprintf(f, "%s:", identity);
		for (unsigned b = 0; b < sizeof(key); b++)
			fprintf(f, "%02x", key[b]);
		fputc('\n', f);
	}
	return fclose(f) == 0 ? 0 : 1;
}

/* How many of something may be done by now at that rate, beyond those already done. */
static uint64_t allowance(double per_second, uint64_t since_ns, uint64_t now_ns, uint64_t done)
{
	uint64_t all;

	if (per_second <= 0)
		return UINT64_MAX;
	all = (uint64_t)((double)(now_ns - since_ns) / 1e9 * per_second) + 1;
	return all > done ? all - done : 0;
}

static unsigned start_some(struct swarm *s, uint64_t now_ns)
{
	uint64_t may = allowance(O.handshake_rate, s->start_ns, now_ns, s->counts.handshakes_started);
	unsigned n = 0;

	for (; n < 8 && n < may && s->started < O.devices && shake_start(s, s->started, now_ns); n++)
		s->started++;
	return n;
}

static unsigned receive_some(struct swarm *s)
{
	static struct transport_datagram in[TRANSPORT_BURST];
	unsigned n = s->transport->receive(s->transport, in);
	uint64_t now_ns = swarm_now_ns();

	for (unsigned i = 0; i < n; i++) {
		struct device *d = &s->devices[in[i].device];

		s->counts.datagrams_in++;
		s->counts.bytes_in += in[i].len;
		if (d->state == DEVICE_SHAKING)
			shake_receive(s, in[i].device, in[i].bytes, in[i].len, now_ns);
		else if (d->state != DEVICE_NEW && d->state != DEVICE_REFUSED)
			device_receive(s, in[i].device, in[i].bytes, in[i].len, now_ns);
	}
	return n;
}

/* Whether requests may be made by now. */
static bool requests_begun(struct swarm *s, uint64_t now_ns)
{
	const struct swarm_counts *c = &s->counts;

	if (s->records_from_ns == 0 &&
	    (O.preinstalled ||
	     c->handshakes_done + c->handshakes_failed + c->handshakes_given_up >= O.devices))
		s->records_from_ns = now_ns;
	return s->records_from_ns != 0;
}

static bool over(const struct swarm *s, uint64_t now_ns)
{
	return s->stop || s->finished == O.devices ||
	       (O.seconds && now_ns - s->start_ns >= O.seconds * 1000000000ULL);
}

static void run(struct swarm *s)
{
	uint64_t tick_ns, progress_ns;

	s->start_ns = tick_ns = progress_ns = swarm_now_ns();
	for (uint64_t now_ns = s->start_ns; !over(s, now_ns); now_ns = swarm_now_ns()) {
		unsigned work = start_some(s, now_ns);

		if (requests_begun(s, now_ns) &&
		    allowance(O.record_rate, s->records_from_ns, now_ns, s->counts.requests) > 0)
			work += devices_send(s, now_ns);
		s->transport->flush(s->transport);
		work += receive_some(s);
		if (now_ns - tick_ns > 20000000) {
			shakes_tick(s, now_ns);
			devices_expire(s, now_ns);
			faults_release(s);
			tick_ns = now_ns;
		}
		if (now_ns - progress_ns > 1000000000) {
			report_progress(s, now_ns);
			progress_ns = now_ns;
		}
		if (!work && use_socket)
			usleep(50);
	}
	s->end_ns = swarm_now_ns();
	if (!O.no_close)
		devices_close(s);
	faults_release(s);
	s->transport->flush(s->transport);
}

static int set_up(struct swarm *s, char *error, size_t error_len)
{
	wolfSSL_Init();
	s->random = (uint64_t)O.seed << 32;
	if (record_choice_make(&s->choice, NULL, error, error_len) != 0)
		return -1;
	s->crypto = record_crypto_new(&s->choice);
	s->faults = faults_new();
	s->shakes = shakes_new(s, error, error_len);
	if (!s->shakes)
		return -1;
	if (!s->crypto || !s->faults || devices_init(s) != 0) {
		snprintf(error, error_len, "no memory for %u devices", O.devices);
		return -1;
	}
	s->transport =
		use_dpdk ? transport_dpdk(&O, error, error_len) : transport_socket(&O, error, error_len);
	return s->transport ? 0 : -1;
}

static void tear_down(struct swarm *s)
{
	if (s->transport)
		s->transport->close(s->transport);
	shakes_free(s->shakes);
	faults_free(s->faults);
	record_crypto_free(s->crypto);
	free(s->devices);
}

/* The end that --seconds sets may come before that of the work, but not before all of it. */
static bool all_well(const struct swarm *s)
{
	const struct swarm_counts *c = &s->counts;

	return !s->stop && c->handshakes_failed == 0 && c->handshakes_given_up == 0 && c->lost == 0 &&
	       c->bad_answers == 0 && (O.seconds ? s->ready + s->finished > 0 : s->finished == O.devices);
}

int main(int argc, char **argv)
{
	char error[512] = "";
	int eal = 0;

	if (argc > 1 && strcmp(argv[1], "--dpdk") == 0) {
		eal = rte_eal_init(argc - 1, argv + 1);
		if (eal < 0) {
			fprintf(stderr,
				"sluice-swarm: the DPDK EAL does not start, see its messages above\n");
			return 1;
		}
		use_dpdk = true;
		eal++;
		optind = 1;
	}
	if (!read_options(argc - eal, argv + eal)) {
		usage(stderr);
		return 2;
	}
	if (write_psk)
		return write_psk_file();
	signal(SIGINT, stop);
	signal(SIGTERM, stop);
	signal(SIGPIPE, SIG_IGN);
	if (set_up(&swarm, error, sizeof(error)) != 0) {
		fprintf(stderr, "sluice-swarm: %s\n", error);
		tear_down(&swarm);
		return 1;
	}
	run(&swarm);
	report_final(&swarm);
	if (O.json && report_json(&swarm) != 0)
		return 1;
	tear_down(&swarm);
	if (use_dpdk)
		rte_eal_cleanup();
	return all_well(&swarm) ? 0 : 1;
}
