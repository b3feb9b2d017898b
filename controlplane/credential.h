/* Credentials and the identities that they prove. The control thread looks them up once per handshake through
 * this one small interface; where they are kept (text file, LMDB, Redis) is the business of a store behind
 * it.
 */
#ifndef CONTROLPLANE_CREDENTIAL_H
#define CONTROLPLANE_CREDENTIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring/sluice.h"

enum {
	PSK_IDENTITY_MAX = 128, /* RFC 4279 5.3 */
	PSK_KEY_MAX = 64,
	IDENTITY_MAX = 255, /* one CSE-ID, AE-ID or endpoint name */
	IDENTITIES_MAX = 16,
	TENANT_MAX = 63,
};

/* What a credential proves. Strings are UTF-8 and terminated. */
struct registree {
	uint8_t kind; /* enum sluice_identity_kind */
	uint8_t identities_count;
	char identities[IDENTITIES_MAX][IDENTITY_MAX + 1];
	char tenant[TENANT_MAX + 1];
	uint64_t version; /* changes whenever the record does */
};

struct psk_credential {
	uint8_t key[PSK_KEY_MAX];
	uint8_t key_len;
	struct registree registree;
};

/* A source of credentials. All functions run on the control thread and must not block it. */
struct credential_store {
	const char *name; /* "file", "lmdb", "redis" */
	/* 1: found, *out filled (the caller wipes it); 0: unknown; -EAGAIN: asked, the answer comes later
	 * (the handshake waits); another -errno: unreachable. identity: any bytes, at most PSK_IDENTITY_MAX.
	 */
	int (*find_psk)(void *store, const char *tenant, const uint8_t *identity, size_t identity_len,
			struct psk_credential *out);
	void (*close)(void *store);
};

#endif
