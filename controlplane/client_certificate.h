/* Who a client is by its Certificate message: judged when the message is whole and before wolfSSL sees it, so
 * that a refusal has its right alert, and an answer from outside (a credential store, an OCSP responder) can
 * be waited for. wolfSSL then only makes sure that the client has the key (CertificateVerify). Control
 * thread.
 *
 *   X.509   a chain to an anchor of the tenant; then the registree that has one of the certificate's names
 *           under that very anchor (TS-0003 8.2.2.2)
 *   raw     a public key that the credential store knows by one of its names of RFC 6920; no other is taken
 */
#ifndef CONTROLPLANE_CLIENT_CERTIFICATE_H
#define CONTROLPLANE_CLIENT_CERTIFICATE_H

#include "controlplane/proof.h"
#include "controlplane/tls.h"

struct chain;

/* What is known so far, while an answer from outside is waited for. */
struct client_certificate;

/* type: that was negotiated. body: of the Certificate message. *kept: NULL at first; to be given again after
 * -EAGAIN. 1: *proof filled, except for the proof that the client has the key; 0: *refusal filled; -EAGAIN:
 * to be asked again when answers have come. */
int client_certificate_check(struct client_certificate **kept, const struct tls *tls,
			     enum certificate_type type, const uint8_t *body, size_t len, struct proof *proof,
			     struct refusal *refusal);
/* After -EAGAIN: the number of the question to the OCSP responder, see question.h; 0: it is the credential
 * store's answer that is waited for. */
uint64_t client_certificate_question(const struct client_certificate *c);
/* Its verified chain; NULL: there is none, or not yet. */
const struct chain *client_certificate_chain(const struct client_certificate *c);
void client_certificate_free(struct client_certificate *c); /* NULL is fine */

#endif
