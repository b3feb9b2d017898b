/* Keys that session tickets are sealed with (RFC 5077 4): AES-256-GCM under a key that is derived from a
 * master secret and the hour, so that it changes every hour, and all gateways that have the same file have
 * the same. The nonce is random, 96 bits: no more than 2^32 tickets are sealed under one key (NIST SP
 * 800-38D 8.3). Without a file the master secret is random, replaced once per lifetime of a ticket, and gone
 * with the process.
 *
 *   file: one to four lines of 64 hexadecimal digits; the first seals, all open. Read again when it changes.
 *
 * Control thread.
 */
#ifndef CONTROLPLANE_TICKET_H
#define CONTROLPLANE_TICKET_H

#include <stddef.h>
#include <stdint.h>

enum {
	/* Of RFC 5077 4, in the sizes that wolfSSL gives them. */
	TICKET_NAME_LEN = 16,
	TICKET_IV_LEN = 16,  /* the nonce is its first 12 */
	TICKET_MAC_LEN = 32, /* the tag is its first 16 */
	TICKET_MASTER_LEN = 32,
	TICKET_MASTERS_MAX = 4,
	TICKET_PERIOD_S = 3600,
};

struct ticket_keys;

/* path NULL: random ones. NULL on failure with a readable sentence in error. */
struct ticket_keys *ticket_keys_new(const char *path, uint32_t lifetime_s, char *error, size_t error_len);
void ticket_keys_free(struct ticket_keys *k); /* wipes them. NULL is fine */

uint32_t ticket_lifetime_s(const struct ticket_keys *k);

/* Seals bytes[len] in place and fills the other three. now_s: wall clock, as other gateways have it. 0 or
 * -EIO: nothing is to leave then. */
int ticket_seal(struct ticket_keys *k, uint64_t now_s, uint8_t name[TICKET_NAME_LEN],
		uint8_t iv[TICKET_IV_LEN], uint8_t mac[TICKET_MAC_LEN], uint8_t *bytes, size_t len);
/* Opens in place. -ENOENT: of keys that are not ours, or of too long ago; -EBADMSG: a forgery, and bytes are
 * wiped then. */
int ticket_open(struct ticket_keys *k, uint64_t now_s, const uint8_t name[TICKET_NAME_LEN],
		const uint8_t iv[TICKET_IV_LEN], const uint8_t mac[TICKET_MAC_LEN], uint8_t *bytes,
		size_t len);

#endif
