/* Frames of our own making on a DPDK port (net_virtio_user towards the gateway's net_vhost, or a NIC). The
 * gateway answers to the MAC that a frame came from, so all devices share ours; the gateway's MAC is asked
 * for once, by ARP.
 */
#include <arpa/inet.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/swarm/transport.h"
#include "dataplane/port.h"

enum { FRAME_MIN = 14 + 20 + 8, ARP_LEN = 42, ARP_TRIES = 50, TX_QUEUE = 256 };

struct dpdk_transport {
	struct transport base;
	struct config config;
	struct port port;
	struct port_queue queue;
	struct local local; /* of a device: address and port are filled in for each frame */
	struct path server;
	uint32_t first, devices;
	unsigned tx_count;
	bool stuck; /* the port has taken nothing for a while: no waiting until it does again */
	struct rte_mbuf *tx[TX_QUEUE];
};

#define STUCK_NS 1000000000ULL

static void dpdk_flush(struct transport *base)
{
	struct dpdk_transport *t = (struct dpdk_transport *)base;
	uint64_t since_ns = 0;
	unsigned sent = 0;

	while (sent < t->tx_count) {
		unsigned n = port_transmit(&t->queue, t->tx + sent, t->tx_count - sent);

		sent += n;
		if (n > 0) {
			t->stuck = false;
			since_ns = 0;
		} else if (since_ns == 0) {
			since_ns = swarm_now_ns();
		}
		/* A gateway that has died takes nothing any more: as if it were lost. */
		if (n == 0 && (t->stuck || swarm_now_ns() - since_ns > STUCK_NS)) {
			t->stuck = true;
			break;
		}
	}
	rte_pktmbuf_free_bulk(t->tx + sent, t->tx_count - sent);
	t->tx_count = 0;
}

static void dpdk_send(struct transport *base, uint32_t device, uint8_t port, const void *bytes, size_t len)
{
	struct dpdk_transport *t = (struct dpdk_transport *)base;
	struct rte_mbuf *m = rte_pktmbuf_alloc(t->queue.pool);
	uint32_t address = htonl(t->first + device);
	uint8_t *start;
	size_t headers;

	if (!m)
		return; /* as if it were lost */
	memcpy(t->local.ipv4, &address, 4);
	t->local.udp_port = htons((uint16_t)(SWARM_PORT_FIRST + port));
	start = (uint8_t *)m->buf_addr + PORT_PAYLOAD_AT;
	memcpy(start, bytes, len);
	headers = frame_write_headers(&t->local, &t->server, start, len, 0, false);
	m->data_off = (uint16_t)(start - headers - (uint8_t *)m->buf_addr);
	m->data_len = (uint16_t)(headers + len);
	m->pkt_len = m->data_len;
	t->tx[t->tx_count++] = m;
	if (t->tx_count == TX_QUEUE)
		dpdk_flush(base);
}

/* IPv4 and UDP for one of the devices; the port vouches for checksums. */
static bool read_frame(const struct dpdk_transport *t, const struct rte_mbuf *m,
		       struct transport_datagram *out)
{
	const uint8_t *f = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t address;
	uint16_t port, udp_len;

	if (m->data_len < FRAME_MIN || f[12] != 8 || f[13] != 0 || f[14] != 0x45 || f[23] != 17)
		return false;
	memcpy(&address, f + 30, 4);
	memcpy(&port, f + 36, 2);
	memcpy(&udp_len, f + 38, 2);
	out->device = ntohl(address) - t->first;
	out->port = (uint8_t)(ntohs(port) - SWARM_PORT_FIRST);
	udp_len = ntohs(udp_len);
	if (out->device >= t->devices || out->port >= SWARM_PORTS || udp_len < 8 ||
	    udp_len > m->data_len - FRAME_MIN + 8 || udp_len - 8 > SWARM_DATAGRAM_MAX)
		return false;
	out->len = (uint16_t)(udp_len - 8);
	memcpy(out->bytes, f + FRAME_MIN, out->len);
	return true;
}

static unsigned dpdk_receive(struct transport *base, struct transport_datagram *out)
{
	struct dpdk_transport *t = (struct dpdk_transport *)base;
	struct rte_mbuf *mbufs[TRANSPORT_BURST];
	unsigned got = port_receive(&t->queue, mbufs, TRANSPORT_BURST), n = 0;

	for (unsigned i = 0; i < got; i++)
		n += read_frame(t, mbufs[i], &out[n]);
	rte_pktmbuf_free_bulk(mbufs, got);
	return n;
}

static void dpdk_close(struct transport *base)
{
	struct dpdk_transport *t = (struct dpdk_transport *)base;

	port_close(&t->port);
	free(t);
}

static void write_arp(const struct dpdk_transport *t, uint8_t *f)
{
	uint32_t mine = htonl(t->first);

	memset(f, 0, ARP_LEN);
	memset(f, 0xff, 6);
	memcpy(f + 6, t->local.mac, 6);
	memcpy(f + 12, (uint8_t[]){8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, 10);
	memcpy(f + 22, t->local.mac, 6);
	memcpy(f + 28, &mine, 4);
	memcpy(f + 38, t->server.peer.ip + 12, 4);
}

/* True when one of the frames answers. */
static bool arp_answered(struct dpdk_transport *t)
{
	struct rte_mbuf *mbufs[TRANSPORT_BURST];
	unsigned got = port_receive(&t->queue, mbufs, TRANSPORT_BURST);
	bool found = false;

	for (unsigned i = 0; i < got; i++) {
		const uint8_t *f = rte_pktmbuf_mtod(mbufs[i], const uint8_t *);

		if (mbufs[i]->data_len >= ARP_LEN && f[12] == 8 && f[13] == 6 && f[21] == 2 &&
		    memcmp(f + 28, t->server.peer.ip + 12, 4) == 0) {
			memcpy(t->server.mac, f + 22, 6);
			found = true;
		}
	}
	rte_pktmbuf_free_bulk(mbufs, got);
	return found;
}

static bool resolve(struct dpdk_transport *t)
{
	for (unsigned i = 0; i < ARP_TRIES; i++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(t->queue.pool);

		uint8_t *frame = m ? (uint8_t *)rte_pktmbuf_append(m, ARP_LEN) : NULL;

		if (!frame)
			return false;
		write_arp(t, frame);
		t->tx[t->tx_count++] = m;
		dpdk_flush(&t->base);
		for (unsigned wait = 0; wait < 100; wait++) {
			if (arp_answered(t))
				return true;
			rte_delay_us_sleep(1000);
		}
	}
	return false;
}

struct transport *transport_dpdk(const struct swarm_options *o, char *error, size_t error_len)
{
	struct dpdk_transport *t = calloc(1, sizeof(*t));
	struct in_addr first;

	if (!t || inet_pton(AF_INET, o->devices_net, &first) != 1 ||
	    inet_pton(AF_INET, o->server, t->server.peer.ip + 12) != 1) {
		snprintf(error, error_len, "--server %s --devices-net %s: IPv4 addresses are needed",
			 o->server, o->devices_net);
		free(t);
		return NULL;
	}
	t->base = (struct transport){dpdk_send, dpdk_flush, dpdk_receive, dpdk_close};
	t->config.workers.count = 1;
	t->config.port.mtu = 1500;
	t->config.port.mbufs = 16383;
	t->config.port.rx_descriptors = t->config.port.tx_descriptors = 1024;
	if (port_open(&t->port, &t->config, &t->local, error, error_len) != 0) {
		free(t);
		return NULL;
	}
	port_queue_init(&t->queue, &t->port, 0);
	t->first = ntohl(first.s_addr);
	t->devices = o->devices;
	t->local.has_ipv4 = true;
	t->server.peer.ip[10] = t->server.peer.ip[11] = 0xff;
	t->server.peer.port = htons(o->server_port);
	if (!resolve(t)) {
		snprintf(error, error_len, "no gateway answers an ARP request for %s on this port",
			 o->server);
		dpdk_close(&t->base);
		return NULL;
	}
	return &t->base;
}
