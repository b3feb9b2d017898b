/* How the swarm's datagrams leave and come. Devices are addresses: number i has the i-th address from
 * --devices-net on, and one of SWARM_PORTS source ports.
 */
#ifndef BENCH_SWARM_TRANSPORT_H
#define BENCH_SWARM_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/swarm/swarm.h"

enum { TRANSPORT_BURST = 32 };

struct transport_datagram {
	uint32_t device;
	uint8_t port; /* 0..SWARM_PORTS - 1 */
	uint16_t len;
	uint8_t bytes[SWARM_DATAGRAM_MAX];
};

struct transport {
	/* Queues one datagram (copied); it leaves at once or with flush(). */
	void (*send)(struct transport *t, uint32_t device, uint8_t port, const void *bytes, size_t len);
	void (*flush)(struct transport *t);
	/* Up to TRANSPORT_BURST datagrams; does not wait. */
	unsigned (*receive)(struct transport *t, struct transport_datagram *out);
	void (*close)(struct transport *t);
};

/* NULL with a sentence in error. */
struct transport *transport_socket(const struct swarm_options *o, char *error, size_t error_len);
/* The EAL is up with exactly one port. */
struct transport *transport_dpdk(const struct swarm_options *o, char *error, size_t error_len);

#endif
