/* Certificates, keys and trust anchors that change while the gateway runs. The files of all tenants are
 * looked at every second on a thread of its own; what has changed, and then stayed as it is from one look to
 * the next, is read, checked as at start, and made into a new struct tls beside the old one. The control
 * thread then puts it in the old one's place: handshakes that began with the old one end with it, sessions
 * have no part in it.
 *
 *   - all of a tenant's files or none: a key that does not belong to the certificate (yet), or anything else
 * that is wrong, leaves what was read before in use, is logged once, and is tried again when a file changes
 * and every RENEWAL_AGAIN_S
 *   - renewals_now() does not wait for files to come to rest
 *
 *   errand:  look -> tls_renew() -> fresh -+                            +-> tls_free() once no handshake has
 * it control:                               +-> renewals_take() -> replaced
 */
#ifndef CONTROLPLANE_RENEWAL_H
#define CONTROLPLANE_RENEWAL_H

#include "controlplane/tls.h"

enum { RENEWAL_FAULT_MAX = 512, RENEWAL_AGAIN_S = 10 };

struct renewals;

/* How it went with the files of one tenant since the start. */
struct renewal_state {
	uint64_t taken, refused;
	char fault[RENEWAL_FAULT_MAX]; /* what is wrong with the files as they are now; "": nothing */
};

/* Main thread, before anything is read: what changes from now on is noticed. NULL when out of memory. config
 * is borrowed until renewals_free(). */
struct renewals *renewals_new(const struct config *config);
/* Main thread: what was made of the files, in the order of the tenants. Starts looking. all: read here only.
 * 0 or -errno. */
int renewals_start(struct renewals *r, struct tls *const *all, unsigned count);
/* Main thread, when the control thread is gone, and before what is in its `all` is freed. NULL is fine. */
void renewals_free(struct renewals *r);

/* Becomes readable when there is something to take; -1: never. */
int renewals_fd(const struct renewals *r);
/* Control thread: puts what is fresh in its place within all. */
void renewals_take(struct renewals *r, struct tls **all);
void renewals_state(struct renewals *r, unsigned place, struct renewal_state *out);

/* Any thread: looks at once, and logs what came of it. */
void renewals_now(struct renewals *r);

#endif
