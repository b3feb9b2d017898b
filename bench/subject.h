/* What is compared: an engine of ours, or another library behind the same burst contract, with whatever it
 * keeps per session in place of our raw keys.
 */
#ifndef BENCH_SUBJECT_H
#define BENCH_SUBJECT_H

#include <stddef.h>

#include "crypto/aead.h"

struct secrets {
	uint8_t key[32];
	uint8_t salt[4];
	uint8_t mac_key[32];
};

struct subject {
	const struct record_engine *engine; /* its ops' keys are sessions, as below */
	unsigned sessions_max;
	bool sessions_are_bytes; /* a copy of a session is a session, and none needs to be undone */
	/* Bytes of one session in the table, a multiple of 64. */
	size_t (*session_size)(enum protection_id protection);
	/* Makes and undoes one. 0 or -ENOMEM. */
	int (*session_init)(void *session, enum protection_id protection, const struct secrets *secrets);
	void (*session_fini)(void *session, enum protection_id protection);
};

extern const struct subject subject_openssl;   /* a context per session */
extern const struct subject subject_wolfcrypt; /* a context per session */

/* IPsec-MB as its manual has it: the expanded key stays with the session. CCM and CBC with HMAC. */
extern const struct subject subject_ipsecmb_stored;

#endif
