#include "crypto/iv.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/chacha.h>

#include "crypto/always.h"
#include "crypto/secret.h"
#include "crypto/wolfssl_random.h"

static_assert(offsetof(struct iv_source, pool) == 32, "key and pool are filled in one run");

static void refill(struct iv_source *source)
{
	static const uint8_t nonce[12]; /* the key is used for one run only */
	ChaCha chacha;

	always_assert(wc_Chacha_SetKey(&chacha, source->key, sizeof source->key) == 0);
	always_assert(wc_Chacha_SetIV(&chacha, nonce, 0) == 0);
	memset(source->key, 0, sizeof source->key);
	memset(source->pool, 0, sizeof source->pool);
	always_assert(wc_Chacha_Process(&chacha, source->key, source->key,
					sizeof source->key + sizeof source->pool) == 0);
	secret_wipe(&chacha, sizeof chacha);
	source->left = IV_POOL;
}

int iv_source_init(struct iv_source *source)
{
	source->left = 0;
	return random_block(source->key, sizeof source->key) == 0 ? 0 : -EIO;
}

void iv_source_take(struct iv_source *source, uint8_t out[IV_LEN])
{
	if (source->left == 0)
		refill(source);

	uint8_t *from = source->pool + (size_t)(IV_POOL - source->left) * IV_LEN;

	memcpy(out, from, IV_LEN);
	secret_wipe(from, IV_LEN);
	source->left--;
}
