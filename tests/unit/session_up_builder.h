/* Announcements for tests of the ring's users: a SESSION_UP and its fields, one after the other. */
#ifndef TESTS_SESSION_UP_BUILDER_H
#define TESTS_SESSION_UP_BUILDER_H

#include <string.h>

#include "ring/sluice.h"

struct up_builder {
	struct sluice_session_up up;
	uint8_t fields[4096];
};

static inline void up_begin(struct up_builder *b, enum sluice_identity_kind kind)
{
	memset(b, 0, sizeof(*b));
	b->up.credential = SLUICE_CREDENTIAL_PSK;
	b->up.identity = (uint8_t)kind;
}

static inline void up_field(struct up_builder *b, uint16_t type, const void *bytes, size_t len)
{
	uint16_t header[2] = {type, (uint16_t)len};

	memcpy(b->fields + b->up.fields_len, header, sizeof(header));
	memcpy(b->fields + b->up.fields_len + sizeof(header), bytes, len);
	b->up.fields_len = (uint16_t)(b->up.fields_len + sizeof(header) + ((len + 3) & ~(size_t)3));
}

static inline void up_text(struct up_builder *b, uint16_t type, const char *text)
{
	up_field(b, type, text, strlen(text));
}

#endif
