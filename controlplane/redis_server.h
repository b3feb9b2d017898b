/* Where a Redis server is, and how the credential store lies in it. Shared by the gateway and sluicectl.
 *
 *   sluice:meta   hash    "format", "change", "forgotten", "seal": as in the store in LMDB
 *   sluice:rows   hash    key (row.h) -> row (row.h)
 *   sluice:log    stream  id: change number; field "c": { removed 1, key }, the newest REDIS_LOG_MAX of them
 *
 * All changes of one command go in one MULTI/EXEC under a WATCH of sluice:meta. There is no TLS: over a
 * network, use stunnel or an SSH tunnel; beside the gateway, a Unix socket.
 */
#ifndef CONTROLPLANE_REDIS_SERVER_H
#define CONTROLPLANE_REDIS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controlplane/file_same.h"
#include "controlplane/wrap.h"

#define REDIS_META "sluice:meta"
#define REDIS_ROWS "sluice:rows"
#define REDIS_LOG  "sluice:log"

enum { REDIS_STORE_FORMAT = 1, REDIS_LOG_MAX = 100000, REDIS_PASSWORD_MAX = 512 };

struct redis_server {
	char text[160]; /* as the operator wrote it */
	char unix_path[108];
	char ip[64]; /* numeric; empty: unix_path */
	int port;
	char password[REDIS_PASSWORD_MAX + 1]; /* empty: none */
	struct watched password_file;          /* its path is borrowed; NULL: none */
};

/* address: "host:port", "[IPv6]:port" or "unix:/path"; a name is resolved here, once. password_file: one
 * line, closed to others; NULL: none. False with a complete sentence in error. Main thread: it may block. The
 * caller wipes the password. */
bool redis_server_parse(struct redis_server *s, const char *address, const char *password_file, char *error,
			size_t error_len);
/* Before a connection is made: the password anew when its file has changed since it was read or tried. 1: it
 * was read; 0: there is nothing new; -EINVAL with a complete sentence in error: the one from before stays. */
int redis_server_renew_password(struct redis_server *s, char *error, size_t error_len);

/* The fields of sluice:meta, as text; NULL: not there. */
struct redis_meta {
	const char *format, *seal, *change, *forgotten;
	size_t seal_len;
};

/* NULL when the store can be used with wrap (NULL: none), else why not, as the end of a sentence. */
const char *redis_meta_fault(const struct redis_meta *meta, struct wrap *wrap);
/* False when the text is no number. */
bool redis_number(const char *text, uint64_t *number);
/* Seals what shows another key at once. out: WRAP_OVERHEAD bytes. 0 or -errno. */
int redis_seal(struct wrap *wrap, uint8_t *out);

#endif
