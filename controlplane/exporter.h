/* Keying material exporters (RFC 5705): what an application asks for is computed at the end of the handshake,
 * written behind the other fields of SESSION_UP, and kept nowhere else. Control thread.
 */
#ifndef CONTROLPLANE_EXPORTER_H
#define CONTROLPLANE_EXPORTER_H

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <stddef.h>
#include <stdint.h>

enum {
	EXPORTERS_MAX = 8,       /* labels of a tenant: schema.c */
	EXPORTER_LABEL_MAX = 64, /* bytes */
	EXPORTER_VALUE_LEN = 48, /* oneM2M TS-0003 10.3.1 */
	/* Bytes of all fields, each with its header. */
	EXPORTERS_FIELDS_MAX = EXPORTERS_MAX * (4 + EXPORTER_LABEL_MAX + 4 + EXPORTER_VALUE_LEN),
};

/* Appends SLUICE_FIELD_EXPORTER_LABEL and its VALUE for each label to the SESSION_UP of len bytes at `up`,
 * which has room for EXPORTERS_FIELDS_MAX more. ssl: after its handshake, with wolfSSL_KeepArrays(). Returns
 * the length now; 0 when wolfSSL failed. The caller wipes what is behind len in the end. */
size_t exporter_write(WOLFSSL *ssl, char *const *labels, unsigned count, void *up, size_t len);

#endif
