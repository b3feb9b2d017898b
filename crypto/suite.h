/* The table of cipher suites, by IANA name (pure). A suite says how the handshake proves identities and which
 * record protection it ends in; a protection says how one record is laid out and keyed. Const data, any
 * thread.
 */
#ifndef CRYPTO_SUITE_H
#define CRYPTO_SUITE_H

#include <stdbool.h>
#include <stdint.h>

enum protection_id {
	PROTECTION_NONE,
	PROTECTION_AES_128_CCM_8, /* RFC 6655 */
	PROTECTION_AES_128_CCM,
	PROTECTION_AES_256_CCM_8,
	PROTECTION_AES_128_GCM,     /* RFC 5288 */
	PROTECTION_AES_128_CBC_MTE, /* CBC with HMAC-SHA256, MAC-then-encrypt: RFC 5246 6.2.3.2 */
	PROTECTION_AES_128_CBC_ETM, /* the same, encrypt-then-MAC: RFC 7366 */
	PROTECTIONS
};

/* Sizes in bytes. A fragment on the wire is: explicit (nonce or IV), ciphertext, tag. */
struct protection {
	const char *name;
	uint8_t key_len;      /* AES key */
	uint8_t salt_len;     /* implicit part of the nonce; 0 for CBC */
	uint8_t mac_key_len;  /* 0 for AEAD */
	uint8_t explicit_len; /* 8 for AEAD, 16 for CBC */
	uint8_t tag_len;      /* AEAD tag, or MAC */
	bool aead;
};

enum suite_credential { SUITE_PSK, SUITE_CERTIFICATE };

struct suite {
	uint16_t id;              /* as in the ServerHello */
	const char *name;         /* IANA: TLS_PSK_WITH_AES_128_CCM_8 */
	const char *wolfssl_name; /* for wolfSSL_CTX_set_cipher_list() */
	enum suite_credential credential;
	enum protection_id protection;     /* CBC suites: the MAC-then-encrypt one */
	enum protection_id protection_etm; /* the one when encrypt_then_mac was negotiated; otherwise equal */
	bool by_default;                   /* offered unless the configuration lists suites */
};

const struct protection *protection_get(enum protection_id id); /* never NULL for id < PROTECTIONS */
const struct suite *suite_by_id(uint16_t id);                   /* NULL when unknown */
const struct suite *suite_by_name(const char *iana_name);       /* NULL when unknown */
const struct suite *suite_all(unsigned *count);

#endif
