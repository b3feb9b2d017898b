#include "dataplane/port.h"

#include <errno.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/pool.h"

/* Virtual ports hand us frames that never saw a wire: their sender may have left the UDP checksum to a NIC
 * that is not there. */
static bool driver_is_virtual(const char *driver)
{
	static const char *const names[] = {"net_tap",    "net_af_packet",   "net_af_xdp", "net_vhost",
					    "net_virtio", "net_virtio_user", "net_memif",  "net_ring",
					    "net_pcap",   "net_null"};

	for (unsigned i = 0; i < RTE_DIM(names); i++)
		if (strcmp(driver, names[i]) == 0)
			return true;
	return false;
}

/* Of these, the ones that touch a buffer in this process alone and by its virtual address, and so do not care
 * where it lies: most copy, net_ring passes the pointer on. */
static bool driver_stays_here(const char *driver)
{
	static const char *const names[] = {"net_tap",  "net_af_packet", "net_vhost",
					    "net_ring", "net_pcap",      "net_null"};

	for (unsigned i = 0; i < RTE_DIM(names); i++)
		if (strcmp(driver, names[i]) == 0)
			return true;
	return false;
}

static int find_port(uint16_t *id, char *error, size_t error_len)
{
	unsigned count = rte_eth_dev_count_avail();

	if (count == 1) {
		*id = (uint16_t)rte_eth_find_next_owned_by(0, RTE_ETH_DEV_NO_OWNER);
		return 0;
	}
	if (count == 0)
		snprintf(error, error_len,
			 "DPDK found no Ethernet port: port.eal must name one, for instance \"--vdev\", "
			 "\"net_tap0,iface=sluice0\" or the PCI address of a NIC with \"-a\", "
			 "\"0000:01:00.0\" (a "
			 "net_virtio_user port needs its vhost server to be there first)");
	else
		snprintf(error, error_len,
			 "DPDK found %u Ethernet ports and one is served: name it in port.eal, with "
			 "\"--no-pci\" "
			 "beside a \"--vdev\", or \"-a\" and one PCI address",
			 count);
	return -ENODEV;
}

static int make_pools(struct port *port, const struct config *c, char *error, size_t error_len)
{
	uint32_t room = RTE_MAX(PORT_PAYLOAD_AT + c->port.mtu + 128U, 2048U + PORT_HEADROOM);

	for (unsigned i = 0; i < c->workers.count; i++) {
		char name[RTE_MEMPOOL_NAMESIZE];

		snprintf(name, sizeof(name), "mbufs_%u", i);
		port->pools[i] = pool_new(name, c->port.mbufs, (uint16_t)RTE_ALIGN(room, 64),
					  driver_stays_here(port->driver));
		if (!port->pools[i]) {
			snprintf(error, error_len,
				 "no memory for %u packet buffers of %u bytes for worker %u (%s): lower "
				 "port.mbufs, "
				 "or give the EAL more with \"-m\" in port.eal",
				 c->port.mbufs, room, i, rte_strerror(rte_errno));
			return -ENOMEM;
		}
	}
	return 0;
}

static void choose_offloads(struct port *port, const struct rte_eth_dev_info *info, struct rte_eth_conf *conf)
{
	uint64_t rss = RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_UDP;
	uint64_t checksums = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;

	conf->rxmode.offloads = info->rx_offload_capa & checksums;
	port->tx_checksum = !port->virtual && (info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_UDP_CKSUM);
	if (port->tx_checksum)
		conf->txmode.offloads = RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
	rss &= info->flow_type_rss_offloads;
	if (port->rx_queues > 1 && !port->virtual && (rss & RTE_ETH_RSS_NONFRAG_IPV4_UDP)) {
		port->rss = port->rx_queues == port->workers; /* or some would never get a frame */
		conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf->rx_adv_conf.rss_conf.rss_hf = rss;
	}
}

static int start_queues(struct port *port, const struct config *c, const struct rte_eth_dev_info *info)
{
	uint16_t rx = (uint16_t)c->port.rx_descriptors, tx = (uint16_t)c->port.tx_descriptors;
	int socket = rte_eth_dev_socket_id(port->id);
	int err = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &rx, &tx);

	for (uint16_t q = 0; q < port->rx_queues && !err; q++)
		err = rte_eth_rx_queue_setup(port->id, q, rx, (unsigned)socket, NULL, port->pools[q]);
	for (uint16_t q = 0; q < port->tx_queues && !err; q++) {
		struct rte_eth_txconf conf = info->default_txconf;

		conf.offloads = port->tx_checksum ? RTE_ETH_TX_OFFLOAD_UDP_CKSUM : 0;
		err = rte_eth_tx_queue_setup(port->id, q, tx, (unsigned)socket, &conf);
	}
	return err ? err : rte_eth_dev_start(port->id);
}

/* net_tap's port has the address of the kernel's interface at its other end. We are another host than that
 * kernel, so we need another one; a TAP filters nothing. */
static void take_own_mac(const struct port *port, uint8_t mac[6])
{
	if (strcmp(port->driver, "net_tap") != 0)
		return;
	mac[0] = (uint8_t)((mac[0] | 2) & ~1);
	mac[5] ^= 1;
}

/* net_tap tells of 16 queues, but at its start it puts the descriptors of all of them, both ways, into one
 * message to other processes, which has room for RTE_MP_MAX_FD_NUM: it writes the rest over its stack. */
static uint16_t queues_max(const struct port *port, uint16_t told)
{
	return strcmp(port->driver, "net_tap") == 0 ? RTE_MIN(told, (uint16_t)(RTE_MP_MAX_FD_NUM / 2)) : told;
}

int port_open(struct port *port, const struct config *config, struct local *local, char *error,
	      size_t error_len)
{
	struct rte_eth_conf conf = {0};
	struct rte_eth_dev_info info;
	struct rte_ether_addr mac;
	int err;

	memset(port, 0, sizeof(*port));
	rte_spinlock_init(&port->tx_shared);
	err = find_port(&port->id, error, error_len);
	if (err)
		return err;
	port->found = true;
	err = rte_eth_dev_info_get(port->id, &info);
	if (err)
		goto err_port;
	snprintf(port->driver, sizeof(port->driver), "%s", info.driver_name);
	port->virtual = driver_is_virtual(port->driver);
	port->workers = (uint16_t)config->workers.count;
	port->rx_queues = (uint16_t)RTE_MIN(port->workers, queues_max(port, info.max_rx_queues));
	port->tx_queues = (uint16_t)RTE_MIN(port->workers, queues_max(port, info.max_tx_queues));
	choose_offloads(port, &info, &conf);
	err = make_pools(port, config, error, error_len);
	if (err)
		return err;
	err = rte_eth_dev_configure(port->id, port->rx_queues, port->tx_queues, &conf);
	if (err)
		goto err_port;
	(void)rte_eth_dev_set_mtu(port->id,
				  (uint16_t)config->port.mtu); /* not every virtual port can: as it is */
	err = start_queues(port, config, &info);
	if (err)
		goto err_port;
	(void)rte_eth_allmulticast_enable(port->id); /* neighbour solicitations */
	err = rte_eth_macaddr_get(port->id, &mac);
	if (err)
		goto err_port;
	memcpy(local->mac, mac.addr_bytes, sizeof(local->mac));
	take_own_mac(port, local->mac);
	return 0;

err_port:
	snprintf(error, error_len, "port %u (%s) cannot be started with %u queues: %s", port->id,
		 port->driver, port->rx_queues, rte_strerror(-err));
	return err;
}

void port_close(struct port *port)
{
	if (port->found) {
		(void)rte_eth_dev_stop(port->id);
		(void)rte_eth_dev_close(port->id);
	}
	for (unsigned i = 0; i < RTE_DIM(port->pools); i++)
		rte_mempool_free(port->pools[i]);
}

void port_queue_init(struct port_queue *q, struct port *port, uint16_t worker)
{
	*q = (struct port_queue){
		.port = port,
		.pool = port->pools[worker],
		.id = port->id,
		.rx = worker,
		.tx = (uint16_t)(worker % port->tx_queues),
		.has_rx = worker < port->rx_queues,
		.tx_is_shared = port->tx_queues < port->workers,
		.tx_checksum = port->tx_checksum,
	};
}

unsigned port_receive(struct port_queue *q, struct rte_mbuf **mbufs, unsigned n)
{
	return q->has_rx ? rte_eth_rx_burst(q->id, q->rx, mbufs, (uint16_t)n) : 0;
}

unsigned port_transmit(struct port_queue *q, struct rte_mbuf **mbufs, unsigned n)
{
	unsigned sent;

	if (likely(!q->tx_is_shared))
		return rte_eth_tx_burst(q->id, q->tx, mbufs, (uint16_t)n);
	rte_spinlock_lock(&q->port->tx_shared);
	sent = rte_eth_tx_burst(q->id, q->tx, mbufs, (uint16_t)n);
	rte_spinlock_unlock(&q->port->tx_shared);
	return sent;
}
