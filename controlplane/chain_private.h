/* What chain.c shares with the files that speak libcrypto as well: lists, OCSP, raw keys. */
#ifndef CONTROLPLANE_CHAIN_PRIVATE_H
#define CONTROLPLANE_CHAIN_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>

#include <openssl/x509.h>

#include "controlplane/chain.h"
#include "controlplane/issuers.h"

struct authorities;

struct trust {
	X509_STORE *anchors;             /* constant */
	struct authorities *authorities; /* below them; constant */
	struct issuers *issuers;         /* set before the first chain; NULL: see trust_watch() */
	pthread_mutex_t lock;
	/* behind the lock */
	X509_STORE *current; /* anchors and lists; the anchors alone when there are none */
	bool has_lists, expired_lists;
};

/* Empty, for anchors and lists: what is verified by it goes by chain.h. The caller frees it. NULL when
 * out of memory. */
X509_STORE *chain_store_new(void);

/* From now on these anchors and lists count; handshakes under way end with those they began with. Takes the
 * store. expired_lists: a list past its time is used all the same. */
void trust_replace(struct trust *t, X509_STORE *with_lists, bool expired_lists);

/* A name as "CN=Root,O=Example", fit for the log. Returns out. */
enum { CHAIN_SUBJECT_MAX = 100 };
const char *chain_subject(char out[CHAIN_SUBJECT_MAX], const X509_NAME *name);

/* Whether a list or an answer signed like this may be believed: with SHA-2 or SHA-3 of 256 bits or more, or
 * with EdDSA, which has its own (RFC 9155: no MD5, no SHA-1). Also within RSA-PSS (RFC 4055 3.1). */
bool chain_signature_fits(const X509_ALGOR *algorithm);

/* The curve (RFC 8422 5.1.1) when it is secp256r1, secp384r1 or secp521r1, else 0. */
uint16_t chain_key_curve(EVP_PKEY *key);

#endif
