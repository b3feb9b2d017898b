/* Credentials and the identities that they prove. The control thread looks them up once per handshake through
 * this one small interface; where they are kept (text file, LMDB, Redis) is the business of a store behind
 * it.
 */
#ifndef CONTROLPLANE_CREDENTIAL_H
#define CONTROLPLANE_CREDENTIAL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring/sluice.h"

enum {
	PSK_IDENTITY_MAX = 128, /* RFC 4279 5.3 */
	PSK_KEY_MAX = 64,
	PSK_KEY_STRONG = 16, /* shorter ones are taken, and told of */
	IDENTITY_MAX = 255,  /* one CSE-ID, AE-ID or endpoint name */
	IDENTITIES_MAX = 16,
	TENANT_MAX = 63,
	CREDENTIAL_NAME_MAX = 255, /* PSK identity, or name in a certificate */
	CREDENTIAL_DIGEST_MAX = 32,
};

/* Names a credential; what a store finds a registree by.
 *
 *   PSK   name: the PSK identity, any bytes                     digest: none
 *   X509  name: CertNameA, UTF-8 (TS-0003 8.2.2.2)              digest: SHA-256 of RootOfTrustA in DER
 *   RPK   name: none                                            digest: SHA-256 of the SubjectPublicKeyInfo,
 * whole or its first 16 or 15 bytes (RFC 6920) */
struct credential_id {
	enum sluice_credential kind;
	char tenant[TENANT_MAX + 1];
	uint8_t name[CREDENTIAL_NAME_MAX];
	uint8_t name_len;
	uint8_t digest[CREDENTIAL_DIGEST_MAX];
	uint8_t digest_len;
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

/* A credential that a live session may stand on was removed, or got another key or another registree. */
struct credential_change {
	uint64_t number; /* rises by one with every change of the store */
	bool removed;
	struct credential_id id;
};

/* A source of credentials. All functions run on the control thread and must not block it. */
struct credential_store {
	const char *name; /* "file", "lmdb", "redis" */
	/* 1: found, *out filled (the caller wipes it); 0: unknown; -EAGAIN: asked, the answer comes later:
	 * after process() said that answers came, the same find() has it; another -errno: unreachable.
	 * Unknown and found take equally long. identity: any bytes, at most PSK_IDENTITY_MAX.
	 */
	int (*find_psk)(void *store, const char *tenant, const uint8_t *identity, size_t identity_len,
			struct psk_credential *out);
	/* The same for certificates and raw public keys; NULL when the store has none. id->digest of a raw
	 * public key is whole: a row under one of its shorter identifiers is found too. */
	int (*find)(void *store, const struct credential_id *id, struct registree *out);
	/* What was removed or replaced behind *number, oldest first, at most max, and moves *number on;
	 * UINT64_MAX: from now on. How many; -ESTALE: more than the store remembers, so every live session is
	 * to be looked up again; another -errno: unreachable. NULL when the store never changes while it is
	 * open. */
	int (*changes)(void *store, uint64_t *number, struct credential_change *out, unsigned max);
	/* A store that answers later has these five, and no other store has any of them.
	 * fd: an epoll descriptor of the store's own, the same while it is open; readable when it wants
	 * process(). process: does what is due, and returns how many answers have come. deadline: process()
	 * is to be called at this time (CLOCK_MONOTONIC) at the latest; 0: in this very turn, UINT64_MAX: no
	 * need. question: the number, not 0, of what was asked by the last find() that returned -EAGAIN;
	 * whoever asks the same meanwhile has the same number. next_answer: the numbers of the answers that
	 * have come, each once, then 0; to be read between one process() and the next.
	 */
	int (*fd)(const void *store);
	unsigned (*process)(void *store, uint64_t now_ns);
	uint64_t (*deadline)(const void *store);
	uint64_t (*question)(const void *store);
	uint64_t (*next_answer)(void *store);
	/* Whether a look-up would be answered now; NULL: always. For readiness and metrics. */
	bool (*reachable)(const void *store);
	void (*close)(void *store);
};

/* What a negative result of find means, as the end of "the credential store ...". Any thread. */
static inline const char *credential_store_fault(int err)
{
	switch (-err) {
	case EBADMSG:
		return "has a damaged row for it";
	case EPROTO:
		return "has a row for it that a later version wrote";
	case ENOKEY:
	case EKEYREJECTED:
		return "has a row for it whose key is wrapped otherwise";
	case ETIMEDOUT:
		return "does not answer in time";
	case EBUSY:
		return "has too many questions to answer";
	default:
		return "cannot be reached";
	}
}

#endif
