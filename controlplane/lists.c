/* See lists.h. */
#include "controlplane/lists.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "controlplane/chain_private.h"
#include "controlplane/log.h"

#define LOOK_NS 1000000000ULL

enum { WHY_MAX = 256, PLACE_MAX = 96 };

struct list_file {
	const char *path;
	struct stat seen; /* as it was when it was read; all zero: it is not there */
	STACK_OF(X509_CRL) * lists;
	bool expired_logged;
};

struct lists {
	struct errand errand;
	struct errands *errands;
	struct trust *trust;
	bool expired_too;
	char place[PLACE_MAX];
	bool unpublished; /* what was read last does not hold yet */
	unsigned count;
	struct list_file files[];
};

/* ---- one file */

static void free_lists(STACK_OF(X509_CRL) * lists)
{
	sk_X509_CRL_pop_free(lists, X509_CRL_free);
}

static STACK_OF(X509_CRL) * read_pem(BIO *in)
{
	STACK_OF(X509_CRL) *lists = sk_X509_CRL_new_null();
	X509_CRL *one;

	while (lists && (one = PEM_read_bio_X509_CRL(in, NULL, NULL, NULL)))
		sk_X509_CRL_push(lists, one);
	/* The end of the file reads as a missing first line; everything else is a broken list. */
	if (lists && sk_X509_CRL_num(lists) > 0 &&
	    ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE)
		return lists;
	free_lists(lists);
	return NULL;
}

static STACK_OF(X509_CRL) * read_der(BIO *in)
{
	STACK_OF(X509_CRL) *lists = sk_X509_CRL_new_null();
	X509_CRL *one = d2i_X509_CRL_bio(in, NULL);

	if (lists && one && sk_X509_CRL_push(lists, one))
		return lists;
	X509_CRL_free(one);
	free_lists(lists);
	return NULL;
}

/* False when an anchor has the issuer's name, but none has its key. */
static bool signature_fits(const struct lists *l, X509_CRL *list)
{
	X509_NAME *issuer = X509_CRL_get_issuer(list);
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(l->trust->anchors);
	bool known = false, good = false;

	for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
		X509 *anchor = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));

		if (!anchor || X509_NAME_cmp(X509_get_subject_name(anchor), issuer) != 0)
			continue;
		known = true;
		good |= X509_CRL_verify(list, X509_get0_pubkey(anchor)) == 1;
	}
	return good || !known;
}

/* libcrypto passes over a list that is indirect or about some reasons alone, and its CA then looks like one
 * without a list; a delta it takes for all that has been revoked (RFC 5280 5.2.4, 5.2.5). NULL: a list to go
 * by. */
static const char *scope_fault(const X509_CRL *list)
{
	int found;
	ISSUING_DIST_POINT *scope = X509_CRL_get_ext_d2i(list, NID_issuing_distribution_point, &found, NULL);
	const char *fault = NULL;

	if (X509_CRL_get_ext_by_NID(list, NID_delta_crl, -1) >= 0)
		fault = "is a delta list; name the full one";
	else if (!scope && found != -1)
		fault = "has an issuing distribution point that cannot be read; name a full list";
	else if (scope && scope->indirectCRL > 0)
		fault = "is an indirect list; name the one that the CA issues itself";
	else if (scope && scope->onlysomereasons)
		fault = "is a partial list, about some reasons alone; name the full one";
	else if (scope && scope->onlyattr > 0)
		fault = "is a partial list, about attribute certificates alone; name the full one";
	else if (scope && scope->onlyuser > 0 && scope->onlyCA > 0)
		fault = "is about no certificate: it excludes CAs and all others; name a full list";
	ISSUING_DIST_POINT_free(scope);
	return fault;
}

static bool check_list(const struct lists *l, X509_CRL *list, char why[WHY_MAX])
{
	char issuer[CHAIN_SUBJECT_MAX];
	const char *fault = scope_fault(list);
	const X509_ALGOR *algorithm;

	X509_CRL_get0_signature(list, NULL, &algorithm);
	if (!fault && !chain_signature_fits(algorithm))
		fault = "is signed with a hash that is not enabled";
	if (!fault && !signature_fits(l, list))
		fault = "is not signed with its key";
	if (fault)
		snprintf(why, WHY_MAX, "the list of %s %s", chain_subject(issuer, X509_CRL_get_issuer(list)),
			 fault);
	return !fault;
}

/* NULL with the end of a sentence in why. */
static STACK_OF(X509_CRL) * read_file(const struct lists *l, const char *path, char why[WHY_MAX])
{
	BIO *in = BIO_new_file(path, "r");
	STACK_OF(X509_CRL) *lists = in ? read_pem(in) : NULL;

	snprintf(why, WHY_MAX, "%s", in ? "it holds no revocation list in PEM or DER" : strerror(errno));
	if (in && !lists && BIO_seek(in, 0) >= 0)
		lists = read_der(in);
	for (int i = 0; lists && i < sk_X509_CRL_num(lists); i++) {
		if (!check_list(l, sk_X509_CRL_value(lists, i), why)) {
			free_lists(lists);
			lists = NULL;
		}
	}
	BIO_free(in);
	ERR_clear_error();
	return lists;
}

static bool is_as_seen(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* 1: read anew; 0: as it was; -1: cannot be used, with the end of a sentence in why. */
static int look_at_file(const struct lists *l, struct list_file *f, char why[WHY_MAX])
{
	STACK_OF(X509_CRL) * lists;
	struct stat now = {0};
	bool there = stat(f->path, &now) == 0;

	if (!there) {
		snprintf(why, WHY_MAX, "%s", strerror(errno));
		now = (struct stat){0};
	}
	if (is_as_seen(&now, &f->seen) && (there || f->lists))
		return 0;
	f->seen = now;
	if (!there)
		return -1;
	if (now.st_size > LIST_FILE_MAX) {
		snprintf(why, WHY_MAX, "it is too long");
		return -1;
	}
	lists = read_file(l, f->path, why);
	if (!lists)
		return -1;
	free_lists(f->lists);
	f->lists = lists;
	f->expired_logged = false;
	return 1;
}

/* ---- all of them */

static bool has_expired(const struct list_file *f)
{
	bool expired = false;

	for (int i = 0; i < sk_X509_CRL_num(f->lists); i++) {
		const ASN1_TIME *until = X509_CRL_get0_nextUpdate(sk_X509_CRL_value(f->lists, i));

		expired |= until && X509_cmp_current_time(until) < 0;
	}
	return expired;
}

static void log_expiry(const struct lists *l, struct list_file *f)
{
	if (f->expired_logged || !has_expired(f))
		return;
	f->expired_logged = true;
	log_write(LOG_LEVEL_ERROR, "%scrls: a list in %s has expired; %s", l->place, f->path,
		  l->expired_too ? "it is used all the same" : "devices that it speaks about are refused");
}

/* A store of its own, because one that handshakes use cannot lose a list. */
static int publish(struct lists *l)
{
	X509_STORE *store = X509_STORE_new();
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(l->trust->anchors);
	bool good = store && X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);

	for (int i = 0; good && i < sk_X509_OBJECT_num(objects); i++)
		good = X509_STORE_add_cert(store, X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i)));
	for (unsigned i = 0; i < l->count; i++) {
		for (int j = 0; good && j < sk_X509_CRL_num(l->files[i].lists); j++)
			good = X509_STORE_add_crl(store, sk_X509_CRL_value(l->files[i].lists, j));
	}
	if (!good) {
		X509_STORE_free(store);
		return -ENOMEM;
	}
	trust_replace(l->trust, store, l->expired_too);
	return 0;
}

static unsigned revoked_count(const struct list_file *f)
{
	unsigned count = 0;

	for (int i = 0; i < sk_X509_CRL_num(f->lists); i++) {
		int n = sk_X509_REVOKED_num(X509_CRL_get_REVOKED(sk_X509_CRL_value(f->lists, i)));

		count += n > 0 ? (unsigned)n : 0;
	}
	return count;
}

static uint64_t look(struct errand *e, uint64_t now_ns)
{
	struct lists *l = (struct lists *)e;
	char why[WHY_MAX];
	bool changed = false;

	for (unsigned i = 0; i < l->count; i++) {
		struct list_file *f = &l->files[i];
		int ret = look_at_file(l, f, why);

		changed |= ret > 0;
		if (ret > 0)
			log_write(LOG_LEVEL_INFO, "%scrls: %s was read anew, %u certificates are revoked",
				  l->place, f->path, revoked_count(f));
		else if (ret < 0)
			log_write(LOG_LEVEL_ERROR,
				  "%scrls: %s cannot be used: %s. What it said before holds.", l->place,
				  f->path, why);
		log_expiry(l, f);
	}
	if (changed || l->unpublished)
		l->unpublished = publish(l) != 0;
	if (changed && l->unpublished)
		log_write(LOG_LEVEL_ERROR, "%scrls: out of memory: what was read anew does not hold yet",
			  l->place);
	return now_ns + LOOK_NS;
}

struct lists *lists_new(struct trust *trust, struct errands *errands, char *const *files, unsigned count,
			bool expired_too, const char *place, char *error, size_t error_len)
{
	struct lists *l = calloc(1, sizeof *l + count * sizeof l->files[0]);
	char why[WHY_MAX];

	snprintf(error, error_len, "out of memory");
	if (!l)
		return NULL;
	l->trust = trust;
	l->errands = errands;
	l->errand.run = look;
	l->expired_too = expired_too;
	snprintf(l->place, sizeof l->place, "%s", place);
	for (; l->count < count; l->count++) {
		struct list_file *f = &l->files[l->count];

		f->path = files[l->count];
		if (look_at_file(l, f, why) != 1) {
			snprintf(error, error_len, "%s cannot be used: %s", f->path, why);
			lists_free(l);
			return NULL;
		}
		log_expiry(l, f);
	}
	if (publish(l) || errands_add(errands, &l->errand, errand_now_ns() + LOOK_NS)) {
		lists_free(l);
		return NULL;
	}
	return l;
}

void lists_free(struct lists *l)
{
	if (!l)
		return;
	errands_cancel(l->errands, &l->errand);
	for (unsigned i = 0; i < l->count; i++)
		free_lists(l->files[i].lists);
	free(l);
}
