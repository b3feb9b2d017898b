/* The credential store "file" as the gateway holds it: it follows its file, by the rules of renewal.h. The
 * file is looked at every second on a thread of its own; what has changed, and then stayed as it is from one
 * look to the next and until it was read, is taken whole. The control thread puts it in the place of what it
 * had: handshakes find the new keys from then on, and the sessions of those that were removed or got another
 * key are treated as those of the other stores (revoke.c). A file that cannot be used changes nothing: it is
 * logged once, and tried again when it changes and every RENEWAL_AGAIN_S.
 */
#ifndef CONTROLPLANE_PSK_LIVE_H
#define CONTROLPLANE_PSK_LIVE_H

#include "controlplane/credential.h"
#include "controlplane/renewal.h"

struct psk_live;

/* For struct credential_store; control thread. changes() takes what has been read anew: call it a few times a
 * second. -ESTALE then, and *number stays. */
extern const struct credential_store psk_live_ops;

/* Main thread. NULL with a readable sentence in error, see psk_file_open(). path is copied. */
struct psk_live *psk_live_open(const char *path, char *error, size_t error_len);
void psk_live_close(struct psk_live *l); /* wipes every key. NULL is fine */

/* Any thread: looks at once, whether the file has come to rest or not, and logs what came of it. One that
 * changes while it is read is left to the looks of every second: it is taken, or refused, when it rests. */
void psk_live_look(struct psk_live *l);

uint32_t psk_live_rows(const struct psk_live *l); /* control thread */
void psk_live_state(struct psk_live *l, struct renewal_state *out);

#endif
