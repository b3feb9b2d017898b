/* CoAP messages over UDP (RFC 7252 3), as far as one who stands between client and server must read them
 * (pure): header, token, options; and the short answers that such a one gives. Nothing is copied: what is
 * read points into the datagram. Any thread.
 */
#ifndef RING_COAP_H
#define RING_COAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum coap_type { COAP_CONFIRMABLE, COAP_NON_CONFIRMABLE, COAP_ACKNOWLEDGEMENT, COAP_RESET };

/* "c.dd" is c << 5 | dd: RFC 7252 3. Codes of class 0 but for 0.00 are methods. */
enum coap_code {
	COAP_EMPTY = 0,
	COAP_POST = 2,
	COAP_BAD_REQUEST = 4 << 5,
	COAP_FORBIDDEN = 4 << 5 | 3,
	COAP_PROXYING_NOT_SUPPORTED = 5 << 5 | 5,
};

enum coap_option_number {
	COAP_URI_PATH = 11,
	COAP_URI_QUERY = 15,
	COAP_PROXY_URI = 35,
	/* oneM2M TS-0008 */
	COAP_ONEM2M_FR = 256,
	COAP_ONEM2M_RQI = 257,
	COAP_ONEM2M_RSC = 265,
};

enum { COAP_HEADER_LEN = 4, COAP_TOKEN_MAX = 8 };

struct coap_message {
	uint8_t type; /* enum coap_type */
	uint8_t code;
	uint16_t id;
	uint8_t token_len;
	const uint8_t *token;
	const uint8_t *options; /* up to the payload's marker */
	size_t options_len;
};

struct coap_option {
	uint32_t number;
	const uint8_t *value; /* never NULL once read */
	size_t len;
};

enum coap_shape {
	COAP_GOOD,
	/* A message format error, or a code that cannot be of that type. type and id are valid: a confirmable
	 * one is to be rejected with a Reset, another is ignored (RFC 7252 4.2, 4.3). */
	COAP_MALFORMED,
	COAP_FOREIGN, /* no header of version 1: to be ignored, RFC 7252 3 */
};

/* Reads and checks one datagram as a whole, every option included. */
enum coap_shape coap_read(struct coap_message *m, const uint8_t *datagram, size_t len);

/* Is it a request? Of a message that is COAP_GOOD. */
bool coap_is_request(const struct coap_message *m);

/* Walks the options of a message that is COAP_GOOD: `at` starts as {0}; false at the end. */
bool coap_option_next(const struct coap_message *m, struct coap_option *at);

/* A Reset for a malformed message. `out` has COAP_HEADER_LEN bytes. */
void coap_reset(uint8_t *out, const struct coap_message *m);

/* Begins the answer to a request in out[room]: piggybacked in the acknowledgement of a confirmable one, else
 * non-confirmable with the message ID own_id; the token is the request's. Returns its length, 0 without room.
 */
size_t coap_answer(uint8_t *out, size_t room, const struct coap_message *request, uint8_t code,
		   uint16_t own_id);

/* Appends an option behind one of number `before` (0: the first; never above option->number), or the payload.
 * Returns the length now, 0 without room. */
size_t coap_add_option(uint8_t *out, size_t room, size_t len, uint32_t before,
		       const struct coap_option *option);
size_t coap_add_payload(uint8_t *out, size_t room, size_t len, const char *text);

#endif
