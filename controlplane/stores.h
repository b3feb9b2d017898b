/* Where the gateway looks credentials up: what the section credentials of the configuration names, one store
 * behind the other. A file is asked first; it holds those of the default tenant only.
 */
#ifndef CONTROLPLANE_STORES_H
#define CONTROLPLANE_STORES_H

#include "controlplane/psk_live.h"
#include "controlplane/store_live.h"
#include "controlplane/store_redis.h"
#include "controlplane/tls.h"

struct stores;

/* Main thread. 0 with *out, which may hold none at all (ops NULL); otherwise -errno with a readable sentence
 * in error: which option, and what is wrong with it. */
int stores_open(const struct config_credentials *config, struct stores **out, char *error, size_t error_len);
void stores_close(struct stores *s); /* NULL is fine */

/* Borrowed until stores_close(). Control thread. */
struct credentials stores_credentials(struct stores *s);

/* Any thread: the file is looked at now. */
void stores_look(struct stores *s);

/* For metrics; NULL: there is none. */
struct psk_live *stores_file(const struct stores *s);
const struct store_live *stores_live(const struct stores *s);
const struct redis_store *stores_redis(const struct stores *s);

#endif
