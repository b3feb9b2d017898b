/* The answers of the admin socket: what each request is told, in bounded steps. Control thread.
 */
#ifndef CONTROLPLANE_ANSWER_H
#define CONTROLPLANE_ANSWER_H

#include "controlplane/admin_request.h"
#include "controlplane/text.h"

struct control;

/* One answer in the making. Starts as {0} but for c and request, ends with answer_fini(). */
struct answer {
	struct control *c;
	struct admin_request request;
	struct admin_fault fault; /* status 0: none */
	const char *type;         /* media type */

	struct text text; /* what is ready */
	size_t sent;      /* of that */
	/* Makes some more; false: that was all. NULL: everything is ready. */
	bool (*step)(struct answer *a);

	unsigned family;
	uint16_t worker;
	uint32_t slot, left;
	bool any, stopped; /* a session was listed; more are there */
};

/* Begins the answer to a->request; afterwards a->fault.status or the status to answer with (200, 503) is
 * known. */
unsigned answer_begin(struct answer *a);
/* A fault as JSON. */
void answer_fault(struct answer *a);
/* Up to `room` bytes into out; 0: that was all. Never more work than a bounded step. */
size_t answer_read(struct answer *a, char *out, size_t room);
void answer_fini(struct answer *a);

#endif
