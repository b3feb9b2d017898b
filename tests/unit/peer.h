/* DTLS clients of other makes, in memory, for tests of the handshake: they take and give datagrams. */
#ifndef TESTS_UNIT_PEER_H
#define TESTS_UNIT_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer_options {
	const char *ciphers; /* as wolfSSL names them */
	const char *psk_identity;
	const uint8_t *psk;
	size_t psk_len;
	const char *ca, *certificate, *key; /* PEM files; NULL: none */
	const char *signature_algorithms;   /* OpenSSL */
	const char *groups;                 /* OpenSSL */
	/* wolfSSL, RFC 7250: a public key to show instead of a certificate, in DER, and its PEM file */
	const uint8_t *raw_info;
	size_t raw_info_len;
	const char *raw_key;
	/* wolfSSL: what it takes from the server, preferred first: 'x' and 'r'; NULL: does not say */
	const char *server_types;
	const char *server_name;
	const uint8_t *cid; /* wolfSSL: of what the server sends; cid_len may be 0 */
	size_t cid_len;
	bool use_cid;
	bool without_ems, without_etm;
	bool dtls_1_0; /* OpenSSL */
	unsigned mtu;  /* of a datagram; 0: 1400 */
};

enum peer_state { PEER_FAILED = -1, PEER_GOES_ON, PEER_CONNECTED };

enum { PEER_DATAGRAM_MAX = 20000 };

struct peer;

struct peer_kind {
	const char *name;
	struct peer *(*new)(const struct peer_options *options);
	void (*free)(struct peer *p);
	/* Goes on with the handshake, or reads: one datagram (NULL: none, only begin or go on). */
	enum peer_state (*run)(struct peer *p, const uint8_t *datagram, size_t len);
	/* Its retransmission timer fires. */
	void (*timeout)(struct peer *p);
	/* Application data. read: 0 when there is none. */
	bool (*write)(struct peer *p, const void *data, size_t len);
	size_t (*read)(struct peer *p, void *room, size_t len);
	/* The next datagram that it wants to send; 0 when there is none. */
	size_t (*take)(struct peer *p, uint8_t *out);
	void (*close)(struct peer *p); /* close_notify */
	/* RFC 5705, without a context; NULL: it cannot. */
	bool (*export)(struct peer *p, const char *label, uint8_t *out, size_t len);
};

extern const struct peer_kind peer_wolfssl, peer_openssl;

/* For the implementations: datagrams in order. */
struct peer_queue {
	struct peer_datagram {
		struct peer_datagram *next;
		size_t len;
		uint8_t bytes[];
	} * first, **last;
};
void peer_queue_add(struct peer_queue *q, const void *bytes, size_t len);
size_t peer_queue_take(struct peer_queue *q, void *out, size_t room);
void peer_queue_clear(struct peer_queue *q);

#endif
