/* One direction of mail between a worker and the control thread: the ring of spsc.h in private memory, and an
 * eventfd that wakes a receiver which sleeps. Both ends are ours, yet the memory is wiped at the end: keys
 * travel here.
 */
#include "dataplane/mailbox.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crypto/secret.h"

int mailbox_init(struct mailbox *m, uint64_t bytes)
{
	int err;

	*m = (struct mailbox){.event_fd = -1};
	if (bytes < MAILBOX_MIN || (bytes & (bytes - 1)) != 0)
		return -EINVAL;
	m->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->event_fd < 0)
		return -errno;
	m->control = aligned_alloc(_Alignof(struct spsc_control), sizeof(*m->control));
	if (!m->control) {
		err = -ENOMEM;
		goto err_control;
	}
	memset(m->control, 0, sizeof(*m->control));
	m->data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->data == MAP_FAILED) {
		err = -errno;
		goto err_data;
	}
	(void)madvise(m->data, bytes, MADV_DONTDUMP); /* no keys in a core dump */
	m->size = bytes;
	spsc_producer_init(&m->producer, m->control, m->data, bytes);
	spsc_consumer_init(&m->consumer, m->control, m->data, bytes);
	return 0;

err_data:
	free(m->control);
err_control:
	close(m->event_fd);
	*m = (struct mailbox){.event_fd = -1};
	return err;
}

void mailbox_fini(struct mailbox *m)
{
	if (!m->control)
		return;
	secret_wipe(m->data, m->size);
	munmap(m->data, m->size);
	free(m->control);
	close(m->event_fd);
	*m = (struct mailbox){.event_fd = -1};
}

bool mailbox_post(struct mailbox *m, enum mail_type type, const void *body, uint32_t body_len,
		  const void *extra, uint32_t extra_len)
{
	uint8_t *to;

	assert(body_len <= MAIL_BODY_MAX && extra_len <= MAIL_BODY_MAX - body_len);
	to = spsc_reserve(&m->producer, (uint16_t)type, body_len + extra_len);
	if (!to)
		return false;
	if (body_len > 0)
		memcpy(to, body, body_len);
	if (extra_len > 0)
		memcpy(to + body_len, extra, extra_len);
	return true;
}

void mailbox_publish(struct mailbox *m)
{
	static const uint64_t one = 1;

	/* A full counter (EAGAIN) has woken the receiver already. */
	if (spsc_publish(&m->producer))
		(void)!write(m->event_fd, &one, sizeof(one));
}

bool mailbox_next(struct mailbox *m, struct spsc_message *out)
{
	return spsc_next(&m->consumer, out);
}

void mailbox_release(struct mailbox *m)
{
	spsc_release(&m->consumer);
}
