/* The outline of a YAML file (pure): every key and value with its line, before anything is interpreted. It
 * refuses what a configuration has no use for and what libcyaml would let pass in silence: anchors, aliases,
 * tags, merge keys, a second document, duplicate keys, NULs and control characters, and any nesting or number
 * of entries above its bounds.
 */
#ifndef CONFIG_OUTLINE_H
#define CONFIG_OUTLINE_H

#include <stdbool.h>
#include <stddef.h>

#include "config/report.h"

enum {
	OUTLINE_NODES_MAX = 16384,
	/* the document's mapping, a list of mappings, one of these, a list in it, and one more to tell that
	   it is too deep */
	OUTLINE_DEPTH_MAX = 5,
	OUTLINE_NONE = -1,
};

enum outline_kind { OUTLINE_MAPPING, OUTLINE_LIST, OUTLINE_SCALAR };

struct outline_node {
	enum outline_kind kind;
	int parent; /* index; OUTLINE_NONE for the document's own */
	unsigned line;
	char *key;  /* NULL for an entry of a list */
	char *text; /* of a scalar */
	size_t text_len;
	bool null; /* a scalar without a value: nothing, ~ or null */
};

struct outline {
	struct outline_node *nodes; /* parents before children; none for an empty file */
	unsigned count;
};

/* 0, or -1 with the reason in r. outline_fini() in either case. */
int outline_read(struct outline *o, const char *text, size_t len, struct report *r);
void outline_fini(struct outline *o);

#endif
