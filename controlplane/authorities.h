/* CAs below the anchors, as they stood in good chains: each was read once, and is found again by its bytes.
 * Many devices show the same few, and reading one takes as long as verifying a signature. Nothing is said
 * about trust: of each chain everything is verified anew, whoever stands in it.
 */
#ifndef CONTROLPLANE_AUTHORITIES_H
#define CONTROLPLANE_AUTHORITIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>

enum {
	AUTHORITIES_MAX = 32,     /* the one kept longest goes first */
	AUTHORITY_LEN_MAX = 4096, /* in DER; longer ones are not kept */
};

/* Any thread. */
struct authorities;

struct authorities *authorities_new(void);    /* NULL: out of memory */
void authorities_free(struct authorities *a); /* NULL is fine */

/* The one that had these bytes, or NULL. It belongs to the caller, who must not change it. */
X509 *authorities_find(struct authorities *a, const uint8_t *der, size_t len);

/* Those that have this name, at most count of them: how many. They belong to the caller as well. */
unsigned authorities_named(struct authorities *a, const X509_NAME *name, X509 **out, unsigned count);

/* Of a good chain. It stays the caller's. */
void authorities_keep(struct authorities *a, X509 *one);

#endif
