/* The admin socket: HTTP and JSON for the operator, metrics for Prometheus, a look-up door for backends. It
 * runs inside the control thread's own loop: an answer over a large table is made in steps, a few of them per
 * turn, so that handshakes never wait for it. Who may connect is a matter of the socket's mode and group.
 */
#ifndef CONTROLPLANE_ADMIN_H
#define CONTROLPLANE_ADMIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct admin;
struct control;

struct admin_counts {
	uint64_t answered, refused; /* refused: status 400 and above, and what libmicrohttpd complains of */
};

/* Main thread. 0, also when the configuration wants no admin socket; or -errno with a sentence in error. */
int admin_open(struct control *c, char *error, size_t error_len);
/* Main thread, after the control thread has ended. NULL is fine. */
void admin_close(struct admin *a);

/* Control thread, once per turn: serves who wants to be served. True when there is more to do at once. */
bool admin_turn(struct admin *a);
/* The descriptor to wait for, -1: none. It needs admin_turn() when it is readable. */
int admin_fd(const struct admin *a);
/* When admin_turn() is wanted at the latest, CLOCK_MONOTONIC; UINT64_MAX: never. */
uint64_t admin_deadline(const struct admin *a, uint64_t now_ns);

/* Zeros without an admin socket. Never NULL. */
const struct admin_counts *admin_counts(const struct admin *a);

/* Whether devices can be served; if not, why in a sentence. */
bool admin_ready(const struct control *c, char *why, size_t why_len);
bool admin_store_reachable(const struct control *c);

/* Control thread, about once per second: notes which workers turn. The second tells one that does not. */
void admin_watch_workers(struct control *c);
bool admin_stuck_worker(const struct control *c, unsigned *worker);

#endif
