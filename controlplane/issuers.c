/* See issuers.h. Lists are verified without the lock, which nobody holds for long. */
#include "controlplane/issuers.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "controlplane/list_method.h"
#include "crypto/sha256.h"

enum { CHAINS = 1024, PLACES_MIN = 16 };

struct listing {
	_Atomic unsigned holders;
	X509_CRL *list;
	bool about_devices, about_authorities;
	uint64_t mask;
	uint64_t serials[]; /* at most half of the places are taken; 0: a free one */
};

struct judgement {
	bool revoked; /* the issuer itself, or one above it */
	unsigned count;
	struct listing **listings; /* that it signed; held */
};

struct issuer {
	LIST_ENTRY(issuer) same; /* hash chain */
	TAILQ_ENTRY(issuer) age; /* whoever is above comes before it */
	struct issuers *of;
	struct issuer *above; /* held; NULL: it is an anchor */
	X509 *certificate;
	uint64_t serial;
	uint8_t digest[SHA256_LEN];
	/* behind the lock */
	unsigned holders;
	bool gone;                  /* an anchor that is none any more */
	struct judgement judgement; /* written by issuers_judge() alone */
	unsigned place;             /* issuers_judge()'s own */
};

LIST_HEAD(issuer_chain, issuer);
TAILQ_HEAD(issuer_list, issuer);

struct issuers {
	pthread_mutex_t lock;
	/* behind the lock */
	struct issuer_list all;
	unsigned count, users;
	bool waiting;        /* some have not been judged */
	X509_STORE *anchors; /* that count for live sessions; NULL: all that they came under */
	uint64_t version;
	struct issuer_chain chains[CHAINS];
};

uint64_t issuer_serial(const ASN1_INTEGER *serial)
{
	uint8_t negative = ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER, digest[SHA256_LEN];
	struct sha256 hash;
	uint64_t number;

	sha256_start(&hash, sha256_initial, 0);
	sha256_update(&hash, &negative, 1);
	sha256_update(&hash, ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial));
	sha256_finish(&hash, digest);
	memcpy(&number, digest, sizeof number);
	return number ? number : 1;
}

/* ---- one list */

static void put_serial(struct listing *l, uint64_t serial)
{
	uint64_t at = serial & l->mask;

	while (l->serials[at] && l->serials[at] != serial)
		at = (at + 1) & l->mask;
	l->serials[at] = serial;
}

static bool names_serial(const struct listing *l, uint64_t serial)
{
	uint64_t at = serial & l->mask;

	while (l->serials[at] && l->serials[at] != serial)
		at = (at + 1) & l->mask;
	return l->serials[at] != 0;
}

static bool entry_is_understood(const X509_REVOKED *entry)
{
	return X509v3_get_ext_by_critical(X509_REVOKED_get0_extensions(entry), 1, -1) < 0;
}

/* RFC 5280 5.2, 5.3: with a critical extension that is not understood a list says nothing. Lists that are not
 * full are not read at all, see lists.c. */
static bool is_understood(X509_CRL *list)
{
	const STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(list);

	for (int i = X509_CRL_get_ext_by_critical(list, 1, -1); i >= 0;
	     i = X509_CRL_get_ext_by_critical(list, 1, i)) {
		int what = OBJ_obj2nid(X509_EXTENSION_get_object(X509_CRL_get_ext(list, i)));

		if (what != NID_issuing_distribution_point && what != NID_authority_key_identifier)
			return false;
	}
	for (int i = 0; i < sk_X509_REVOKED_num(entries); i++) {
		if (!entry_is_understood(sk_X509_REVOKED_value(entries, i)))
			return false;
	}
	return true;
}

static void read_scope(struct listing *l)
{
	ISSUING_DIST_POINT *scope;

	l->about_devices = l->about_authorities = is_understood(l->list);
	scope = X509_CRL_get_ext_d2i(l->list, NID_issuing_distribution_point, NULL, NULL);
	if (scope) {
		l->about_devices &= scope->onlyCA <= 0;
		l->about_authorities &= scope->onlyuser <= 0;
	}
	ISSUING_DIST_POINT_free(scope);
}

struct listing *listing_new(X509_CRL *list)
{
	const STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(list);
	int count = sk_X509_REVOKED_num(entries);
	size_t places = PLACES_MIN;
	struct listing *l;

	while (count > 0 && places < 2 * (size_t)count)
		places *= 2;
	l = calloc(1, sizeof *l + places * sizeof l->serials[0]);
	if (!l)
		return NULL;
	l->holders = 1;
	l->mask = places - 1;
	l->list = list;
	X509_CRL_up_ref(list);
	read_scope(l);
	for (int i = 0; i < count; i++) {
		const X509_REVOKED *entry = sk_X509_REVOKED_value(entries, i);

		if (!list_entry_is_back(entry))
			put_serial(l, issuer_serial(X509_REVOKED_get0_serialNumber(entry)));
	}
	return l;
}

void listing_release(struct listing *l)
{
	if (!l || atomic_fetch_sub(&l->holders, 1) > 1)
		return;
	X509_CRL_free(l->list);
	free(l);
}

/* ---- what they say about an issuer */

static void judgement_fini(struct judgement *j)
{
	for (unsigned i = 0; i < j->count; i++)
		listing_release(j->listings[i]);
	free(j->listings);
	*j = (struct judgement){0};
}

static bool has_listing(const struct judgement *j, const struct listing *l)
{
	for (unsigned i = 0; i < j->count; i++) {
		if (j->listings[i] == l)
			return true;
	}
	return false;
}

static bool names(const struct judgement *j, uint64_t serial, bool authority)
{
	for (unsigned i = 0; i < j->count; i++) {
		const struct listing *l = j->listings[i];

		if ((authority ? l->about_authorities : l->about_devices) && names_serial(l, serial))
			return true;
	}
	return false;
}

/* What was believed once is not verified again. */
static bool has_signed(const struct issuer *i, const struct listing *l)
{
	if (X509_NAME_cmp(X509_get_subject_name(i->certificate), X509_CRL_get_issuer(l->list)) != 0)
		return false;
	if (has_listing(&i->judgement, l))
		return true;
	return (X509_get_key_usage(i->certificate) & KU_CRL_SIGN) != 0 &&
	       X509_CRL_verify(l->list, X509_get0_pubkey(i->certificate)) == 1;
}

static int find_listings(const struct issuer *i, struct listing *const *listings, unsigned count,
			 struct judgement *out)
{
	for (unsigned n = 0; n < count; n++) {
		struct listing **more;

		if (!has_signed(i, listings[n]))
			continue;
		more = realloc(out->listings, (out->count + 1) * sizeof *more);
		if (!more)
			return -ENOMEM;
		out->listings = more;
		out->listings[out->count++] = listings[n];
		listings[n]->holders++;
	}
	return 0;
}

/* An anchor that signed itself is asked about itself, as in a handshake. */
static bool is_revoked(const struct issuer *i, const struct judgement *all, const struct judgement *own)
{
	if (i->above)
		return all[i->above->place].revoked || names(&all[i->above->place], i->serial, true);
	return (X509_get_extension_flags(i->certificate) & EXFLAG_SI) && names(own, i->serial, true);
}

static bool is_same(const struct judgement *a, const struct judgement *b)
{
	if (a->revoked != b->revoked || a->count != b->count)
		return false;
	for (unsigned i = 0; i < a->count; i++) {
		if (a->listings[i] != b->listings[i])
			return false;
	}
	return true;
}

/* ---- anchors */

/* RFC 5280 6.1.1 d: a name and a key. Two keys that cannot be read are not the same. */
static bool is_same_authority(X509 *one, X509 *other)
{
	EVP_PKEY *key = X509_get0_pubkey(one);

	return X509_NAME_cmp(X509_get_subject_name(one), X509_get_subject_name(other)) == 0 && key &&
	       EVP_PKEY_eq(key, X509_get0_pubkey(other)) == 1;
}

/* Another certificate of it is the same anchor. */
static bool is_anchor(X509_STORE *anchors, X509 *certificate)
{
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(anchors);

	for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
		X509 *anchor = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));

		if (anchor && is_same_authority(anchor, certificate))
			return true;
	}
	return false;
}

/* With the lock. */
static bool has_gone(const struct issuers *is, const struct issuer *i)
{
	return !i->above && is->anchors && !is_anchor(is->anchors, i->certificate);
}

void issuers_set_anchors(struct issuers *is, X509_STORE *anchors)
{
	bool news = false;
	struct issuer *i;

	X509_STORE_up_ref(anchors);
	pthread_mutex_lock(&is->lock);
	X509_STORE_free(is->anchors);
	is->anchors = anchors;
	TAILQ_FOREACH (i, &is->all, age) {
		bool was_gone = i->gone;

		i->gone = has_gone(is, i);
		news |= i->gone != was_gone;
	}
	is->version += news;
	pthread_mutex_unlock(&is->lock);
	ERR_clear_error();
}

/* ---- one */

/* With the lock. NULL: it is not there. */
static struct issuer *find(const struct issuer_chain *chain, const uint8_t *digest,
			   const struct issuer *above)
{
	struct issuer *i;

	LIST_FOREACH(i, chain, same)
	{
		if (i->above == above && memcmp(i->digest, digest, SHA256_LEN) == 0)
			return i;
	}
	return NULL;
}

/* With the lock. Takes `above` when it returns one, which has no holder yet. */
static struct issuer *add(struct issuers *is, struct issuer_chain *chain, X509 *certificate,
			  const uint8_t *digest, struct issuer *above)
{
	struct issuer *i = is->count < ISSUERS_MAX ? calloc(1, sizeof *i) : NULL;

	if (!i)
		return NULL;
	i->of = is;
	i->above = above;
	i->certificate = certificate;
	X509_up_ref(certificate);
	i->serial = issuer_serial(X509_get0_serialNumber(certificate));
	memcpy(i->digest, digest, SHA256_LEN);
	i->gone = has_gone(is, i);
	LIST_INSERT_HEAD(chain, i, same);
	TAILQ_INSERT_TAIL(&is->all, i, age);
	is->count++;
	is->waiting = true;
	return i;
}

/* With the lock. */
static void release(struct issuer *i)
{
	while (i && --i->holders == 0) {
		struct issuer *above = i->above;

		LIST_REMOVE(i, same);
		TAILQ_REMOVE(&i->of->all, i, age);
		i->of->count--;
		judgement_fini(&i->judgement);
		X509_free(i->certificate);
		free(i);
		i = above;
	}
}

/* With the lock. above: held for the caller; it becomes the new one's, or is given back. */
static struct issuer *take(struct issuers *is, X509 *certificate, struct issuer *above)
{
	uint8_t digest[SHA256_LEN];
	unsigned len = sizeof digest;
	struct issuer_chain *chain;
	struct issuer *i;

	if (!X509_digest(certificate, EVP_sha256(), digest, &len)) {
		release(above);
		return NULL;
	}
	chain = &is->chains[(digest[0] | digest[1] << 8) % CHAINS];
	i = find(chain, digest, above);
	if (i)
		release(above);
	else
		i = add(is, chain, certificate, digest, above);
	if (i)
		i->holders++;
	else
		release(above);
	return i;
}

struct issuer *issuers_take(struct issuers *is, const STACK_OF(X509) * path, bool *full)
{
	struct issuer *i = NULL;
	int at = sk_X509_num(path) - 1;

	*full = false;
	pthread_mutex_lock(&is->lock);
	for (; at > 0 && !*full; at--) {
		i = take(is, sk_X509_value(path, at), i);
		*full = !i;
	}
	pthread_mutex_unlock(&is->lock);
	return i;
}

struct issuer *issuer_hold(struct issuer *i)
{
	pthread_mutex_lock(&i->of->lock);
	i->holders++;
	pthread_mutex_unlock(&i->of->lock);
	return i;
}

void issuer_release(struct issuer *i)
{
	struct issuers *is;

	if (!i)
		return;
	is = i->of;
	pthread_mutex_lock(&is->lock);
	release(i);
	pthread_mutex_unlock(&is->lock);
}

/* Without the lock: what it looks at does not change while they are held. */
bool issuer_is_same(const struct issuer *a, const struct issuer *b)
{
	bool same = a == b || (a->of == b->of && is_same_authority(a->certificate, b->certificate));

	ERR_clear_error();
	return same;
}

bool issuer_has_revoked(const struct issuer *i, uint64_t serial)
{
	const struct issuer *anchor = i;
	bool revoked;

	while (anchor->above)
		anchor = anchor->above;
	pthread_mutex_lock(&i->of->lock);
	revoked = anchor->gone || i->judgement.revoked || names(&i->judgement, serial, false);
	pthread_mutex_unlock(&i->of->lock);
	return revoked;
}

/* ---- all */

struct issuers *issuers_new(void)
{
	struct issuers *is = calloc(1, sizeof *is);

	if (!is)
		return NULL;
	pthread_mutex_init(&is->lock, NULL);
	TAILQ_INIT(&is->all);
	is->users = 1;
	return is;
}

struct issuers *issuers_share(struct issuers *is)
{
	pthread_mutex_lock(&is->lock);
	is->users++;
	pthread_mutex_unlock(&is->lock);
	return is;
}

void issuers_free(struct issuers *is)
{
	unsigned users;

	if (!is)
		return;
	pthread_mutex_lock(&is->lock);
	users = --is->users;
	is->waiting = true; /* who goes may have judged last, by the lists of other anchors */
	pthread_mutex_unlock(&is->lock);
	if (users > 0)
		return;
	X509_STORE_free(is->anchors);
	pthread_mutex_destroy(&is->lock);
	free(is);
}

uint64_t issuers_version(struct issuers *is)
{
	uint64_t version;

	pthread_mutex_lock(&is->lock);
	version = is->version;
	pthread_mutex_unlock(&is->lock);
	return version;
}

bool issuers_wait(struct issuers *is)
{
	bool waiting;

	pthread_mutex_lock(&is->lock);
	waiting = is->waiting;
	pthread_mutex_unlock(&is->lock);
	return waiting;
}

/* Those that there are now, all held, in the order of their age. NULL: out of memory. */
static struct issuer **hold_all(struct issuers *is, unsigned *count)
{
	struct issuer **all, *i;

	pthread_mutex_lock(&is->lock);
	*count = 0;
	all = calloc(is->count + 1, sizeof(struct issuer *));
	if (all) {
		TAILQ_FOREACH (i, &is->all, age) {
			i->holders++;
			i->place = *count;
			all[(*count)++] = i;
		}
		is->waiting = false;
	}
	pthread_mutex_unlock(&is->lock);
	return all;
}

/* Leaves in `judged` what was said before, or what nobody needs. */
static void install(struct issuers *is, struct issuer **all, struct judgement *judged, unsigned count,
		    int ret)
{
	bool news = false;

	pthread_mutex_lock(&is->lock);
	for (unsigned i = 0; ret == 0 && i < count; i++) {
		struct judgement before = all[i]->judgement;

		news |= !is_same(&before, &judged[i]);
		all[i]->judgement = judged[i];
		judged[i] = before;
	}
	is->version += news;
	is->waiting |= ret != 0;
	for (unsigned i = count; i > 0; i--)
		release(all[i - 1]);
	pthread_mutex_unlock(&is->lock);
}

int issuers_judge(struct issuers *is, struct listing *const *listings, unsigned count)
{
	unsigned all_count = 0;
	struct issuer **all = hold_all(is, &all_count);
	struct judgement *judged = all ? calloc(all_count + 1, sizeof *judged) : NULL;
	int ret = judged ? 0 : -ENOMEM;

	for (unsigned i = 0; ret == 0 && i < all_count; i++) {
		ret = find_listings(all[i], listings, count, &judged[i]);
		judged[i].revoked = is_revoked(all[i], judged, &judged[i]);
	}
	if (all)
		install(is, all, judged, all_count, ret);
	for (unsigned i = 0; judged && i < all_count; i++)
		judgement_fini(&judged[i]);
	free(judged);
	free(all);
	ERR_clear_error();
	return ret;
}
