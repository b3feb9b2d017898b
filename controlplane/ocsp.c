/* See ocsp.h. The table has buckets of a few places; an answer takes the place of the one that ends first. */
#include "controlplane/ocsp.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/log.h"
#include "controlplane/ocsp_fetch.h"
#include "controlplane/question.h"

#define SECOND_NS 1000000000ULL

enum {
	BUCKET = 4,
	KEY_LEN = 32,
	KEPT_MAX_S = 3600,
	UNANSWERED_S = 5, /* then it is asked again */
	SILENT_MAX = 16,  /* responders that are left alone */
	PLACE_MAX = 96,
};

struct entry {
	uint8_t key[KEY_LEN];
	uint64_t until_ns; /* 0: a free place */
	uint64_t question; /* with LATER: whose answer it will be */
	uint8_t verdict;   /* enum ocsp_verdict; LATER: asked for */
};

struct silent {
	uint32_t hash; /* of the URL */
	uint64_t until_ns;
};

struct ocsp {
	struct errands *errands;
	char *url;
	struct questions *questions;
	char place[PLACE_MAX];
	pthread_mutex_t lock;
	pthread_cond_t idle;
	/* behind the lock */
	unsigned pending;
	bool stopping;
	struct silent silent[SILENT_MAX];
	struct entry entries[OCSP_CACHE];
};

/* One question under way. */
struct query {
	struct errand errand;
	struct ocsp *ocsp;
	struct question *question;
	uint8_t key[KEY_LEN];
	char *url;
	OCSP_CERTID *id;
	X509 *issuer; /* a copy of its own: what chain_verify() found good */
};

/* ---- the table */

static struct entry *bucket_of(struct ocsp *o, const uint8_t *key)
{
	uint32_t number;

	memcpy(&number, key, sizeof number);
	return &o->entries[number % (OCSP_CACHE / BUCKET) * BUCKET];
}

static struct entry *find(struct ocsp *o, const uint8_t *key, uint64_t now_ns)
{
	struct entry *b = bucket_of(o, key);

	for (unsigned i = 0; i < BUCKET; i++) {
		if (b[i].until_ns > now_ns && memcmp(b[i].key, key, KEY_LEN) == 0)
			return &b[i];
	}
	return NULL;
}

static struct entry *keep(struct ocsp *o, const uint8_t *key, enum ocsp_verdict verdict, uint64_t until_ns)
{
	struct entry *b = bucket_of(o, key), *place = b;

	for (unsigned i = 0; i < BUCKET; i++) {
		if (memcmp(b[i].key, key, KEY_LEN) == 0) {
			place = &b[i];
			break;
		}
		if (b[i].until_ns < place->until_ns)
			place = &b[i];
	}
	memcpy(place->key, key, KEY_LEN);
	place->verdict = (uint8_t)verdict;
	place->until_ns = until_ns;
	return place;
}

/* ---- responders that do not answer */

static uint32_t hash_of(const char *url)
{
	uint32_t hash = 2166136261U; /* FNV-1a */

	for (; *url; url++)
		hash = (hash ^ (uint8_t)*url) * 16777619U;
	return hash;
}

static struct silent *silent_of(struct ocsp *o, const char *url)
{
	return &o->silent[hash_of(url) % SILENT_MAX];
}

static bool is_silent(struct ocsp *o, const char *url, uint64_t now_ns)
{
	const struct silent *s = silent_of(o, url);

	return s->hash == hash_of(url) && s->until_ns > now_ns;
}

/* True when that is news. */
static bool note_silence(struct ocsp *o, const char *url, bool silent, uint64_t now_ns)
{
	struct silent *s = silent_of(o, url);
	bool was = s->hash == hash_of(url) && s->until_ns > 0;

	if (silent)
		*s = (struct silent){.hash = hash_of(url), .until_ns = now_ns + UNANSWERED_S * SECOND_NS};
	else if (was)
		s->until_ns = 0;
	return silent != was;
}

/* ---- questions */

static void query_free(struct query *q)
{
	question_drop(q->question);
	OPENSSL_free(q->url);
	OCSP_CERTID_free(q->id);
	X509_free(q->issuer);
	free(q);
}

static enum ocsp_verdict verdict_of(enum ocsp_status status)
{
	switch (status) {
	case OCSP_GOOD:
		return OCSP_VERDICT_GOOD;
	case OCSP_REVOKED:
		return OCSP_VERDICT_REVOKED;
	case OCSP_UNKNOWN:
		return OCSP_VERDICT_UNKNOWN;
	default:
		return OCSP_VERDICT_UNANSWERED;
	}
}

static void fetch(const struct query *q, struct ocsp_answer *a)
{
	struct ocsp_question question = {.url = q->url, .id = q->id, .issuer = q->issuer};

	ocsp_fetch(&question, a);
	OPENSSL_free(a->der);
}

static void log_news(const struct query *q, const struct ocsp_answer *a)
{
	if (a->unreachable)
		log_write(LOG_LEVEL_ERROR, "%socsp_clients: the responder %s cannot be asked: %s",
			  q->ocsp->place, q->url, a->why);
	else
		log_write(LOG_LEVEL_INFO, "%socsp_clients: the responder %s answers again", q->ocsp->place,
			  q->url);
}

static uint64_t run(struct errand *e, uint64_t now_ns)
{
	struct query *q = (struct query *)e;
	struct ocsp *o = q->ocsp;
	struct ocsp_answer a = {.status = OCSP_UNANSWERED};
	bool stopping, news;
	uint32_t kept_s;

	pthread_mutex_lock(&o->lock);
	stopping = o->stopping || is_silent(o, q->url, now_ns);
	pthread_mutex_unlock(&o->lock);
	if (!stopping)
		fetch(q, &a);
	if (!stopping && a.status == OCSP_UNANSWERED && !a.unreachable)
		log_write(LOG_LEVEL_WARNING, "%socsp_clients: the responder %s is not believed: %s", o->place,
			  q->url, a.why);
	kept_s = a.status == OCSP_UNANSWERED ? UNANSWERED_S : a.valid_s < KEPT_MAX_S ? a.valid_s : KEPT_MAX_S;
	now_ns = errand_now_ns();
	pthread_mutex_lock(&o->lock);
	news = !stopping && note_silence(o, q->url, a.unreachable, now_ns);
	/* What was good a moment ago is good for those who waited for it. */
	(void)keep(o, q->key, verdict_of(a.status), now_ns + (kept_s + 1) * SECOND_NS);
	pthread_mutex_unlock(&o->lock);
	if (news)
		log_news(q, &a);
	question_answered(q->question);
	q->question = NULL;
	query_free(q);
	pthread_mutex_lock(&o->lock);
	if (--o->pending == 0)
		pthread_cond_signal(&o->idle);
	pthread_mutex_unlock(&o->lock); /* o may be gone after this */
	return 0;
}

/* Takes id and url. NULL when out of memory. */
static struct query *query_new(struct ocsp *o, const uint8_t *key, OCSP_CERTID *id, char *url, X509 *issuer)
{
	struct query *q = calloc(1, sizeof *q);

	if (!q) {
		OCSP_CERTID_free(id);
		OPENSSL_free(url);
		return NULL;
	}
	q->errand.run = run;
	q->ocsp = o;
	memcpy(q->key, key, KEY_LEN);
	q->id = id;
	q->url = url;
	q->issuer = X509_dup(issuer);
	q->question = question_new(o->questions);
	if (q->issuer && q->question)
		return q;
	query_free(q);
	return NULL;
}

static bool key_of(OCSP_CERTID *id, uint8_t key[KEY_LEN])
{
	uint8_t *der = NULL;
	int len = i2d_OCSP_CERTID(id, &der);
	unsigned key_len = KEY_LEN;
	bool good = len > 0 && EVP_Digest(der, (size_t)len, key, &key_len, EVP_sha256(), NULL);

	OPENSSL_free(der);
	return good;
}

/* Are there few enough under way, and does the responder answer? */
static bool may_ask(struct ocsp *o, const char *url, uint64_t now_ns)
{
	bool may;

	pthread_mutex_lock(&o->lock);
	may = o->pending < OCSP_PENDING_MAX && !is_silent(o, url, now_ns);
	pthread_mutex_unlock(&o->lock);
	return may;
}

/* Who else asks meanwhile waits for the same answer. */
static void begin(struct ocsp *o, const struct query *q)
{
	pthread_mutex_lock(&o->lock);
	o->pending++;
	keep(o, q->key, OCSP_VERDICT_LATER, UINT64_MAX)->question = question_number(q->question);
	pthread_mutex_unlock(&o->lock);
}

/* It could not be sent. */
static void take_back(struct ocsp *o, const struct query *q, uint64_t now_ns)
{
	pthread_mutex_lock(&o->lock);
	o->pending--;
	(void)keep(o, q->key, OCSP_VERDICT_UNANSWERED, now_ns + UNANSWERED_S * SECOND_NS);
	pthread_mutex_unlock(&o->lock);
}

/* Takes id. */
static enum ocsp_verdict ask_responder(struct ocsp *o, const struct chain *c, const uint8_t *key,
				       OCSP_CERTID *id, uint64_t now_ns, uint64_t *question)
{
	char *url = o->url ? OPENSSL_strdup(o->url) : ocsp_url_of(chain_leaf(c));
	struct query *q;

	if (!url || !may_ask(o, url, now_ns)) {
		enum ocsp_verdict verdict = url ? OCSP_VERDICT_UNANSWERED : OCSP_VERDICT_NO_RESPONDER;

		OPENSSL_free(url);
		OCSP_CERTID_free(id);
		return verdict;
	}
	q = query_new(o, key, id, url, chain_issuer(c));
	if (!q)
		return OCSP_VERDICT_UNANSWERED;
	begin(o, q);
	*question = question_number(q->question); /* q may be gone when it has been sent */
	if (errands_add(o->errands, &q->errand, 0) == 0)
		return OCSP_VERDICT_LATER;
	take_back(o, q, now_ns);
	query_free(q);
	return OCSP_VERDICT_UNANSWERED;
}

enum ocsp_verdict ocsp_ask(struct ocsp *o, const struct chain *c, uint64_t *question)
{
	OCSP_CERTID *id = ocsp_id_of(chain_leaf(c), chain_issuer(c));
	uint64_t now_ns = errand_now_ns();
	const struct entry *known;
	enum ocsp_verdict verdict = OCSP_VERDICT_UNANSWERED;
	uint8_t key[KEY_LEN];

	if (!id || !key_of(id, key)) {
		OCSP_CERTID_free(id);
		return verdict;
	}
	pthread_mutex_lock(&o->lock);
	known = find(o, key, now_ns);
	if (known) {
		verdict = known->verdict;
		*question = known->question;
	}
	pthread_mutex_unlock(&o->lock);
	if (!known)
		return ask_responder(o, c, key, id, now_ns, question);
	OCSP_CERTID_free(id);
	return verdict;
}

struct ocsp *ocsp_new(struct errands *errands, const char *url, struct questions *questions,
		      const char *place)
{
	struct ocsp *o = calloc(1, sizeof *o);

	if (!o)
		return NULL;
	o->url = url ? strdup(url) : NULL;
	if (url && !o->url) {
		free(o);
		return NULL;
	}
	o->errands = errands;
	o->questions = questions;
	snprintf(o->place, sizeof o->place, "%s", place);
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->idle, NULL);
	return o;
}

void ocsp_free(struct ocsp *o)
{
	if (!o)
		return;
	pthread_mutex_lock(&o->lock);
	o->stopping = true;
	while (o->pending > 0)
		pthread_cond_wait(&o->idle, &o->lock);
	pthread_mutex_unlock(&o->lock);
	pthread_cond_destroy(&o->idle);
	pthread_mutex_destroy(&o->lock);
	free(o->url);
	free(o);
}
