/* See standing.h. */
#include "controlplane/standing.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "controlplane/issuers.h"
#include "controlplane/row.h"

enum { DIGEST_LEAST = 15, CHAINS_MIN = 16 };

/* Behind the key of those that have one. */
struct certified {
	LIST_ENTRY(certified) alike; /* chain of the hash table */
	bool is_chained;
	struct standing *standing;
	struct standing_certificate certificate;
};

struct standing {
	LIST_ENTRY(standing) same;     /* chain of the hash table */
	TAILQ_ENTRY(standing) age;     /* of its tenant */
	TAILQ_ENTRY(standing) leaving; /* the same */
	struct tenant_sessions *of;
	struct sluice_ref ref;
	uint64_t version, leave_ns;
	struct certified *certified; /* NULL: it came in without a certificate */
	bool is_chained, is_aged, is_leaving;
	uint8_t reason; /* why it is leaving */
	uint16_t key_len;
	uint8_t key[]; /* row_key_encode() */
};

LIST_HEAD(standing_chain, standing);
LIST_HEAD(certified_chain, certified);
TAILQ_HEAD(standing_list, standing);

struct tenant_sessions {
	struct standing_list ages, leaving;
	uint32_t count, leaving_count;
	unsigned place;
	double credit;       /* of sessions that may end now */
	uint64_t counted_ns; /* the while that is in it already */
};

struct standings {
	struct standing_chain *chains;
	struct certified_chain *certified;
	uint32_t mask; /* of both */
	struct tenant_sessions *tenants;
};

/* ---- by credential */

/* FNV-1a: only who has proved a credential gets into the table. */
static uint32_t hash_bytes(uint32_t hash, const void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ ((const uint8_t *)bytes)[i]) * 16777619u;
	return hash;
}

static size_t digest_part(const struct credential_id *id)
{
	return id->digest_len < DIGEST_LEAST ? id->digest_len : DIGEST_LEAST;
}

static struct standing_chain *chain_of(const struct standings *ss, const struct credential_id *id)
{
	uint8_t kind = (uint8_t)id->kind;
	uint32_t hash = hash_bytes(2166136261u, &kind, 1);

	hash = hash_bytes(hash, id->tenant, strlen(id->tenant));
	hash = hash_bytes(hash, id->digest, digest_part(id));
	hash = hash_bytes(hash, id->name, id->name_len);
	return &ss->chains[(hash ^ hash >> 15) & ss->mask];
}

/* A row under a shorter identifier means every key that begins so. */
static bool stands_on(const struct standing *s, const struct credential_id *id)
{
	struct credential_id own;
	size_t len;

	if (!standing_credential(s, &own))
		return false;
	len = own.digest_len < id->digest_len ? own.digest_len : id->digest_len;
	return own.kind == id->kind && strcmp(own.tenant, id->tenant) == 0 &&
	       (len == id->digest_len || len >= DIGEST_LEAST) && memcmp(own.digest, id->digest, len) == 0 &&
	       own.name_len == id->name_len && memcmp(own.name, id->name, id->name_len) == 0;
}

struct standing *standings_next(const struct standings *ss, const struct credential_id *id,
				const struct standing *after)
{
	struct standing *s = after ? LIST_NEXT(after, same) : LIST_FIRST(chain_of(ss, id));

	while (s && !stands_on(s, id))
		s = LIST_NEXT(s, same);
	return s;
}

/* ---- by certificate */

/* A serial number's hash is one already. */
static struct certified_chain *chain_of_certificate(const struct standings *ss,
						    struct standing_certificate certificate)
{
	return &ss->certified[certificate.serial & ss->mask];
}

struct standing *standings_of_certificate(const struct standings *ss, struct standing_certificate certificate)
{
	struct certified *c;

	LIST_FOREACH(c, chain_of_certificate(ss, certificate), alike)
	{
		if (c->certificate.serial == certificate.serial &&
		    issuer_is_same(c->certificate.issuer, certificate.issuer))
			return c->standing;
	}
	return NULL;
}

bool standing_is_revoked(const struct standing *s)
{
	return s->certified &&
	       issuer_has_revoked(s->certified->certificate.issuer, s->certified->certificate.serial);
}

static void certify(struct standings *ss, struct standing *s, struct certified *c,
		    struct standing_certificate certificate)
{
	s->certified = c;
	c->standing = s;
	c->certificate = certificate;
	(void)issuer_hold(certificate.issuer);
	c->is_chained = true;
	LIST_INSERT_HEAD(chain_of_certificate(ss, certificate), c, alike);
}

static void leave_certified_chain(struct standing *s)
{
	if (s->certified && s->certified->is_chained) {
		LIST_REMOVE(s->certified, alike);
		s->certified->is_chained = false;
	}
}

/* ---- one */

struct standing *standing_add(struct standings *ss, struct sluice_ref ref, unsigned tenant,
			      const struct credential_id *id, uint64_t version,
			      struct standing_certificate certificate)
{
	uint8_t key[ROW_KEY_MAX];
	size_t key_len = id->kind ? row_key_encode(id, key) : 0;
	size_t len = (sizeof(struct standing) + key_len + 7) & ~(size_t)7;
	struct standing *s = calloc(1, len + (certificate.issuer ? sizeof(struct certified) : 0));

	if (!s)
		return NULL;
	if (certificate.issuer)
		certify(ss, s, (struct certified *)((uint8_t *)s + len), certificate);
	s->of = &ss->tenants[tenant];
	s->ref = ref;
	s->version = version;
	s->key_len = (uint16_t)key_len;
	memcpy(s->key, key, key_len);
	s->is_chained = key_len > 0;
	if (s->is_chained)
		LIST_INSERT_HEAD(chain_of(ss, id), s, same);
	s->is_aged = true;
	TAILQ_INSERT_TAIL(&s->of->ages, s, age);
	s->of->count++;
	return s;
}

bool standing_given_up(const struct standing *s)
{
	return !s->is_aged;
}

bool standing_give_up(struct standing *s)
{
	bool first = s->is_aged;

	leave_certified_chain(s);
	if (s->is_leaving) {
		TAILQ_REMOVE(&s->of->leaving, s, leaving);
		s->of->leaving_count--;
	}
	if (s->is_aged) {
		TAILQ_REMOVE(&s->of->ages, s, age);
		s->of->count--;
	}
	s->is_leaving = s->is_aged = false;
	return first;
}

void standing_remove(struct standing *s)
{
	if (!s)
		return;
	(void)standing_give_up(s);
	if (s->is_chained)
		LIST_REMOVE(s, same);
	if (s->certified)
		issuer_release(s->certified->certificate.issuer);
	free(s);
}

struct sluice_ref standing_ref(const struct standing *s)
{
	return s->ref;
}

unsigned standing_tenant(const struct standing *s)
{
	return s->of->place;
}

uint64_t standing_version(const struct standing *s)
{
	return s->version;
}

bool standing_credential(const struct standing *s, struct credential_id *id)
{
	return s->key_len > 0 && row_key_decode(s->key, s->key_len, id) == 0;
}

/* ---- by tenant */

uint32_t standings_count(const struct standings *ss, unsigned tenant)
{
	return ss->tenants[tenant].count;
}

struct standing *standings_oldest(const struct standings *ss, unsigned tenant)
{
	return TAILQ_FIRST(&ss->tenants[tenant].ages);
}

/* Those without grace stand before those with one. */
static void queue(struct standing *s, uint64_t leave_ns, bool first)
{
	if (s->of->leaving_count == 0)
		s->of->credit = 0;
	s->is_leaving = true;
	s->leave_ns = leave_ns;
	if (first)
		TAILQ_INSERT_HEAD(&s->of->leaving, s, leaving);
	else
		TAILQ_INSERT_TAIL(&s->of->leaving, s, leaving);
	s->of->leaving_count++;
}

void standing_leave(struct standing *s, enum sluice_reason reason, uint64_t now_ns, uint64_t grace_ns)
{
	if (!s->is_aged || (s->is_leaving && (grace_ns > 0 || s->leave_ns <= now_ns)))
		return;
	if (s->is_leaving) {
		TAILQ_REMOVE(&s->of->leaving, s, leaving);
		s->of->leaving_count--;
	}
	leave_certified_chain(s);
	s->reason = (uint8_t)reason;
	queue(s, now_ns + grace_ns, grace_ns == 0);
}

enum sluice_reason standing_leaves_for(const struct standing *s)
{
	return (enum sluice_reason)s->reason;
}

/* As many as would bring the queue to its end just when the last one's time has come. */
static void earn(struct tenant_sessions *t, uint64_t now_ns, uint64_t elapsed_ns)
{
	const struct standing *last = TAILQ_LAST(&t->leaving, standing_list);
	uint64_t left_ns = last->leave_ns > now_ns ? last->leave_ns - now_ns : 1;

	if (t->counted_ns == now_ns)
		return;
	t->counted_ns = now_ns;
	t->credit += (double)t->leaving_count * (double)elapsed_ns / (double)(left_ns + elapsed_ns);
}

struct standing *standings_leaver(struct standings *ss, unsigned tenant, uint64_t now_ns, uint64_t elapsed_ns)
{
	struct tenant_sessions *t = &ss->tenants[tenant];
	struct standing *first = TAILQ_FIRST(&t->leaving);

	if (!first)
		return NULL;
	earn(t, now_ns, elapsed_ns);
	if (first->leave_ns <= now_ns)
		return first;
	if (t->credit < 1)
		return NULL;
	t->credit -= 1;
	return first;
}

/* ---- all */

struct standings *standings_new(uint64_t slots, unsigned tenants)
{
	struct standings *ss = calloc(1, sizeof *ss);
	uint32_t size = CHAINS_MIN;

	if (!ss)
		return NULL;
	while (size < slots && size < UINT32_C(1) << 31)
		size *= 2;
	ss->mask = size - 1;
	ss->chains = calloc(size, sizeof ss->chains[0]); /* touched as it fills */
	ss->certified = calloc(size, sizeof ss->certified[0]);
	ss->tenants = calloc(tenants, sizeof ss->tenants[0]);
	if (!ss->chains || !ss->certified || !ss->tenants) {
		standings_free(ss);
		return NULL;
	}
	for (unsigned i = 0; i < tenants; i++) {
		ss->tenants[i].place = i;
		TAILQ_INIT(&ss->tenants[i].ages);
		TAILQ_INIT(&ss->tenants[i].leaving);
	}
	return ss;
}

void standings_free(struct standings *ss)
{
	if (!ss)
		return;
	free(ss->chains);
	free(ss->certified);
	free(ss->tenants);
	free(ss);
}
