/* Credentials that were removed, replaced or revoked, and the sessions that stand on them. The store is asked
 * for its changes several times a second; where it cannot tell them (it forgot, or was away) every live
 * session's credential is looked up again, some in each turn. So is every session's certificate when a
 * revocation list has changed, or the trust anchors have; what an OCSP responder says of one certificate
 * concerns its sessions alone.
 *
 *   drop         close_notify and the end, at once
 *   keep         nothing: the next handshake is the first to notice
 *   rehandshake  the same as drop, but spread over a while, so that thousands whose keys were exchanged go on
 *                meanwhile and do not all come again in the same second
 *
 * An end is asked for when the worker's mailbox has room for it, so that thousands need no memory and hold no
 * handshake up; until then the session is marked as one that leaves.
 */
#include <errno.h>
#include <string.h>

#include "controlplane/chain.h"
#include "controlplane/internal.h"
#include "controlplane/issuers.h"
#include "crypto/secret.h"

#define SECOND_NS 1000000000ULL
#define POLL_NS   (SECOND_NS / 4)
#define ROOM_NS   (SECOND_NS / 1000) /* until a full mailbox is tried again */
enum {
	CHANGES_AT_ONCE = 64,
	CHANGES_PER_TURN = 512,
	LOOKED_PER_TURN = 16384, /* slots */
	ASKED_PER_TURN = 256,    /* of the store */
	JUDGED_PER_TURN = 2048,  /* sessions held against the lists */
	ALIKE_AT_ONCE = 1024,    /* sessions of one certificate */
	LEAVERS_PER_TURN = 1024,
};

bool revoke_end(struct control *c, struct standing *s, enum sluice_reason reason)
{
	struct mail_ended mail = {.ref = standing_ref(s), .reason = (uint16_t)reason};

	if (standing_given_up(s))
		return true;
	if (!outbox_try(&c->outboxes[mail.ref.worker], MAIL_REMOVE, &mail, sizeof mail, NULL, 0)) {
		standing_leave(s, reason, c->now_ns, 0); /* the next turn tries again */
		return false;
	}
	(void)standing_give_up(s);
	return true;
}

static void carry_out(struct control *c, struct standing *s, enum sluice_reason reason)
{
	const struct tls *tenant = tenants_at(c->tenants, standing_tenant(s));

	switch (tenant->credential_removed) {
	case CONFIG_CREDENTIAL_REMOVED_DROP:
		(void)revoke_end(c, s, reason);
		break;
	case CONFIG_CREDENTIAL_REMOVED_KEEP:
		break;
	case CONFIG_CREDENTIAL_REMOVED_REHANDSHAKE:
		standing_leave(s, reason, c->now_ns, tenant->rehandshake_s * SECOND_NS);
		break;
	}
}

/* ---- what it stands on now */

/* 1: the same as when it came; 0: it is gone, or another; -errno: nobody knows. */
static int is_unchanged(const struct control *c, const struct standing *s)
{
	const struct credentials *from = &c->credentials;
	struct psk_credential found;
	struct credential_id id;
	int ret;

	if (!standing_credential(s, &id))
		return 1;
	if (id.kind == SLUICE_CREDENTIAL_PSK) {
		ret = from->ops->find_psk(from->store, id.tenant, id.name, id.name_len, &found);
		secret_wipe(&found.key, sizeof found.key);
	} else {
		ret = from->ops->find ? from->ops->find(from->store, &id, &found.registree) : 0;
	}
	if (ret != 1)
		return ret;
	return found.registree.version == standing_version(s);
}

/* A round that goes on is finished, and another follows: a store that changes all the time keeps nobody out
 * of it. */
static void check_all(struct control *c)
{
	struct revoke *r = &c->revoke;
	bool has_begun = r->checking && (r->worker > 0 || r->slot > 0);

	r->again |= has_begun;
	if (!has_begun)
		r->worker = r->slot = 0;
	r->checking = true;
}

/* The store answers later: this session is looked at again then. */
static void note_unsure(struct control *c, const struct standing *s)
{
	struct revoke *r = &c->revoke;

	if (r->unsure_count < REVOKE_UNSURE_MAX)
		r->unsure[r->unsure_count++] = standing_ref(s);
	else
		check_all(c);
}

static void check_unsure(struct control *c)
{
	struct revoke *r = &c->revoke;
	unsigned left = 0;

	for (unsigned i = 0; i < r->unsure_count; i++) {
		struct association *a = association_find(c->associations, r->unsure[i]);
		int ret = a && a->standing ? is_unchanged(c, a->standing) : 1;

		if (ret == 0)
			carry_out(c, a->standing, SLUICE_REASON_CREDENTIAL_GONE);
		if (ret < 0)
			r->unsure[left++] = r->unsure[i];
	}
	r->unsure_count = left;
}

/* The store has said that it is gone, but perhaps of another row: a session that came after the change stands
 * on what was written then, and a raw public key may be there under several names. */
static void take_change(struct control *c, const struct credential_change *change)
{
	struct standing *s = NULL;
	int ret;

	while ((s = standings_next(c->standings, &change->id, s))) {
		if (standing_version(s) >= change->number)
			continue;
		ret = change->id.kind == SLUICE_CREDENTIAL_PSK ? 0 : is_unchanged(c, s);
		if (ret == -EAGAIN)
			note_unsure(c, s);
		else if (ret != 1)
			carry_out(c, s, SLUICE_REASON_CREDENTIAL_GONE);
	}
}

/* True when there may be more. */
static bool read_changes(struct control *c)
{
	const struct credentials *from = &c->credentials;
	struct credential_change changes[CHANGES_AT_ONCE];
	int n = CHANGES_AT_ONCE;

	for (unsigned sum = 0; n == CHANGES_AT_ONCE && sum < CHANGES_PER_TURN; sum += CHANGES_AT_ONCE) {
		n = from->ops->changes(from->store, &c->revoke.number, changes, CHANGES_AT_ONCE);
		if (n == -ESTALE)
			check_all(c);
		if (n > 0 || n == -ESTALE)
			c->revoke.changed_ns = c->now_ns;
		for (int i = 0; i < n; i++)
			take_change(c, &changes[i]);
	}
	return n == CHANGES_AT_ONCE;
}

/* ---- all */

/* The store is there, and this row cannot be read. What is written in its place is told as a change. */
static bool is_fault_of_row(int err)
{
	return err == -EBADMSG || err == -EPROTO || err == -ENOKEY || err == -EKEYREJECTED;
}

/* A store that answers later is asked for some more until it has answered for the first; one that cannot be
 * reached is left alone for a while. Both then begin with the first of which nobody knows. */
static void check_some(struct control *c)
{
	struct revoke *r = &c->revoke, first = {0};
	unsigned asked = 0;
	int ret = 1;

	while (r->worker < c->workers && asked < ASKED_PER_TURN && (ret >= 0 || ret == -EAGAIN)) {
		uint32_t slot = r->slot;
		struct association *a = associations_walk(c->associations, r->worker, &slot, LOOKED_PER_TURN);

		ret = a && a->standing ? is_unchanged(c, a->standing) : 1;
		if (is_fault_of_row(ret))
			ret = 1;
		if (ret < 0 && !first.paused) {
			first = *r;
			first.paused = true;
		}
		if (ret == 0)
			carry_out(c, a->standing, SLUICE_REASON_CREDENTIAL_GONE);
		asked += a ? 1 : ASKED_PER_TURN;
		r->worker += slot == UINT32_MAX;
		r->slot = slot == UINT32_MAX ? 0 : slot;
	}
	r->checking = r->worker < c->workers;
	if (first.paused)
		*r = first;
	if (!r->checking && r->again) {
		r->again = false;
		check_all(c);
	}
}

static void check_one(struct control *c, struct standing *s)
{
	int ret = is_unchanged(c, s);

	if (ret == 0)
		carry_out(c, s, SLUICE_REASON_CREDENTIAL_GONE);
	else if (ret < 0)
		note_unsure(c, s);
}

/* ---- certificates */

static bool knows_changes(const struct control *c)
{
	return c->credentials.ops && c->credentials.ops->changes;
}

static bool has_issuers(const struct control *c)
{
	for (unsigned i = 0; i < tenants_count(c->tenants); i++) {
		const struct trust *trust = tenants_at(c->tenants, i)->trust;

		if (trust && trust_issuers(trust))
			return true;
	}
	return false;
}

/* Changes when any tenant's lists have. */
static uint64_t judgements(const struct control *c)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < tenants_count(c->tenants); i++) {
		const struct trust *trust = tenants_at(c->tenants, i)->trust;

		if (trust && trust_issuers(trust))
			sum += issuers_version(trust_issuers(trust));
	}
	return sum;
}

/* The round goes on from where it is, and ends there: lists that change all the time keep nobody out of it.
 */
static void watch_lists(struct control *c)
{
	struct judging *j = &c->revoke.judging;
	uint64_t seen = judgements(c);

	if (seen == j->seen)
		return;
	j->seen = seen;
	j->slots_left = 0;
	for (unsigned i = 0; i < c->workers; i++)
		j->slots_left += c->links[i].slots;
}

/* NULL: none among those looked at. *looked counts slots. */
static struct standing *judge_next(struct control *c, uint32_t *looked)
{
	struct judging *j = &c->revoke.judging;
	uint32_t slot = j->slot, most = LOOKED_PER_TURN - *looked, passed;
	struct association *a = associations_walk(c->associations, j->worker, &slot, most);

	passed = (slot == UINT32_MAX ? c->links[j->worker].slots : slot) - j->slot;
	if (slot == UINT32_MAX)
		j->worker = (j->worker + 1) % c->workers;
	j->slot = slot == UINT32_MAX ? 0 : slot;
	j->slots_left -= passed < j->slots_left ? passed : j->slots_left;
	*looked += passed;
	return a ? a->standing : NULL;
}

static void judge_some(struct control *c)
{
	struct judging *j = &c->revoke.judging;
	uint32_t looked = 0;

	for (unsigned judged = 0; j->slots_left > 0 && looked < LOOKED_PER_TURN && judged < JUDGED_PER_TURN;
	     judged++) {
		struct standing *s = judge_next(c, &looked);

		if (!s || standing_given_up(s) || !standing_is_revoked(s))
			continue;
		j->found++;
		carry_out(c, s, SLUICE_REASON_REVOKED);
	}
	if (j->slots_left > 0 || j->found == 0)
		return;
	log_write(
		LOG_LEVEL_INFO,
		"%u live sessions came in with certificates that are revoked, or under anchors that are gone",
		j->found);
	j->found = 0;
}

void revoke_refused(struct control *c, const struct handshake *h)
{
	const struct chain *chain = handshake_chain(h);
	struct standing_certificate certificate;
	unsigned count = 0;
	struct standing *s;

	if (handshake_refusal(h)->cause != REFUSED_REVOKED || !chain ||
	    handshake_tls(h)->credential_removed == CONFIG_CREDENTIAL_REMOVED_KEEP)
		return;
	certificate.issuer = chain_under(chain, &certificate.serial);
	/* Where a fleet shares a certificate, those that end come again, and take the others with them. */
	while (certificate.issuer && count++ < ALIKE_AT_ONCE &&
	       (s = standings_of_certificate(c->standings, certificate)))
		carry_out(c, s, SLUICE_REASON_REVOKED);
}

/* ---- every turn */

/* True when there may be more. */
static bool end_leavers(struct control *c, uint64_t elapsed_ns)
{
	unsigned ended = 0;

	for (unsigned i = 0; i < tenants_count(c->tenants); i++) {
		struct standing *s;

		while (ended < LEAVERS_PER_TURN &&
		       (s = standings_leaver(c->standings, i, c->now_ns, elapsed_ns))) {
			if (!revoke_end(c, s, standing_leaves_for(s))) {
				c->revoke.room_ns = c->now_ns + ROOM_NS;
				return false; /* it is among the first again then */
			}
			ended++;
		}
	}
	return ended == LEAVERS_PER_TURN;
}

bool revoke_turn(struct control *c)
{
	struct revoke *r = &c->revoke;
	uint64_t elapsed_ns = 0;
	bool more = false;

	if (c->stopping)
		return false;
	r->room_ns = UINT64_MAX;
	if (c->now_ns >= r->next_ns) {
		elapsed_ns = c->now_ns - r->polled_ns;
		if (knows_changes(c))
			more = read_changes(c);
		watch_lists(c);
		r->polled_ns = c->now_ns;
		r->next_ns = more ? c->now_ns : c->now_ns + POLL_NS;
		r->paused = false;
		check_unsure(c);
	}
	if (r->checking && !r->paused)
		check_some(c);
	judge_some(c);
	more |= end_leavers(c, elapsed_ns);
	return more || (r->checking && !r->paused) || r->judging.slots_left > 0;
}

void revoke_answered(struct control *c)
{
	c->revoke.paused = false;
	check_unsure(c);
	if (c->revoke.checking && !c->stopping)
		check_some(c);
}

void revoke_open(struct control *c)
{
	c->revoke.number = UINT64_MAX; /* from now on */
	c->revoke.polled_ns = c->now_ns;
	c->revoke.room_ns = UINT64_MAX;
	c->revoke.judging.seen = judgements(c);
	c->revoke.wanted = knows_changes(c) || has_issuers(c);
}

uint64_t revoke_deadline(const struct control *c)
{
	const struct revoke *r = &c->revoke;

	return r->wanted && r->next_ns < r->room_ns ? r->next_ns : r->room_ns;
}

int revoke_note(struct control *c, struct association *a, const struct attempt *attempt)
{
	static const struct credential_id none;
	const struct proof *proof = handshake_proof(attempt->handshake);
	const struct chain *chain = handshake_chain(attempt->handshake);
	struct standing_certificate certificate = {0};

	if (chain)
		certificate.issuer = chain_under(chain, &certificate.serial);
	a->standing = standing_add(
		c->standings, association_up(a)->ref, handshake_tls(attempt->handshake)->place,
		proof ? &proof->registered : &none, proof ? proof->registree.version : 0, certificate);
	return a->standing ? 0 : -ENOMEM;
}

void revoke_established(struct control *c, struct association *a, const struct attempt *attempt)
{
	const struct tls *tenant = handshake_tls(attempt->handshake);

	while (tenant->sessions_max && standings_count(c->standings, tenant->place) > tenant->sessions_max &&
	       revoke_end(c, standings_oldest(c->standings, tenant->place), SLUICE_REASON_EVICTED))
		;
	/* A change that was read while the handshake was under way concerned nobody then. */
	if (c->revoke.changed_ns >= attempt->started_ns)
		check_one(c, a->standing);
	if (standing_is_revoked(a->standing))
		carry_out(c, a->standing, SLUICE_REASON_REVOKED);
}
