/* Mail between two threads: content, order, full, and a receiver that sleeps and is woken. Run under
 * ThreadSanitizer too. */
#include "dataplane/mailbox.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void content_and_order(void **state)
{
	struct mailbox m;
	struct spsc_message got;
	struct mail_ended ended = {.ref = {.index = 7}, .reason = 3};
	uint8_t extra[100];

	memset(extra, 0x55, sizeof(extra));
	assert_int_equal(mailbox_init(&m, MAILBOX_MIN), 0);
	assert_false(mailbox_next(&m, &got));
	assert_true(mailbox_post(&m, MAIL_STOP, NULL, 0, NULL, 0));
	assert_true(mailbox_post(&m, MAIL_SESSION_ENDED, &ended, sizeof(ended), extra, sizeof(extra)));
	assert_false(mailbox_next(&m, &got)); /* not published */
	mailbox_publish(&m);
	assert_true(mailbox_next(&m, &got));
	assert_int_equal(got.type, MAIL_STOP);
	assert_int_equal(got.len, 0);
	assert_true(mailbox_next(&m, &got));
	assert_int_equal(got.type, MAIL_SESSION_ENDED);
	assert_int_equal(got.len, sizeof(ended) + sizeof(extra));
	assert_int_equal((uintptr_t)got.body % 8, 0);
	assert_memory_equal(got.body, &ended, sizeof(ended));
	assert_memory_equal((const uint8_t *)got.body + sizeof(ended), extra, sizeof(extra));
	memset((void *)(uintptr_t)got.body, 0, got.len); /* a reader may wipe */
	assert_false(mailbox_next(&m, &got));
	mailbox_release(&m);
	mailbox_fini(&m);
	(void)state;
}

/* The longest message fits the smallest mailbox, four of them do not; what did not fit fits after release. */
static void full(void **state)
{
	static uint8_t body[MAIL_BODY_MAX];
	struct mailbox m;
	struct spsc_message got;
	unsigned posted = 0;

	assert_int_equal(mailbox_init(&m, MAILBOX_MIN), 0);
	while (mailbox_post(&m, MAIL_RECORD, body, sizeof(body), NULL, 0))
		assert_true(++posted < 100);
	assert_in_range(posted, 4, 6);
	mailbox_publish(&m);
	for (unsigned i = 0; i < posted; i++)
		assert_true(mailbox_next(&m, &got));
	assert_false(mailbox_post(&m, MAIL_RECORD, body, sizeof(body), NULL, 0));
	mailbox_release(&m);
	assert_true(mailbox_post(&m, MAIL_RECORD, body, sizeof(body), NULL, 0));
	mailbox_fini(&m);
	(void)state;
}

static void refused_and_fini(void **state)
{
	struct mailbox m;
	struct mailbox zero = {0};

	assert_int_equal(mailbox_init(&m, MAILBOX_MIN - 1), -EINVAL);
	assert_int_equal(mailbox_init(&m, MAILBOX_MIN / 2), -EINVAL);
	assert_int_equal(mailbox_init(&m, MAILBOX_MIN + 64), -EINVAL);
	mailbox_fini(&m);
	mailbox_fini(&zero);
	(void)state;
}

/* Only a receiver that sleeps costs the sender a system call. */
static void wakes_only_a_sleeper(void **state)
{
	struct mailbox m;
	struct spsc_message got;
	uint64_t count;

	assert_int_equal(mailbox_init(&m, MAILBOX_MIN), 0);
	assert_true(mailbox_post(&m, MAIL_STOP, NULL, 0, NULL, 0));
	mailbox_publish(&m);
	assert_int_equal(read(m.event_fd, &count, sizeof(count)), -1);
	assert_false(spsc_sleep(&m.consumer)); /* there is mail: no sleep */
	assert_true(mailbox_next(&m, &got));
	mailbox_release(&m);
	assert_true(spsc_sleep(&m.consumer));
	assert_true(mailbox_post(&m, MAIL_STOP, NULL, 0, NULL, 0));
	mailbox_publish(&m);
	assert_int_equal(read(m.event_fd, &count, sizeof(count)), sizeof(count));
	spsc_awake(&m.consumer);
	mailbox_fini(&m);
	(void)state;
}

enum { MESSAGES = 100000 };

static uint32_t length_of(uint32_t n)
{
	return n * 2654435761U >> 23; /* 0..511 */
}

static void *send_all(void *arg)
{
	struct mailbox *m = arg;
	uint8_t extra[512];

	for (uint32_t n = 0; n < MESSAGES;) {
		memset(extra, (int)(n & 0xff), sizeof(extra));
		if (mailbox_post(m, MAIL_RECORD, &n, sizeof(n), extra, length_of(n)))
			n++;
		if (n % 5 == 0 || n == MESSAGES)
			mailbox_publish(m);
	}
	return NULL;
}

static void wait_for_mail(struct mailbox *m)
{
	struct pollfd p = {.fd = m->event_fd, .events = POLLIN};
	uint64_t count;

	if (!spsc_sleep(&m->consumer))
		return;
	assert_int_equal(poll(&p, 1, 60000), 1); /* a lost wake-up ends here */
	assert_int_equal(read(m->event_fd, &count, sizeof(count)), sizeof(count));
	spsc_awake(&m->consumer);
}

static void two_threads(void **state)
{
	struct mailbox m;
	pthread_t sender;
	uint32_t n = 0;

	assert_int_equal(mailbox_init(&m, MAILBOX_MIN), 0);
	assert_int_equal(pthread_create(&sender, NULL, send_all, &m), 0);
	while (n < MESSAGES) {
		struct spsc_message got;
		uint32_t number;

		if (!mailbox_next(&m, &got)) {
			mailbox_release(&m);
			wait_for_mail(&m);
			continue;
		}
		memcpy(&number, got.body, sizeof(number));
		assert_int_equal(number, n);
		assert_int_equal(got.len, sizeof(n) + length_of(n));
		for (uint32_t i = sizeof(n); i < got.len; i++)
			assert_int_equal(((const uint8_t *)got.body)[i], n & 0xff);
		n++;
	}
	pthread_join(sender, NULL);
	mailbox_fini(&m);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(content_and_order), cmocka_unit_test(full),
		cmocka_unit_test(refused_and_fini),  cmocka_unit_test(wakes_only_a_sleeper),
		cmocka_unit_test(two_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
