/* See store_live.h. */
#include "controlplane/store_live.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "controlplane/fault.h"
#include "controlplane/log.h"
#include "controlplane/store_lmdb.h"

#define MS_NS            1000000ULL
#define RETRY_FIRST_NS   (200 * MS_NS)
#define RETRY_LONGEST_NS (5000 * MS_NS)
#define STEADY_NS        (60000 * MS_NS) /* whoever was well for so long is tried again at once */
enum { ERROR_LEN = 512, ROW_LINES_PER_SECOND = 2, STATE_LINES_PER_SECOND = 10 };

struct store_live {
	char *path, *key_file;
	struct store *store; /* NULL: it is lost */
	uint64_t rows;
	uint64_t opened_ns, retry_ns, wait_ns;
	char error[ERROR_LEN]; /* why it could not be opened the last time */
	struct store_live_counts counts;
	struct log_limit log_row, log_state;
};

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 * MS_NS + (uint64_t)now.tv_nsec;
}

/* ---- opening and closing, guarded: the file may be anything */

static int guarded_open(void *context)
{
	struct store_live *l = context;
	struct store_options options = {.path = l->path, .key_file = l->key_file};
	uint64_t last;

	l->store = store_open(&options, l->error, sizeof l->error);
	if (!l->store)
		return -EIO;
	return store_counts(l->store, &l->rows, &last);
}

static int guarded_close(void *context)
{
	store_close(context);
	return 0;
}

/* What a cut-short close leaves behind is given up. */
static void close_store(struct store_live *l)
{
	if (l->store)
		(void)fault_guard(guarded_close, l->store);
	l->store = NULL;
}

static int open_store(struct store_live *l)
{
	int ret;

	snprintf(l->error, sizeof l->error, "The credential store %s cannot be used: its file is damaged.",
		 l->path);
	ret = fault_guard(guarded_open, l);
	if (ret) {
		close_store(l);
		return ret;
	}
	l->opened_ns = monotonic_ns();
	return 0;
}

/* ---- lost and found */

static const char *loss_text(int err)
{
	switch (-err) {
	case ENODEV:
		return "its file was removed or replaced";
	case EBADMSG:
	case EFAULT:
		return "its file is damaged";
	default:
		return strerror(-err);
	}
}

static void lose(struct store_live *l, int err)
{
	uint64_t now_ns = monotonic_ns();

	close_store(l);
	l->counts.lost++;
	l->wait_ns = now_ns - l->opened_ns > STEADY_NS || l->wait_ns == 0 ? RETRY_FIRST_NS : 2 * l->wait_ns;
	if (l->wait_ns > RETRY_LONGEST_NS)
		l->wait_ns = RETRY_LONGEST_NS;
	l->retry_ns = err == -ENODEV ? now_ns : now_ns + l->wait_ns;
	log_limited(
		&l->log_state, now_ns, LOG_LEVEL_ERROR,
		"the credential store %s is lost: %s; handshakes that need it are refused until it is back",
		l->path, loss_text(err));
}

/* 0 when it is there again. A new reason why it is not is told. */
static int find_again(struct store_live *l)
{
	uint64_t now_ns = monotonic_ns();
	char error[ERROR_LEN];
	int ret;

	if (now_ns < l->retry_ns)
		return -ENOTCONN;
	snprintf(error, sizeof error, "%s", l->error);
	ret = open_store(l);
	l->retry_ns = now_ns + RETRY_FIRST_NS;
	if (ret == 0) {
		log_limited(&l->log_state, now_ns, LOG_LEVEL_INFO,
			    "the credential store %s is back: %llu credentials", l->path,
			    (unsigned long long)l->rows);
		l->error[0] = 0;
	} else if (strcmp(error, l->error) != 0) {
		log_limited(&l->log_state, now_ns, LOG_LEVEL_ERROR, "%s", l->error);
	}
	return ret ? -ENOTCONN : 0;
}

/* ---- struct credential_store */

struct call {
	struct store_live *live;
	const struct credential_id *id;
	const char *tenant;
	const uint8_t *identity;
	size_t identity_len;
	struct psk_credential *psk;
	struct registree *registree;
	uint64_t *number;
	struct credential_change *changes;
	unsigned max;
};

static int guarded_find_psk(void *context)
{
	const struct call *c = context;

	return store_lmdb.find_psk(c->live->store, c->tenant, c->identity, c->identity_len, c->psk);
}

static int guarded_find(void *context)
{
	const struct call *c = context;

	return store_lmdb.find(c->live->store, c->id, c->registree);
}

static int guarded_changes(void *context)
{
	const struct call *c = context;

	return store_changes(c->live->store, c->number, c->changes, c->max);
}

static int look_up(struct store_live *l, int (*body)(void *), struct call *call)
{
	int ret = l->store ? fault_guard(body, call) : -ENOTCONN;

	if (ret >= 0)
		return ret;
	l->counts.failed++;
	if (ret == -EFAULT) {
		lose(l, ret);
	} else if (ret != -ENOTCONN) {
		l->counts.damaged += ret == -EBADMSG;
		log_limited(&l->log_row, monotonic_ns(), LOG_LEVEL_ERROR,
			    "a credential in the store %s cannot be read: %s", l->path,
			    ret == -EBADMSG ? "its row is damaged" : strerror(-ret));
	}
	return ret;
}

static int find_psk(void *store, const char *tenant, const uint8_t *identity, size_t identity_len,
		    struct psk_credential *out)
{
	struct call call = {.live = store,
			    .tenant = tenant,
			    .identity = identity,
			    .identity_len = identity_len,
			    .psk = out};

	return look_up(store, guarded_find_psk, &call);
}

static int find(void *store, const struct credential_id *id, struct registree *out)
{
	struct call call = {.live = store, .id = id, .registree = out};

	return look_up(store, guarded_find, &call);
}

static int changes(void *store, uint64_t *number, struct credential_change *out, unsigned max)
{
	struct store_live *l = store;
	struct call call = {.live = l, .number = number, .changes = out, .max = max};
	bool was_lost = !l->store;
	int ret = l->store ? fault_guard(guarded_changes, &call) : -ENOTCONN;

	if (ret >= 0 || ret == -ESTALE)
		return ret;
	if (!was_lost)
		lose(l, ret);
	ret = find_again(l);
	if (ret)
		return ret;
	*number = UINT64_MAX;
	ret = fault_guard(guarded_changes, &call);
	return ret < 0 ? ret : -ESTALE;
}

static void close_live(void *store)
{
	store_live_close(store);
}

static bool reachable(const void *store)
{
	return store_live_is_up(store);
}

const struct credential_store store_live_ops = {.name = "lmdb",
						.find_psk = find_psk,
						.find = find,
						.changes = changes,
						.reachable = reachable,
						.close = close_live};

/* ---- start and end */

struct store_live *store_live_open(const char *path, const char *key_file, char *error, size_t error_len)
{
	struct store_live *l = calloc(1, sizeof *l);
	int ret = fault_init();

	snprintf(error, error_len, "Out of memory.");
	if (!l)
		return NULL;
	l->path = strdup(path);
	l->key_file = key_file ? strdup(key_file) : NULL;
	l->log_row.rate = ROW_LINES_PER_SECOND;
	l->log_state.rate = STATE_LINES_PER_SECOND;
	if (ret == 0 && l->path && (l->key_file || !key_file)) {
		ret = open_store(l);
		if (ret == 0)
			return l;
		snprintf(error, error_len, "%s", l->error);
	}
	store_live_close(l);
	return NULL;
}

void store_live_close(struct store_live *l)
{
	if (!l)
		return;
	close_store(l);
	free(l->path);
	free(l->key_file);
	free(l);
}

bool store_live_is_up(const struct store_live *l)
{
	return l->store != NULL;
}

const struct store_live_counts *store_live_counts(const struct store_live *l)
{
	return &l->counts;
}

uint64_t store_live_rows(const struct store_live *l)
{
	return l->rows;
}
