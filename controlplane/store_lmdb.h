/* The credential store "lmdb": one LMDB environment in a directory, millions of rows, read without locks by
 * the gateway while sluicectl changes it from another process. A struct store belongs to one thread.
 *
 *   rows   key (row.h) -> row (row.h)
 *   log    change number -> { removed 1, key }         what was removed or replaced, the newest log_max of
 * them meta   "format", "change" (the last number), "forgotten" (the last number that the log dropped),
 * "seal"
 *
 * The change number rises by one with every row that is added, replaced or removed; it is the version of the
 * row. Added rows are not logged: no live session can stand on them.
 */
#ifndef CONTROLPLANE_STORE_LMDB_H
#define CONTROLPLANE_STORE_LMDB_H

#include "controlplane/credential.h"
#include "controlplane/row.h"

enum { STORE_LOG_MAX = 100000, STORE_MAP_MIN = 16 * 1024 * 1024 };

struct store;

struct store_options {
	const char *path;     /* of the directory */
	const char *key_file; /* wraps keys (wrap.h); NULL: keys lie as they are */
	bool create;          /* makes directory and database when they are not there; needs write */
	bool write;
	uint64_t map_bytes; /* how much to map at first; 0: STORE_MAP_MIN or what is there. It grows as needed
			     */
	uint64_t log_max;   /* 0: STORE_LOG_MAX */
};

/* For struct credential_store: find_psk, find, changes and close take a struct store. */
extern const struct credential_store store_lmdb;

/* NULL with a complete sentence in error: no such store, readable by others, sealed with another key,
 * damaged, of a later version. */
struct store *store_open(const struct store_options *options, char *error, size_t error_len);
void store_close(struct store *s); /* NULL is fine */

/* 1: found, *out filled, the caller wipes it; 0: there is none; -EBADMSG: the row is damaged; another -errno.
 * The first two take equally long. */
int store_find(struct store *s, const struct credential_id *id, struct psk_credential *out);

/* The number of rows, and the last change. 0 or -errno. */
int store_counts(struct store *s, uint64_t *rows, uint64_t *last_change);

/* Visits every row in the order of kind, tenant, digest and name, until visit returns something other than 0,
 * which is then returned. kind 0 and tenant NULL: all. err: 0, or why this row cannot be decoded (its id is
 * known). One consistent state of the store throughout, whatever is changed meanwhile. */
int store_walk(struct store *s, enum sluice_credential kind, const char *tenant,
	       int (*visit)(const struct credential *c, int err, void *context), void *context);

/* See struct credential_store. */
int store_changes(struct store *s, uint64_t *number, struct credential_change *out, unsigned max);

/* One change of the store, all or nothing. body puts and deletes through w, and returns 0 to commit or
 * something else to leave everything as it was, which is then returned. It is called again from the start
 * when the map had to grow (again: true). -ENOSPC: the file system is full; another -errno. */
struct store_writer;
int store_write(struct store *s, int (*body)(struct store_writer *w, bool again, void *context),
		void *context);

/* Reserves room beforehand, so that a large import need not start again. bytes: of new rows, about. */
int store_reserve(struct store *s, uint64_t bytes);

enum store_put { STORE_ADDED, STORE_REPLACED, STORE_UNCHANGED };

/* enum store_put; -EEXIST when there is another one and replace is false; *earlier (may be NULL) is its
 * version. -EINVAL when credential_fault() has something to say. Any negative result but -EEXIST must end the
 * body. */
int store_put(struct store_writer *w, const struct credential *c, bool replace, uint64_t *earlier);

/* 1: removed; 0: there was none. */
int store_delete(struct store_writer *w, const struct credential_id *id);

/* The number that the next change gets. */
uint64_t store_next_change(const struct store_writer *w);

#endif
