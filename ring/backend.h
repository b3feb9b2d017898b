/* The one UDP socket of sluice-forward: sends to the backend from any address of the source net, tells for
 * each answer which of them it was sent to. In batches, one thread, no allocation after backend_open().
 */
#ifndef RING_BACKEND_H
#define RING_BACKEND_H

#include "ring/source.h"

#include <netinet/in.h>
#include <sys/socket.h>

enum {
	BACKEND_BATCH = 64,
	BACKEND_PAYLOAD_MAX = 16384, /* what the ring takes */
};

struct backend_address {
	struct sockaddr_storage ip; /* AF_INET or AF_INET6 */
	socklen_t len;
};

/* One answer; points into struct backend, until the next backend_receive(). */
struct backend_answer {
	const uint8_t *to; /* the source address that it was sent to: 4 or 16 bytes */
	const uint8_t *payload;
	uint32_t len; /* of the datagram; above BACKEND_PAYLOAD_MAX it is cut */
};

struct backend_counters {
	uint64_t sent, sent_bytes;
	uint64_t send_failed; /* refused by the kernel: no route, full socket, larger than its MTU allows */
	uint64_t received, received_bytes;
	uint64_t strangers; /* datagrams from anyone but the backend */
};

struct backend;

/* "HOST:PORT" or "[IPv6]:PORT". family: AF_UNSPEC for any. Returns NULL, or what is wrong with it (static).
 */
const char *backend_resolve(struct backend_address *address, int family, const char *host_port);
bool backend_is_loopback(const struct backend_address *address);

/* own_port 0: any. NULL with errno on failure. */
struct backend *backend_open(const struct backend_address *address, const struct source_net *net,
			     uint16_t own_port);
void backend_close(struct backend *b);

int backend_fd(const struct backend *b);
uint16_t backend_own_port(const struct backend *b);
const struct backend_counters *backend_counters(const struct backend *b);

/* Queues one datagram; payload is borrowed until backend_flush(), which happens here when the batch is full.
 */
void backend_send(struct backend *b, const uint8_t *from, const void *payload, uint32_t len);
void backend_flush(struct backend *b);

/* Up to BACKEND_BATCH answers; those of strangers are counted and left out. *more: ask again. */
unsigned backend_receive(struct backend *b, struct backend_answer answers[BACKEND_BATCH], bool *more);

#endif
