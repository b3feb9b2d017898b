/* See renewal.h. */
#include "controlplane/renewal.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "controlplane/chain.h"
#include "controlplane/errand.h"
#include "controlplane/file_same.h"
#include "controlplane/log.h"
#include "controlplane/own.h"

#define SECOND_NS 1000000000ULL
#define LOOK_NS   SECOND_NS

enum { CERTIFICATE, KEY, RAW_KEY, ANCHORS, FILES };

/* One tenant. Of the errand's thread, but for what is behind the lock. */
struct renewal {
	struct watched files[FILES];
	struct tls *newest;
	bool own_changed, anchors_changed; /* since `newest` was made */
	uint64_t again_ns;                 /* after a fault */
	char logged[RENEWAL_FAULT_MAX];    /* the fault that the log has; "": none */
	/* behind the lock */
	struct tls *fresh; /* not taken yet */
	struct renewal_state state;
};

struct renewals {
	struct errand errand;
	struct errands *errands;
	bool started;
	int fd;
	_Atomic bool now; /* renewals_now() was called; any thread sets it, the errand takes it */
	pthread_mutex_t lock;
	struct tls *replaced; /* behind the lock: by use->next */
	unsigned count;
	struct renewal of[];
};

/* ---- files */

struct look {
	bool any; /* something is not as it was read */
	bool own, anchors;
	bool at_rest; /* all is as at the look before */
};

static struct look look_at_files(struct renewal *n)
{
	struct look look = {.at_rest = true};

	for (unsigned i = 0; i < FILES; i++) {
		struct watched *f = &n->files[i];

		if (!f->path)
			continue;
		look.at_rest &= watched_look(f);
		if (!watched_has_changed(f))
			continue;
		look.any = true;
		look.own |= i != ANCHORS;
		look.anchors |= i == ANCHORS;
	}
	return look;
}

static void watch_files(struct renewal *n, const struct config_tls *options)
{
	n->files[CERTIFICATE].path = options->certificate;
	n->files[KEY].path = options->certificate ? options->key : NULL;
	n->files[RAW_KEY].path = options->raw_key;
	n->files[ANCHORS].path = options->trust_anchors;
	for (unsigned i = 0; i < FILES; i++) {
		if (!n->files[i].path)
			continue;
		(void)watched_look(&n->files[i]);
		watched_read(&n->files[i]);
	}
}

static bool has_files(const struct renewal *n)
{
	return n->files[CERTIFICATE].path || n->files[RAW_KEY].path || n->files[ANCHORS].path;
}

/* ---- what came of it */

static void wake(struct renewals *r)
{
	static const uint64_t one = 1;

	(void)!write(r->fd, &one, sizeof one);
}

/* With the lock. */
static void add_replaced(struct renewals *r, struct tls *t)
{
	t->use->next = r->replaced;
	r->replaced = t;
}

static void log_taken(const struct tls *t, bool own_changed, bool anchors_changed)
{
	char until[64] = "";
	time_t at = (time_t)t->own->not_after_s;
	struct tm utc;

	if (own_changed && at && gmtime_r(&at, &utc))
		strftime(until, sizeof until, "; the certificate is valid until %Y-%m-%dT%H:%M:%SZ", &utc);
	log_write(LOG_LEVEL_INFO, "%s%s: %s%s%s have been read anew, for handshakes from now on%s",
		  t->tenant[0] ? "tenants." : "tls", t->tenant, own_changed ? "certificate and keys" : "",
		  own_changed && anchors_changed ? " and " : "", anchors_changed ? "trust anchors" : "",
		  until);
}

static void give_fresh(struct renewals *r, struct renewal *n, struct tls *fresh)
{
	log_taken(fresh, n->own_changed, n->anchors_changed);
	n->newest = fresh;
	n->own_changed = n->anchors_changed = false;
	n->logged[0] = 0;
	pthread_mutex_lock(&r->lock);
	if (n->fresh)
		add_replaced(r, n->fresh);
	n->fresh = fresh;
	n->state.taken++;
	n->state.fault[0] = 0;
	pthread_mutex_unlock(&r->lock);
	wake(r);
}

/* aloud: also when the log has it already. */
static void note_fault(struct renewals *r, struct renewal *n, const char *fault, bool aloud, uint64_t now_ns)
{
	n->again_ns = now_ns + RENEWAL_AGAIN_S * SECOND_NS;
	if (!aloud && strcmp(n->logged, fault) == 0)
		return;
	snprintf(n->logged, sizeof n->logged, "%s", fault);
	log_write(LOG_LEVEL_ERROR, "%s. What was read before stays in use.", fault);
	pthread_mutex_lock(&r->lock);
	n->state.refused++;
	snprintf(n->state.fault, sizeof n->state.fault, "%s", fault);
	pthread_mutex_unlock(&r->lock);
}

/* ---- looking */

/* What is read may be newer than what was seen; then the next look sees that, too. */
static void renew(struct renewals *r, struct renewal *n, bool aloud, uint64_t now_ns)
{
	char fault[RENEWAL_FAULT_MAX];
	struct tls *fresh;

	for (unsigned i = 0; i < FILES; i++)
		watched_read(&n->files[i]);
	fresh = tls_renew(n->newest, n->own_changed, n->anchors_changed, fault, sizeof fault);
	if (fresh)
		give_fresh(r, n, fresh);
	else
		note_fault(r, n, fault, aloud, now_ns);
}

static void look_at_tenant(struct renewals *r, struct renewal *n, bool now, uint64_t now_ns)
{
	struct look look = look_at_files(n);
	bool faulty = n->own_changed || n->anchors_changed;

	if (look.any && (look.at_rest || now)) {
		n->own_changed |= look.own;
		n->anchors_changed |= look.anchors;
		renew(r, n, true, now_ns);
	} else if (!look.any && faulty && (now || now_ns >= n->again_ns)) {
		renew(r, n, now, now_ns);
	}
}

/* Not with the lock: it may wait for a responder. */
static void free_replaced(struct renewals *r)
{
	struct tls *done = NULL, *one;

	pthread_mutex_lock(&r->lock);
	for (struct tls **at = &r->replaced; (one = *at);) {
		if (tls_is_held(one)) {
			at = &one->use->next;
			continue;
		}
		*at = one->use->next;
		one->use->next = done;
		done = one;
	}
	pthread_mutex_unlock(&r->lock);
	while ((one = done)) {
		done = one->use->next;
		tls_free(one);
	}
}

static uint64_t look(struct errand *e, uint64_t now_ns)
{
	struct renewals *r = (struct renewals *)e;
	bool now = atomic_exchange_explicit(&r->now, false, memory_order_relaxed);

	free_replaced(r);
	for (unsigned i = 0; i < r->count; i++) {
		if (has_files(&r->of[i]))
			look_at_tenant(r, &r->of[i], now, now_ns);
	}
	now = atomic_load_explicit(&r->now, memory_order_relaxed); /* asked for meanwhile */
	return errand_now_ns() + (now ? 0 : LOOK_NS);
}

/* ---- the control thread's */

int renewals_fd(const struct renewals *r)
{
	return r->fd;
}

void renewals_take(struct renewals *r, struct tls **all)
{
	uint64_t count;

	(void)!read(r->fd, &count, sizeof count);
	pthread_mutex_lock(&r->lock);
	for (unsigned i = 0; i < r->count; i++) {
		struct renewal *n = &r->of[i];

		if (!n->fresh)
			continue;
		n->fresh->use->hellos = all[i]->use->hellos;
		add_replaced(r, all[i]);
		all[i] = n->fresh;
		n->fresh = NULL;
		if (all[i]->trust)
			trust_in_force(all[i]->trust);
	}
	pthread_mutex_unlock(&r->lock);
}

void renewals_state(struct renewals *r, unsigned place, struct renewal_state *out)
{
	pthread_mutex_lock(&r->lock);
	*out = r->of[place].state;
	pthread_mutex_unlock(&r->lock);
}

void renewals_now(struct renewals *r)
{
	atomic_store_explicit(&r->now, true, memory_order_relaxed);
	if (r->started)
		errands_hurry(r->errands, &r->errand);
}

/* ---- start and end */

struct renewals *renewals_new(const struct config *config)
{
	unsigned count = config->tenants_count + 1;
	struct renewals *r = calloc(1, sizeof *r + count * sizeof r->of[0]);

	if (!r)
		return NULL;
	r->errand.run = look;
	r->count = count;
	pthread_mutex_init(&r->lock, NULL);
	r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->errands = errands_new(1);
	if (r->fd < 0 || !r->errands) {
		renewals_free(r);
		return NULL;
	}
	watch_files(&r->of[0], &config->tls);
	for (unsigned i = 1; i < count; i++)
		watch_files(&r->of[i], &config->tenants[i - 1].tls);
	return r;
}

int renewals_start(struct renewals *r, struct tls *const *all, unsigned count)
{
	bool any = false;
	int ret;

	for (unsigned i = 0; i < count && i < r->count; i++) {
		r->of[i].newest = all[i];
		if (!all[i]->trust) /* no client is asked for its certificate */
			r->of[i].files[ANCHORS].path = NULL;
		any |= has_files(&r->of[i]);
	}
	if (!any)
		return 0;
	ret = errands_add(r->errands, &r->errand, errand_now_ns() + LOOK_NS);
	r->started = ret == 0;
	return ret;
}

void renewals_free(struct renewals *r)
{
	if (!r)
		return;
	if (r->started)
		errands_cancel(r->errands, &r->errand);
	errands_free(r->errands);
	for (unsigned i = 0; i < r->count; i++)
		tls_free(r->of[i].fresh);
	free_replaced(r);
	if (r->fd >= 0)
		close(r->fd);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
