/* Keys at rest: AES-256-GCM by wolfCrypt under a key from a file of its own. A sealed secret is
 * nonce (12, random) || ciphertext || tag (16), bound to the bytes that name it. One thread at a time.
 */
#ifndef CONTROLPLANE_WRAP_H
#define CONTROLPLANE_WRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WRAP_KEY_LEN = 32,
	WRAP_NONCE_LEN = 12,
	WRAP_TAG_LEN = 16,
	WRAP_OVERHEAD = WRAP_NONCE_LEN + WRAP_TAG_LEN
};

struct wrap;

/* path: 64 hexadecimal digits, closed to others. NULL with a sentence in error. wrap_free() wipes the key. */
struct wrap *wrap_new(const char *path, char *error, size_t error_len);
void wrap_free(struct wrap *w);

/* Makes a file with a new random key, mode 0600; never overwrites one. 0 or -errno. */
int wrap_create_key(const char *path);

/* out takes secret_len + WRAP_OVERHEAD bytes. 0 or -EIO. secret_len may be 0: then it only authenticates. */
int wrap_seal(struct wrap *w, const uint8_t *name, size_t name_len, const uint8_t *secret, size_t secret_len,
	      uint8_t *out);

/* The reverse; sealed_len at least WRAP_OVERHEAD. 0, or -EBADMSG with secret zeroed when anything was changed
 * or the key is another one. */
int wrap_open(struct wrap *w, const uint8_t *name, size_t name_len, const uint8_t *sealed, size_t sealed_len,
	      uint8_t *secret);

/* Lower or upper case hexadecimal digits of exactly 2 * len characters. */
bool hex_decode(const char *text, size_t text_len, uint8_t *out, size_t len);
void hex_encode(const uint8_t *bytes, size_t len, char *out); /* 2 * len + 1 bytes */

#endif
