/* Certificates for tests, made on the spot in a directory of their own. */
#ifndef TESTS_UNIT_PKI_H
#define TESTS_UNIT_PKI_H

#include <stdbool.h>

enum pki_flaw {
	PKI_GOOD,
	PKI_EXPIRED,
	PKI_FOR_SERVERS,
	PKI_SHA1,
	PKI_OTHER_ROOT,
	PKI_SMALL_CURVE,
	PKI_NUL_IN_NAME, /* behind the common name, and more behind it */
	PKI_LARGE,
	PKI_BELOW_CA /* none: a CA of its own between it and the root, which stands in its file as well */
};

struct pki {
	char directory[64];
	char ca[96], certificate[96], key[96]; /* of the gateway */
};

/* A root on P-256 and a certificate for the gateway ("gateway.example"). Aborts when that fails. */
void pki_new(struct pki *p);
/* Makes a client's certificate; files are directory/NAME.pem and directory/NAME.key. common_name NULL: no
 * subject name; uri, dns NULL: no such alternative name. */
void pki_client(const struct pki *p, const char *name, const char *common_name, const char *uri,
		const char *dns, enum pki_flaw flaw);
/* A revocation list of the root, for a month: directory/NAME.crl. It names count certificates that nobody
 * has. */
void pki_list(const struct pki *p, const char *name, unsigned count);
const char *pki_path(const struct pki *p, const char *name,
		     const char *ending); /* static buffers, four in turn */
/* Removes the directory. */
void pki_free(struct pki *p);

#endif
