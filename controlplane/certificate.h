/* What we want to know of an X.509 certificate beyond what wolfSSL verifies. Any thread, nothing kept. */
#ifndef CONTROLPLANE_CERTIFICATE_H
#define CONTROLPLANE_CERTIFICATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The name that stands for the certificate: the first URI among its alternative names, otherwise the first
 * DNS name, otherwise the common name of its subject. Returns its length, 0 when it has none, or -EINVAL when
 * the certificate cannot be read or the name is longer than room or has a NUL in it. */
int certificate_name(const uint8_t *der, size_t der_len, uint8_t *out, size_t room);

/* True when its signature uses SHA-256 or better. A trust anchor's own signature means nothing and is not
 * asked about. */
bool certificate_hash_fits(const uint8_t *der, size_t der_len);

/* The number (RFC 8422 5.1.1) of the curve that the key of the first certificate in a PEM file is on; 0: it
 * has another kind of key, or a curve below 256 bits. -errno when the file cannot be read. */
int certificate_file_curve(const char *path);

#endif
