/* What sluicectl works on: a credential store in LMDB or in Redis, behind one set of functions. What they do
 * is said in store_lmdb.h, whose functions they are; here is only what differs. One thread.
 */
#ifndef CONTROLPLANE_BACKEND_H
#define CONTROLPLANE_BACKEND_H

#include "controlplane/row.h"
#include "controlplane/store_lmdb.h" /* enum store_put */

enum { BACKEND_ROWS_MAX = 256, BACKEND_FAULT_MAX = 256 };

struct backend_options {
	const char *store;         /* directory of LMDB */
	const char *redis;         /* address of a server (redis_server.h); NULL: LMDB */
	const char *password_file; /* of Redis; NULL: none */
	const char *key_file;      /* NULL: keys are not wrapped */
	bool write, create;
};

/* A row to be put, and what became of it. */
struct backend_row {
	struct credential credential;
	uint64_t line;    /* the caller's */
	int result;       /* as of store_put() */
	uint64_t earlier; /* version of the one that was there; 0: none */
};

struct backend;
struct backend_writer;

typedef int (*backend_body)(struct backend_writer *w, bool again, void *context);
typedef int (*backend_visit)(const struct credential *c, int err, void *context);

struct backend_ops {
	int (*find)(void *store, const struct credential_id *id, struct psk_credential *out);
	int (*counts)(void *store, uint64_t *rows, uint64_t *last_change);
	int (*walk)(void *store, const char *tenant, backend_visit visit, void *context);
	int (*changes)(void *store, uint64_t *number, struct credential_change *out, unsigned max);
	int (*reserve)(void *store, uint64_t bytes); /* NULL: needless */
	int (*write)(void *store, backend_body body, void *context);
	int (*put)(void *writer, struct backend_row *rows, unsigned count, bool replace);
	int (*del)(void *writer, const struct credential_id *id);
	uint64_t (*next_change)(void *writer);
	const char *(*fault)(
		const void *store); /* of the last error, in the server's words; NULL: has none */
	void (*close)(void *store);
};

struct backend {
	const struct backend_ops *ops;
	void *store;
};

struct backend_writer {
	const struct backend_ops *ops;
	void *writer;
};

/* False with a complete sentence in error. */
bool backend_open(struct backend *b, const struct backend_options *o, char *error, size_t error_len);
void backend_close(struct backend *b); /* also when it is not open */

/* What err means, as the end of a sentence. */
const char *backend_fault(const struct backend *b, int err);

/* At most BACKEND_ROWS_MAX rows. 0 with a result in each row (-EEXIST among them), or an error that must end
 * the body. */
int backend_put(struct backend_writer *w, struct backend_row *rows, unsigned count, bool replace);

/* LMDB: backend.c; Redis: backend_redis.c. NULL with a sentence in error. */
extern const struct backend_ops backend_lmdb, backend_redis;
void *backend_redis_open(const struct backend_options *o, char *error, size_t error_len);

#endif
