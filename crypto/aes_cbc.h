/* AES-128-CBC over a burst, each span under its own key, in place, for CPUs with AES-NI. Any thread; no
 * allocation. No branch and no address depends on keys or text.
 */
#ifndef CRYPTO_AES_CBC_H
#define CRYPTO_AES_CBC_H

#include <stdint.h>

/* `text` is preceded by its 16-byte IV. */
struct cbc_span {
	const uint8_t *key; /* 16 bytes */
	uint8_t *text;
	unsigned blocks; /* of 16 bytes */
};

void aes_cbc_decrypt(const struct cbc_span *spans, unsigned count);

/* Eight spans at a time: best when neighbours are about equally long. */
void aes_cbc_encrypt(const struct cbc_span *spans, unsigned count);

#endif
