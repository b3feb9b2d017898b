/* The Ethernet port: queues, RSS, offloads, mbuf pools. Set up by the main thread before the workers start;
 * each queue is then used by one worker.
 */
#ifndef DATAPLANE_PORT_H
#define DATAPLANE_PORT_H

#include <rte_ethdev.h>
#include <rte_mempool.h>
#include <rte_spinlock.h>

#include "config/config.h"
#include "dataplane/parse.h"

enum {
	PORT_HEADROOM = RTE_PKTMBUF_HEADROOM,
	/* Where a payload to be sealed starts in an mbuf: behind Ethernet, VLAN, IPv6, UDP, record header,
	   CID, nonce. */
	PORT_PAYLOAD_AT = 192,
};

struct port {
	uint16_t id;
	bool found; /* there is something to close */
	uint16_t workers;
	uint16_t rx_queues, tx_queues; /* at most one of each per worker */
	bool rss; /* the port spreads by the UDP 4-tuple over all workers: a frame is where its session is */
	bool virtual; /* no wire: a bare pseudo-header sum is the sender's word (facts of af_packet, vhost) */
	bool tx_checksum; /* the port completes UDP checksums; IPv4's are ours */
	char driver[32];
	struct rte_mempool *pools[64]; /* one per worker */
	rte_spinlock_t tx_shared;      /* only where there are fewer transmit queues than workers */
};

/* What one worker uses of the port. */
struct port_queue {
	struct port *port;
	struct rte_mempool *pool;
	uint16_t id;       /* of the port */
	uint16_t rx, tx;   /* queue numbers */
	bool has_rx;       /* fewer receive queues than workers: some have none */
	bool tx_is_shared; /* take tx_shared */
	bool tx_checksum;
};

/* Configures and starts the one port that the EAL found. 0; on failure -errno and a sentence in error that
 * says what to do. Fills local->mac. */
int port_open(struct port *port, const struct config *config, struct local *local, char *error,
	      size_t error_len);
void port_close(struct port *port);
void port_queue_init(struct port_queue *q, struct port *port, uint16_t worker);

/* Worker. Up to n frames. */
unsigned port_receive(struct port_queue *q, struct rte_mbuf **mbufs, unsigned n);
/* Worker. Takes the first of the returned count; the others remain the caller's. */
unsigned port_transmit(struct port_queue *q, struct rte_mbuf **mbufs, unsigned n);
/* What the port says of a received frame's checksums. */
static inline enum checksum_state port_checksum(const struct port_queue *q, const struct rte_mbuf *mbuf)
{
	uint64_t ip = mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
	uint64_t l4 = mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;

	if (ip == RTE_MBUF_F_RX_IP_CKSUM_BAD || l4 == RTE_MBUF_F_RX_L4_CKSUM_BAD)
		return q->port->virtual ? CHECKSUM_VERIFY_OR_PSEUDO : CHECKSUM_BAD;
	if (likely(l4 == RTE_MBUF_F_RX_L4_CKSUM_GOOD || l4 == RTE_MBUF_F_RX_L4_CKSUM_NONE))
		return CHECKSUM_GOOD;
	return q->port->virtual ? CHECKSUM_VERIFY_OR_PSEUDO : CHECKSUM_VERIFY;
}

#endif
