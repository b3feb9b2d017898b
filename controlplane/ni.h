/* Names of raw public keys (pure): ni:///sha-256;BASE64URL and its truncated forms of 128 and 120 bits, RFC
 * 6920 sections 3 and 9.4. What is hashed is the SubjectPublicKeyInfo in DER. Any thread, no allocation.
 */
#ifndef CONTROLPLANE_NI_H
#define CONTROLPLANE_NI_H

#include <stddef.h>
#include <stdint.h>

enum { NI_DIGEST_MAX = 32, NI_TEXT_MAX = 64 };

/* Length of the digest: 32, 16 or 15; -EINVAL when the text is no such name. */
int ni_parse(const char *text, uint8_t digest[NI_DIGEST_MAX]);

/* digest_len: 32, 16 or 15. Returns out. */
const char *ni_text(const uint8_t *digest, size_t digest_len, char out[NI_TEXT_MAX]);

#endif
