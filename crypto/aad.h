/* The bytes that a record's tag covers besides its payload, in one place for all engines (pure).
 *
 * The additional data of an AEAD (RFC 5246 6.2.3.3 with RFC 6347 4.1.2.1), what a MAC-then-encrypt MAC begins
 * with (RFC 5246 6.2.3.1) and what an encrypt-then-MAC MAC begins with (RFC 7366 3) have the same layout and
 * differ only in what `length` counts:
 *
 *   | epoch 2 | sequence number 6 | type 1 | version 2 | length 2 |                                 13 bytes
 *
 * So do the three forms of RFC 9146 5.1-5.3 among themselves:
 *
 *   | ff x 8 | 25 | cid_len 1 | 25 | version 2 | epoch 2 | sequence number 6 | cid | length 2 |  23 + cid_len
 *
 * length: AEAD and MAC-then-encrypt: the (inner) plaintext. Encrypt-then-MAC: IV and ciphertext.
 */
#ifndef CRYPTO_AAD_H
#define CRYPTO_AAD_H

#include <stdint.h>
#include <string.h>

#include "crypto/aead.h"

enum {
	AAD_PLAIN_LEN = 13,
	AAD_CID_LEN = 23, /* and the CID itself */
	AAD_MAX = AAD_CID_LEN + RECORD_CID_MAX,
	AAD_ROOM = 48, /* what aad_write() may write to */
	NONCE_LEN = 12,
	VERSION_DTLS12 = 0xfefd,
};

static inline void put_be16(uint8_t *out, unsigned value)
{
	uint16_t be = __builtin_bswap16((uint16_t)value);

	memcpy(out, &be, sizeof be);
}

static inline void put_be64(uint8_t *out, uint64_t value)
{
	uint64_t be = __builtin_bswap64(value);

	memcpy(out, &be, sizeof be);
}

/* Length of what aad_write() will write. */
static inline unsigned aad_len(const struct record_op *op)
{
	return op->cid_len ? (unsigned)AAD_CID_LEN + op->cid_len : AAD_PLAIN_LEN;
}

/* Writes the additional data (see above) for the op and `length` and returns its length. out has AAD_ROOM
 * bytes.
 */
static inline unsigned aad_write(uint8_t *out, const struct record_op *op, unsigned length)
{
	if (op->cid_len == 0) {
		put_be64(out, op->epoch_seq);
		out[8] = op->type;
		put_be16(out + 9, VERSION_DTLS12);
		put_be16(out + 11, length);
		return AAD_PLAIN_LEN;
	}
	memset(out, 0xff, 8);
	out[8] = RECORD_TYPE_CID;
	out[9] = op->cid_len;
	out[10] = RECORD_TYPE_CID;
	put_be16(out + 11, VERSION_DTLS12);
	put_be64(out + 13, op->epoch_seq);
	memcpy(out + 21, op->cid, op->cid_len);
	put_be16(out + 21 + op->cid_len, length);
	return AAD_CID_LEN + op->cid_len;
}

/* The nonce of CCM and GCM: the implicit salt and the explicit part as it stands in the fragment
 * (RFC 5288 3, RFC 6655 3).
 */
static inline void nonce_write(uint8_t out[NONCE_LEN], const uint8_t salt[4], const uint8_t *fragment)
{
	memcpy(out, salt, 4);
	memcpy(out + 4, fragment, 8);
}

#endif
