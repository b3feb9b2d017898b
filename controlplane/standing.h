/* What each live session stands on: its tenant, and the credential that it was proved with, so that a change
 * of the store finds the sessions that it concerns without a search. About 150 bytes each, 40 more with a
 * certificate, and two pointers per slot. Control thread.
 *
 *   by credential   chains of a hash table; of a raw public key the first 15 bytes of its digest count, the
 *                   shortest of the identifiers that a row may have (RFC 6920)
 *   by certificate  the same, for what an OCSP responder says later; what lists say is asked of issuers.h
 *   by tenant       oldest first; and those that shall end within a while, in the order of their deadlines
 */
#ifndef CONTROLPLANE_STANDING_H
#define CONTROLPLANE_STANDING_H

#include "controlplane/credential.h"
#include "ring/sluice.h"

struct standing;
struct standings;
struct issuer;

/* What a session came in with: a certificate of this issuer. issuer NULL: with none, or nobody asks. */
struct standing_certificate {
	struct issuer *issuer;
	uint64_t serial; /* issuer_serial() */
};

/* slots: of all session tables together. NULL when out of memory. */
struct standings *standings_new(uint64_t slots, unsigned tenants);
void standings_free(struct standings *ss); /* none may be left: associations_free() first. NULL is fine */

/* id: kind 0 for a session that stands on no credential of a store. The issuer is held once more for it. NULL
 * when out of memory. */
struct standing *standing_add(struct standings *ss, struct sluice_ref ref, unsigned tenant,
			      const struct credential_id *id, uint64_t version,
			      struct standing_certificate certificate);
void standing_remove(struct standing *s); /* NULL is fine */

struct sluice_ref standing_ref(const struct standing *s);
unsigned standing_tenant(const struct standing *s);
uint64_t standing_version(const struct standing *s);
/* False when it stands on none. */
bool standing_credential(const struct standing *s, struct credential_id *id);

/* Those that may stand on the credential, one after the other: after NULL is the first; NULL at the end. */
struct standing *standings_next(const struct standings *ss, const struct credential_id *id,
				const struct standing *after);

/* Do lists say that its certificate, or a CA above it, has been revoked? Or is its trust anchor gone? */
bool standing_is_revoked(const struct standing *s);
/* One that stands on this certificate and whose end has not been asked for; NULL: none (any more). */
struct standing *standings_of_certificate(const struct standings *ss,
					  struct standing_certificate certificate);

/* Of one tenant. */
uint32_t standings_count(const struct standings *ss, unsigned tenant);
struct standing *standings_oldest(const struct standings *ss, unsigned tenant);

/* Has its end been asked for? */
bool standing_given_up(const struct standing *s);
/* The end of this session has been asked for: it is no more found by what stands here. True the first time.
 */
bool standing_give_up(struct standing *s);

/* It shall end within grace_ns for this reason. grace_ns is 0, before all others, or the same for all of a
 * tenant; nothing then when that was said before. It is no more found by its certificate. */
void standing_leave(struct standing *s, enum sluice_reason reason, uint64_t now_ns, uint64_t grace_ns);
enum sluice_reason standing_leaves_for(const struct standing *s);
/* One whose turn to end has come; NULL: none (any more). Called every while, it spreads those of a tenant
 * evenly over the time that is left to them. elapsed_ns: since the while before. */
struct standing *standings_leaver(struct standings *ss, unsigned tenant, uint64_t now_ns,
				  uint64_t elapsed_ns);

#endif
