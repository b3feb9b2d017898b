/* Records of epoch 1 that came before the handshake was done (pure): Finished that overtook its flight, and
 * data that overtook Finished (RFC 6347 4.2.4). A bounded number, in order of arrival. The control thread's.
 */
#ifndef CONTROLPLANE_HELD_H
#define CONTROLPLANE_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HELD_MAX = 8,
	HELD_LEN_MAX = 16384, /* bytes of all of them */
};

struct held {
	struct held *next;
	uint16_t len;
	bool fed; /* wolfSSL has seen it, or never will */
	uint8_t bytes[];
};

struct held_records {
	struct held *first; /* in order of arrival */
	uint32_t count, len;
};

/* Keeps a copy of one whole record; when there is no room or no memory, something is lost as UDP loses it. */
void held_add(struct held_records *h, const uint8_t *record, size_t len);

/* Frees the record that *at points at, and makes *at point at the next. */
void held_drop(struct held_records *h, struct held **at);

void held_fini(struct held_records *h);

#endif
