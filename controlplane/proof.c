/* See proof.h. */
#include "controlplane/proof.h"

#include <errno.h>
#include <string.h>
#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/asn.h>

/* ---- certificates */

static const DNS_entry *alternative_name(const DecodedCert *cert, int type)
{
	const DNS_entry *entry = cert->altNames;

	while (entry && entry->type != type)
		entry = entry->next;
	return entry;
}

static void take_name(struct proof *proof, const void *name, int len)
{
	proof->id_len = (uint8_t)(len < CREDENTIAL_ID_MAX ? len : CREDENTIAL_ID_MAX);
	memcpy(proof->id, name, proof->id_len);
}

int proof_from_certificate(struct proof *proof, const uint8_t *der, size_t der_len)
{
	const DNS_entry *name;
	DecodedCert cert;
	int ret = -EINVAL;

	wc_InitDecodedCert(&cert, der, (word32)der_len, NULL);
	if (wc_ParseCert(&cert, CERT_TYPE, NO_VERIFY, NULL) == 0) {
		name = alternative_name(&cert, ASN_URI_TYPE);
		if (!name)
			name = alternative_name(&cert, ASN_DNS_TYPE);
		if (name)
			take_name(proof, name->name, name->len);
		else if (cert.subjectCN)
			take_name(proof, cert.subjectCN, cert.subjectCNLen);
		else
			proof->id_len = 0;
		proof->credential = SLUICE_CREDENTIAL_X509;
		registree_by_credential(&proof->registree, proof->id, proof->id_len);
		ret = 0;
	}
	wc_FreeDecodedCert(&cert);
	return ret;
}

bool certificate_hash_fits(const uint8_t *der, size_t der_len)
{
	DecodedCert cert;
	bool fits = false;

	wc_InitDecodedCert(&cert, der, (word32)der_len, NULL);
	if (wc_ParseCert(&cert, CERT_TYPE, NO_VERIFY, NULL) == 0)
		fits = cert.signatureOID != CTC_SHAwECDSA && cert.signatureOID != CTC_SHAwRSA &&
		       cert.signatureOID != CTC_SHAwDSA && cert.signatureOID != CTC_MD5wRSA &&
		       cert.signatureOID != CTC_MD2wRSA && cert.signatureOID != CTC_SHA224wECDSA &&
		       cert.signatureOID != CTC_SHA224wRSA;
	wc_FreeDecodedCert(&cert);
	return fits;
}

/* ---- SESSION_UP */

void registree_by_credential(struct registree *r, const uint8_t *id, size_t id_len)
{
	size_t len = id_len < IDENTITY_MAX ? id_len : IDENTITY_MAX;

	memset(r, 0, sizeof *r);
	if (len == 0)
		return;
	r->kind = SLUICE_IDENTITY_CREDENTIAL;
	r->identities_count = 1;
	memcpy(r->identities[0], id, len);
}

/* { type, length, bytes }, padded to 4 bytes. */
static uint8_t *write_field(uint8_t *at, uint16_t type, const void *bytes, size_t len)
{
	uint16_t header[2] = {type, (uint16_t)len};

	if (len == 0)
		return at;
	memcpy(at, header, sizeof header);
	memcpy(at + sizeof header, bytes, len);
	memset(at + sizeof header + len, 0, -len & 3);
	return at + sizeof header + len + (-len & 3);
}

size_t session_up_write(void *out, struct sluice_ref ref, const struct peer_address *peer, uint16_t suite,
			bool has_cid, const struct proof *proof, const uint8_t *sni, size_t sni_len)
{
	struct sluice_session_up *up = out;
	uint8_t *fields = (uint8_t *)(up + 1), *at = fields;

	memset(up, 0, sizeof *up);
	up->ref = ref;
	up->suite = suite;
	up->has_cid = has_cid;
	memcpy(up->peer.ip, peer->ip, sizeof up->peer.ip);
	up->peer.port = peer->port;
	if (proof) {
		const struct registree *r = &proof->registree;

		up->credential = proof->credential;
		up->identity = r->kind;
		for (unsigned i = 0; i < r->identities_count; i++)
			at = write_field(at, SLUICE_FIELD_IDENTITY, r->identities[i],
					 strlen(r->identities[i]));
		at = write_field(at, SLUICE_FIELD_CREDENTIAL_ID, proof->id, proof->id_len);
		at = write_field(at, SLUICE_FIELD_TENANT, r->tenant, strlen(r->tenant));
	}
	at = write_field(at, SLUICE_FIELD_SNI, sni, sni_len <= 255 ? sni_len : 255);
	up->fields_len = (uint16_t)(at - fields);
	return (size_t)(at - (uint8_t *)out);
}
