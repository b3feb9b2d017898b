/* One handshake = one WOLFSSL object, fed from memory with whole messages in order, never a socket. It begins
 * with a ClientHello whose cookie the worker verified, and ends with keys, a proof of who the peer is, and
 * our last flight; or with a refusal that says why. Control thread; a handshake belongs to who made it.
 *
 *   records -> assembly -> [offer] -> WOLFSSL -> flight
 *              CCS and epoch 1 wait until the flight before them is complete (RFC 6347 4.2.4: any order)
 */
#ifndef CONTROLPLANE_HANDSHAKE_H
#define CONTROLPLANE_HANDSHAKE_H

#include "controlplane/flight.h"
#include "controlplane/offer.h"
#include "controlplane/proof.h"
#include "controlplane/tenant.h"
#include "dataplane/cookie.h"
#include "dataplane/session.h"

enum handshake_state {
	HANDSHAKE_GOES_ON,
	HANDSHAKE_WAITING, /* for an answer from outside; when some came: handshake_continue() */
	HANDSHAKE_DONE,    /* once; then handshake_install() and handshake_session_up() */
	HANDSHAKE_FAILED,  /* handshake_refusal() tells why; the flight may hold an alert */
};

struct handshake_start {
	struct sluice_ref ref;
	struct path path;
	uint8_t cookie_secret[COOKIE_SECRET_LEN]; /* that the ClientHello's cookie was made with */
	uint8_t cid[CID_LEN];                     /* ours, if a CID is negotiated */
	const struct tenants *tenants; /* whose handshake it is says the ClientHello; may be NULL */
};

struct chain;
struct handshake;

/* tls: of the default tenant, or of the only one; borrowed, as start->tenants is. NULL when out of memory. */
struct handshake *handshake_new(const struct tls *tls, const struct handshake_start *start);
/* Wipes what is secret. NULL is fine. */
void handshake_free(struct handshake *h);

/* Takes one whole record (header included) of this peer; the first one must carry the ClientHello or its
 * first fragment. What does not belong is dropped: RFC 6347 4.1.2.7. Answers stand in the flight afterwards.
 */
enum handshake_state handshake_record(struct handshake *h, const uint8_t *record, size_t len,
				      uint64_t now_ns);

/* After HANDSHAKE_WAITING: the number of the answer of the credential store that it waits for (credential.h);
 * 0: it waits for somebody else's. */
uint64_t handshake_question(const struct handshake *h);
/* After HANDSHAKE_WAITING: asks again for what it waits for, and goes on with what came meanwhile. */
enum handshake_state handshake_continue(struct handshake *h, uint64_t now_ns);

/* The time to repeat our flight has come: RFC 6347 4.2.4. New record sequence numbers, same messages. */
enum handshake_state handshake_resend(struct handshake *h);
/* True once when the client repeated its ClientHello, so that it lacks our flight. */
bool handshake_wants_resend(struct handshake *h);
/* The time to end it has come. Fills the refusal with what it was waiting for; the flight may hold an alert.
 */
void handshake_give_up(struct handshake *h);

/* What is to be sent now: the caller sends it and clears it (flight_clear). After HANDSHAKE_DONE it is our
 * last flight (ChangeCipherSpec, Finished). */
struct flight *handshake_flight(struct handshake *h);

/* After HANDSHAKE_DONE, once: everything that the worker needs. 0 or -errno; keys inside either way: the
 * caller wipes *out. */
int handshake_install(struct handshake *h, struct session_install *out);
/* After HANDSHAKE_DONE: SESSION_UP with its fields, see session_up_write(), and the exporter values that its
 * tenant wants: the caller wipes it. 0: these could not be computed. */
size_t handshake_session_up(const struct handshake *h, void *out);
/* After HANDSHAKE_DONE: records of epoch 1 that came before Finished was processed; *at starts as NULL, NULL
 * at the end. */
const uint8_t *handshake_held(const struct handshake *h, const void **at, uint16_t *len);

/* Of the tenant whose handshake it is, as far as that is known. */
const struct tls *handshake_tls(const struct handshake *h);
/* Whom the client claims to be, or has proved to be: kind (enum sluice_credential) and name of its
 * credential; any bytes. *len is 0 while nothing is known. */
const uint8_t *handshake_claim(const struct handshake *h, uint8_t *kind, uint8_t *len);
/* What it sent as SNI; *len 0: nothing. */
const uint8_t *handshake_server_name(const struct handshake *h, uint8_t *len);

const struct handshake_start *handshake_start(const struct handshake *h);
const struct refusal *handshake_refusal(const struct handshake *h);
/* NULL while nothing is known about the peer. */
const struct proof *handshake_proof(const struct handshake *h);
/* The verified chain of the client's certificate; NULL: there is none. */
const struct chain *handshake_chain(const struct handshake *h);
/* The client had a ticket, and only the keys are new. */
bool handshake_resumed(const struct handshake *h);
/* The suite of the ServerHello; NULL before it. */
const struct suite *handshake_suite(const struct handshake *h);

/* Callbacks that tls_new() gives to wolfSSL. */
int handshake_ticket(WOLFSSL *ssl, unsigned char *name, unsigned char *iv, unsigned char *mac, int seal,
		     unsigned char *bytes, int len, int *sealed_len, void *context);
unsigned int handshake_psk_key(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned int room);
int handshake_verify_certificate(int verified, WOLFSSL_X509_STORE_CTX *chain);

#endif
