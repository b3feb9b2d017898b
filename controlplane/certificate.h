/* What we want to know of the gateway's own certificate. Any thread, nothing kept. */
#ifndef CONTROLPLANE_CERTIFICATE_H
#define CONTROLPLANE_CERTIFICATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct certificate {
	uint16_t curve;                    /* of its key: RFC 8422 5.1.1 */
	int64_t not_before_s, not_after_s; /* Unix time */
};

/* pem: a chain, ours first. True when its key is on secp256r1, secp384r1 or secp521r1, and no certificate but
 * one that signs itself is signed with less than SHA-256 (RFC 9155). False with a clause in why: what is
 * wrong with which of them. Whether it is valid now is the caller's to judge. */
bool certificate_read(const void *pem, size_t len, struct certificate *out, char *why, size_t why_len);

#endif
