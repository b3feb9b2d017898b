/* sluice: the gateway. Start order: configuration, EAL, port, record layer's known answers, control thread,
 * workers; it stops in reverse. The main thread itself only waits for a signal.
 */
#include <errno.h>
#include <getopt.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "config/config.h"
#include "config/notify.h"
#include "controlplane/control.h"
#include "crypto/wolfssl_random.h"
#include "dataplane/eal.h"
#include "dataplane/local.h"
#include "dataplane/steer.h"
#include "dataplane/version.h"
#include "dataplane/worker.h"

enum { ERROR_LEN = 1024, MAILBOX_BYTES = 1 << 20 };

struct gateway {
	const struct config *config;
	struct port port;
	struct local local;
	struct record_choice crypto;
	uint8_t cid_key[16];
	struct worker_link *links;
	struct steer *steer;
	struct worker *workers[WORKERS_MAX];
	struct control *control;
	char error[ERROR_LEN];
};

static void usage(FILE *out)
{
	fputs("Usage: sluice --config FILE [--check-config | --memory-plan]\n"
	      "\n"
	      "A DTLS 1.2 gateway: devices speak CoAP over DTLS to it, an application gets their cleartext "
	      "and\n"
	      "their proven identity from a shared-memory ring, and answers through it.\n"
	      "\n"
	      "  -c, --config FILE     the configuration (YAML, see sluice.yaml(5))\n"
	      "      --check-config    check the configuration and the files it names, start nothing\n"
	      "      --print-config    print every option with its default, bounds and meaning\n"
	      "      --memory-plan     print what the session tables will take, start nothing\n"
	      "  -V, --version         print the version\n"
	      "  -h, --help            print this\n"
	      "\n"
	      "Signals: SIGTERM and SIGINT end every session with close_notify and stop; SIGHUP reads "
	      "certificates,\n"
	      "keys, trust anchors and pre-shared keys anew.\n"
	      "Exit status: 0 after a clean stop, 1 when something failed, 2 for wrong arguments.\n",
	      out);
}

static void print_memory_plan(const struct config *c)
{
	struct session_limits limits = {
		.max = c->sessions.max,
		.reserved_max = c->handshakes.max,
		.big_max = c->sessions.max,
		.idle_timeout_s = c->sessions.idle_timeout_s,
	};
	struct session_memory m;

	session_memory_plan(&limits, &m);
	printf("sessions of one worker: %u, and %u handshakes in flight\n"
	       "  receive lines     %14zu bytes\n"
	       "  send lines        %14zu bytes\n"
	       "  large keys        %14zu bytes (CBC and AES-256 sessions; resident only when used)\n"
	       "  address index     %14zu bytes\n"
	       "  other             %14zu bytes\n"
	       "  total             %14zu bytes, %.1f per session without large keys\n"
	       "workers: %u, together %zu bytes\n",
	       c->sessions.max, c->handshakes.max, m.rx, m.tx, m.big, m.index, m.other, m.total,
	       m.per_session, c->workers.count, m.total * c->workers.count);
}

static int make_links(struct gateway *g)
{
	unsigned n = g->config->workers.count;
	int err = 0;

	g->links = calloc(n, sizeof(*g->links));
	if (!g->links)
		return -ENOMEM;
	for (unsigned i = 0; i < n && !err; i++) {
		struct worker_link *l = &g->links[i];

		l->counters = aligned_alloc(64, RTE_ALIGN(sizeof(*l->counters), 64));
		if (!l->counters)
			return -ENOMEM;
		memset(l->counters, 0, sizeof(*l->counters));
		err = mailbox_init(&l->to_control, MAILBOX_BYTES);
		if (!err)
			err = mailbox_init(&l->to_worker, MAILBOX_BYTES);
	}
	return err;
}

static void free_links(struct gateway *g)
{
	for (unsigned i = 0; g->links && i < g->config->workers.count; i++) {
		mailbox_fini(&g->links[i].to_control);
		mailbox_fini(&g->links[i].to_worker);
		free(g->links[i].counters);
	}
	free(g->links);
}

static int make_workers(struct gateway *g)
{
	for (uint16_t i = 0; i < g->config->workers.count; i++) {
		struct worker_setup setup = {
			.config = g->config,
			.index = i,
			.link = &g->links[i],
			.crypto = &g->crypto,
			.cid_key = g->cid_key,
			.steer = g->steer,
			.port = &g->port,
			.local = g->local,
		};

		g->workers[i] = worker_new(&setup, g->error, sizeof(g->error));
		if (!g->workers[i])
			return -ENOMEM;
	}
	return 0;
}

/* Asked by the control thread: DPDK keeps the state of a link where every thread may read it. */
static bool port_is_up(void *port)
{
	const struct port *p = port;
	struct rte_eth_link link = {0};

	return rte_eth_link_get_nowait(p->id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

/* Everything up to, but without, running threads. */
static int gateway_prepare(struct gateway *g)
{
	const struct config *c = g->config;
	char why[ERROR_LEN / 2];
	uint32_t seed;
	int err;

	if (random_block(g->cid_key, sizeof(g->cid_key)) != 0 ||
	    random_block((unsigned char *)&seed, sizeof(seed)) != 0) {
		snprintf(g->error, sizeof(g->error), "the kernel gives no random bytes");
		return -EIO;
	}
	err = local_from_config(&g->local, c, g->error, sizeof(g->error));
	if (!err)
		err = port_open(&g->port, c, &g->local, g->error, sizeof(g->error));
	if (err)
		return err;
	local_set_mac(&g->local);
	err = record_choice_make(&g->crypto, c->crypto_engine, why, sizeof(why));
	if (err) {
		snprintf(g->error, sizeof(g->error), "record layer: %s", why);
		return err;
	}
	fprintf(stderr, "sluice: record layer: %s\n", why);
	if (c->workers.count > 1)
		g->steer = steer_new(c->workers.count, !g->port.rss, seed);
	err = make_links(g);
	if (err || (c->workers.count > 1 && !g->steer)) {
		snprintf(g->error, sizeof(g->error), "no memory for the queues between %u workers",
			 c->workers.count);
		return -ENOMEM;
	}
	err = make_workers(g);
	if (err)
		return err;
	g->control = control_new(c, g->links, c->workers.count, g->error, sizeof(g->error));
	if (!g->control)
		return -EINVAL;
	control_watch_port(g->control, port_is_up, &g->port);
	return 0;
}

static int gateway_start(struct gateway *g)
{
	unsigned lcore, i = 0;
	int err = control_start(g->control);

	if (err) {
		snprintf(g->error, sizeof(g->error), "the control thread does not start: %s", strerror(-err));
		return err;
	}
	RTE_LCORE_FOREACH_WORKER(lcore)
	{
		if (i == g->config->workers.count)
			break;
		err = rte_eal_remote_launch(worker_run, g->workers[i++], lcore);
		if (err) {
			snprintf(g->error, sizeof(g->error), "worker %u does not start on lcore %u: %s",
				 i - 1, lcore, strerror(-err));
			return err;
		}
	}
	return 0;
}

/* Also after half a start. Nothing runs any more then, and all can be freed. */
static void gateway_stop(struct gateway *g)
{
	if (g->control)
		control_stop(g->control);
	rte_eal_mp_wait_lcore();
}

static void gateway_free(struct gateway *g)
{
	control_free(g->control);
	for (unsigned i = 0; i < RTE_DIM(g->workers); i++)
		worker_free(g->workers[i]);
	free_links(g);
	steer_free(g->steer);
	port_close(&g->port);
	secret_wipe(g->cid_key, sizeof(g->cid_key));
}

/* Returns the signal that ends it. */
static int wait_for_end(const struct gateway *g, const sigset_t *signals)
{
	int signal = 0;

	while (sigwait(signals, &signal) == 0 && signal == SIGHUP) {
		fprintf(stderr,
			"sluice: SIGHUP: looking at certificates, keys, trust anchors and pre-shared keys\n");
		control_reload(g->control);
	}
	return signal;
}

static void gateway_serve(const struct gateway *g, const sigset_t *signals)
{
	const struct config *c = g->config;
	char v4[64], v6[64];
	int signal;

	fprintf(stderr, "sluice: ready: %s, %u worker%s, UDP port %u on %s%s%s, ring %s\n", g->port.driver,
		c->workers.count, c->workers.count == 1 ? "" : "s", c->port.udp_port,
		local_text4(&g->local, v4, sizeof(v4)), g->local.has_ipv4 && g->local.has_ipv6 ? " and " : "",
		local_text6(&g->local, v6, sizeof(v6)), c->ring.socket);
	if (notify("READY=1") < 0)
		fprintf(stderr, "sluice: the service manager cannot be told that it is ready\n");
	signal = wait_for_end(g, signals);
	notify("STOPPING=1");
	fprintf(stderr, "sluice: %s: closing every session\n", strsignal(signal));
}

static int gateway_run(const struct config *config, const sigset_t *signals)
{
	struct gateway g = {.config = config};
	int err = eal_start(config, "sluice", g.error, sizeof(g.error));

	if (err)
		goto out;
	err = gateway_prepare(&g);
	if (!err)
		err = gateway_start(&g);
	if (!err)
		gateway_serve(&g, signals);
	gateway_stop(&g);
	gateway_free(&g);
	eal_stop();
out:
	if (err)
		fprintf(stderr, "sluice: %s\n", g.error);
	return err ? 1 : 0;
}

/* What a start would find out before it touches ports and sockets. Returns the exit status. */
static int check(const struct config *config, const char *path)
{
	char error[ERROR_LEN], why[ERROR_LEN / 2];
	struct record_choice crypto;
	struct local local;
	int err = local_from_config(&local, config, error, sizeof(error));

	if (!err) {
		err = record_choice_make(&crypto, config->crypto_engine, why, sizeof(why));
		if (err)
			snprintf(error, sizeof(error), "crypto_engine: %s", why);
	}
	if (!err)
		err = control_check(config, error, sizeof(error));
	if (err)
		fprintf(stderr, "sluice: %s: %s\n", path, error);
	else
		printf("%s: good\n", path);
	return err ? 1 : 0;
}

struct options {
	const char *config;
	bool check, plan;
};

/* -1: go on; otherwise the exit status. */
static int read_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'},
		{"check-config", no_argument, NULL, 'k'},
		{"memory-plan", no_argument, NULL, 'm'},
		{"print-config", no_argument, NULL, 'p'},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "c:Vh", longs, NULL)) != -1) {
		switch (option) {
		case 'c':
			o->config = optarg;
			break;
		case 'k':
			o->check = true;
			break;
		case 'm':
			o->plan = true;
			break;
		case 'p':
			config_print_schema(stdout);
			return 0;
		case 'V':
			puts("sluice " SLUICE_VERSION_TEXT);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (o->config && optind == argc)
		return -1;
	if (optind < argc)
		fprintf(stderr, "sluice: \"%s\" is not expected; --config names the configuration.\n",
			argv[optind]);
	else
		fprintf(stderr, "sluice: --config is missing.\n");
	usage(stderr);
	return 2;
}

int main(int argc, char **argv)
{
	struct options options = {0};
	struct rlimit no_core = {0};
	struct config *config;
	char error[ERROR_LEN];
	sigset_t signals;
	int status = read_options(argc, argv, &options);

	if (status >= 0)
		return status;
	config = config_load(options.config, error, sizeof(error));
	if (!config) {
		fprintf(stderr, "sluice: %s\n", error);
		return 1;
	}
	if (options.check) {
		setrlimit(RLIMIT_CORE, &no_core);
		status = check(config, options.config);
		config_free(config);
		return status;
	}
	if (options.plan) {
		print_memory_plan(config);
		config_free(config);
		return 0;
	}
	setrlimit(RLIMIT_CORE, &no_core); /* it would hold every key */
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL); /* all threads inherit it: sigwait() gets them */
	signal(SIGPIPE, SIG_IGN);
	status = gateway_run(config, &signals);
	config_free(config);
	return status;
}
