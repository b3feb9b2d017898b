/* See psk_live.h.
 *
 *   errand:  look -> psk_file_open() -> fresh -+                          +-> psk_file_close()
 *   control:                                   +-> changes() -> replaced -+
 */
#include "controlplane/psk_live.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/errand.h"
#include "controlplane/file_same.h"
#include "controlplane/log.h"
#include "controlplane/psk_file.h"

#define SECOND_NS 1000000000ULL
#define LOOK_NS   SECOND_NS

struct psk_live {
	struct errand errand;
	struct errands *errands;
	char *path;
	struct psk_file *file; /* control thread */
	_Atomic bool now;      /* psk_live_look() was called; any thread sets it, the errand takes it */
	/* of the errand's thread */
	struct watched watched;
	uint64_t again_ns;              /* after a fault */
	char logged[RENEWAL_FAULT_MAX]; /* the fault that the log has; "": none */
	/* behind the lock */
	pthread_mutex_t lock;
	struct psk_file *fresh;    /* not taken yet */
	struct psk_file *replaced; /* to be freed where that keeps nobody waiting */
	struct renewal_state state;
};

/* ---- the errand's thread */

static void give_fresh(struct psk_live *l, struct psk_file *fresh)
{
	struct psk_file *untaken;

	l->logged[0] = 0;
	pthread_mutex_lock(&l->lock);
	untaken = l->fresh;
	l->fresh = fresh;
	l->state.taken++;
	l->state.fault[0] = 0;
	pthread_mutex_unlock(&l->lock);
	psk_file_close(untaken);
}

/* aloud: also when the log has it already. */
static void note_fault(struct psk_live *l, const char *fault, bool aloud, uint64_t now_ns)
{
	l->again_ns = now_ns + RENEWAL_AGAIN_S * SECOND_NS;
	if (!aloud && strcmp(l->logged, fault) == 0)
		return;
	snprintf(l->logged, sizeof l->logged, "%s", fault);
	log_write(LOG_LEVEL_ERROR, "%s. What was read before stays in use.", fault);
	pthread_mutex_lock(&l->lock);
	l->state.refused++;
	snprintf(l->state.fault, sizeof l->state.fault, "%s", fault);
	pthread_mutex_unlock(&l->lock);
}

static void tell_of_keys(const char *path, const struct psk_file *f)
{
	uint32_t weak = psk_file_weak(f);

	if (psk_file_count(f) == 0)
		log_write(LOG_LEVEL_WARNING, "there is no pre-shared key in %s", path);
	if (weak > 0)
		log_write(LOG_LEVEL_WARNING,
			  "%u of the pre-shared keys in %s can be guessed: shorter than %d bytes", weak, path,
			  PSK_KEY_STRONG);
}

/* What changed on the way may be half of a file: nothing comes of it, and the next look sees it as a change.
 */
static void read_again(struct psk_live *l, bool aloud, uint64_t now_ns)
{
	static const char option[] = "credentials.psk_file: ";
	char fault[RENEWAL_FAULT_MAX];
	struct psk_file *fresh;

	watched_read(&l->watched);
	memcpy(fault, option, sizeof option);
	fresh = psk_file_open(l->path, fault + sizeof option - 1, sizeof fault - sizeof option + 1);
	if (!watched_look(&l->watched))
		psk_file_close(fresh);
	else if (fresh)
		give_fresh(l, fresh);
	else
		note_fault(l, fault, aloud, now_ns);
}

static void free_replaced(struct psk_live *l)
{
	struct psk_file *replaced;

	pthread_mutex_lock(&l->lock);
	replaced = l->replaced;
	l->replaced = NULL;
	pthread_mutex_unlock(&l->lock);
	psk_file_close(replaced);
}

static uint64_t look(struct errand *e, uint64_t now_ns)
{
	struct psk_live *l = (struct psk_live *)e;
	bool now = atomic_exchange_explicit(&l->now, false, memory_order_relaxed);
	bool at_rest = watched_look(&l->watched);

	free_replaced(l);
	if (watched_has_changed(&l->watched)) {
		if (at_rest || now)
			read_again(l, true, now_ns);
	} else if (l->logged[0] && (now || now_ns >= l->again_ns)) {
		read_again(l, now, now_ns);
	}
	now = atomic_load_explicit(&l->now, memory_order_relaxed); /* asked for meanwhile */
	return errand_now_ns() + (now ? 0 : LOOK_NS);
}

/* ---- the control thread's */

/* False when there is nothing new. While the one before still waits to be freed, so does the next. */
static bool take_fresh(struct psk_live *l)
{
	struct psk_file *fresh = NULL;

	pthread_mutex_lock(&l->lock);
	if (l->fresh && !l->replaced) {
		fresh = l->fresh;
		l->fresh = NULL;
		l->replaced = l->file;
		l->file = fresh;
	}
	pthread_mutex_unlock(&l->lock);
	if (!fresh)
		return false;
	tell_of_keys(l->path, fresh);
	log_write(LOG_LEVEL_INFO,
		  "%u pre-shared keys from %s have been read anew, for handshakes from now on",
		  psk_file_count(fresh), l->path);
	return true;
}

static int find_psk(void *store, const char *tenant, const uint8_t *identity, size_t identity_len,
		    struct psk_credential *out)
{
	const struct psk_live *l = store;

	return psk_file_find(l->file, tenant, identity, identity_len, out);
}

static int changes(void *store, uint64_t *number, struct credential_change *out, unsigned max)
{
	return take_fresh(store) ? -ESTALE : 0;
}

static void close_live(void *store)
{
	psk_live_close(store);
}

const struct credential_store psk_live_ops = {
	.name = "file", .find_psk = find_psk, .changes = changes, .close = close_live};

uint32_t psk_live_rows(const struct psk_live *l)
{
	return psk_file_count(l->file);
}

/* ---- any thread */

void psk_live_look(struct psk_live *l)
{
	atomic_store_explicit(&l->now, true, memory_order_relaxed);
	errands_hurry(l->errands, &l->errand);
}

void psk_live_state(struct psk_live *l, struct renewal_state *out)
{
	pthread_mutex_lock(&l->lock);
	*out = l->state;
	pthread_mutex_unlock(&l->lock);
}

/* ---- start and end */

/* What changes while it is read is noticed afterwards. */
struct psk_live *psk_live_open(const char *path, char *error, size_t error_len)
{
	struct psk_live *l = calloc(1, sizeof *l);

	snprintf(error, error_len, "out of memory");
	if (!l)
		return NULL;
	pthread_mutex_init(&l->lock, NULL);
	l->errand.run = look;
	l->path = strdup(path);
	l->errands = errands_new(1);
	if (!l->path || !l->errands)
		goto err;
	l->watched.path = l->path;
	(void)watched_look(&l->watched);
	watched_read(&l->watched);
	l->file = psk_file_open(path, error, error_len);
	if (!l->file)
		goto err;
	tell_of_keys(path, l->file);
	if (errands_add(l->errands, &l->errand, errand_now_ns() + LOOK_NS) == 0)
		return l;
	snprintf(error, error_len, "no thread can be started to look at %s", path);
err:
	psk_live_close(l);
	return NULL;
}

/* An errand that was never added can be cancelled as well. */
void psk_live_close(struct psk_live *l)
{
	if (!l)
		return;
	if (l->errands)
		errands_cancel(l->errands, &l->errand);
	errands_free(l->errands);
	psk_file_close(l->file);
	psk_file_close(l->fresh);
	psk_file_close(l->replaced);
	pthread_mutex_destroy(&l->lock);
	free(l->path);
	free(l);
}
