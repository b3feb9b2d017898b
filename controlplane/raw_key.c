/* See raw_key.h. */
#include "controlplane/raw_key.h"

#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "controlplane/algorithms.h"
#include "controlplane/chain_private.h"
#include "controlplane/offer.h"

/* False when it is on no curve that is enabled. */
static bool take(EVP_PKEY *pkey, struct raw_key *key)
{
	uint8_t *at = key->info;
	unsigned len = sizeof key->digest;
	int info_len = i2d_PUBKEY(pkey, NULL);

	key->curve = chain_key_curve(pkey);
	if (!key->curve || info_len <= 0 || info_len > RAW_KEY_MAX)
		return false;
	key->info_len = (uint16_t)i2d_PUBKEY(pkey, &at);
	return EVP_Digest(key->info, key->info_len, key->digest, &len, EVP_sha256(), NULL);
}

bool raw_key_of_pem(const void *pem, size_t len, struct raw_key *key, char *why, size_t why_len)
{
	BIO *in = BIO_new_mem_buf(pem, (int)len);
	/* A password would be asked for on the terminal otherwise. */
	EVP_PKEY *pkey = in ? PEM_read_bio_PrivateKey(in, NULL, NULL, (void *)(uintptr_t) "") : NULL;
	bool good = pkey && take(pkey, key);

	if (!pkey)
		snprintf(why, why_len, "cannot be used as a private key in PEM%s",
			 memmem(pem, len, "ENCRYPTED", 9)
				 ? ": it is encrypted, and nobody is asked for its password"
				 : "");
	else if (!good)
		snprintf(why, why_len, "has a key on none of the curves secp256r1, secp384r1 and secp521r1");
	EVP_PKEY_free(pkey);
	BIO_free(in);
	ERR_clear_error();
	return good;
}

bool raw_key_read(const uint8_t *info, size_t len, struct raw_key *key, struct refusal *refusal)
{
	const uint8_t *at = info;
	EVP_PKEY *pkey = d2i_PUBKEY_ex(NULL, &at, (long)len, algorithms_context(), NULL);
	bool whole = pkey && at == info + len, fits = whole && take(pkey, key);

	EVP_PKEY_free(pkey);
	ERR_clear_error();
	if (!whole)
		return refusal_write(refusal, REFUSED_MALFORMED, ALERT_BAD_CERTIFICATE,
				     "the client's raw public key cannot be read");
	if (!fits)
		return refusal_write(refusal, REFUSED_CERTIFICATE_KEY, ALERT_UNSUPPORTED_CERTIFICATE,
				     "the client's raw public key is not on one of the curves secp256r1, "
				     "secp384r1 and secp521r1");
	/* One key must have one name only. */
	if (key->info_len != len || memcmp(key->info, info, len) != 0)
		return refusal_write(refusal, REFUSED_MALFORMED, ALERT_BAD_CERTIFICATE,
				     "the client's raw public key is not in DER");
	return true;
}
