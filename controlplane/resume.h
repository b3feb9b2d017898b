/* What a session ticket (RFC 5077) carries beside wolfSSL's own secrets, and whether it is still good for
 * anything: the credential that the client proved at first, which is looked up again, so that a ticket is
 * worth nothing once that is gone, or has another key or another registree. It is judged when the ClientHello
 * is whole and before wolfSSL sees it; what is refused ends in a full handshake. Control thread.
 *
 *   ticket = sealed { wolfSSL's state | what is below | its length }     see ticket.h
 *
 * X.509 sessions get no ticket: whether the certificate is revoked or has expired since would not be seen.
 */
#ifndef CONTROLPLANE_RESUME_H
#define CONTROLPLANE_RESUME_H

#include "controlplane/proof.h"
#include "controlplane/ticket.h"
#include "controlplane/tls.h"

#ifndef WOLFSSL_TICKET_EXTRA_PADDING_SZ /* wolfSSL's own value, which its headers for others do not tell */
#define WOLFSSL_TICKET_EXTRA_PADDING_SZ 32
#endif

enum {
	/* Tickets that wolfSSL can be shown, whoever made them, in bytes: it takes its own state, of 64 at
	 * least, the padding, and RFC 5077's parts around. */
	RESUME_FOREIGN_MAX = 16 + 16 + 2 + 32 + 64 + WOLFSSL_TICKET_EXTRA_PADDING_SZ,
};

/* What a handshake has come to when its ticket is written. */
struct resume_state {
	const struct tls *tls;
	const struct proof *proof; /* NULL: the client proved nothing */
	const uint8_t *psk;        /* the key of a PSK */
	size_t psk_len;
	uint16_t suite;
};

/* Wall clock in seconds. */
uint64_t resume_clock_s(void);

/* Appends the state to wolfSSL's len bytes, and seals both. room: of bytes. *sealed_len: the whole. 0; -EIO:
 * no ticket can be made. When the state does not fit or may not be resumed the ticket is one that nobody can
 * open: the client has been promised one. */
int resume_write(const struct resume_state *s, uint64_t now_s, uint8_t *name, uint8_t *iv, uint8_t *mac,
		 uint8_t *bytes, size_t len, size_t room, size_t *sealed_len);

/* Opens it in place. *len: of wolfSSL's part, which stands first. 0, -ENOENT or -EBADMSG. */
int resume_open(struct ticket_keys *keys, uint64_t now_s, const uint8_t *name, const uint8_t *iv,
		const uint8_t *mac, uint8_t *bytes, size_t sealed_len, size_t *len);

/* May a client with this ticket, the body of the extension, resume? 1: yes, and *proof is what it proves (the
 * caller frees it; NULL: nothing); 0: no; -EAGAIN: the store answers later. suite: that a full handshake
 * would use; another one is not resumed. */
int resume_judge(const struct tls *tls, const uint8_t *ticket, size_t len, uint16_t suite, uint64_t now_s,
		 struct proof **proof);

#endif
