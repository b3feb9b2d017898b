/* What a client says about itself: ClientKeyExchange with a PSK identity (RFC 4279 2), Certificate and
 * CertificateVerify. See handshake_private.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/client_certificate.h"
#include "controlplane/handshake_private.h"
#include "controlplane/log.h"
#include "crypto/secret.h"
#include "crypto/wolfssl_random.h"

enum { MASKING_KEY_LEN = 16 };

/* ---- ClientKeyExchange */

/* wolfSSL hands identities over as C strings; the true bytes stand at the start of the message. RFC 4279 2.
 */
static bool psk_identity(const struct assembly_message *m, const uint8_t **identity, size_t *len)
{
	const uint8_t *body = m->bytes + ASSEMBLY_ROOM + HANDSHAKE_HEADER_LEN;

	if (m->body_len < 2 || read_16(body) > m->body_len - 2)
		return false;
	*identity = body + 2;
	*len = read_16(body);
	return true;
}

/* Whom it claims to be: what the operator will look for, also when the store cannot say more. */
static int claim_psk(struct handshake *h, const uint8_t *identity, size_t len)
{
	struct credential_id *id;

	if (!h->proof) /* or it has waited for the store */
		h->proof = calloc(1, sizeof *h->proof);
	if (!h->proof)
		return -ENOMEM;
	len = len <= PSK_IDENTITY_MAX ? len : PSK_IDENTITY_MAX;
	h->proof->credential = SLUICE_CREDENTIAL_PSK;
	h->proof->id_len = (uint8_t)len;
	memcpy(h->proof->id, identity, len);
	id = &h->proof->registered;
	id->kind = SLUICE_CREDENTIAL_PSK;
	id->name_len = (uint8_t)len;
	memcpy(id->name, identity, len);
	memcpy(id->tenant, h->tls->tenant, sizeof id->tenant);
	return 0;
}

/* What is known of the peer, provided that it has the key. Known or not, the same is done. */
static void take_psk(struct handshake *h, const struct psk_credential *found)
{
	h->proof->registree = found->registree;
	memcpy(h->psk, found->key, found->key_len);
	h->psk_len = found->key_len;
}

/* An unknown identity goes on with a random key: to the client it looks like a wrong one (checklist A01: the
 * same packets at the same times), so that nobody can try identities out. */
static int mask_unknown(struct psk_credential *found)
{
	found->key_len = MASKING_KEY_LEN;
	found->registree.identities_count = 0;
	return random_block(found->key, MASKING_KEY_LEN);
}

void describe_unknown(struct handshake *h)
{
	char text[160];

	(void)refuse(h, REFUSED_PSK_UNKNOWN, ALERT_UNKNOWN_PSK_IDENTITY, "unknown PSK identity \"%s\"",
		     log_text(text, sizeof text, h->proof->id, h->proof->id_len));
}

enum handshake_state find_psk(struct handshake *h, const struct assembly_message *m)
{
	const struct credentials *c = &h->tls->credentials;
	struct psk_credential found = {0};
	const uint8_t *identity;
	size_t len;
	int ret = 0;

	if (!psk_identity(m, &identity, &len)) {
		(void)refuse(h, REFUSED_MALFORMED, ALERT_DECODE_ERROR, "a malformed ClientKeyExchange");
		return refuse_aloud(h);
	}
	if (claim_psk(h, identity, len))
		return refuse_internal(h, "out of memory");
	if (len > 0 && len <= PSK_IDENTITY_MAX && !memchr(identity, 0, len))
		ret = c->ops->find_psk(c->store, h->tls->tenant, identity, len, &found);
	if (ret == -EAGAIN)
		return wait_for_store(h);
	if (ret < 0) {
		(void)refuse(h, REFUSED_STORE, ALERT_INTERNAL_ERROR, "the credential store \"%s\" %s",
			     c->ops->name, credential_store_fault(ret));
		return refuse_aloud(h);
	}
	h->psk_unknown = ret == 0;
	ret = h->psk_unknown ? mask_unknown(&found) : 0;
	take_psk(h, &found);
	secret_wipe(&found, sizeof found);
	if (ret)
		return refuse_internal(h, "the kernel gives no random bytes");
	if (!h->psk_unknown || !h->tls->reveal_unknown_psk)
		return HANDSHAKE_GOES_ON;
	describe_unknown(h); /* RFC 4279 2: what the operator asked for */
	return refuse_aloud(h);
}

unsigned int handshake_psk_key(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned int room)
{
	const struct handshake *h = wolfSSL_GetIOReadCtx(ssl);

	if (h->psk_len > room)
		return 0;
	memcpy(key, h->psk, h->psk_len);
	return h->psk_len;
}

/* ---- Certificate, CertificateVerify */

/* An empty list is wolfSSL's to judge: whether a certificate is required it knows. */
static bool shows_certificate(const struct handshake *h, const struct assembly_message *m)
{
	return h->client_asked && m->body_len > 3;
}

enum handshake_state check_certificate(struct handshake *h, const struct assembly_message *m)
{
	const uint8_t *body = m->bytes + ASSEMBLY_ROOM + HANDSHAKE_HEADER_LEN;
	int ret;

	if (!shows_certificate(h, m))
		return HANDSHAKE_GOES_ON;
	if (!h->proof)
		h->proof = calloc(1, sizeof *h->proof);
	if (!h->proof)
		return refuse_internal(h, "out of memory");
	ret = client_certificate_check(&h->certificate, h->tls, h->client_type, body, m->body_len, h->proof,
				       &h->refusal);
	if (ret == -EAGAIN)
		return client_certificate_question(h->certificate) ? wait_for_responder(h)
								   : wait_for_store(h);
	h->certificate_good = ret == 1;
	return h->certificate_good ? HANDSHAKE_GOES_ON : refuse_aloud(h);
}

/* wolfSSL has no anchors, and so nothing good to say of any chain: check_certificate() has the word. */
int handshake_verify_certificate(int verified, WOLFSSL_X509_STORE_CTX *chain)
{
	const struct handshake *h = chain->userCtx;

	return chain->totalCerts < 1 ? verified : h->certificate_good;
}

/* RFC 9155: no MD5, no SHA-1; nor the SHA-224 that we do not offer. The first byte names the hash, or is 8
 * for RSA-PSS and EdDSA. */
enum handshake_state check_signature_algorithm(struct handshake *h, const struct assembly_message *m)
{
	uint8_t hash = m->bytes[ASSEMBLY_ROOM + HANDSHAKE_HEADER_LEN];

	if (m->body_len >= 2 && hash >= 4 && hash <= 8)
		return HANDSHAKE_GOES_ON;
	(void)refuse(h, REFUSED_SIGNATURE_SHA1, ALERT_ILLEGAL_PARAMETER,
		     "the client signs with a hash that is not enabled");
	return refuse_aloud(h);
}
