/* See backend.h. Also the adapter for LMDB. */
#include "controlplane/backend.h"

#include <errno.h>
#include <string.h>

/* ---- LMDB */

static int lmdb_find(void *store, const struct credential_id *id, struct psk_credential *out)
{
	return store_find(store, id, out);
}

static int lmdb_counts(void *store, uint64_t *rows, uint64_t *last_change)
{
	return store_counts(store, rows, last_change);
}

static int lmdb_walk(void *store, const char *tenant, backend_visit visit, void *context)
{
	return store_walk(store, 0, tenant, visit, context);
}

static int lmdb_changes(void *store, uint64_t *number, struct credential_change *out, unsigned max)
{
	return store_changes(store, number, out, max);
}

static int lmdb_reserve(void *store, uint64_t bytes)
{
	return store_reserve(store, bytes);
}

struct lmdb_write {
	backend_body body;
	void *context;
};

static int run_body(struct store_writer *w, bool again, void *context)
{
	const struct lmdb_write *write = context;
	struct backend_writer writer = {.ops = &backend_lmdb, .writer = w};

	return write->body(&writer, again, write->context);
}

static int lmdb_write(void *store, backend_body body, void *context)
{
	struct lmdb_write write = {body, context};

	return store_write(store, run_body, &write);
}

static int lmdb_put(void *writer, struct backend_row *rows, unsigned count, bool replace)
{
	for (unsigned i = 0; i < count; i++) {
		rows[i].result = store_put(writer, &rows[i].credential, replace, &rows[i].earlier);
		if (rows[i].result < 0 && rows[i].result != -EEXIST)
			return rows[i].result;
	}
	return 0;
}

static int lmdb_del(void *writer, const struct credential_id *id)
{
	return store_delete(writer, id);
}

static uint64_t lmdb_next_change(void *writer)
{
	return store_next_change(writer);
}

static void lmdb_close(void *store)
{
	store_close(store);
}

const struct backend_ops backend_lmdb = {
	.find = lmdb_find,
	.counts = lmdb_counts,
	.walk = lmdb_walk,
	.changes = lmdb_changes,
	.reserve = lmdb_reserve,
	.write = lmdb_write,
	.put = lmdb_put,
	.del = lmdb_del,
	.next_change = lmdb_next_change,
	.close = lmdb_close,
};

/* ---- either */

bool backend_open(struct backend *b, const struct backend_options *o, char *error, size_t error_len)
{
	const struct store_options lmdb = {
		.path = o->store, .key_file = o->key_file, .write = o->write, .create = o->create};

	b->ops = o->redis ? &backend_redis : &backend_lmdb;
	b->store = o->redis ? backend_redis_open(o, error, error_len) : store_open(&lmdb, error, error_len);
	return b->store != NULL;
}

void backend_close(struct backend *b)
{
	if (b->store)
		b->ops->close(b->store);
	b->store = NULL;
}

const char *backend_fault(const struct backend *b, int err)
{
	const char *text = b->ops->fault ? b->ops->fault(b->store) : NULL;

	if (text && *text)
		return text;
	switch (-err) {
	case EBADMSG:
		return "a row or the file is damaged; 'sluicectl store check' tells which";
	case EIO: /* also what LMDB makes of a write that ends early */
	case ENOSPC:
		return "it cannot be written or read; is the disk full?";
	case ENODEV:
		return "the store was replaced or removed";
	case EPROTO:
		return "a row was written by a later version";
	default:
		return strerror(-err);
	}
}

int backend_put(struct backend_writer *w, struct backend_row *rows, unsigned count, bool replace)
{
	return w->ops->put(w->writer, rows, count, replace);
}
