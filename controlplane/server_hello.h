/* What our own ServerHello says, read as it passes by: wolfSSL has no getters for it (pure). Any thread.
 */
#ifndef CONTROLPLANE_SERVER_HELLO_H
#define CONTROLPLANE_SERVER_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct server_hello {
	uint16_t suite;
	bool seen, encrypt_then_mac, extended_master_secret, cid;
};

/* Reads the body of a ServerHello (RFC 5246 7.4.1.3) into *s, which starts as {0}. What is malformed leaves
 * it as it was. */
void server_hello_read(struct server_hello *s, const uint8_t *body, size_t len);

#endif
