/* See staple.h. */
#include "controlplane/staple.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "controlplane/log.h"
#include "controlplane/ocsp_fetch.h"

#define SECOND_NS 1000000000ULL

enum {
	AGAIN_MIN_S = 5, /* also after a failure */
	AGAIN_MAX_S = 3600,
	PLACE_MAX = 96,
};

struct staple {
	struct errand errand;
	struct errands *errands;
	char *url;
	OCSP_CERTID *id;
	X509 *issuer;
	char place[PLACE_MAX];
	enum ocsp_status told; /* in the log; of the errand's thread */
	pthread_mutex_t lock;
	/* behind the lock */
	uint8_t *der;
	size_t der_len;
	uint64_t until_ns;
};

/* ---- fetching */

static void keep(struct staple *s, struct ocsp_answer *a)
{
	uint8_t *old;

	pthread_mutex_lock(&s->lock);
	old = s->der;
	s->der = a->der;
	s->der_len = (size_t)a->der_len;
	s->until_ns = errand_now_ns() + a->valid_s * SECOND_NS;
	pthread_mutex_unlock(&s->lock);
	OPENSSL_free(old);
}

static void log_answer(struct staple *s, const struct ocsp_answer *a)
{
	if (a->status == s->told)
		return;
	if (a->status == OCSP_GOOD)
		log_write(LOG_LEVEL_INFO, "%socsp_stapling: the responder answers again", s->place);
	else
		log_write(LOG_LEVEL_ERROR, "%socsp_stapling: %s says nothing good of our certificate: %s",
			  s->place, s->url,
			  a->status == OCSP_REVOKED   ? "it has been revoked"
			  : a->status == OCSP_UNKNOWN ? "it does not know it"
						      : a->why);
	s->told = a->status;
}

/* Anew after half of the time that is left, so that a responder may be away for a while. */
static uint64_t refresh(struct errand *e, uint64_t now_ns)
{
	struct staple *s = (struct staple *)e;
	struct ocsp_question q = {.url = s->url, .id = s->id, .issuer = s->issuer};
	struct ocsp_answer a;
	uint64_t again_s = AGAIN_MIN_S;

	ocsp_fetch(&q, &a);
	log_answer(s, &a);
	if (a.status == OCSP_GOOD && a.der_len > 0) {
		again_s = a.valid_s / 2;
		keep(s, &a);
	} else {
		OPENSSL_free(a.der);
	}
	if (again_s < AGAIN_MIN_S)
		again_s = AGAIN_MIN_S;
	if (again_s > AGAIN_MAX_S)
		again_s = AGAIN_MAX_S;
	return errand_now_ns() + again_s * SECOND_NS;
}

uint8_t *staple_copy(struct staple *s, void *(*allocate)(size_t len), size_t *len)
{
	uint8_t *out = NULL;

	pthread_mutex_lock(&s->lock);
	if (s->der && s->until_ns > errand_now_ns())
		out = allocate(s->der_len);
	if (out) {
		memcpy(out, s->der, s->der_len);
		*len = s->der_len;
	}
	pthread_mutex_unlock(&s->lock);
	return out;
}

/* ---- starting */

/* Returns our own. */
static X509 *read_chain(struct staple *s, const void *chain, size_t chain_len)
{
	BIO *in = BIO_new_mem_buf(chain, (int)chain_len);
	X509 *own = in ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;

	if (own)
		s->issuer = PEM_read_bio_X509(in, NULL, NULL, NULL);
	BIO_free(in);
	ERR_clear_error();
	return own;
}

/* NULL, or what is wrong. */
static const char *prepare(struct staple *s, const void *chain, size_t chain_len, const char *url)
{
	X509 *own = read_chain(s, chain, chain_len);

	if (!own || !s->issuer) {
		X509_free(own);
		return "the issuer of the certificate must stand behind it in its file";
	}
	s->url = ocsp_url_of(own);
	if (!s->url && url)
		s->url = OPENSSL_strdup(url);
	s->id = ocsp_id_of(own, s->issuer);
	X509_free(own);
	if (!s->url)
		return "the certificate names no OCSP responder, and ocsp_responder is not set";
	return s->id ? NULL : "out of memory";
}

struct staple *staple_new(const void *chain, size_t chain_len, const char *url, struct errands *errands,
			  const char *place, char *error, size_t error_len)
{
	struct staple *s = calloc(1, sizeof *s);
	const char *why = s ? NULL : "out of memory";

	if (s) {
		s->errand.run = refresh;
		s->errands = errands;
		snprintf(s->place, sizeof s->place, "%s", place);
		pthread_mutex_init(&s->lock, NULL);
		why = prepare(s, chain, chain_len, url);
	}
	if (!why && errands_add(errands, &s->errand, 0))
		why = "no thread can be started";
	if (!why)
		return s;
	snprintf(error, error_len, "%s", why);
	staple_free(s);
	return NULL;
}

void staple_free(struct staple *s)
{
	if (!s)
		return;
	errands_cancel(s->errands, &s->errand);
	X509_free(s->issuer);
	OCSP_CERTID_free(s->id);
	OPENSSL_free(s->url);
	OPENSSL_free(s->der);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
