#include "controlplane/store_lmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/fault.h"
#include "controlplane/store_private.h"
#include "crypto/secret.h"

/* Sealed once with the store's key, so that another key is noticed at once and not at the first row. */
static const char seal_name[] = "sluice credential store";

int store_errno(int lmdb_error)
{
	switch (lmdb_error) {
	case MDB_SUCCESS:
		return 0;
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_KEYEXIST:
		return -EEXIST;
	case MDB_MAP_FULL:
		return -EOVERFLOW; /* not ENOSPC: that the file system says */
	case MDB_READERS_FULL:
		return -EBUSY;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
	case MDB_PANIC:
		return -EBADMSG;
	case MDB_VERSION_MISMATCH:
		return -EPROTO;
	default:
		return lmdb_error > 0 ? -lmdb_error : -EIO;
	}
}

int store_meta_get(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t *value)
{
	MDB_val key = {strlen(name), (void *)(uintptr_t)name}, data;
	int err = store_errno(mdb_get(txn, meta, &key, &data));

	if (err == 0 && data.mv_size != sizeof(*value))
		err = -EBADMSG;
	if (err == 0)
		memcpy(value, data.mv_data, sizeof(*value));
	return err;
}

int store_meta_put(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t value)
{
	MDB_val key = {strlen(name), (void *)(uintptr_t)name}, data = {sizeof(value), &value};

	return store_errno(mdb_put(txn, meta, &key, &data, 0));
}

/* ---- reading */

void store_drop_reader(struct store *s)
{
	mdb_txn_abort(s->reader);
	s->reader = NULL;
}

/* A transaction on the newest state. Another process may have made the file larger than what is mapped here.
 */
static int begin_reading(struct store *s)
{
	int err = s->reader != NULL ? mdb_txn_renew(s->reader)
				    : mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->reader);

	if (err == MDB_MAP_RESIZED) {
		store_drop_reader(s);
		err = mdb_env_set_mapsize(s->env, 0);
		if (err == 0)
			err = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->reader);
	}
	if (err != 0 && s->reader != NULL)
		store_drop_reader(s);
	return store_errno(err);
}

static void end_reading(struct store *s)
{
	if (s->reader != NULL)
		mdb_txn_reset(s->reader);
}

int store_find(struct store *s, const struct credential_id *id, struct psk_credential *out)
{
	uint8_t key[ROW_KEY_MAX];
	MDB_val at = {row_key_encode(id, key), key}, row;
	int err = begin_reading(s);
	bool unknown;

	if (err != 0)
		return err;
	err = store_errno(mdb_get(s->reader, s->rows, &at, &row));
	if (err == 0)
		err = row_decode(key, at.mv_size, row.mv_data, row.mv_size, s->wrap, out);
	unknown = err == -ENOENT;
	if (unknown)
		err = row_decode(s->decoy_key, s->decoy_key_len, s->decoy, s->decoy_len, s->wrap, out);
	end_reading(s);
	if (err != 0)
		return err;
	row_name_identity(id, &out->registree);
	if (unknown)
		secret_wipe(out->key, sizeof(out->key));
	return !unknown;
}

int store_counts(struct store *s, uint64_t *rows, uint64_t *last_change)
{
	MDB_stat stat;
	int err = begin_reading(s);

	if (err != 0)
		return err;
	err = store_errno(mdb_stat(s->reader, s->rows, &stat));
	if (err == 0)
		err = store_meta_get(s->reader, s->meta, "change", last_change);
	end_reading(s);
	*rows = err == 0 ? stat.ms_entries : 0;
	return err;
}

static int visit_row(struct store *s, const MDB_val *key, const MDB_val *row, enum sluice_credential kind,
		     const char *tenant, struct credential *c,
		     int (*visit)(const struct credential *c, int err, void *context), void *context)
{
	int err = row_key_decode(key->mv_data, key->mv_size, &c->id);

	if (err == 0 &&
	    ((kind != 0 && c->id.kind != kind) || (tenant != NULL && strcmp(c->id.tenant, tenant) != 0)))
		return 0;
	if (err == 0)
		err = row_decode(key->mv_data, key->mv_size, row->mv_data, row->mv_size, s->wrap, &c->psk);
	return visit(c, err, context);
}

int store_walk(struct store *s, enum sluice_credential kind, const char *tenant,
	       int (*visit)(const struct credential *c, int err, void *context), void *context)
{
	struct credential *c = calloc(1, sizeof(*c));
	MDB_cursor *cursor = NULL;
	MDB_val key, row;
	int err = c != NULL ? begin_reading(s) : -ENOMEM;

	if (err == 0)
		err = store_errno(mdb_cursor_open(s->reader, s->rows, &cursor));
	while (err == 0) {
		err = store_errno(mdb_cursor_get(cursor, &key, &row, MDB_NEXT));
		if (err == 0)
			err = visit_row(s, &key, &row, kind, tenant, c, visit, context);
	}
	if (cursor != NULL)
		mdb_cursor_close(cursor);
	end_reading(s);
	if (c != NULL)
		secret_wipe(c, sizeof(*c));
	free(c);
	return err == -ENOENT ? 0 : err;
}

/* ---- changes */

/* The gateway must not go on with a file that the operator has replaced, removed or cut. */
static int check_file(struct store *s)
{
	struct stat st;

	if (stat(s->data_file, &st) < 0 || st.st_dev != s->device || st.st_ino != s->inode)
		return -ENODEV;
	if (st.st_size < s->file_len)
		return -EBADMSG;
	s->file_len = st.st_size;
	return 0;
}

static int read_log(struct store *s, uint64_t *number, struct credential_change *out, unsigned max)
{
	MDB_cursor *cursor;
	MDB_val key, entry;
	size_t from = *number + 1;
	unsigned count = 0;
	int err = store_errno(mdb_cursor_open(s->reader, s->log, &cursor));

	if (err != 0)
		return err;
	key = (MDB_val){sizeof(from), &from};
	err = store_errno(mdb_cursor_get(cursor, &key, &entry, MDB_SET_RANGE));
	for (; err == 0 && count < max; count++) {
		const uint8_t *bytes = entry.mv_data;

		if (key.mv_size != sizeof(from) || entry.mv_size < 2 ||
		    row_key_decode(bytes + 1, entry.mv_size - 1, &out[count].id) < 0) {
			err = -EBADMSG;
			break;
		}
		memcpy(&from, key.mv_data, sizeof(from));
		out[count].number = from;
		out[count].removed = bytes[0] != 0;
		*number = from;
		err = store_errno(mdb_cursor_get(cursor, &key, &entry, MDB_NEXT));
	}
	mdb_cursor_close(cursor);
	return err == 0 || err == -ENOENT ? (int)count : err;
}

int store_changes(struct store *s, uint64_t *number, struct credential_change *out, unsigned max)
{
	uint64_t last = 0, forgotten = 0;
	int result = check_file(s);

	if (result == 0)
		result = begin_reading(s);
	if (result != 0)
		return result;
	result = store_meta_get(s->reader, s->meta, "change", &last);
	if (result == 0)
		result = store_meta_get(s->reader, s->meta, "forgotten", &forgotten);
	if (result == 0 && *number == UINT64_MAX) {
		*number = last;
	} else if (result == 0 && (*number < forgotten || *number > last)) {
		*number = last;
		result = -ESTALE;
	} else if (result == 0 && *number < last) {
		result = read_log(s, number, out, max);
		if (result >= 0 && (unsigned)result < max)
			*number = last;
	}
	end_reading(s);
	return result;
}

/* ---- opening */

static bool check_path(const char *path, mode_t type, char *error, size_t error_len)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		snprintf(error, error_len, "%s: %s.", path, strerror(errno));
		return false;
	}
	if ((st.st_mode & S_IFMT) != type) {
		snprintf(error, error_len, "%s is not a %s.", path,
			 type == S_IFDIR ? "directory" : "regular file");
		return false;
	}
	if ((st.st_mode & (type == S_IFDIR ? S_IWOTH : S_IRWXO)) != 0) {
		snprintf(error, error_len,
			 "%s has mode %04o; it holds keys and must be closed to others (chmod %s).", path,
			 (unsigned)st.st_mode & 07777, type == S_IFDIR ? "0750" : "0640");
		return false;
	}
	return true;
}

/* Root works for the account that owns the directory: the gateway must be able to open what sluicectl made.
 */
static void give_to_owner(const struct store_options *o, const char *data_file)
{
	struct stat st;
	char lock_file[4096];

	if (geteuid() != 0 || stat(o->path, &st) < 0 || st.st_uid == 0)
		return;
	snprintf(lock_file, sizeof(lock_file), "%s/lock.mdb", o->path);
	if (chown(data_file, st.st_uid, st.st_gid) < 0 || chown(lock_file, st.st_uid, st.st_gid) < 0)
		errno = 0; /* it says so itself when it cannot open them */
}

static int open_tables(struct store *s, MDB_txn *txn, bool create)
{
	unsigned flags = create ? MDB_CREATE : 0;
	int err = mdb_dbi_open(txn, "rows", flags, &s->rows);

	if (err == 0)
		err = mdb_dbi_open(txn, "log", flags | MDB_INTEGERKEY, &s->log);
	if (err == 0)
		err = mdb_dbi_open(txn, "meta", flags, &s->meta);
	return store_errno(err);
}

/* A new store: its format, and the proof of its key. */
static int write_meta(struct store *s, MDB_txn *txn)
{
	uint8_t seal[WRAP_OVERHEAD];
	MDB_val key = {4, "seal"}, data = {s->wrap != NULL ? sizeof(seal) : 0, seal};
	int err = 0;

	if (s->wrap != NULL)
		err = wrap_seal(s->wrap, (const uint8_t *)seal_name, sizeof(seal_name), NULL, 0, seal);
	if (err == 0)
		err = store_errno(mdb_put(txn, s->meta, &key, &data, 0));
	if (err == 0)
		err = store_meta_put(txn, s->meta, "change", 0);
	if (err == 0)
		err = store_meta_put(txn, s->meta, "forgotten", 0);
	return err != 0 ? err : store_meta_put(txn, s->meta, "format", STORE_FORMAT);
}

static int check_seal(const struct store *s, MDB_txn *txn)
{
	MDB_val key = {4, "seal"}, data;
	int err = store_errno(mdb_get(txn, s->meta, &key, &data));

	if (err != 0)
		return err == -ENOENT ? -EBADMSG : err;
	if ((data.mv_size == 0) != (s->wrap == NULL))
		return s->wrap == NULL ? -ENOKEY : -EKEYREJECTED;
	if (s->wrap != NULL && wrap_open(s->wrap, (const uint8_t *)seal_name, sizeof(seal_name), data.mv_data,
					 data.mv_size, NULL) < 0)
		return -EACCES;
	return 0;
}

static int check_meta(struct store *s, MDB_txn *txn, bool create)
{
	uint64_t format = 0;
	int err = store_meta_get(txn, s->meta, "format", &format);

	if (err == -ENOENT && create)
		return write_meta(s, txn);
	if (err != 0)
		return err == -ENOENT ? -EBADMSG : err;
	return format == STORE_FORMAT ? check_seal(s, txn) : -EPROTO;
}

/* A file that was cut would end the process with SIGBUS. The last pages of a sound one may never have been
 * written, but not many of them. */
static int check_length(const struct store *s)
{
	MDB_envinfo info;
	MDB_stat stat_env;
	struct stat st;
	uint64_t whole;

	if (mdb_env_info(s->env, &info) != 0 || mdb_env_stat(s->env, &stat_env) != 0 ||
	    stat(s->data_file, &st) < 0)
		return -EIO;
	whole = (uint64_t)(info.me_last_pgno + 1) * stat_env.ms_psize;
	return (uint64_t)st.st_size >= whole - whole / 8 ? 0 : -EBADMSG;
}

static const char *open_fault(int err)
{
	switch (-err) {
	case ENOENT:
		return "there is no credential store in it";
	case EPROTO:
		return "it was made by another version";
	case EBADMSG:
		return "its file is damaged";
	case ENOKEY:
		return "its keys are wrapped, and no key file was given";
	case EKEYREJECTED:
		return "its keys are not wrapped, but a key file was given";
	case EACCES:
		return "it cannot be opened with this account, or its keys were wrapped with another key "
		       "file";
	default:
		return strerror(-err);
	}
}

/* LMDB found its pages inconsistent, and would end the process. */
static void give_up(MDB_env *env, const char *what)
{
	fault_cut_short();
}

static int make_decoy(struct store *s)
{
	struct credential *c = calloc(1, sizeof(*c));
	int len;

	if (c == NULL)
		return -ENOMEM;
	c->id.kind = SLUICE_CREDENTIAL_PSK;
	c->id.name_len = 16;
	memset(c->id.name, 'x', c->id.name_len);
	c->psk.key_len = 16;
	memset(c->psk.key, 'x', c->psk.key_len);
	c->psk.registree.kind = SLUICE_IDENTITY_CREDENTIAL;
	s->decoy_key_len = row_key_encode(&c->id, s->decoy_key);
	len = row_encode(c, s->wrap, s->decoy);
	s->decoy_len = len > 0 ? (size_t)len : 0;
	free(c);
	return len < 0 ? len : 0;
}

static int open_environment(struct store *s, const struct store_options *o)
{
	const bool create = o->create && o->write;
	uint64_t map = o->map_bytes != 0 ? o->map_bytes : STORE_MAP_MIN;
	MDB_txn *txn = NULL;
	int err = mdb_env_create(&s->env);

	if (err == 0)
		err = mdb_env_set_assert(s->env, give_up);
	if (err == 0)
		err = mdb_env_set_maxdbs(s->env, 3);
	if (err == 0)
		err = mdb_env_set_mapsize(s->env, map);
	/* LMDB would read without telling the writers so, and they would take pages from under it. */
	if (err == 0 && access(o->path, W_OK) < 0 && errno == EROFS)
		err = EROFS;
	if (err == 0)
		err = mdb_env_open(s->env, o->path, MDB_NOTLS | MDB_NORDAHEAD | (o->write ? 0 : MDB_RDONLY),
				   0640);
	if (err == 0)
		err = -check_length(s);
	if (err == 0)
		err = mdb_txn_begin(s->env, NULL, o->write ? 0 : MDB_RDONLY, &txn);
	if (err != 0)
		return store_errno(err);
	err = open_tables(s, txn, create);
	if (err == 0)
		err = check_meta(s, txn, create);
	if (err == 0)
		return store_errno(mdb_txn_commit(txn));
	mdb_txn_abort(txn);
	return err;
}

struct store *store_open(const struct store_options *o, char *error, size_t error_len)
{
	struct store *s = calloc(1, sizeof(*s));
	struct stat st;
	int err, dead;

	if (s == NULL || asprintf(&s->data_file, "%s/data.mdb", o->path) < 0) {
		snprintf(error, error_len, "Out of memory.");
		free(s);
		return NULL;
	}
	s->log_max = o->log_max != 0 ? o->log_max : STORE_LOG_MAX;
	if (o->create && o->write)
		(void)mkdir(o->path, 0750);
	if (!(o->create && o->write) && access(s->data_file, F_OK) < 0 && errno == ENOENT) {
		snprintf(error, error_len,
			 "There is no credential store %s: 'sluicectl store init' makes one, and so does the "
			 "first credential that is added.",
			 o->path);
		goto fail;
	}
	if (!check_path(o->path, S_IFDIR, error, error_len))
		goto fail;
	if ((!o->create || access(s->data_file, F_OK) == 0) &&
	    !check_path(s->data_file, S_IFREG, error, error_len))
		goto fail;
	s->wrap = o->key_file != NULL ? wrap_new(o->key_file, error, error_len) : NULL;
	if (o->key_file != NULL && s->wrap == NULL)
		goto fail;
	err = open_environment(s, o);
	if (err == 0)
		err = make_decoy(s);
	if (err == 0 && stat(s->data_file, &st) < 0)
		err = -errno;
	if (err != 0) {
		snprintf(error, error_len, "The credential store %s cannot be used: %s.", o->path,
			 open_fault(err));
		goto fail;
	}
	s->device = st.st_dev;
	s->inode = st.st_ino;
	s->file_len = st.st_size;
	give_to_owner(o, s->data_file);
	(void)mdb_reader_check(s->env, &dead); /* what processes that were killed still held */
	return s;
fail:
	store_close(s);
	return NULL;
}

void store_close(struct store *s)
{
	if (s == NULL)
		return;
	if (s->reader != NULL)
		store_drop_reader(s);
	if (s->env != NULL)
		mdb_env_close(s->env);
	wrap_free(s->wrap);
	free(s->data_file);
	free(s);
}

/* ---- struct credential_store */

static int lmdb_find_psk(void *store, const char *tenant, const uint8_t *identity, size_t identity_len,
			 struct psk_credential *out)
{
	struct credential_id id;

	return credential_id_psk(&id, tenant, identity, identity_len) ? store_find(store, &id, out) : 0;
}

static int lmdb_find(void *store, const struct credential_id *wanted, struct registree *out)
{
	static const uint8_t shorter[] = {16, 15}; /* RFC 6920: sha-256-128 and sha-256-120 */
	struct credential_id id = *wanted;
	struct psk_credential *found = malloc(sizeof(*found));
	int result = found != NULL ? store_find(store, &id, found) : -ENOMEM;

	for (size_t i = 0; result == 0 && id.kind == SLUICE_CREDENTIAL_RPK && i < sizeof(shorter); i++) {
		if (wanted->digest_len <= shorter[i])
			continue;
		id.digest_len = shorter[i];
		result = store_find(store, &id, found);
	}
	if (result == 1)
		*out = found->registree;
	free(found);
	return result;
}

static int lmdb_changes(void *store, uint64_t *number, struct credential_change *out, unsigned max)
{
	return store_changes(store, number, out, max);
}

static void lmdb_close(void *store)
{
	store_close(store);
}

const struct credential_store store_lmdb = {
	.name = "lmdb",
	.find_psk = lmdb_find_psk,
	.find = lmdb_find,
	.changes = lmdb_changes,
	.close = lmdb_close,
};
