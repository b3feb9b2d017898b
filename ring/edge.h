/* Requests that claim to be somebody else's, stopped before they reach the backend (pure): the identity that
 * a session proved under DTLS against the one that its CoAP requests name (oneM2M TS-0003 7.2.1; LwM2M
 * core 6.2). Chosen per tenant. Any thread.
 *
 *   onem2m  each request of an AE must carry one of the session's AE-IDs in its oneM2M-FR option, byte for
 *           byte; one of a CSE, its CSE-ID or an identifier that begins with a slash, since a CSE also
 *           relays requests of others, and names these SP-relative or absolute. Otherwise: 4.03, and the
 *           response status code 4103.
 *   lwm2m   a request with ep= in its query (registration, bootstrap request) must name the session's
 *           endpoint. Otherwise: 4.00. A Proxy-Uri could hide the query: 5.05.
 *
 * Both: requests of a session that has proven nothing, or an identity of another kind, are answered 4.03.
 * Responses, acknowledgements and pings of the others pass. What is not a CoAP message never passes.
 */
#ifndef RING_EDGE_H
#define RING_EDGE_H

#include "ring/peer.h"

enum {
	EDGE_RULES_MAX = 1024,
	EDGE_ANSWER_MAX = 512, /* bytes */
};

struct edge_rule {
	const char *tenant;
	enum edge_check check;
};

/* Which tenant is checked for what. Starts as {0}: none is. */
struct edge_rules {
	struct edge_rule of[EDGE_RULES_MAX];
	unsigned count;
	enum edge_check others; /* tenants that no rule names */
	bool has_others;        /* it was said */
};

/* Takes "TENANT=CHECK" or "CHECK" (all tenants that have no rule of their own); CHECK: onem2m, lwm2m or none;
 * an empty TENANT is the default one. text is borrowed and may be changed. Returns NULL, or what is wrong
 * with it (static). */
const char *edge_rule_parse(struct edge_rules *rules, char *text);

/* What the rules say about this session. */
enum edge_check edge_check_of(const struct edge_rules *rules, const struct sluice_session_up *up);

#define EDGE_VERDICTS(X)                                                                                     \
	X(PASS, "passed to the backend")                                                                     \
	X(FOREIGN, "dropped: not CoAP")                                                                      \
	X(MALFORMED, "dropped or reset: malformed CoAP")                                                     \
	X(UNPROVEN, "refused: of a session without a proven identity")                                       \
	X(FROM, "refused: oneM2M-FR is not an identity of the session")                                      \
	X(ENDPOINT, "refused: ep= is not the session's endpoint name, or may hide in the query or the path") \
	X(PROXY, "refused: a Proxy-Uri")

enum edge_verdict {
#define X(name, text) EDGE_##name,
	EDGE_VERDICTS(X)
#undef X
		EDGE_VERDICTS_COUNT
};

/* What goes back to the device. */
struct edge_answer {
	size_t len; /* 0: nothing */
	uint8_t bytes[EDGE_ANSWER_MAX];
};

/* Judges one datagram of a session under `check` (not EDGE_NONE). up NULL: nothing is known about it. own_id:
 * the message ID of an answer to a non-confirmable request. */
enum edge_verdict edge_judge(enum edge_check check, const struct sluice_session_up *up,
			     const uint8_t *datagram, size_t len, uint16_t own_id,
			     struct edge_answer *answer);

#endif
