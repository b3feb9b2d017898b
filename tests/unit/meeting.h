/* A client of another make meets our handshake, in memory: what the worker does around it (cookies, records)
 * is done here, and the way between them can lose, repeat and disorder records.
 */
#ifndef TESTS_UNIT_MEETING_H
#define TESTS_UNIT_MEETING_H

#include "controlplane/handshake.h"
#include "crypto/aead.h"
#include "dataplane/cookie.h"
#include "tests/unit/peer.h"

enum fault { FAULT_NONE, FAULT_DROP, FAULT_TWICE, FAULT_LATE /* after the next record of that direction */ };

struct meeting {
	const struct tls *tls;
	const struct peer_kind *kind;
	struct peer *peer;
	struct handshake *handshake; /* NULL before and after */
	struct cookie_secrets secrets;
	struct handshake_start start;
	uint64_t now_ns;

	enum peer_state client;
	enum handshake_state server;
	bool split; /* each record in a datagram of its own */
	/* Called with each record that is under way; nth counts them per direction, from 0. */
	enum fault (*fault)(struct meeting *m, bool from_client, unsigned nth, const uint8_t *record,
			    size_t len);
	unsigned fault_at; /* for `fault` */
	unsigned from_client, from_server, hello_verifies;
	unsigned from_client_junk; /* for `fault` */
	unsigned datagram_max;     /* the longest that we sent */
	struct peer_queue late;
	bool late_from_client;

	/* after HANDSHAKE_DONE */
	int install_error;
	struct session_install install;
	_Alignas(8) uint8_t up[SESSION_UP_MAX];
	size_t up_len;
	struct flight last_flight;
	struct refusal refusal;
	struct record_crypto *crypto;
};

/* tls and options are borrowed. */
void meeting_new(struct meeting *m, const struct tls *tls, const struct peer_kind *kind,
		 const struct peer_options *options);
void meeting_free(struct meeting *m);

/* Lets both talk until they are done, or one failed, or `rounds` times nobody had anything more to say and
 * all timers fired. True when both sides finished the handshake. */
bool meeting_run(struct meeting *m, unsigned rounds);
/* One way only: everything the client has to say now reaches us (no timers). */
void meeting_client_speaks(struct meeting *m);
/* A record or several, as if from the client. */
void meeting_inject(struct meeting *m, const uint8_t *datagram, size_t len);
/* What the handshake waited for has come. */
void meeting_continue(struct meeting *m);
void meeting_send_last_flight(struct meeting *m);

/* After the handshake: both directions of application data with the exported keys. */
bool meeting_echo(struct meeting *m, const char *text);

/* The value of the first field of SESSION_UP of this type, as a string; "" when there is none. */
const char *meeting_field(const struct meeting *m, uint16_t type);

#endif
