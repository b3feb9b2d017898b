/* Any bytes as handshake records of epoch 0, each behind its length in one byte (times 8): what comes out are
 * whole messages in a client's order, and what is held is bounded.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/assembly.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HELD_MAX = 8192 + 16384 + 1024 + 1024 + 4 * (ASSEMBLY_ROOM + HANDSHAKE_HEADER_LEN) };

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void check_bounds(const struct assembly *a)
{
	size_t held = 0;

	for (unsigned i = 0; i < ASSEMBLY_MESSAGES; i++) {
		const struct assembly_message *m = &a->messages[i];

		require(m->spans_count <= ASSEMBLY_SPANS);
		if (m->bytes)
			held += m->body_len;
	}
	require(held <= HELD_MAX);
}

static void check_message(const struct assembly *a, const struct assembly_message *m, uint8_t before)
{
	const uint8_t *header = m->bytes + ASSEMBLY_ROOM;

	require(header[0] == m->type);
	require(memcmp(header + 1, header + 9, 3) == 0);
	require((uint16_t)(header[4] << 8 | header[5]) == (uint16_t)(a->first_seq + a->next - 1));
	require((before == 0) == (m->type == HANDSHAKE_CLIENT_HELLO));
	require(m->type != HANDSHAKE_CERTIFICATE_VERIFY || before == HANDSHAKE_CLIENT_KEY_EXCHANGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct assembly a = {0};
	struct assembly_message *m;
	uint8_t before = 0;

	while (size > 0) {
		size_t len = (size_t)data[0] * 8;
		uint8_t *record;

		data++;
		size--;
		len = len < size ? len : size;
		record = malloc(len + 1); /* exact but for one, for ASan */
		require(record);
		memcpy(record, data, len);
		(void)assembly_add(&a, record, len);
		free(record);
		data += len;
		size -= len;
		check_bounds(&a);
		while ((m = assembly_take(&a))) {
			check_message(&a, m, before);
			before = m->type;
			assembly_drop(m);
		}
	}
	assembly_fini(&a);
	return 0;
}
