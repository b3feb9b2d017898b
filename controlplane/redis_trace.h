/* No trace of what a Redis server said: hiredis frees rows, and with them pre-shared keys, as they are.
 * Before its version 1.0 it has no door to its allocator, so that what can be reached is wiped instead:
 *
 *   reply   before it is freed
 *   input   what has been taken apart or moved; its buffer has room for any row, so that it stays where it is
 *   stack   below the call that reads, where hiredis keeps 16 KiB
 *
 * Control thread.
 */
#ifndef CONTROLPLANE_REDIS_TRACE_H
#define CONTROLPLANE_REDIS_TRACE_H

#include <hiredis/hiredis.h>
#include <stdbool.h>

/* Of one connection, in the caller's memory until its context has been freed. */
struct redis_trace {
	redisReplyObjectFunctions functions;
};

/* Before anything is read. False when out of memory. */
bool redis_trace_begin(struct redis_trace *t, redisContext *c);
/* After each call that may have read. */
void redis_trace_wipe(redisContext *c);
/* Before the context is freed: also what has not been taken apart. Nothing can be read any more. */
void redis_trace_end(redisContext *c);

#endif
