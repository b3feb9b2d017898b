/* The CAs under which live sessions of one tenant came in, and what the tenant's revocation lists (RFC 5280
 * 5) say about these CAs and about what they issued: so a list that comes later finds the sessions that it
 * ends. So does a change of the tenant's trust anchors those that came in under one that is gone. A session
 * keeps the CA that issued its certificate, which keeps the one above it up to the anchor, and 64 bits of a
 * hash of its serial number. Of a CA there is one struct for each of its certificates and each way to the
 * anchor.
 *
 *   control thread     takes and gives back issuers, asks what the lists say
 *   lists.c's thread   judges all issuers anew when a list or an issuer is new
 *
 * A certificate counts as revoked when a list names it that is signed with the key of its issuer, which may
 * sign lists (RFC 5280 6.3.3 f, g). What refuses a handshake beyond that ends nothing: a list that has
 * expired, or is not valid yet, says of nobody that it was revoked; whom it names it goes on naming.
 */
#ifndef CONTROLPLANE_ISSUERS_H
#define CONTROLPLANE_ISSUERS_H

#include <stdbool.h>
#include <stdint.h>

/* libcrypto's, whose headers do not go together with wolfSSL's: ASN1_INTEGER, STACK_OF(X509), X509_CRL. */
struct asn1_string_st;
struct stack_st_X509;
struct X509_crl_st;
struct x509_store_st;

enum { ISSUERS_MAX = 8192 }; /* of one tenant; of its CAs only those count that live sessions came under */

struct issuers;
struct issuer;

struct issuers *issuers_new(void); /* NULL when out of memory */

/* ---- control thread, whose handshakes sort the anchors in place: these two go through them */

/* path: verified, from the certificate up to its anchor. Returns the one that issued the first of them, held
 * for the caller. NULL: there is none, as the certificate is itself the anchor; or *full: no memory, or there
 * are ISSUERS_MAX. */
struct issuer *issuers_take(struct issuers *is, const struct stack_st_X509 *path, bool *full);

/* From now on these are the anchors, and whoever came in under another one, or still does, came in under one
 * that is gone. Before the first call none is. anchors: held from now on; nobody may change it. */
void issuers_set_anchors(struct issuers *is, struct x509_store_st *anchors);

/* ---- any thread */

/* One more user, as of a tenant whose anchors are replaced while sessions live on. Returns is. */
struct issuers *issuers_share(struct issuers *is);
/* One user less. Of the last one nobody may hold an issuer any more. NULL is fine. */
void issuers_free(struct issuers *is);

/* The hash of a serial number by which the functions below know a certificate of an issuer. */
uint64_t issuer_serial(const struct asn1_string_st *serial);

struct issuer *issuer_hold(struct issuer *i); /* once more; returns it */
void issuer_release(struct issuer *i);        /* once less. NULL is fine */

/* Of one tenant, are they the same CA, that is a name and a key, whatever certificates of it they came with?
 * So does OCSP know an issuer (RFC 6960 4.1.1). Both are held. */
bool issuer_is_same(const struct issuer *a, const struct issuer *b);

/* Has this certificate of it been revoked, or itself, or a CA above it? Or is its anchor gone? */
bool issuer_has_revoked(const struct issuer *i, uint64_t serial);

/* Another number whenever issuer_has_revoked() may be true of more than before. */
uint64_t issuers_version(struct issuers *is);

/* ---- lists.c's thread */

/* What one list says, ready to be asked. */
struct listing;

struct listing *listing_new(struct X509_crl_st *list); /* NULL when out of memory */
void listing_release(struct listing *l);               /* NULL is fine */

/* Are there issuers that have not been judged? */
bool issuers_wait(struct issuers *is);
/* From now on these lists, and no others, say what is revoked. 0 or -ENOMEM: what was said before holds. */
int issuers_judge(struct issuers *is, struct listing *const *listings, unsigned count);

#endif
