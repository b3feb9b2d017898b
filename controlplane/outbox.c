/* See outbox.h. */
#include "controlplane/outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

struct outbox_letter {
	STAILQ_ENTRY(outbox_letter) next;
	enum mail_type type;
	uint32_t len;
	uint8_t bytes[]; /* body and extra; keys may be among them */
};

void outbox_init(struct outbox *o, struct mailbox *mailbox)
{
	*o = (struct outbox){.mailbox = mailbox};
	STAILQ_INIT(&o->waiting);
}

static void drop_first(struct outbox *o)
{
	struct outbox_letter *letter = STAILQ_FIRST(&o->waiting);

	STAILQ_REMOVE_HEAD(&o->waiting, next);
	o->waiting_count--;
	secret_wipe(letter->bytes, letter->len);
	free(letter);
}

void outbox_fini(struct outbox *o)
{
	while (!STAILQ_EMPTY(&o->waiting))
		drop_first(o);
}

bool outbox_try(struct outbox *o, enum mail_type type, const void *body, uint32_t body_len, const void *extra,
		uint32_t extra_len)
{
	if (!STAILQ_EMPTY(&o->waiting) || !mailbox_post(o->mailbox, type, body, body_len, extra, extra_len))
		return false;
	o->unpublished = true;
	return true;
}

int outbox_send(struct outbox *o, enum mail_type type, const void *body, uint32_t body_len, const void *extra,
		uint32_t extra_len)
{
	struct outbox_letter *letter;

	if (outbox_try(o, type, body, body_len, extra, extra_len))
		return 0;
	letter = malloc(sizeof *letter + body_len + extra_len);
	if (!letter)
		return -ENOMEM;
	letter->type = type;
	letter->len = body_len + extra_len;
	if (body_len > 0)
		memcpy(letter->bytes, body, body_len);
	if (extra_len > 0)
		memcpy(letter->bytes + body_len, extra, extra_len);
	STAILQ_INSERT_TAIL(&o->waiting, letter, next);
	o->waiting_count++;
	return 0;
}

bool outbox_flush(struct outbox *o)
{
	struct outbox_letter *letter;

	while ((letter = STAILQ_FIRST(&o->waiting)) &&
	       mailbox_post(o->mailbox, letter->type, letter->bytes, letter->len, NULL, 0)) {
		o->unpublished = true;
		drop_first(o);
	}
	if (o->unpublished)
		mailbox_publish(o->mailbox);
	o->unpublished = false;
	return letter != NULL;
}
