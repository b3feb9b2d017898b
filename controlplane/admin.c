/* See admin.h. libmicrohttpd reads and writes HTTP, with its own epoll descriptor inside ours and no thread
 * of its own; admin_request.c reads what is asked for, answer.c makes the answers.
 */
#include "controlplane/admin.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controlplane/answer.h"
#include "controlplane/internal.h"
#include "ring/listen.h"

enum {
	CONNECTIONS_MAX = 32,
	CONNECTION_BYTES = 16384, /* of one request's head */
	IDLE_S = 10,              /* a connection that says nothing for so long is closed */
	BLOCK_BYTES = 16384,
	RUNS_PER_TURN = 4,
	STUCK_S = 5, /* a worker whose loop has not turned for so long */
};

/* What a request is from its first line to its last byte. */
struct exchange {
	struct answer answer;
	struct admin *admin;
	bool begun;
	char target[ADMIN_TARGET_MAX + 8]; /* longer than allowed, so that this shows */
};

struct admin {
	struct control *c;
	struct MHD_Daemon *daemon;
	int epoll_fd;
	struct admin_counts counts;
};

/* ---- one request */

/* The first line, before anything is taken out of it. */
static void *open_exchange(void *admin, const char *target, struct MHD_Connection *connection)
{
	struct exchange *e = calloc(1, sizeof *e);

	if (!e)
		return NULL;
	e->admin = admin;
	e->answer.c = e->admin->c;
	snprintf(e->target, sizeof e->target, "%s", target);
	return e;
}

static void close_exchange(void *admin, struct MHD_Connection *connection, void **exchange,
			   enum MHD_RequestTerminationCode how)
{
	struct exchange *e = *exchange;

	if (!e)
		return;
	answer_fini(&e->answer);
	free(e);
	*exchange = NULL;
}

static ssize_t read_answer(void *exchange, uint64_t at, char *out, size_t room)
{
	struct exchange *e = exchange;
	size_t n = answer_read(&e->answer, out, room);

	if (e->answer.text.failed)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	return n > 0 ? (ssize_t)n : MHD_CONTENT_READER_END_OF_STREAM;
}

static enum MHD_Result send_answer(struct exchange *e, struct MHD_Connection *connection, unsigned status)
{
	struct answer *a = &e->answer;
	struct MHD_Response *response;
	enum MHD_Result ret;

	if (a->fault.status) {
		status = a->fault.status;
		answer_fault(a);
	}
	if (status >= 400)
		e->admin->counts.refused++;
	else
		e->admin->counts.answered++;
	response = MHD_create_response_from_callback(a->step ? MHD_SIZE_UNKNOWN : a->text.len, BLOCK_BYTES,
						     read_answer, e, NULL);
	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, a->type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (a->fault.allow)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, a->fault.allow);
	ret = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return ret;
}

/* No request of ours has a body: one that announces one is refused before it is read. */
static bool has_body(struct MHD_Connection *connection)
{
	const char *len =
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

	return (len && strcmp(len, "0") != 0) ||
	       MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING);
}

static enum MHD_Result take_request(void *admin, struct MHD_Connection *connection, const char *url,
				    const char *method, const char *version, const char *upload,
				    size_t *upload_len, void **exchange)
{
	struct exchange *e = *exchange;
	unsigned status = 200;

	if (!e)
		return MHD_NO; /* out of memory */
	if (!e->begun) {
		e->begun = true;
		if (!has_body(connection))
			return MHD_YES;
		e->answer.fault.status = 413;
		snprintf(e->answer.fault.why, sizeof e->answer.fault.why, "No request here takes a body.");
		return send_answer(e, connection, 413);
	}
	if (admin_request_read(method, e->target, &e->answer.request, &e->answer.fault))
		status = answer_begin(&e->answer);
	return send_answer(e, connection, status);
}

/* What libmicrohttpd complains about is what a client did wrong: counted, like all of that. */
static void note_complaint(void *admin, const char *format, va_list arguments)
{
	struct admin *a = admin;

	a->counts.refused++;
}

/* ---- the control thread */

bool admin_turn(struct admin *a)
{
	MHD_UNSIGNED_LONG_LONG ms = 1;

	if (!a)
		return false;
	for (unsigned i = 0; i < RUNS_PER_TURN; i++) {
		if (MHD_run(a->daemon) != MHD_YES || MHD_get_timeout(a->daemon, &ms) != MHD_YES || ms > 0)
			return false;
	}
	return true;
}

int admin_fd(const struct admin *a)
{
	return a ? a->epoll_fd : -1;
}

uint64_t admin_deadline(const struct admin *a, uint64_t now_ns)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (!a || MHD_get_timeout(a->daemon, &ms) != MHD_YES)
		return UINT64_MAX;
	return now_ns + ms * 1000000;
}

const struct admin_counts *admin_counts(const struct admin *a)
{
	static const struct admin_counts none;

	return a ? &a->counts : &none;
}

/* ---- is everything well? */

void admin_watch_workers(struct control *c)
{
	for (unsigned i = 0; i < c->workers; i++) {
		struct worker_watch *w = &c->watches[i];
		uint64_t polls = counter_get(&c->links[i].counters->polls);

		if (polls != w->polls || w->since_ns == 0)
			*w = (struct worker_watch){.polls = polls, .since_ns = c->now_ns};
	}
}

bool admin_stuck_worker(const struct control *c, unsigned *worker)
{
	for (unsigned i = 0; i < c->workers; i++) {
		const struct worker_watch *w = &c->watches[i];

		if (w->since_ns > 0 && c->now_ns - w->since_ns > STUCK_S * 1000000000ULL) {
			*worker = i;
			return true;
		}
	}
	return false;
}

bool admin_store_reachable(const struct control *c)
{
	const struct credentials *s = &c->credentials;

	return !s->ops || !s->ops->reachable || s->ops->reachable(s->store);
}

bool admin_ready(const struct control *c, char *why, size_t why_len)
{
	unsigned worker;

	if (c->stopping)
		snprintf(why, why_len, "The gateway is about to stop.");
	else if (admin_stuck_worker(c, &worker))
		snprintf(why, why_len, "Worker %u does not turn.", worker);
	else if (c->port_is_up && !c->port_is_up(c->port))
		snprintf(why, why_len, "The port has no link.");
	else if (!admin_store_reachable(c))
		snprintf(why, why_len, "The credential store \"%s\" cannot be reached.",
			 c->credentials.ops->name);
	else
		return true;
	return false;
}

/* ---- start and end: main thread */

static struct MHD_Daemon *start_daemon(struct admin *a, int listen_fd)
{
	return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, take_request, a,
				MHD_OPTION_EXTERNAL_LOGGER, note_complaint, a, MHD_OPTION_LISTEN_SOCKET,
				listen_fd, MHD_OPTION_URI_LOG_CALLBACK, open_exchange, a,
				MHD_OPTION_NOTIFY_COMPLETED, close_exchange, a, MHD_OPTION_CONNECTION_LIMIT,
				(unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
				MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
				MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
}

int admin_open(struct control *c, char *error, size_t error_len)
{
	const struct config_admin *options = &c->config->admin;
	const union MHD_DaemonInfo *info;
	int fd;

	if (!options->socket)
		return 0;
	fd = listen_local(options->socket, SOCK_STREAM,
			  options->mode ? (unsigned)strtoul(options->mode, NULL, 8) : 0660, options->group);
	if (fd < 0) {
		snprintf(error, error_len, "admin.socket: %s cannot be opened: %s", options->socket,
			 listen_fault(fd));
		return fd;
	}
	c->admin = calloc(1, sizeof *c->admin);
	if (c->admin) {
		c->admin->c = c;
		c->admin->daemon = start_daemon(c->admin, fd);
	}
	if (!c->admin || !c->admin->daemon) {
		close(fd);
		snprintf(error, error_len, "admin.socket: libmicrohttpd does not start");
		return -ENOMEM;
	}
	info = MHD_get_daemon_info(c->admin->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	c->admin->epoll_fd = info ? info->epoll_fd : -1;
	return 0;
}

void admin_close(struct admin *a)
{
	if (!a)
		return;
	if (a->daemon) {
		MHD_stop_daemon(a->daemon); /* closes the listening socket, too */
		unlink(a->c->config->admin.socket);
	}
	free(a);
}
