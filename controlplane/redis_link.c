/* See redis_link.h.
 *
 *   away -> connecting -> greeting -> ready      away again on any error, for 0, 100, 200 ... 1000 ms
 *
 * Inside the callbacks of hiredis nothing is freed: they leave a sentence in `fault`, and
 * redis_link_process() acts on it.
 */
#include "controlplane/redis_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "controlplane/log.h"
#include "controlplane/redis_trace.h"

enum link_state { LINK_AWAY, LINK_CONNECTING, LINK_GREETING, LINK_READY };

enum { STALLED_TIMEOUTS = 3, FAULT_MAX = 200 };
#define PAUSE_NS     100000000ULL
#define PAUSE_MAX_NS 1000000000ULL

struct redis_link {
	struct redis_server *server;
	struct redis_link_user user;
	redisAsyncContext *ac; /* NULL: away */
	struct redis_trace trace;
	int epoll_fd, fd;
	uint32_t events;
	enum link_state state;
	uint64_t now_ns, timeout_ns;
	uint64_t until_ns;  /* away: connects then; connecting, greeting: gives up then */
	uint64_t answer_ns; /* of the newest reply, or of the first command since all were answered */
	unsigned outstanding, failures;
	bool down;             /* the last two attempts failed */
	char fault[FAULT_MAX]; /* why the connection is to be ended; empty: it is not */
	char said[FAULT_MAX];  /* the last that the log has of it */
};

/* ---- epoll, for hiredis */

static void watch(struct redis_link *l, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = NULL};

	if (l->fd < 0 || l->events == events)
		return;
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, l->fd, &event))
		snprintf(l->fault, sizeof l->fault, "the connection cannot be watched");
	l->events = events;
}

static void add_read(void *context)
{
	struct redis_link *l = context;

	watch(l, l->events | EPOLLIN);
}

static void remove_read(void *context)
{
	struct redis_link *l = context;

	watch(l, l->events & ~(uint32_t)EPOLLIN);
}

static void add_write(void *context)
{
	struct redis_link *l = context;

	watch(l, l->events | EPOLLOUT);
}

static void remove_write(void *context)
{
	struct redis_link *l = context;

	watch(l, l->events & ~(uint32_t)EPOLLOUT);
}

static void cleanup(void *context)
{
	struct redis_link *l = context;

	if (l->fd >= 0)
		(void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, l->fd, NULL);
	l->fd = -1;
}

/* ---- callbacks of hiredis */

static void set_fault(struct redis_link *l, const char *why)
{
	if (!l->fault[0])
		snprintf(l->fault, sizeof l->fault, "%s", why);
}

static void take_password_reply(redisAsyncContext *ac, void *answer, void *context)
{
	struct redis_link *l = context;
	const redisReply *reply = answer;

	l->outstanding--;
	if (reply && reply->type == REDIS_REPLY_ERROR)
		set_fault(l, reply->str);
}

static void on_connect(const redisAsyncContext *ac, int status)
{
	const char *argv[] = {"AUTH", NULL};
	struct redis_link *l = ac->data;

	if (status != REDIS_OK) { /* hiredis frees the context itself */
		set_fault(l, ac->c.errstr[0] ? ac->c.errstr : "it cannot be connected to");
		l->ac = NULL;
		return;
	}
	l->state = LINK_GREETING;
	argv[1] = l->server->password;
	if (argv[1][0] && !redis_link_send(l, take_password_reply, l, 2, argv, NULL))
		set_fault(l, "out of memory");
	l->user.greet(l->user.context);
}

static void on_disconnect(const redisAsyncContext *ac, int status)
{
	struct redis_link *l = ac->data;

	redis_trace_end((redisContext *)(uintptr_t)&ac->c);
	set_fault(l, ac->c.err == REDIS_ERR_EOF ? "it has closed the connection"
		     : ac->c.errstr[0]          ? ac->c.errstr
						: "the connection was lost");
	l->ac = NULL;
}

bool redis_link_reply_good(struct redis_link *l, const redisReply *reply)
{
	static const char *const endings[] = {"NOAUTH",      "WRONGPASS", "LOADING", "MASTERDOWN",
					      "CLUSTERDOWN", "MOVED",     "NOPERM",  "ERR max number"};

	l->answer_ns = l->now_ns;
	l->outstanding--;
	if (!reply || reply->type != REDIS_REPLY_ERROR)
		return reply != NULL;
	for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
		if (strncmp(reply->str, endings[i], strlen(endings[i])) == 0)
			set_fault(l, reply->str);
	}
	if (!l->fault[0] && strncmp(l->said, reply->str, sizeof l->said - 1) != 0) {
		snprintf(l->said, sizeof l->said, "%s", reply->str);
		log_write(LOG_LEVEL_WARNING, "the credential store in Redis at %s: %s", l->server->text,
			  reply->str);
	}
	return false;
}

/* ---- from nothing to ready, and back */

static bool attach(struct redis_link *l)
{
	struct epoll_event event = {.events = 0, .data.ptr = NULL};

	l->fd = l->ac->c.fd;
	l->events = 0;
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->fd, &event)) {
		l->fd = -1;
		return false;
	}
	l->ac->data = l;
	l->ac->ev.data = l;
	l->ac->ev.addRead = add_read;
	l->ac->ev.delRead = remove_read;
	l->ac->ev.addWrite = add_write;
	l->ac->ev.delWrite = remove_write;
	l->ac->ev.cleanup = cleanup;
	redisAsyncSetDisconnectCallback(l->ac, on_disconnect);
	return redisAsyncSetConnectCallback(l->ac, on_connect) == REDIS_OK;
}

static void renew_password(struct redis_link *l)
{
	char why[FAULT_MAX];
	int ret = redis_server_renew_password(l->server, why, sizeof why);

	if (ret < 0)
		log_write(LOG_LEVEL_ERROR, "%s What was read before stays in use.", why);
	else if (ret > 0)
		log_write(LOG_LEVEL_INFO, "the password of Redis at %s has been read anew", l->server->text);
}

static void connect_now(struct redis_link *l)
{
	const struct redis_server *s = l->server;

	renew_password(l);
	l->outstanding = 0;
	l->state = LINK_CONNECTING;
	l->until_ns = l->now_ns + l->timeout_ns;
	l->ac = s->ip[0] ? redisAsyncConnect(s->ip, s->port) : redisAsyncConnectUnix(s->unix_path);
	if (!l->ac || l->ac->err)
		set_fault(l, l->ac && l->ac->c.errstr[0] ? l->ac->c.errstr : "it cannot be connected to");
	else if (!redis_trace_begin(&l->trace, &l->ac->c))
		set_fault(l, "out of memory");
	else if (!attach(l))
		set_fault(l, "the connection cannot be watched");
}

static void disconnect(struct redis_link *l)
{
	redisAsyncContext *ac = l->ac;

	if (ac)
		redisAsyncFree(ac); /* calls the reply functions, cleanup() and on_disconnect() */
	l->ac = NULL;
}

static void go_away(struct redis_link *l)
{
	char why[FAULT_MAX];
	uint64_t pause;

	memcpy(why, l->fault, sizeof why);
	disconnect(l);
	/* A connection that broke is made anew at once, and one failure is nothing yet: a server that has
	 * only been restarted is not missed. */
	l->failures = l->state == LINK_READY ? 0 : l->failures + 1;
	l->down = l->failures > 1;
	pause = l->failures > 0 ? PAUSE_NS << (l->failures < 5 ? l->failures - 1 : 4) : 0;
	l->until_ns = l->now_ns + (pause < PAUSE_MAX_NS ? pause : PAUSE_MAX_NS);
	l->state = LINK_AWAY;
	l->fault[0] = 0;
	if (strcmp(l->said, why) != 0)
		log_write(LOG_LEVEL_WARNING, "the credential store in Redis at %s cannot be used: %s",
			  l->server->text, why);
	memcpy(l->said, why, sizeof l->said);
	l->user.lost(l->user.context);
}

void redis_link_accept(struct redis_link *l)
{
	if (l->state == LINK_READY || l->fault[0])
		return;
	log_write(LOG_LEVEL_INFO, "the credential store in Redis at %s can be used", l->server->text);
	l->state = LINK_READY;
	l->down = false;
	l->failures = 0;
	l->said[0] = 0;
}

void redis_link_refuse(struct redis_link *l, const char *why)
{
	if (l->state == LINK_READY)
		l->state = LINK_GREETING; /* what was good is so no longer: no hurry to come back */
	set_fault(l, why);
}

static void check_time(struct redis_link *l)
{
	if (l->state != LINK_READY && l->now_ns >= l->until_ns)
		set_fault(l, l->state == LINK_CONNECTING ? "connecting takes too long"
							 : "it does not answer in time");
	if (l->outstanding > 0 && l->now_ns - l->answer_ns > STALLED_TIMEOUTS * l->timeout_ns)
		set_fault(l, "it does not answer any more");
}

void redis_link_process(struct redis_link *l, uint64_t now_ns)
{
	l->now_ns = now_ns;
	if (l->state == LINK_AWAY && now_ns >= l->until_ns)
		connect_now(l);
	if (l->state != LINK_AWAY)
		check_time(l);
	if (l->fault[0])
		go_away(l);
}

uint64_t redis_link_deadline(const struct redis_link *l)
{
	uint64_t stalled = l->outstanding > 0 ? l->answer_ns + STALLED_TIMEOUTS * l->timeout_ns : UINT64_MAX;

	if (l->fault[0])
		return 0;
	if (l->state == LINK_READY)
		return stalled;
	return l->until_ns < stalled ? l->until_ns : stalled;
}

bool redis_link_ready(const struct redis_link *l)
{
	return l->state == LINK_READY && !l->fault[0];
}

bool redis_link_is_down(const struct redis_link *l)
{
	return l->down;
}

void redis_link_readable(struct redis_link *l)
{
	if (l->ac)
		redisAsyncHandleRead(l->ac);
	if (l->ac)
		redis_trace_wipe(&l->ac->c);
}

void redis_link_writable(struct redis_link *l)
{
	if (l->ac)
		redisAsyncHandleWrite(l->ac);
}

bool redis_link_send(struct redis_link *l, void (*reply)(redisAsyncContext *, void *, void *), void *context,
		     int argc, const char **argv, const size_t *argv_len)
{
	if (!l->ac || l->fault[0] || redisAsyncCommandArgv(l->ac, reply, context, argc, argv, argv_len))
		return false;
	if (l->outstanding++ == 0)
		l->answer_ns = l->now_ns;
	return true;
}

struct redis_link *redis_link_new(struct redis_server *server, int epoll_fd, uint64_t timeout_ns,
				  const struct redis_link_user *user)
{
	struct redis_link *l = calloc(1, sizeof *l);

	if (!l)
		return NULL;
	l->server = server;
	l->epoll_fd = epoll_fd;
	l->timeout_ns = timeout_ns;
	l->user = *user;
	l->fd = -1;
	return l;
}

void redis_link_free(struct redis_link *l)
{
	if (!l)
		return;
	disconnect(l);
	free(l);
}
