/* Changes of the store: one LMDB write transaction each, with its entries in the change log. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/store_private.h"
#include "crypto/secret.h"

struct store_writer {
	struct store *store;
	MDB_txn *txn;
	uint64_t change; /* the last number given */
};

uint64_t store_next_change(const struct store_writer *w)
{
	return w->change + 1;
}

/* The log has one entry per replaced or removed row. */
static int log_change(struct store_writer *w, bool removed, const uint8_t *key, size_t key_len)
{
	uint8_t bytes[LOG_ENTRY_MAX];
	size_t number = w->change;
	MDB_val at = {sizeof(number), &number}, entry = {1 + key_len, bytes};

	bytes[0] = removed;
	memcpy(bytes + 1, key, key_len);
	return store_errno(mdb_put(w->txn, w->store->log, &at, &entry, MDB_APPEND));
}

/* What to do about a row that is there already. A damaged one can only be replaced. */
static int compare(struct store_writer *w, const MDB_val *at, const MDB_val *row, const struct credential *c,
		   bool replace, uint64_t *earlier)
{
	struct psk_credential *there = malloc(sizeof(*there));
	int err = there != NULL ? row_decode(at->mv_data, at->mv_size, row->mv_data, row->mv_size,
					     w->store->wrap, there)
				: -ENOMEM;
	int result = replace ? STORE_REPLACED : -EEXIST;

	if (err == 0 && earlier != NULL)
		*earlier = there->registree.version;
	if (err == 0 && credential_same(there, &c->psk))
		result = STORE_UNCHANGED;
	else if (err != 0 && (err != -EBADMSG || !replace))
		result = err;
	if (there != NULL)
		secret_wipe(there, sizeof(*there));
	free(there);
	return result;
}

int store_put(struct store_writer *w, const struct credential *c, bool replace, uint64_t *earlier)
{
	struct credential numbered = *c;
	uint8_t key[ROW_KEY_MAX], bytes[ROW_MAX];
	MDB_val at = {row_key_encode(&c->id, key), key}, row;
	int len, result = STORE_ADDED, err;

	if (earlier != NULL)
		*earlier = 0;
	if (credential_fault(c) != NULL)
		return -EINVAL;
	err = store_errno(mdb_get(w->txn, w->store->rows, &at, &row));
	if (err == 0)
		result = compare(w, &at, &row, c, replace, earlier);
	if ((err != 0 && err != -ENOENT) || result < 0 || result == STORE_UNCHANGED)
		return err != 0 && err != -ENOENT ? err : result;
	numbered.psk.registree.version = ++w->change;
	len = row_encode(&numbered, w->store->wrap, bytes);
	row = (MDB_val){len > 0 ? (size_t)len : 0, bytes};
	err = len > 0 ? store_errno(mdb_put(w->txn, w->store->rows, &at, &row, 0)) : len;
	if (err == 0 && result == STORE_REPLACED)
		err = log_change(w, false, key, at.mv_size);
	secret_wipe(bytes, sizeof(bytes));
	secret_wipe(&numbered.psk.key, sizeof(numbered.psk.key));
	return err != 0 ? err : result;
}

int store_delete(struct store_writer *w, const struct credential_id *id)
{
	uint8_t key[ROW_KEY_MAX];
	MDB_val at = {row_key_encode(id, key), key};
	int err = store_errno(mdb_del(w->txn, w->store->rows, &at, NULL));

	if (err != 0)
		return err == -ENOENT ? 0 : err;
	w->change++;
	err = log_change(w, true, key, at.mv_size);
	return err != 0 ? err : 1;
}

/* Keeps the newest log_max entries, and remembers up to where it forgot. */
static int prune_log(struct store_writer *w)
{
	MDB_cursor *cursor;
	MDB_stat stat;
	MDB_val key, entry;
	size_t forgotten = 0;
	int err = store_errno(mdb_stat(w->txn, w->store->log, &stat));

	if (err != 0 || stat.ms_entries <= w->store->log_max)
		return err;
	err = store_errno(mdb_cursor_open(w->txn, w->store->log, &cursor));
	if (err != 0)
		return err;
	for (size_t left = stat.ms_entries - w->store->log_max; err == 0 && left > 0; left--) {
		err = store_errno(mdb_cursor_get(cursor, &key, &entry, MDB_FIRST));
		if (err == 0) {
			memcpy(&forgotten, key.mv_data, sizeof(forgotten));
			err = store_errno(mdb_cursor_del(cursor, 0));
		}
	}
	mdb_cursor_close(cursor);
	return err != 0 ? err : store_meta_put(w->txn, w->store->meta, "forgotten", forgotten);
}

static int commit(struct store_writer *w)
{
	int err = prune_log(w);

	if (err == 0)
		err = store_meta_put(w->txn, w->store->meta, "change", w->change);
	if (err != 0) {
		mdb_txn_abort(w->txn);
		return err;
	}
	return store_errno(mdb_txn_commit(w->txn));
}

/* Begins, also when another process has made the file larger than what is mapped here. */
static int begin(struct store_writer *w)
{
	MDB_env *env = w->store->env;
	int err = mdb_txn_begin(env, NULL, 0, &w->txn);

	if (err == MDB_MAP_RESIZED) {
		store_drop_reader(w->store);
		err = mdb_env_set_mapsize(env, 0);
		if (err == 0)
			err = mdb_txn_begin(env, NULL, 0, &w->txn);
	}
	if (err != 0)
		return store_errno(err);
	err = store_meta_get(w->txn, w->store->meta, "change", &w->change);
	if (err != 0)
		mdb_txn_abort(w->txn);
	return err;
}

static int grow(struct store *s, uint64_t least)
{
	MDB_envinfo info;
	uint64_t size;
	int err = mdb_env_info(s->env, &info);

	if (err != 0)
		return store_errno(err);
	for (size = info.me_mapsize * 2; size < least;)
		size *= 2;
	store_drop_reader(s);
	return store_errno(mdb_env_set_mapsize(s->env, size));
}

int store_reserve(struct store *s, uint64_t bytes)
{
	MDB_envinfo info;
	MDB_stat stat;
	uint64_t need;
	int err = mdb_env_info(s->env, &info);

	if (err == 0)
		err = mdb_env_stat(s->env, &stat);
	if (err != 0)
		return store_errno(err);
	need = (uint64_t)info.me_last_pgno * stat.ms_psize + bytes;
	return need <= info.me_mapsize ? 0 : grow(s, need);
}

int store_write(struct store *s, int (*body)(struct store_writer *w, bool again, void *context),
		void *context)
{
	int err;

	for (bool again = false;; again = true) {
		struct store_writer w = {.store = s};

		err = begin(&w);
		if (err != 0)
			return err;
		err = body(&w, again, context);
		if (err == 0)
			err = commit(&w);
		else
			mdb_txn_abort(w.txn);
		if (err != -EOVERFLOW)
			return err;
		err = grow(s, 0);
		if (err != 0)
			return err;
	}
}
