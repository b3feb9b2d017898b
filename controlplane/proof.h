/* What a handshake proved about its peer, and how the application is told: the fields of SESSION_UP. Control
 * thread.
 */
#ifndef CONTROLPLANE_PROOF_H
#define CONTROLPLANE_PROOF_H

#include "controlplane/credential.h"
#include "controlplane/exporter.h"
#include "dataplane/address.h"

enum {
	CREDENTIAL_ID_MAX = 255,
	/* All fields at their longest, each with its header and padding. */
	SESSION_UP_MAX = sizeof(struct sluice_session_up) + IDENTITIES_MAX * (4 + IDENTITY_MAX + 1) +
			 (4 + CREDENTIAL_ID_MAX + 1) + (4 + TENANT_MAX + 1) + (4 + 256) +
			 EXPORTERS_FIELDS_MAX,
};

struct proof {
	uint8_t credential; /* enum sluice_credential */
	uint8_t id_len;
	uint8_t id[CREDENTIAL_ID_MAX]; /* PSK identity, or the certificate's name */
	/* What the registree was found by, so that a change of the store finds the session; kind 0: it stands
	 * in no store. The digest of a raw public key is whole. */
	struct credential_id registered;
	struct registree registree;
};

/* A registree without a record of its own: the credential's name is its identity. id is cut at IDENTITY_MAX.
 */
void registree_by_credential(struct registree *r, const uint8_t *id, size_t id_len);

/* The same for a raw public key whose row names no identity: it stands for itself, under proof->id, in the
 * version of that row. Nothing when the row names one. */
void proof_name_key(struct proof *proof);

/* Writes one field, { type, length, bytes }, padded to 4 bytes; none for no bytes. Returns what is behind it.
 */
uint8_t *session_up_field(uint8_t *at, uint16_t type, const void *bytes, size_t len);

/* Writes SESSION_UP with its fields; out has SESSION_UP_MAX bytes and is aligned for the struct. proof NULL:
 * nothing is known about the peer. tenant "": the default one. Returns the length. */
size_t session_up_write(void *out, struct sluice_ref ref, const struct peer_address *peer, uint16_t suite,
			bool has_cid, const struct proof *proof, const char *tenant, const uint8_t *sni,
			size_t sni_len);

#endif
