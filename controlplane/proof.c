/* See proof.h. */
#include "controlplane/proof.h"

#include <string.h>

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

void proof_name_key(struct proof *proof)
{
	struct registree *r = &proof->registree;
	uint64_t version = r->version;

	if (r->identities_count > 0)
		return;
	registree_by_credential(r, proof->id, proof->id_len);
	r->version = version;
}

uint8_t *session_up_field(uint8_t *at, uint16_t type, const void *bytes, size_t len)
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
			bool has_cid, const struct proof *proof, const char *tenant, const uint8_t *sni,
			size_t sni_len)
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
			at = session_up_field(at, SLUICE_FIELD_IDENTITY, r->identities[i],
					      strlen(r->identities[i]));
		at = session_up_field(at, SLUICE_FIELD_CREDENTIAL_ID, proof->id, proof->id_len);
	}
	at = session_up_field(at, SLUICE_FIELD_TENANT, tenant, strlen(tenant));
	at = session_up_field(at, SLUICE_FIELD_SNI, sni, sni_len <= 255 ? sni_len : 255);
	up->fields_len = (uint16_t)(at - fields);
	return (size_t)(at - (uint8_t *)out);
}
