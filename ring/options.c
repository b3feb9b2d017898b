/* See options.h. */
#include "ring/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	HOLD_S_DEFAULT = 247, /* EXCHANGE_LIFETIME, RFC 7252 4.8.2: the latest answer to a CoAP request */
	HOLD_S_MAX = 1000000,
	EXIT_USAGE = 2,
};

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
	"  --check [TENANT=]onem2m|lwm2m|none\n"
	"                       answer requests that name another identity than the session's, in the place "
	"of the\n"
	"                       server; may be given once for each tenant\n"
	"  --door PATH          Unix socket that tells who is behind a source address\n"
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

__attribute__((format(printf, 1, 2), noreturn)) void options_die(const char *format, ...)
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
		options_die("--%s %s: a number from 0 to %lu", name, text, max);
	return value;
}

static void parse_check(struct options *o, char *text)
{
	const char *wrong = edge_rule_parse(&o->edge, text);

	if (wrong != NULL)
		options_die("--check %s: %s", text, wrong);
}

enum edge_check options_check(const struct options *o)
{
	enum edge_check check = o->edge.others;

	for (unsigned i = 0; check == EDGE_NONE && i < o->edge.count; i++)
		check = o->edge.of[i].check;
	return check;
}

void options_parse(struct options *o, int argc, char **argv)
{
	static const struct option known[] = {
		{"ring", required_argument, NULL, 'r'},
		{"backend", required_argument, NULL, 'b'},
		{"local-net", required_argument, NULL, 'l'},
		{"prefix", required_argument, NULL, 'p'},
		{"port", required_argument, NULL, 'P'},
		{"hold", required_argument, NULL, 'H'},
		{"check", required_argument, NULL, 'c'},
		{"door", required_argument, NULL, 'd'},
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
		case 'c':
			parse_check(o, optarg);
			break;
		case 'd':
			o->door = optarg;
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
		options_die("no argument '%s' is expected", argv[optind]);
	if (o->ring == NULL || o->backend == NULL)
		options_die("--ring and --backend are needed");
	if (o->local_net != NULL && o->prefix != NULL)
		options_die("--local-net and --prefix exclude each other");
}
