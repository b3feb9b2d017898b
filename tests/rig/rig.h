/* A worker on a workbench: everything real but the NIC, which is a pair of rte_rings, and the devices, which
 * are computed from their number. Used by the worker's tests and by its benchmark. One thread.
 */
#ifndef TESTS_RIG_RIG_H
#define TESTS_RIG_RIG_H

#include "dataplane/worker.h"

struct rig {
	struct config config;
	struct port port;
	struct local local;
	struct record_choice choice;
	struct worker_link link;
	struct worker *worker;
	struct record_crypto *crypto; /* the devices' */
	struct rte_ring *rx, *tx;     /* frames to and from the gateway */
	struct uplink *uplink;
	int connection; /* of the attached application, -1: none */
	int listen_fd;
	char socket[64];
	uint64_t now_ns; /* when rig_open() was called: tests count on from here */
};

/* Fills config with what a rig needs; to be changed before rig_open(). */
void rig_defaults(struct rig *r);
/* EAL must be up. Exits with a message when something is missing. */
void rig_open(struct rig *r);
void rig_close(struct rig *r);

/* A listening ring socket; the application attaches from a thread of its own, or before rig_accept() in this
 * one. */
void rig_listen(struct rig *r);
/* Accepts the application and gives its ring to the worker as attachment number `attach`. */
void rig_accept(struct rig *r, uint32_t attach, uint64_t up_bytes, uint64_t down_bytes);

/* Device number `device`: its keys (the same both ways) and its address. */
void rig_key(uint32_t device, struct aead_key *key);
void rig_path(uint32_t device, struct path *path);

/* Reserves and installs a session for the device, directly in the table: its slot. */
uint32_t rig_install(struct rig *r, uint32_t device, bool cid);

/* One record as a device sends it. */
struct rig_record {
	uint32_t device;
	const struct path *from; /* NULL: the device's own address */
	const uint8_t *cid;      /* NULL: plain form */
	uint64_t epoch_seq;
	const void *payload;
	uint16_t payload_len;
	uint8_t type;
	uint8_t spoil; /* 1: one bit of the tag is wrong */
};
/* Seals n <= RECORD_BURST_MAX records, each a datagram and a frame of its own, into the gateway's receive
 * ring. */
void rig_send(struct rig *r, const struct rig_record *records, unsigned n);
/* The same bytes as one datagram (from the first one's address). */
void rig_send_together(struct rig *r, const struct rig_record *records, unsigned n);
/* Any bytes as a UDP datagram from the address. With an IPv6 address or a VLAN the worker's local must have
 * one as well, which rig_open() does not see to. */
void rig_send_bytes(struct rig *r, const struct path *from, const void *bytes, size_t len);

/* The next frame that the gateway sent, or NULL; the caller frees it. */
struct rte_mbuf *rig_receive(struct rig *r);
/* Opens the one record inside a frame from the gateway in place. False when it does not authenticate. */
bool rig_open_record(struct rig *r, struct rte_mbuf *frame, uint32_t device, uint8_t cid_len,
		     struct record_op *op);

uint64_t rig_mix(uint64_t x);

#endif
