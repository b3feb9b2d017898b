/* The client's handshake messages put together from their fragments (pure): RFC 6347 4.2.3. wolfSSL is given
 * whole messages in their order only, so that fragments, overlaps, duplicates and disorder end here, in
 * bounded memory, and nothing that is not part of a client's flight reaches it:
 *
 *   ClientHello | [Certificate] | ClientKeyExchange | [CertificateVerify]     then CCS, Finished (encrypted)
 *
 * Owner: one handshake, on the control thread.
 */
#ifndef CONTROLPLANE_ASSEMBLY_H
#define CONTROLPLANE_ASSEMBLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum handshake_type {
	HANDSHAKE_CLIENT_HELLO = 1,
	HANDSHAKE_SERVER_HELLO = 2,
	HANDSHAKE_HELLO_VERIFY_REQUEST = 3,
	HANDSHAKE_CERTIFICATE = 11,
	HANDSHAKE_SERVER_KEY_EXCHANGE = 12,
	HANDSHAKE_CERTIFICATE_VERIFY = 15,
	HANDSHAKE_CLIENT_KEY_EXCHANGE = 16,
	HANDSHAKE_FINISHED = 20,
};

enum {
	HANDSHAKE_HEADER_LEN = 12,
	ASSEMBLY_MESSAGES = 4,
	ASSEMBLY_SPANS = 16, /* separate pieces of one message at a time; more are dropped */
	ASSEMBLY_ROOM = 13,  /* bytes kept free before each message, for a record header */
};

struct assembly_span {
	uint16_t from, to;
};

struct assembly_message {
	uint8_t *bytes; /* ASSEMBLY_ROOM, header, body; NULL: nothing of it is here */
	uint32_t body_len;
	uint8_t type;
	uint8_t spans_count;
	bool taken;
	struct assembly_span spans[ASSEMBLY_SPANS]; /* of the body, ascending, apart from each other */
};

struct assembly {
	struct assembly_message messages[ASSEMBLY_MESSAGES]; /* by message_seq - first_seq */
	uint16_t first_seq;                                  /* of the ClientHello */
	bool has_first;
	uint8_t next;          /* the message to be taken next */
	bool certificate_sent; /* with at least one certificate in it */
	bool flight_complete;  /* all that comes before ChangeCipherSpec has been taken */
};

/* Starts as zeros. Frees what is held (messages of a handshake hold no secrets). */
void assembly_fini(struct assembly *a);

/* Adds the messages and fragments in one epoch-0 handshake record. What does not fit (wrong type, conflicting
 * length, too long, malformed, out of memory) is dropped silently. True when it repeats the ClientHello that
 * has been taken: the client has not seen our flight. */
bool assembly_add(struct assembly *a, const uint8_t *fragment, size_t len);

/* The next whole message in order: its header at bytes + ASSEMBLY_ROOM. NULL when it is not there yet. The
 * message stays until assembly_drop() or assembly_fini(). */
struct assembly_message *assembly_take(struct assembly *a);
/* Frees the bytes of a message that was taken. */
void assembly_drop(struct assembly_message *m);

#endif
