/* The stateless answer to a ClientHello before any memory is spent: RFC 6347 4.2.1 (pure).
 *
 * cookie = HMAC-SHA256(secret, peer (18 bytes) || version || random || session_id || cipher_suites ||
 * compression), as wolfSSL computes it, so that it accepts ours. Two secrets are valid at a time, the current
 * and the previous one.
 */
#ifndef DATAPLANE_COOKIE_H
#define DATAPLANE_COOKIE_H

#include "dataplane/address.h"
#include "dataplane/record.h"

enum { COOKIE_LEN = 32, COOKIE_SECRET_LEN = 32, HELLO_VERIFY_LEN = 60 };

struct cookie_secret {
	uint8_t secret[COOKIE_SECRET_LEN];
	uint32_t inner[8], outer[8]; /* HMAC midstates */
};

struct cookie_secrets {
	struct cookie_secret current, previous;
	bool has_previous;
};

/* Any thread, while no other uses *s. init forgets what *s held; rotate makes the current secret the previous
 * one and forgets the one before (RFC 6347 4.2.1). The caller wipes its copy. */
void cookie_secrets_init(struct cookie_secrets *s, const uint8_t secret[COOKIE_SECRET_LEN]);
void cookie_secrets_rotate(struct cookie_secrets *s, const uint8_t secret[COOKIE_SECRET_LEN]);
void cookie_secrets_wipe(struct cookie_secrets *s);

/* A ClientHello as far as the cookie needs it. The pointers lie inside the record. */
struct client_hello {
	uint16_t version;
	uint16_t message_seq;
	const uint8_t *random;
	const uint8_t *session_id;
	const uint8_t *cookie;
	const uint8_t *suites;
	const uint8_t *compression;
	const uint8_t *extensions; /* NULL: none, or not in this fragment */
	uint16_t suites_len, extensions_len;
	uint8_t session_id_len, cookie_len, compression_len;
	bool fragmented; /* this record holds the first fragment of several */
};

enum hello_verdict {
	HELLO_VALID,  /* cookie verified: give it to control */
	HELLO_ANSWER, /* out holds a HelloVerifyRequest of HELLO_VERIFY_LEN bytes, never more than the record
			 had */
	HELLO_MALFORMED, /* drop */
	HELLO_NOT, /* not a ClientHello, or a later fragment of one: for the handshake in flight, if any */
};

/* Judges the epoch-0 record, which record_read() found well-formed. Works on a first fragment too when it
 * reaches through compression_methods (otherwise HELLO_MALFORMED). A hello of another version, of SSL 3.0 or
 * TLS is one like any other: control refuses it when its sender has proved its address. *hello is filled on
 * HELLO_VALID and HELLO_ANSWER; its pointers lie inside the record. *matched tells the secret that a valid
 * cookie was made with, NULL without. Constant time in the cookie; no state. One datagram may hold several
 * hellos: answer one of them, or the headers around each answer make more out of it than came in. Any thread.
 */
enum hello_verdict cookie_check(const struct cookie_secrets *s, const struct peer_address *peer,
				const struct record *record, struct client_hello *hello,
				uint8_t out[HELLO_VERIFY_LEN], const struct cookie_secret **matched);

#endif
