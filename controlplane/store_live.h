/* The credential store "lmdb" as the gateway holds it: it outlives the loss of its file. While the store is
 * removed, damaged or unreadable every look-up fails, the operator is told once, and it is opened again as
 * soon as there is a sound one in its place; sessions that are up do not notice. Control thread, but
 * for opening.
 */
#ifndef CONTROLPLANE_STORE_LIVE_H
#define CONTROLPLANE_STORE_LIVE_H

#include "controlplane/credential.h"

struct store_live;

/* For struct credential_store. changes() also opens it again when it is time: call it a few times a second;
 * -ESTALE after it was away. */
extern const struct credential_store store_live_ops;

/* Main thread. key_file: NULL when its keys are not wrapped. The texts are copied. NULL with a complete
 * sentence in error, see store_open(). */
struct store_live *store_live_open(const char *path, const char *key_file, char *error, size_t error_len);
void store_live_close(struct store_live *l); /* NULL is fine */

struct store_live_counts {
	uint64_t lost;    /* how often it was lost */
	uint64_t failed;  /* look-ups while it was, and of damaged rows */
	uint64_t damaged; /* of these, rows that were damaged */
};
bool store_live_is_up(const struct store_live *l);
const struct store_live_counts *store_live_counts(const struct store_live *l);

/* The number of rows when it was opened. */
uint64_t store_live_rows(const struct store_live *l);

#endif
