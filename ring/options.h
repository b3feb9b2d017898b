/* The command line of sluice-forward. Main thread, at start. */
#ifndef RING_OPTIONS_H
#define RING_OPTIONS_H

#include "ring/edge.h"

#include <stdbool.h>
#include <stdint.h>

#define LOCAL_NET_DEFAULT "127.64.0.0/10"

/* Strings are borrowed from argv. */
struct options {
	const char *ring;
	const char *backend;
	const char *local_net;
	const char *prefix;
	const char *door; /* NULL: none */
	struct edge_rules edge;
	uint64_t hold_ns;
	uint16_t port;
	bool verbose;
};

/* Fills *o, or ends the program: with a sentence on standard error, or after --help and --version. */
void options_parse(struct options *o, int argc, char **argv);

/* A check that some tenant has; EDGE_NONE: none has one. */
enum edge_check options_check(const struct options *o);

/* Says what is wrong and ends the program with status 2. */
__attribute__((format(printf, 1, 2), noreturn)) void options_die(const char *format, ...);

#endif
