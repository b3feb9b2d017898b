/* Raw public keys (RFC 7250): a SubjectPublicKeyInfo in the place of a certificate. Any thread, nothing kept.
 */
#ifndef CONTROLPLANE_RAW_KEY_H
#define CONTROLPLANE_RAW_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controlplane/refusal.h"

enum { RAW_KEY_MAX = 256, RAW_KEY_DIGEST = 32 };

struct raw_key {
	uint8_t info[RAW_KEY_MAX]; /* SubjectPublicKeyInfo in DER */
	uint16_t info_len;
	uint16_t curve;                 /* RFC 8422 5.1.1 */
	uint8_t digest[RAW_KEY_DIGEST]; /* SHA-256 of info: what RFC 6920 names it by */
};

/* The public half of a private key in PEM. False with a readable end of a sentence about the file that it is
 * from in why. */
bool raw_key_of_pem(const void *pem, size_t len, struct raw_key *key, char *why, size_t why_len);

/* Looks at what a client shows as its own: one key on secp256r1, secp384r1 or secp521r1 in DER, with nothing
 * behind it. False with *refusal filled. */
bool raw_key_read(const uint8_t *info, size_t len, struct raw_key *key, struct refusal *refusal);

#endif
