/* Whether a client's certificates lead to a trust anchor of its tenant: path validation of RFC 5280 section 6
 * with name constraints, key usage, validity, path length and revocation lists, done by libcrypto. wolfSSL
 * alone does too little for a gateway: it looks at neither keyUsage nor at constraints above the direct
 * issuer, goes on trusting the CAs that one client sent for all others, and does not tell which anchor a
 * chain ended at, which is half of a registree's name (TS-0003 8.2.2.2).
 *
 * Beyond RFC 5280, for all tenants alike:
 *   - the client's key is on secp256r1, secp384r1 or secp521r1; a CA's may also be RSA of 2048 bits or more,
 *     or Ed25519; every signature below the anchor uses SHA-256 or better
 *   - version 3 below the anchor; whoever signs says that it is a CA (basicConstraints)
 *   - the client's own certificate is not a CA's, may sign (keyUsage) and is for clients (extended key usage)
 *   - an anchor need not be self-signed, and may be the client's own certificate: it is pinned then
 *   - the first anchor on the way up is the one that counts
 */
#ifndef CONTROLPLANE_CHAIN_H
#define CONTROLPLANE_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controlplane/offer.h"

enum {
	CHAIN_CERTIFICATES_MAX = 8, /* in one message; also CAs between client and anchor */
	CHAIN_NAMES_MAX = 32,
	CHAIN_NAME_MAX = 255,
	CHAIN_ROOT_LEN = 32,
};

struct x509_st;
struct x509_store_st;
struct issuer;
struct issuers;

/* Once per process, before anything else here: libcrypto is not configured by the machine's openssl.cnf. */
void chain_global_init(void);

/* The trust anchors of a tenant and the revocation lists that speak about what they issued. Any thread,
 * unless it says otherwise below. */
struct trust;

/* NULL with a readable sentence in error when the PEM file cannot be used. */
struct trust *trust_new(const char *anchors_file, char *error, size_t error_len);
/* No chain of it may be left. NULL is fine. */
void trust_free(struct trust *t);

/* From now on the CAs that chains came under are known, for what is said about them later. Before the first
 * chain; nothing when it was said before. with: those of a trust whose place it takes, shared with that one;
 * NULL: none. False when out of memory. */
bool trust_watch(struct trust *t, struct issuers *with) __attribute__((warn_unused_result));
/* NULL: nobody watches. */
struct issuers *trust_issuers(const struct trust *t);
/* It has taken the place of another one: live sessions go by its anchors as well, where they are watched.
 * Control thread, and so is chain_verify() then: its look-ups sort in place what this goes through. */
void trust_in_force(const struct trust *t);

/* A verified chain. It belongs to who asked for it, on one thread. */
struct chain;

/* Takes a certificate_list (RFC 5246 7.4.2, without its own length). NULL with *refusal filled: what is wrong
 * in the operator's words, and the alert that says so to the client (RFC 5246 7.2.2). */
struct chain *chain_verify(struct trust *t, const uint8_t *list, size_t len, struct refusal *refusal);
void chain_free(struct chain *c); /* NULL is fine */

/* The name that the first certificate of such a list bears and nobody has verified: what an operator looks
 * for when it was refused, and good for nothing else. Returns its length; 0: there is none. */
uint8_t chain_claim(const uint8_t *list, size_t len, char out[CHAIN_NAME_MAX]);

/* SHA-256 of the anchor that it ended at, in DER. */
const uint8_t *chain_root(const struct chain *c);

/* The names that the certificate may stand for, as text, in the order in which a registree is looked for:
 * URIs, DNS names, hardware modules (RFC 4108 5: the module type's OID, a colon, the serial number in
 * hexadecimal), object identifiers (dotted: M2M device ids after TS-0001 annex H). The common name of the
 * subject stands in only when there is none of these, and no CA above limits names: name constraints do not
 * reach it. */
struct chain_name {
	uint8_t len;
	char text[CHAIN_NAME_MAX];
};
unsigned chain_names(const struct chain *c, const struct chain_name **names);

/* Borrowed from the chain. The issuer is NULL when the certificate is itself an anchor. */
struct x509_st *chain_leaf(const struct chain *c);
struct x509_st *chain_issuer(const struct chain *c);

/* Under which CA it came in, see issuers.h, and the hash of its certificate's serial number there. Borrowed
 * from the chain. NULL when nobody watches or the certificate is itself an anchor. */
struct issuer *chain_under(const struct chain *c, uint64_t *serial);

#endif
