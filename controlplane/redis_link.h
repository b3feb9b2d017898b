/* The gateway's connection to a Redis server: hiredis without blocking, in an epoll descriptor of the
 * store's. It connects, gives its password, lets its user look at the store (greet), and when something
 * breaks begins anew with growing pauses. It says so in the log, once per cause. Control thread.
 */
#ifndef CONTROLPLANE_REDIS_LINK_H
#define CONTROLPLANE_REDIS_LINK_H

#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include "controlplane/redis_server.h"

struct redis_link;

/* What the link asks of its user; context is the user's. */
struct redis_link_user {
	/* Connected: send what shows whether the store can be used, then redis_link_accept() or _refuse(). */
	void (*greet)(void *context);
	/* The connection is gone, and with it all that had no answer. Called from redis_link_process() alone,
	 * after every reply function was called with NULL. */
	void (*lost)(void *context);
	void *context;
};

/* server is borrowed; its password is renewed before each connection. The connection is watched in epoll_fd
 * with a NULL pointer as its data. NULL when out of memory. */
struct redis_link *redis_link_new(struct redis_server *server, int epoll_fd, uint64_t timeout_ns,
				  const struct redis_link_user *user);
void redis_link_free(struct redis_link *l); /* lost() is not called. NULL is fine */

/* reply: of hiredis; NULL when the connection was lost. False when there is none, or no memory: then the
 * function is not called. */
bool redis_link_send(struct redis_link *l, void (*reply)(redisAsyncContext *, void *reply, void *context),
		     void *context, int argc, const char **argv, const size_t *argv_len);
/* In reply functions, for every reply: true when it is one to go on with; false for NULL and for errors:
 * those that concern the connection end it, others are logged. */
bool redis_link_reply_good(struct redis_link *l, const redisReply *reply);

void redis_link_accept(struct redis_link *l);
void redis_link_refuse(struct redis_link *l, const char *why);

/* Looks commands may be sent. */
bool redis_link_ready(const struct redis_link *l);
/* The last attempts to get there failed, so that waiting makes no sense. */
bool redis_link_is_down(const struct redis_link *l);

void redis_link_readable(struct redis_link *l);
void redis_link_writable(struct redis_link *l);
/* Before and after events: connects when it is time, and ends what takes too long. */
void redis_link_process(struct redis_link *l, uint64_t now_ns);
uint64_t redis_link_deadline(const struct redis_link *l);

#endif
