/* What the gateway shows of itself to the devices of one tenant: its X.509 certificate or its raw public key
 * (RFC 7250), each in a WOLFSSL_CTX with the private key, and the certificate's status. Made from files, all
 * of them or nothing; read-only then, but for the settings of the CTX that tls.c makes before anybody uses
 * it.
 */
#ifndef CONTROLPLANE_OWN_H
#define CONTROLPLANE_OWN_H

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "config/config.h"
#include "controlplane/errand.h"
#include "controlplane/raw_key.h"

struct staple;

struct own {
	WOLFSSL_CTX *ctx;           /* with the X.509 certificate, if there is one */
	WOLFSSL_CTX *raw_ctx;       /* with the raw public key; NULL: there is none */
	struct staple *staple;      /* NULL: nothing is stapled */
	uint16_t certificate_curve; /* RFC 8422 5.1.1; 0: there is no certificate */
	uint16_t raw_key_curve;
	uint8_t raw_key_digest[RAW_KEY_DIGEST]; /* SHA-256: what devices pin */
	int64_t not_before_s, not_after_s;      /* of the certificate; 0: there is none */
	unsigned users;                         /* struct tls that have it; of who makes and frees these */
};

/* Not the control thread: it may take milliseconds. place: "tls.", for messages. NULL with a sentence in
 * error: which option, which file, and what is wrong with it. No secret stays in memory but in the result.
 * options and errands are borrowed until own_free(). */
struct own *own_new(const struct config_tls *options, struct errands *errands, const char *place, char *error,
		    size_t error_len);
/* No handshake may be left. May wait some seconds for a responder that is being asked. NULL is fine. */
void own_free(struct own *o);

#endif
