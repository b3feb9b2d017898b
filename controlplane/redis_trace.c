/* See redis_trace.h. */
#include "controlplane/redis_trace.h"

#include <hiredis/sds.h>

#include "crypto/secret.h"

enum {
	INPUT_ROOM = 64 << 10,  /* 16 KiB at once, and the longest row that has not come to its end */
	STACK_BELOW = 24 << 10, /* the 16 KiB, and the frames around it */
};

static void wipe_reply(redisReply *reply)
{
	if (!reply)
		return;
	if (reply->type == REDIS_REPLY_ARRAY) {
		for (size_t i = 0; i < reply->elements; i++)
			wipe_reply(reply->element[i]);
	} else if (reply->str) {
		secret_wipe(reply->str, (size_t)reply->len);
	}
}

static void wipe_and_free(void *reply)
{
	wipe_reply(reply);
	freeReplyObject(reply);
}

/* AddressSanitizer would give it another stack. */
static __attribute__((noinline, no_sanitize_address)) void wipe_stack(void)
{
	unsigned char below[STACK_BELOW];

	secret_wipe(below, sizeof below);
}

bool redis_trace_begin(struct redis_trace *t, redisContext *c)
{
	char *room = sdsMakeRoomFor(c->reader->buf, INPUT_ROOM);

	if (!room)
		return false;
	c->reader->buf = room;
	c->reader->maxbuf = 0; /* it is kept, however empty */
	t->functions = *c->reader->fn;
	t->functions.freeObject = wipe_and_free;
	c->reader->fn = &t->functions;
	return true;
}

void redis_trace_wipe(redisContext *c)
{
	redisReader *r = c->reader;

	if (r->buf) { /* a reader that met something else than Redis has none */
		secret_wipe(r->buf, r->pos);
		secret_wipe(r->buf + r->len, sdsavail(r->buf));
	}
	wipe_stack();
}

void redis_trace_end(redisContext *c)
{
	if (c->reader->buf)
		secret_wipe(c->reader->buf, sdsalloc(c->reader->buf));
	wipe_stack();
}
