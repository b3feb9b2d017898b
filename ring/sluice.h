/* Sluice: what an application needs to take cleartext and identities from the gateway, and to answer.
 *
 * The gateway shares, for each of its workers, one sealed memfd with two rings (spsc.h): uplink (gateway ->
 * application) and downlink (application -> gateway). They are handed over a Unix socket whose permissions
 * decide who may attach. One application at a time is attached; when it goes and comes back it gets a
 * SESSION_UP for every live session first.
 *
 * libsluice (the functions below) hides rings, wrap-around and wake-ups. One thread per struct sluice.
 * Integers in shared memory are in host byte order; addresses and ports are in network byte order.
 */
#ifndef SLUICE_H
#define SLUICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_VERSION 1 /* of the layout and of the messages; a gateway refuses another one */

/* Names a session; a stale generation finds nothing. */
struct sluice_ref {
	uint32_t index;
	uint32_t generation;
	uint16_t worker;
	uint16_t reserved; /* 0 */
};

/* IPv4 as ::ffff:a.b.c.d */
struct sluice_address {
	uint8_t ip[16];
	uint16_t port; /* network byte order */
	uint16_t reserved;
};

enum sluice_type {
	/* uplink */
	SLUICE_SESSION_UP = 1,
	SLUICE_DATA = 2, /* both ways */
	SLUICE_SESSION_DOWN = 3,
	SLUICE_SEND_FAILED = 4,
	SLUICE_PEER_MOVED = 5, /* CID session: its peer has a new address */
	/* downlink */
	SLUICE_CLOSE = 6,
};

enum sluice_credential {
	SLUICE_CREDENTIAL_NONE, /* certificate suite without a client certificate */
	SLUICE_CREDENTIAL_PSK,
	SLUICE_CREDENTIAL_X509,
	SLUICE_CREDENTIAL_RPK,
};

enum sluice_identity_kind {
	SLUICE_IDENTITY_NONE,       /* nothing proven about the peer */
	SLUICE_IDENTITY_CREDENTIAL, /* no registree record: the credential's own name stands for the identity
				     */
	SLUICE_IDENTITY_CSE_ID,
	SLUICE_IDENTITY_AE_ID, /* one, or several SLUICE_FIELD_IDENTITY: any of these */
	SLUICE_IDENTITY_LWM2M_ENDPOINT,
};

/* Fields that follow struct sluice_session_up: { uint16 type, uint16 length, bytes }, each padded to 4 bytes.
 */
enum sluice_field_type {
	SLUICE_FIELD_IDENTITY = 1, /* UTF-8, not terminated; may repeat */
	SLUICE_FIELD_CREDENTIAL_ID =
		2, /* PSK identity; certificate name; RFC 6920 identifier of a raw public key */
	SLUICE_FIELD_TENANT = 3,
	SLUICE_FIELD_SNI = 4,
	SLUICE_FIELD_EXPORTER_LABEL = 5, /* followed by its SLUICE_FIELD_EXPORTER_VALUE */
	SLUICE_FIELD_EXPORTER_VALUE = 6, /* 48 bytes; of oneM2M's labels (TS-0003 10.3.1) the key's
					    identifier, 16, then the key, 32 */
};

enum sluice_reason {
	SLUICE_REASON_NONE,
	/* SESSION_DOWN */
	SLUICE_REASON_CLOSE_NOTIFY,    /* the peer said close_notify */
	SLUICE_REASON_ALERT,           /* the peer sent a fatal alert */
	SLUICE_REASON_IDLE,            /* no record within the idle time-out */
	SLUICE_REASON_EVICTED,         /* least recently used, table full */
	SLUICE_REASON_REPLACED,        /* a new handshake from the same address proved itself */
	SLUICE_REASON_CLOSED,          /* by the application's CLOSE */
	SLUICE_REASON_ADMIN,           /* by the operator */
	SLUICE_REASON_CREDENTIAL_GONE, /* removed or replaced in the store */
	SLUICE_REASON_AUTH_FAILURES,   /* limit of failed tags: RFC 9147 4.5.3 */
	SLUICE_REASON_SEQUENCE_END,    /* sequence numbers used up: RFC 6347 4.1 */
	SLUICE_REASON_SHUTDOWN,
	/* SEND_FAILED */
	SLUICE_REASON_NO_SESSION,
	SLUICE_REASON_TOO_LARGE,  /* above the MTU; arg tells the largest payload */
	SLUICE_REASON_NO_ROUTE,   /* no layer-2 address learnt yet */
	SLUICE_REASON_UNVERIFIED, /* peer moved and has not answered: 3x its bytes are spent (RFC 9146 6) */
	SLUICE_REASON_PORT_FULL,  /* the port took no more packets */
	/* SESSION_DOWN again: the numbers above stay what they are, and 17 is not used */
	SLUICE_REASON_REVOKED = 18, /* its certificate, or one above it, was revoked or is no anchor now */
	SLUICE_REASONS
};

struct sluice_session_up {
	struct sluice_ref ref;
	uint16_t suite;     /* IANA number */
	uint8_t credential; /* enum sluice_credential */
	uint8_t identity;   /* enum sluice_identity_kind */
	struct sluice_address peer;
	uint8_t has_cid;     /* 1: survives a change of the peer's address (RFC 9146) */
	uint8_t again;       /* 1: announced again to an application that attached later */
	uint16_t fields_len; /* bytes of fields behind this struct */
};

struct sluice_data {
	struct sluice_ref ref;
	uint16_t epoch;
	uint16_t payload_len;       /* bytes of payload behind this struct */
	uint64_t seq;               /* downlink: a cookie of the application's, repeated in SEND_FAILED */
	uint64_t received_ns;       /* CLOCK_MONOTONIC; downlink: 0 */
	struct sluice_address peer; /* downlink: ignored */
	uint32_t reserved;
};

struct sluice_session_down {
	struct sluice_ref ref;
	uint16_t reason; /* enum sluice_reason */
	uint16_t reserved;
};

struct sluice_send_failed {
	struct sluice_ref ref;
	uint16_t reason;
	uint16_t arg;
	uint64_t cookie;
};

struct sluice_peer_moved {
	struct sluice_ref ref;
	struct sluice_address peer;
};

struct sluice_close {
	struct sluice_ref ref;
};

/* Exporter values are secrets. They come with the first SESSION_UP of a session, and again only to an
 * application that attaches within a minute; the gateway keeps no copy for longer. libsluice wipes them when
 * the message is given back: copy what you need, and wipe your copy. A core dump of the application does not
 * hold the ring.
 *
 * One received message: points into the ring, valid until the next sluice_receive(), sluice_sleep(),
 * sluice_wait() or sluice_detach(). The lengths have been checked against the ring; fields are walked with
 * sluice_field_next(). */
struct sluice_message {
	enum sluice_type type;
	union {
		const struct sluice_session_up *up;
		const struct sluice_data *data; /* payload at data + 1 */
		const struct sluice_session_down *down;
		const struct sluice_send_failed *failed;
		const struct sluice_peer_moved *moved;
	};
};

struct sluice_field {
	uint16_t type;
	uint16_t len;
	const void *bytes;
};

struct sluice;

/* Attaches to the gateway's ring socket; waits a few seconds at most for its answer. NULL on failure with
 * errno set (ENOENT and ECONNREFUSED: no gateway; EACCES; ETIMEDOUT; EBUSY when another application is
 * attached, EPROTO when the versions differ). */
struct sluice *sluice_attach(const char *socket_path);

/* Gives everything back; the gateway keeps its sessions. What was sent last is lost unless a worker has taken
 * it from the ring by then. NULL is fine. */
void sluice_detach(struct sluice *s);

/* Readable when there may be something to receive or the gateway is gone: for poll() or epoll() in the
 * application's own loop. Call sluice_sleep() before blocking on it. The same until sluice_detach(), which
 * closes it; do nothing else with it. */
int sluice_fd(const struct sluice *s);

/* Tells the gateway that the application is about to block. False when messages came meanwhile: receive
 * again. The next sluice_receive() ends the sleep. */
bool sluice_sleep(struct sluice *s);

/* sluice_sleep() + poll() for timeout_ms (-1: for ever). 1: receive; 0: time-out; -1 with errno EPIPE: the
 * gateway is gone, and everything has been received; EINTR: a signal came, wait again. */
int sluice_wait(struct sluice *s, int timeout_ms);

/* Takes up to max messages and gives back those of the call before. Returns how many, 0 when there are none;
 * -1 with errno EPROTO when the ring's content makes no sense, EPIPE when the gateway is gone and nothing is
 * left (noticed after a sleep only: a program that polls calls sluice_wait() with 0 now and then). */
int sluice_receive(struct sluice *s, struct sluice_message *messages, unsigned max);

/* Walks the fields of a SESSION_UP: `at` starts as {0}; false at the end. What it points to is part of the
 * message, and valid as long. */
bool sluice_field_next(const struct sluice_session_up *up, struct sluice_field *at);

/* Queues one payload for a session (copied). 0, or -1 with errno EAGAIN when the ring is full, EMSGSIZE above
 * 16384 bytes, EINVAL when ref names no worker. A session that is gone is no error here: SEND_FAILED comes,
 * with `cookie`. Queued messages become visible with sluice_flush(). Nothing tells when a full ring has room
 * again: flush, receive what has come, and try later, or drop the payload as a network would. */
int sluice_send(struct sluice *s, struct sluice_ref ref, const void *payload, size_t payload_len,
		uint64_t cookie);

/* Queues the end of a session, behind the payloads that were queued for it before: its peer gets a
 * close_notify, the application a SESSION_DOWN. A session that is gone is left alone. Returns as
 * sluice_send().
 */
int sluice_close_session(struct sluice *s, struct sluice_ref ref);

/* Publishes what was queued and wakes a sleeping worker. */
void sluice_flush(struct sluice *s);

/* How many workers the gateway has; sluice_ref.worker is below. */
unsigned sluice_workers(const struct sluice *s);

/* In words; never NULL. Any thread. */
const char *sluice_reason_text(enum sluice_reason reason);

#ifdef __cplusplus
}
#endif

#endif
