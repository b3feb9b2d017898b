/* The part of libcrypto's algorithms that clients' certificates and raw keys need, in a library context of
 * its own.
 *
 * libcrypto 3.0 decodes every public key by asking all algorithms and decoders that it has, some hundred,
 * whether they know it, each time: 80 of the 110 us that reading a certificate on P-256 takes. Here only
 * those are asked that chain.h lets in. The algorithms themselves are those of libcrypto's default provider.
 */
#ifndef CONTROLPLANE_ALGORITHMS_H
#define CONTROLPLANE_ALGORITHMS_H

#include <openssl/types.h>

/* The context, made by the first who asks; it stays until the process ends. NULL, which is libcrypto's own
 * context, when it cannot be made: all is slower then, and nothing else. Any thread. */
OSSL_LIB_CTX *algorithms_context(void);

#endif
