/* See exporter.h. */
#include "controlplane/exporter.h"

#include <string.h>

#include "controlplane/proof.h"
#include "crypto/secret.h"

/* Without a context, which is not the same as with an empty one: RFC 5705 4. */
static bool export(WOLFSSL *ssl, const char *label, uint8_t value[EXPORTER_VALUE_LEN])
{
	return wolfSSL_export_keying_material(ssl, value, EXPORTER_VALUE_LEN, label, strlen(label), NULL, 0,
					      0) == WOLFSSL_SUCCESS;
}

size_t exporter_write(WOLFSSL *ssl, char *const *labels, unsigned count, void *up, size_t len)
{
	uint8_t *start = (uint8_t *)up + len, *at = start;
	uint8_t value[EXPORTER_VALUE_LEN];
	bool good = true;

	for (unsigned i = 0; good && i < count; i++) {
		good = export(ssl, labels[i], value);
		at = session_up_field(at, SLUICE_FIELD_EXPORTER_LABEL, labels[i], strlen(labels[i]));
		at = session_up_field(at, SLUICE_FIELD_EXPORTER_VALUE, value, sizeof value);
	}
	secret_wipe(value, sizeof value);
	((struct sluice_session_up *)up)->fields_len += (uint16_t)(at - start);
	return good ? len + (size_t)(at - start) : 0;
}
