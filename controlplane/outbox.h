/* Mail to one worker, with a queue behind the mailbox for what must not get lost while it is full. Control
 * thread.
 */
#ifndef CONTROLPLANE_OUTBOX_H
#define CONTROLPLANE_OUTBOX_H

#include <sys/queue.h>

#include "dataplane/mailbox.h"

struct outbox_letter;

struct outbox {
	struct mailbox *mailbox;
	STAILQ_HEAD(, outbox_letter) waiting;
	uint32_t waiting_count;
	bool unpublished;
};

void outbox_init(struct outbox *o, struct mailbox *mailbox);
/* Wipes and forgets what waits. */
void outbox_fini(struct outbox *o);

/* For what may get lost as a datagram may: false when there is no room now. Nothing overtakes what waits. */
bool outbox_try(struct outbox *o, enum mail_type type, const void *body, uint32_t body_len, const void *extra,
		uint32_t extra_len);
/* For what must arrive: waits in memory when there is no room. 0 or -ENOMEM. */
int outbox_send(struct outbox *o, enum mail_type type, const void *body, uint32_t body_len, const void *extra,
		uint32_t extra_len);
/* Posts what waited, as far as it fits, and publishes. True when something still waits. */
bool outbox_flush(struct outbox *o);

#endif
