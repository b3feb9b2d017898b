/* The status of the gateway's own certificate, for clients that ask for it in the handshake (RFC 6066 8):
 * fetched from the responder that the certificate names on a thread of its own, fetched anew long before it
 * ends. While there is none, nothing is stapled, and the log says why.
 */
#ifndef CONTROLPLANE_STAPLE_H
#define CONTROLPLANE_STAPLE_H

#include <stddef.h>
#include <stdint.h>

#include "controlplane/errand.h"

struct staple;

/* Any one thread. chain: the gateway's certificate and its issuer, in PEM; not kept. url: where the
 * certificate names no responder; may be NULL. NULL with a readable end of a sentence in error. errands is
 * borrowed until staple_free(). */
struct staple *staple_new(const void *chain, size_t chain_len, const char *url, struct errands *errands,
			  const char *place, char *error, size_t error_len);
/* The same thread. Waits for the responder if it is being asked. */
void staple_free(struct staple *s); /* NULL is fine */

/* Any thread. A copy of the response in DER, allocated with allocate(); NULL: there is none now. */
uint8_t *staple_copy(struct staple *s, void *(*allocate)(size_t len), size_t *len);

#endif
