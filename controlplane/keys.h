/* Takes the traffic keys out of a finished handshake: RFC 5246 6.3. Control thread. */
#ifndef CONTROLPLANE_KEYS_H
#define CONTROLPLANE_KEYS_H

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "dataplane/session.h"

/* Fills suite, protection and both keys of *out from a server's finished handshake, after a check that the
 * sizes which wolfSSL negotiated are those of our own table. encrypt_then_mac: as the ServerHello said, RFC
 * 7366. 0; -ENOTSUP for a suite that is not in the table; -EPROTO when a size differs. *out holds keys
 * afterwards: the caller wipes it. */
int keys_export(WOLFSSL *ssl, uint16_t suite, bool encrypt_then_mac, struct session_install *out);

#endif
