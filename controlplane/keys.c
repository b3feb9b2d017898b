/* See keys.h. */
#include "controlplane/keys.h"

#include <errno.h>

#include "crypto/suite.h"

static bool sizes_agree(WOLFSSL *ssl, const struct protection *p)
{
	if (wolfSSL_GetKeySize(ssl) != p->key_len)
		return false;
	if (p->aead)
		return wolfSSL_GetIVSize(ssl) == p->salt_len && wolfSSL_GetAeadMacSize(ssl) == p->tag_len;
	return wolfSSL_GetHmacSize(ssl) == p->mac_key_len;
}

int keys_export(WOLFSSL *ssl, uint16_t suite, bool encrypt_then_mac, struct session_install *out)
{
	const struct suite *s = suite_by_id(suite);
	enum protection_id protection;

	if (!s)
		return -ENOTSUP;
	protection = encrypt_then_mac ? s->protection_etm : s->protection;
	if (!sizes_agree(ssl, protection_get(protection)))
		return -EPROTO;
	out->suite = suite;
	out->protection = (uint8_t)protection;
	/* wolfSSL_GetMacSecret(ssl, 1): of the peer's side, which is the client. */
	record_key_set(&out->rx_key, protection, wolfSSL_GetClientWriteKey(ssl),
		       wolfSSL_GetClientWriteIV(ssl), wolfSSL_GetMacSecret(ssl, 1));
	record_key_set(&out->tx_key, protection, wolfSSL_GetServerWriteKey(ssl),
		       wolfSSL_GetServerWriteIV(ssl), wolfSSL_GetMacSecret(ssl, 0));
	return 0;
}
