/* Whether clients' certificates have been revoked, asked of OCSP responders (RFC 6960) for one tenant. The
 * control thread asks a table; what is not in it is asked for on other threads, and when an answer has come
 * the handshakes that wait for it are told and ask again. Of a chain, the client's own certificate is asked
 * about; the CAs above it are a matter of lists.h.
 *
 *   - answers are kept until their nextUpdate, an hour at most; a responder that does not answer is left
 * alone for some seconds, in which it costs nobody any time
 *   - bounded: OCSP_CACHE answers, OCSP_PENDING_MAX questions under way
 */
#ifndef CONTROLPLANE_OCSP_H
#define CONTROLPLANE_OCSP_H

#include "controlplane/chain.h"
#include "controlplane/errand.h"

enum { OCSP_CACHE = 16384, OCSP_PENDING_MAX = 1024 };

enum ocsp_verdict {
	OCSP_VERDICT_GOOD,
	OCSP_VERDICT_REVOKED,
	OCSP_VERDICT_UNKNOWN,      /* to the responder */
	OCSP_VERDICT_UNANSWERED,   /* no answer that can be believed */
	OCSP_VERDICT_NO_RESPONDER, /* the certificate names none, and none is configured */
	OCSP_VERDICT_LATER,        /* asked: ask again when the answer has come */
};

struct ocsp;
struct questions;

/* Main thread. url: of the responder for all; NULL: the one that each certificate names. All but url is
 * borrowed until ocsp_free(). NULL when out of memory. */
struct ocsp *ocsp_new(struct errands *errands, const char *url, struct questions *questions,
		      const char *place);
void ocsp_free(struct ocsp *o); /* waits for questions under way. NULL is fine */

/* Control thread. With OCSP_VERDICT_LATER *question is the number of what has been asked, see question.h. */
enum ocsp_verdict ocsp_ask(struct ocsp *o, const struct chain *c, uint64_t *question);

#endif
