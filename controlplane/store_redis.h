/* The credential store "redis": one set of registrees for several gateways, in a Redis or Valkey server
 * (redis_server.h says how it lies there). Look-ups of one turn go out together and are answered later; the
 * change log is read several times a second. A struct redis_store belongs to one thread.
 *
 * While the server is away, look-ups fail at once and live sessions stay as they are; what was changed
 * meanwhile is seen when it is back.
 */
#ifndef CONTROLPLANE_STORE_REDIS_H
#define CONTROLPLANE_STORE_REDIS_H

#include "controlplane/credential.h"

struct redis_store;

struct redis_store_options {
	const char *address;       /* redis_server_parse() */
	const char *password_file; /* NULL: none */
	const char *key_file;      /* what keys are wrapped with (wrap.h); NULL: they lie as they are */
	unsigned timeout_ms;       /* of one look-up */
	unsigned cache_s;          /* how long answers are remembered, at least 1; found and unknown alike */
};

/* For struct credential_store: its functions take a struct redis_store. */
extern const struct credential_store store_redis;

/* Main thread. The server need not be there yet: the connection is made by process(). NULL with a complete
 * sentence in error: a malformed address, a file that cannot be read or that others can read. */
struct redis_store *redis_store_open(const struct redis_store_options *options, char *error,
				     size_t error_len);
void redis_store_close(struct redis_store *s); /* NULL is fine */

struct redis_store_counts {
	uint64_t lost;       /* how often the connection was */
	uint64_t asked;      /* look-ups sent */
	uint64_t remembered; /* look-ups answered without */
	uint64_t failed;     /* look-ups without an answer, and of damaged rows */
	uint64_t damaged;    /* of these, rows that were damaged */
};
const struct redis_store_counts *redis_store_counts(const struct redis_store *s); /* control thread */

#endif
