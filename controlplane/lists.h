/* Revocation lists (RFC 5280 5) of a tenant, from files that may change at any time. Looked at every second
 * on a thread of its own; a new list counts for every handshake that comes to its Certificate from then on,
 * and disturbs none. A file that cannot be used any more, or is gone, leaves what it said before in force,
 * and the log says so. What it says about live sessions goes by way of issuers.h.
 *
 *   - PEM with any number of lists, or one in DER
 *   - full lists: a delta, an indirect one, or one about some reasons alone is not taken
 *   - signed with SHA-256 or better, by the CA that it speaks for. A CA among the anchors is held against it
 *     when it is read; one below them when a chain brings it
 *   - a list that is past its nextUpdate refuses everybody that it speaks about, or goes on counting: the
 *     operator's choice, logged either way
 *   - a CA without a list is not asked about
 */
#ifndef CONTROLPLANE_LISTS_H
#define CONTROLPLANE_LISTS_H

#include <stdbool.h>
#include <stddef.h>

#include "controlplane/chain.h"
#include "controlplane/errand.h"

enum { LIST_FILE_MAX = 64 << 20 }; /* bytes */

struct lists;

/* Main thread. Reads the files once: NULL with a readable sentence in error when one cannot be used. trust,
 * errands, files and place are borrowed until lists_free(); place: "tls.", for the log. */
struct lists *lists_new(struct trust *trust, struct errands *errands, char *const *files, unsigned count,
			bool expired_too, const char *place, char *error, size_t error_len);
void lists_free(struct lists *l); /* before trust_free(). NULL is fine */

#endif
