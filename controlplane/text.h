/* A text that grows while it is written, and JSON in it (pure). Running out of memory is noted in the text
 * and asked about once, at the end.
 */
#ifndef CONTROLPLANE_TEXT_H
#define CONTROLPLANE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Starts as {0}. at is not terminated. */
struct text {
	char *at;
	size_t len, room;
	bool failed; /* something is missing: no memory */
};

void text_fini(struct text *t);
/* Empties it; the memory stays for the next. */
void text_clear(struct text *t);

void text_add(struct text *t, const void *bytes, size_t len);
void text_printf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Bytes that anybody may have chosen, as a JSON string: UTF-8 stays, control characters are escaped, what is
 * no UTF-8 becomes U+FFFD. */
void text_json(struct text *t, const void *bytes, size_t len);
/* The same after `"name":`, with a comma before it unless it is the first in its object. The second form adds
 * "name_hex" when the bytes cannot be read back from the string. */
void text_member(struct text *t, const char *name, const char *value);
void text_member_bytes(struct text *t, const char *name, const void *bytes, size_t len);
void text_member_number(struct text *t, const char *name, uint64_t value);
void text_member_bool(struct text *t, const char *name, bool value);
/* `"name":` alone, with its comma: an object or array follows. */
void text_member_open(struct text *t, const char *name, char bracket);

/* True when the bytes are well-formed UTF-8 without control characters. */
bool text_is_plain(const void *bytes, size_t len);

#endif
