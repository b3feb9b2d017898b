/* The control thread: owns every WOLFSSL object, credentials, identities, the ring's socket,
 * timers. It meets the workers in their mailboxes only, and reads their counters.
 */
#ifndef CONTROLPLANE_CONTROL_H
#define CONTROLPLANE_CONTROL_H

#include "config/config.h"
#include "dataplane/counters.h"
#include "dataplane/mailbox.h"

/* What connects one worker with the control thread; lives from before both start until after both ended. */
struct worker_link {
	struct mailbox to_control; /* the worker sends */
	struct mailbox to_worker;  /* the control thread sends */
	struct worker_counters *counters;
	uint32_t slots; /* of its session table: every ref has a smaller index; set by worker_new() */
};

struct control;

/* Main thread. Loads certificates, keys and credentials, opens the ring's socket; starts nothing yet. NULL on
 * failure with a readable sentence in error. links and config are borrowed until control_free(). */
struct control *control_new(const struct config *config, struct worker_link *links, unsigned workers,
			    char *error, size_t error_len);

/* Main thread, without any struct control. Reads and judges every file that control_new() would, for each
 * tenant, and leaves everything as it is: no socket is opened, no responder and no Redis server is asked. 0,
 * or -errno with a readable sentence in error. The log has what does not keep the gateway from starting. */
int control_check(const struct config *config, char *error, size_t error_len);

/* Main thread, before control_start(): how the readiness check learns whether the port can be used. is_up is
 * called on the control thread. */
void control_watch_port(struct control *c, bool (*is_up)(void *port), void *port);

/* Starts the thread. 0 or -errno. */
int control_start(struct control *c);

/* Any thread. Certificates, keys, trust anchors and pre-shared keys whose files have changed are read anew at
 * once, and not only when the files have come to rest; the log says what came of it. */
void control_reload(struct control *c);

/* Main thread. Asks the thread to end: no new handshakes, MAIL_STOP to the workers, SESSION_DOWN delivered
 * where the ring allows; returns when the thread is gone. */
void control_stop(struct control *c);
void control_free(struct control *c);

#endif
