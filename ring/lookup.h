/* The look-up for backends (pure): which session, and whose, stands behind a source address. A question is an
 * address as text, the answer one line of JSON. The thread of sluice-forward.
 */
#ifndef RING_LOOKUP_H
#define RING_LOOKUP_H

#include "ring/peer.h"
#include "ring/source.h"

/* Every field of a SESSION_UP at its longest, each byte written as six. */
enum { LOOKUP_ANSWER_MAX = 1 << 20 };

struct lookup {
	int family; /* of the source addresses */
	const struct source_pool *sources;
	const struct peers *peers;
};

/* question: "127.64.0.9", "127.64.0.9:40000", "2001:db8::9" or "[2001:db8::9]:40000"; the port, which is the
 * same for all, is not looked at. Writes {"found":true, ...} or {"found":false,"why":"..."} and a newline to
 * out, which has LOOKUP_ANSWER_MAX bytes. Returns the length. */
size_t lookup_answer(const struct lookup *l, const char *question, char *out);

#endif
