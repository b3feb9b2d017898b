/* See lists.h. */
#include "controlplane/lists.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "controlplane/authorities.h"
#include "controlplane/chain_private.h"
#include "controlplane/file_same.h"
#include "controlplane/list_method.h"
#include "controlplane/log.h"

#define LOOK_NS 1000000000ULL

enum { WHY_MAX = 256, PLACE_MAX = 96 };

struct list_file {
	const char *path;
	struct stat seen; /* as it was when it was read; all zero: it is not there */
	STACK_OF(X509_CRL) * lists;
	struct listing **listings; /* what each of them says */
	bool expired_logged;
	bool failing_logged; /* reading it fails, and is tried again */
};

struct lists {
	struct errand errand;
	struct errands *errands;
	struct trust *trust;
	bool expired_too;
	char place[PLACE_MAX];
	bool unpublished; /* what was read last does not hold yet */
	bool unjudged;    /* nor for live sessions */
	unsigned count;
	struct list_file files[];
};

/* ---- one file */

/* One file's, as it was read. */
struct reading {
	STACK_OF(X509_CRL) * lists;
	struct listing **listings;
};

static void free_reading(struct reading *r)
{
	for (int i = 0; r->listings && i < sk_X509_CRL_num(r->lists); i++)
		listing_release(r->listings[i]);
	free(r->listings);
	sk_X509_CRL_pop_free(r->lists, X509_CRL_free);
	*r = (struct reading){0};
}

static bool push(STACK_OF(X509_CRL) * lists, X509_CRL *one)
{
	if (one && sk_X509_CRL_push(lists, one))
		return true;
	X509_CRL_free(one);
	return false;
}

static STACK_OF(X509_CRL) * read_pem(BIO *in)
{
	STACK_OF(X509_CRL) *lists = sk_X509_CRL_new_null();

	while (lists && push(lists, PEM_read_bio_X509_CRL(in, NULL, NULL, NULL)))
		;
	/* The end of the file reads as a missing first line; everything else is a broken list. */
	if (lists && sk_X509_CRL_num(lists) > 0 &&
	    ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE)
		return lists;
	sk_X509_CRL_pop_free(lists, X509_CRL_free);
	return NULL;
}

static STACK_OF(X509_CRL) * read_der(BIO *in)
{
	STACK_OF(X509_CRL) *lists = sk_X509_CRL_new_null();

	if (lists && push(lists, d2i_X509_CRL_bio(in, NULL)))
		return lists;
	sk_X509_CRL_pop_free(lists, X509_CRL_free);
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

/* So that no handshake has to, see list_method.h. */
static void verify_with_known_keys(const struct lists *l, X509_CRL *list)
{
	X509 *known[LIST_KEYS_MAX];
	unsigned count =
		authorities_named(l->trust->authorities, X509_CRL_get_issuer(list), known, LIST_KEYS_MAX);

	for (unsigned i = 0; i < count; i++) {
		(void)X509_CRL_verify(list, X509_get0_pubkey(known[i]));
		X509_free(known[i]);
	}
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
	else
		verify_with_known_keys(l, list);
	return !fault;
}

/* The whole of it, without blocking: a FIFO would keep the caller waiting. NULL with the end of a sentence in
 * why, also when it changes meanwhile; the caller frees it. */
static uint8_t *read_bytes(const char *path, const struct stat *as, char why[WHY_MAX])
{
	size_t size = (size_t)as->st_size, len = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	uint8_t *bytes = fd >= 0 ? malloc(size + 1) : NULL;
	struct stat after;
	ssize_t n = 1;

	while (bytes && n > 0 && len <= size) {
		n = read(fd, bytes + len, size + 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	if (fd < 0 || !bytes || n < 0 || fstat(fd, &after)) {
		snprintf(why, WHY_MAX, "%s", strerror(errno));
	} else if (len == size && file_same(&after, as)) {
		close(fd);
		return bytes;
	} else {
		snprintf(why, WHY_MAX, "it was changed while it was read");
	}
	free(bytes);
	if (fd >= 0)
		close(fd);
	return NULL;
}

static STACK_OF(X509_CRL) * parse(const uint8_t *bytes, size_t len)
{
	BIO *in = BIO_new_mem_buf(bytes, (int)len);
	STACK_OF(X509_CRL) *lists = in ? read_pem(in) : NULL;

	if (in && !lists && BIO_reset(in) == 1)
		lists = read_der(in);
	BIO_free(in);
	return lists;
}

static bool list_all(struct reading *r)
{
	int count = sk_X509_CRL_num(r->lists);

	r->listings = calloc((size_t)count, sizeof(struct listing *));
	for (int i = 0; r->listings && i < count; i++) {
		r->listings[i] = listing_new(sk_X509_CRL_value(r->lists, i));
		if (!r->listings[i])
			return false;
	}
	return r->listings != NULL;
}

enum outcome {
	READ,
	USELESS, /* until it changes */
	FAILED,  /* this time */
};

/* Unless it was read: with the end of a sentence in why. */
static enum outcome read_file(const struct lists *l, const char *path, const struct stat *as,
			      struct reading *out, char why[WHY_MAX])
{
	uint8_t *bytes;
	enum outcome outcome = READ;

	if (as->st_size > LIST_FILE_MAX) {
		snprintf(why, WHY_MAX, "it is longer than %d bytes", LIST_FILE_MAX);
		return USELESS;
	}
	bytes = read_bytes(path, as, why);
	if (!bytes)
		return FAILED;
	out->lists = parse(bytes, (size_t)as->st_size);
	free(bytes);
	if (!out->lists) {
		bool memory = ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE;

		snprintf(why, WHY_MAX, "%s",
			 memory ? strerror(ENOMEM) : "it holds no revocation list in PEM or DER");
		outcome = memory ? FAILED : USELESS;
	}
	for (int i = 0; outcome == READ && i < sk_X509_CRL_num(out->lists); i++)
		outcome = check_list(l, sk_X509_CRL_value(out->lists, i), why) ? READ : USELESS;
	if (outcome == READ && !list_all(out)) {
		snprintf(why, WHY_MAX, "%s", strerror(ENOMEM));
		outcome = FAILED;
	}
	ERR_clear_error();
	if (outcome != READ)
		free_reading(out);
	return outcome;
}

static void replace(struct list_file *f, const struct reading *with)
{
	struct reading old = {.lists = f->lists, .listings = f->listings};

	f->lists = with->lists;
	f->listings = with->listings;
	f->expired_logged = false;
	free_reading(&old);
}

/* 1: read anew; 0: as it was; -1: cannot be used, with the end of a sentence in why. What fails this time is
 * told once, and tried again. */
static int look_at_file(const struct lists *l, struct list_file *f, char why[WHY_MAX])
{
	struct stat now = {0};
	bool there = stat(f->path, &now) == 0, was_failing = f->failing_logged;
	struct reading reading = {0};

	if (!there) {
		snprintf(why, WHY_MAX, "%s", strerror(errno));
		now = (struct stat){0};
	}
	if (file_same(&now, &f->seen) && (there || f->lists))
		return 0;
	f->failing_logged = false;
	switch (there ? read_file(l, f->path, &now, &reading, why) : USELESS) {
	case READ:
		f->seen = now;
		replace(f, &reading);
		return 1;
	case FAILED:
		f->failing_logged = true;
		return was_failing ? 0 : -1;
	default:
		f->seen = now;
		return -1;
	}
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

static int judge(const struct lists *l)
{
	struct listing **all;
	unsigned count = 0;
	int ret;

	for (unsigned i = 0; i < l->count; i++)
		count += (unsigned)sk_X509_CRL_num(l->files[i].lists);
	all = calloc(count + 1, sizeof(struct listing *));
	if (!all)
		return -ENOMEM;
	count = 0;
	for (unsigned i = 0; i < l->count; i++) {
		for (int j = 0; j < sk_X509_CRL_num(l->files[i].lists); j++)
			all[count++] = l->files[i].listings[j];
	}
	ret = issuers_judge(trust_issuers(l->trust), all, count);
	free(all);
	return ret;
}

/* A store of its own, because one that handshakes use cannot lose a list. */
static int publish(struct lists *l)
{
	X509_STORE *store = chain_store_new();
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(l->trust->anchors);
	bool good = store != NULL;

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
	/* Handshakes first: who is let in after this was not revoked. */
	if (changed || l->unjudged || issuers_wait(trust_issuers(l->trust)))
		l->unjudged = judge(l) != 0;
	if (changed && (l->unpublished || l->unjudged))
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
	l->unjudged = true;
	snprintf(l->place, sizeof l->place, "%s", place);
	if (!trust_watch(trust, NULL)) {
		lists_free(l);
		return NULL;
	}
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
	snprintf(error, error_len, "out of memory");
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
		replace(&l->files[i], &(struct reading){0});
	free(l);
}
