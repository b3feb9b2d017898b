/* Any bytes as a key and a row: an error, or a credential that is stored as the same bytes again. The CRC is
 * made right first, or nothing would get past it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/row.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t key_len = size > 0 ? data[0] : 0;
	uint8_t key[ROW_KEY_MAX], *row, again[ROW_MAX];
	struct credential c;
	size_t row_len;
	int len;

	if (size < 1 + key_len || row_key_decode(data + 1, key_len, &c.id) < 0)
		return 0;
	if (row_key_encode(&c.id, key) != key_len || memcmp(key, data + 1, key_len) != 0)
		abort();
	row_len = size - 1 - key_len;
	row = malloc(row_len + 1);
	if (row == NULL)
		abort();
	memcpy(row, data + 1 + key_len, row_len);
	if (row_len > ROW_HEADER)
		put_le(row + AT_CRC, row_crc(key, key_len, row, row_len), 4);
	if (row_decode(key, key_len, row, row_len, NULL, &c.psk) == 0) {
		len = row_encode(&c, NULL, again);
		if (len != (int)row_len || memcmp(row, again, row_len) != 0)
			abort();
	}
	free(row);
	return 0;
}
