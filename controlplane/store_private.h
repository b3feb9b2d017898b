/* What store_lmdb.c (opening, reading) and store_write.c (changing) share, and nobody else. */
#ifndef CONTROLPLANE_STORE_PRIVATE_H
#define CONTROLPLANE_STORE_PRIVATE_H

#include <lmdb.h>
#include <sys/types.h>

#include "controlplane/store_lmdb.h"

enum { STORE_FORMAT = 1, LOG_ENTRY_MAX = 1 + ROW_KEY_MAX };

struct store {
	MDB_env *env;
	MDB_dbi rows, log, meta;
	MDB_txn *reader; /* reset between look-ups */
	struct wrap *wrap;
	char *data_file; /* path of what is mapped */
	dev_t device;    /* and which file that was when it was opened */
	ino_t inode;
	off_t file_len; /* it never shrinks, unless somebody cuts it */
	uint64_t log_max;
	/* A row that is in no table, read when there is none under a name, so that a look-up tells nobody by
	   its duration whether it found something. */
	uint8_t decoy_key[ROW_KEY_MAX], decoy[ROW_MAX];
	size_t decoy_key_len, decoy_len;
};

/* -errno for an error of LMDB, 0 for success. */
int store_errno(int lmdb_error);

/* A number of meta. 0; -ENOENT; -EBADMSG. */
int store_meta_get(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t *value);
int store_meta_put(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t value);

/* The reader's transaction is over; the map may be changed. */
void store_drop_reader(struct store *s);

#endif
