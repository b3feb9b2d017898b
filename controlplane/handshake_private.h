/* What the files of one handshake share: handshake.c feeds wolfSSL and keeps the order, handshake_hello.c
 * judges the ClientHello, handshake_proof.c what the client says about itself. Control thread.
 */
#ifndef CONTROLPLANE_HANDSHAKE_PRIVATE_H
#define CONTROLPLANE_HANDSHAKE_PRIVATE_H

#include "controlplane/assembly.h"
#include "controlplane/handshake.h"
#include "controlplane/held.h"
#include "controlplane/server_hello.h"

struct handshake {
	const struct tls *tls;
	struct handshake_start start;
	WOLFSSL *ssl; /* NULL until the ClientHello is whole and acceptable */
	struct assembly assembly;
	struct flight flight;
	struct server_hello server_hello;
	struct refusal refusal;

	/* what wolfSSL reads next; borrowed for one call */
	const uint8_t *feed;
	uint32_t feed_len;
	uint16_t datagram_mtu;

	uint64_t rx_seq;         /* of the next record of epoch 0 that wolfSSL is given */
	uint64_t rx_finished;    /* sequence number of the record that held Finished */
	uint64_t tx_seq;         /* next of ours in epoch 0, for an alert */
	uint64_t tx_epoch1_next; /* one above the highest of ours in epoch 1 */
	struct held_records held;

	/* While it waits for an answer from outside: whose, for the operator, and the message that needs it.
	 * Whatever arrives meanwhile is kept and looked at afterwards. */
	const char *waits_for;
	uint64_t question; /* its number */
	struct assembly_message *kept;

	struct client_certificate *certificate;
	enum certificate_type client_type;
	bool client_asked;     /* for its certificate */
	bool certificate_good; /* the message that wolfSSL is given */

	struct proof *ticket_proof; /* what the ticket proves, until it is known whether that counts */
	bool ticket_good;
	bool resuming; /* our Finished is under way, and the client has nothing more to say before its own */

	struct proof *proof;
	uint8_t psk[PSK_KEY_MAX];
	uint8_t psk_len;
	bool psk_unknown; /* psk is random: the client shall learn no more than with a wrong key */
	uint8_t sni_len;
	uint8_t sni[255];

	unsigned finished_failures;
	uint64_t finished_failed_ns; /* the first time */
	uint64_t now_ns;
	bool hello_good; /* wolfSSL accepted the cookie */
	bool broken;     /* it did something that must not leave this process */
	bool ccs_seen, ccs_fed, done, resend_wanted;
};

static inline uint64_t read_48(const uint8_t *at)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < 6; i++)
		value = value << 8 | at[i];
	return value;
}

static inline unsigned read_16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

/* Fill the refusal; refuse_aloud() adds an alert of our own, for what wolfSSL does not see. All return
 * HANDSHAKE_FAILED. */
enum handshake_state refuse(struct handshake *h, enum refusal_cause cause, uint8_t alert, const char *format,
			    ...) __attribute__((format(printf, 4, 5)));
enum handshake_state refuse_internal(struct handshake *h, const char *text); /* our own fault */
enum handshake_state refuse_aloud(struct handshake *h);

/* The answer comes from outside, later. Both return HANDSHAKE_WAITING. */
enum handshake_state wait_for_store(struct handshake *h); /* after a look-up that returned -EAGAIN */
enum handshake_state wait_for_responder(struct handshake *h);

/* Gives wolfSSL one whole message, which is dropped then. */
enum handshake_state feed_message(struct handshake *h, struct assembly_message *m);

/* The callbacks through which wolfSSL sends and reads. */
int send_flight(WOLFSSL *ssl, char *bytes, int len, void *context);
int receive_fed(WOLFSSL *ssl, char *room, int room_len, void *context);

/* handshake_hello.c: ClientHello, the tenant that it is for, and its ticket. */
enum handshake_state take_hello(struct handshake *h, struct assembly_message *m);

/* handshake_proof.c: messages that say who the client is, before wolfSSL sees them. */
enum handshake_state find_psk(struct handshake *h, const struct assembly_message *m);
enum handshake_state check_certificate(struct handshake *h, const struct assembly_message *m);
enum handshake_state check_signature_algorithm(struct handshake *h, const struct assembly_message *m);
/* Fills the refusal of a client whose PSK identity nobody knows. */
void describe_unknown(struct handshake *h);

#endif
