/* The ring against a stupid model, against a hostile other side, and between two threads. */
#include "ring/spsc.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_THREAD__)
enum { MODEL_STEPS = 400000 }; /* it has one thread */
#else
enum { MODEL_STEPS = 4000000 };
#endif
enum { RING_BYTES = 8192, HEADER = sizeof(struct spsc_header) };

struct fixture {
	struct spsc_control control;
	_Alignas(64) uint8_t data[RING_BYTES];
	struct spsc_producer producer;
	struct spsc_consumer consumer;
};

/* xorshift64*: the same sequence in every run. */
static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1d;
}

static uint64_t random_below(uint64_t bound)
{
	return random_next(&random_state) % bound;
}

static int setup(void **state)
{
	struct fixture *f = aligned_alloc(64, sizeof(*f));

	memset(f, 0, sizeof(*f));
	spsc_producer_init(&f->producer, &f->control, f->data, RING_BYTES);
	spsc_consumer_init(&f->consumer, &f->control, f->data, RING_BYTES);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

/* The model: what is in the ring, in order, and how many bytes that takes. */
struct model_message {
	uint16_t type;
	uint32_t len;
	uint8_t fill;
	uint64_t end; /* of the bytes taken so far, this message included */
};

struct model {
	struct model_message queue[RING_BYTES / SPSC_ALIGN + 1];
	unsigned first, count, published;
	uint64_t head, tail, taken; /* bytes since the start */
};

enum { MODEL_SLOTS = sizeof(((struct model *)0)->queue) / sizeof(struct model_message) };

/* Would the ring of the documentation take it? Padding is counted the long way: byte by byte. */
static bool model_put(struct model *m, uint16_t type, uint32_t len, uint8_t fill)
{
	uint64_t head = m->head;
	uint64_t total = (HEADER + len + SPSC_ALIGN - 1) / SPSC_ALIGN * SPSC_ALIGN;

	if (total > RING_BYTES / 4)
		return false;
	while (head / RING_BYTES != (head + total - 1) / RING_BYTES)
		head += SPSC_ALIGN;
	if (head + total - m->tail > RING_BYTES)
		return false;
	m->head = head + total;
	m->queue[(m->first + m->count) % MODEL_SLOTS] = (struct model_message){type, len, fill, m->head};
	m->count++;
	return true;
}

static void put_both(struct fixture *f, struct model *m)
{
	uint16_t type = (uint16_t)(1 + random_below(UINT16_MAX));
	uint32_t len = (uint32_t)random_below(random_below(8) == 0 ? RING_BYTES / 3 : 300);
	uint8_t fill = (uint8_t)random_below(256);
	uint8_t *body = spsc_reserve(&f->producer, type, len);

	assert_int_equal(body != NULL, model_put(m, type, len, fill));
	if (body != NULL)
		memset(body, fill, len);
}

static void take_both(struct fixture *f, struct model *m)
{
	struct spsc_message message;
	const struct model_message *want = &m->queue[m->first];

	if (m->published == 0) {
		assert_false(spsc_next(&f->consumer, &message));
		return;
	}
	assert_true(spsc_next(&f->consumer, &message));
	assert_int_equal(message.type, want->type);
	assert_int_equal(message.len, want->len);
	for (uint32_t i = 0; i < message.len; i++)
		if (((const uint8_t *)message.body)[i] != want->fill)
			fail_msg("byte %u of %u", i, message.len);
	m->taken = want->end;
	m->first = (m->first + 1) % MODEL_SLOTS;
	m->count--;
	m->published--;
}

/* Any order of reserve, publish, take and release gives what the model gives. */
static void agrees_with_model(void **state)
{
	struct fixture *f = *state;
	struct model m = {0};

	for (unsigned i = 0; i < MODEL_STEPS; i++) {
		switch (random_below(8)) {
		case 0:
		case 1:
		case 2:
			put_both(f, &m);
			break;
		case 3:
			spsc_publish(&f->producer);
			m.published = m.count;
			break;
		case 4:
			spsc_release(&f->consumer);
			m.tail = m.taken;
			break;
		default:
			take_both(f, &m);
		}
	}
	assert_true(m.head > 100 * (uint64_t)RING_BYTES);
	assert_int_equal(f->producer.bad_tails, 0);
	assert_false(f->consumer.broken);
}

static void nothing_is_visible_before_publish(void **state)
{
	struct fixture *f = *state;
	struct spsc_message message;

	assert_non_null(spsc_reserve(&f->producer, 1, 10));
	assert_false(spsc_next(&f->consumer, &message));
	assert_false(spsc_publish(&f->producer)); /* nobody sleeps */
	assert_true(spsc_next(&f->consumer, &message));
	assert_false(spsc_next(&f->consumer, &message));
}

static void full_ring_takes_again_after_release(void **state)
{
	struct fixture *f = *state;
	struct spsc_message message;
	unsigned count = 0;

	while (spsc_reserve(&f->producer, 1, SPSC_ALIGN - HEADER) != NULL)
		count++;
	assert_int_equal(count, RING_BYTES / SPSC_ALIGN); /* no slot is wasted */
	assert_int_equal(spsc_room(&f->producer), 0);
	spsc_publish(&f->producer);
	assert_true(spsc_next(&f->consumer, &message));
	assert_null(spsc_reserve(&f->producer, 1, 1)); /* taken, not released */
	spsc_release(&f->consumer);
	assert_int_equal(spsc_room(&f->producer), SPSC_ALIGN);
	assert_non_null(spsc_reserve(&f->producer, 1, SPSC_ALIGN - HEADER));
	assert_null(spsc_reserve(&f->producer, 1, 0));
}

static void largest_message_always_fits_an_empty_ring(void **state)
{
	struct fixture *f = *state;
	struct spsc_message message;

	assert_null(spsc_reserve(&f->producer, 1, RING_BYTES / 4 - HEADER + 1));
	assert_null(spsc_reserve(&f->producer, 1, UINT32_MAX));
	for (unsigned at = 0; at < RING_BYTES / SPSC_ALIGN; at++) { /* from every start */
		assert_non_null(spsc_reserve(&f->producer, 7, RING_BYTES / 4 - HEADER));
		spsc_publish(&f->producer);
		assert_true(spsc_next(&f->consumer, &message));
		assert_int_equal(message.len, RING_BYTES / 4 - HEADER);
		spsc_release(&f->consumer);
		assert_non_null(spsc_reserve(&f->producer, 7, 0));
		spsc_publish(&f->producer);
		assert_true(spsc_next(&f->consumer, &message));
		spsc_release(&f->consumer);
	}
}

static void leaving_room_is_left(void **state)
{
	struct fixture *f = *state;

	while (spsc_reserve_leaving(&f->producer, 1, 1, 1024) != NULL)
		;
	assert_int_equal(spsc_room(&f->producer), 1024);
	assert_non_null(spsc_reserve(&f->producer, 1, 1024 - HEADER));
}

static void sleeper_is_reported_once(void **state)
{
	struct fixture *f = *state;
	struct spsc_message message;

	assert_true(spsc_sleep(&f->consumer));
	assert_non_null(spsc_reserve(&f->producer, 1, 0));
	assert_true(spsc_publish(&f->producer));
	assert_non_null(spsc_reserve(&f->producer, 1, 0));
	assert_false(spsc_publish(&f->producer));
	assert_false(spsc_sleep(&f->consumer)); /* two messages wait */
	assert_non_null(spsc_reserve(&f->producer, 1, 0));
	assert_false(spsc_publish(&f->producer)); /* and so it did not fall asleep */
	for (unsigned i = 0; i < 3; i++)
		assert_true(spsc_next(&f->consumer, &message));
	assert_true(spsc_sleep(&f->consumer));
	spsc_awake(&f->consumer);
	assert_non_null(spsc_reserve(&f->producer, 1, 0));
	assert_false(spsc_publish(&f->producer));
}

/* Every tail that the consumer cannot honestly have written is refused, counted and without effect. */
static void producer_refuses_impossible_tails(void **state)
{
	struct fixture *f = *state;
	static const uint64_t bad[] = {1,         63, 65, 64 * 3, RING_BYTES, UINT64_MAX, UINT64_MAX - 63,
				       1ull << 63};
	uint64_t room;

	assert_non_null(spsc_reserve(&f->producer, 1, 1));
	assert_non_null(spsc_reserve(&f->producer, 1, 1));
	spsc_publish(&f->producer);
	assert_non_null(spsc_reserve(&f->producer, 1, 1)); /* not published: its space cannot be given back */
	room = spsc_room(&f->producer);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		atomic_store(&f->control.tail, bad[i]);
		assert_int_equal(spsc_room(&f->producer), room);
		assert_int_equal(f->producer.bad_tails, i + 1);
	}
	atomic_store(&f->control.tail, 128);
	assert_int_equal(spsc_room(&f->producer), room + 128);
	atomic_store(&f->control.tail, 64); /* backwards */
	assert_int_equal(spsc_room(&f->producer), room + 128);
}

/* Behind each such head there is a ring full of good messages: the index alone is what is wrong. */
static void consumer_refuses_impossible_heads(void **state)
{
	struct fixture *f = *state;
	static const uint64_t bad[] = {
		1,
		63,
		64,
		129,
		128 + 65,
		128 + RING_BYTES + 64,
		128 + RING_BYTES - 1,
		UINT64_MAX,
		UINT64_MAX - 63,
		1ull << 63,
	};
	struct spsc_header header = {.length = SPSC_ALIGN, .type = 1};
	struct spsc_message message;

	for (unsigned i = 0; i < RING_BYTES; i += SPSC_ALIGN)
		memcpy(f->data + i, &header, sizeof(header));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		atomic_store(&f->control.tail, 0);
		spsc_consumer_init(&f->consumer, &f->control, f->data, RING_BYTES);
		atomic_store(&f->control.head, 128);
		assert_true(spsc_next(&f->consumer, &message));
		assert_true(spsc_next(&f->consumer, &message));
		if (bad[i] != 64) /* backwards: behind what was taken; the others are wrong in any case */
			spsc_release(&f->consumer);
		atomic_store(&f->control.head, bad[i]);
		assert_false(spsc_next(&f->consumer, &message));
		assert_true(f->consumer.broken);
		atomic_store(&f->control.head, 128 + RING_BYTES);
		assert_false(spsc_next(&f->consumer, &message)); /* broken for good */
	}
	atomic_store(&f->control.tail, 128);
	spsc_consumer_init(&f->consumer, &f->control, f->data, RING_BYTES);
	for (unsigned i = 0; i < RING_BYTES / SPSC_ALIGN; i++) /* and the last good head is good */
		assert_true(spsc_next(&f->consumer, &message));
}

/* Lengths and types that the producer cannot honestly have written, at the front and at the end of the ring.
 */
static void consumer_refuses_impossible_lengths(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint64_t at, head;
		uint32_t length;
		uint16_t type;
	} bad[] = {
		{0, 64, 0, 1},
		{0, 64, HEADER - 1, 1},
		{0, 64, 65, 1}, /* past head */
		{0, 128, 129, 1},
		{0, 64, UINT32_MAX, 1},
		{0, 64, UINT32_MAX - 62, 1},
		{0, 64, HEADER, SPSC_PAD}, /* a pad past head */
		{0, 64, 0, SPSC_PAD},
		{RING_BYTES - 64, RING_BYTES + 64, 65, 1}, /* past the end */
		{RING_BYTES - 64, RING_BYTES, 0, SPSC_PAD},
		{RING_BYTES - 128, RING_BYTES - 64, HEADER, SPSC_PAD},
	};
	struct spsc_message message;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct spsc_header header = {.length = bad[i].length, .type = bad[i].type};

		atomic_store(&f->control.tail, bad[i].at);
		spsc_consumer_init(&f->consumer, &f->control, f->data, RING_BYTES);
		memcpy(f->data + bad[i].at, &header, sizeof(header));
		atomic_store(&f->control.head, bad[i].head);
		assert_false(spsc_next(&f->consumer, &message));
		assert_true(f->consumer.broken);
		assert_true(spsc_sleep(&f->consumer)); /* it may sleep: nothing more will come */
	}
}

/* Random bytes in control and data: no message ever reaches outside of the ring, and each call comes back. */
static void consumer_survives_scribbling(void **state)
{
	struct fixture *f = *state;
	struct spsc_message message;
	unsigned taken = 0;

	for (unsigned round = 0; round < 20000; round++) {
		uint64_t base = random_below(4) * RING_BYTES / 2;

		atomic_store(&f->control.tail, base);
		spsc_consumer_init(&f->consumer, &f->control, f->data, RING_BYTES);
		for (unsigned i = 0; i < RING_BYTES; i += SPSC_ALIGN) {
			struct spsc_header header = {.length = (uint32_t)random_below(1000),
						     .type = (uint16_t)random_below(5)};
			memcpy(f->data + i, &header, sizeof(header));
		}
		atomic_store(&f->control.head, base + SPSC_ALIGN * random_below(RING_BYTES / SPSC_ALIGN + 2));
		while (spsc_next(&f->consumer, &message)) {
			const uint8_t *body = message.body;

			assert_true(body >= f->data && body + message.len <= f->data + RING_BYTES);
			taken++;
			if (random_below(4) == 0)
				spsc_release(&f->consumer);
		}
	}
	assert_true(taken > 20000);
}

/* Two threads: a producer that batches at random, a consumer that sleeps whenever there is nothing. */
struct threads {
	struct fixture *f;
	int event_fd;
	uint64_t kicks;
	unsigned messages;
};

static void publish_and_kick(struct threads *t)
{
	uint64_t one = 1;

	if (!spsc_publish(&t->f->producer))
		return;
	t->kicks++;
	assert(write(t->event_fd, &one, sizeof(one)) == sizeof(one));
}

static void *produce(void *argument)
{
	struct threads *t = argument;
	uint64_t state = 42;

	for (uint32_t i = 0; i < t->messages; i++) {
		uint32_t len = (uint32_t)(sizeof(i) + random_next(&state) % 500);
		uint8_t *body = spsc_reserve(&t->f->producer, 1, len);

		while (body == NULL) {
			publish_and_kick(t);
			sched_yield();
			body = spsc_reserve(&t->f->producer, 1, len);
		}
		memset(body, (int)(i & 0xff), len);
		memcpy(body, &i, sizeof(i));
		if (random_next(&state) % 16 == 0)
			publish_and_kick(t);
	}
	publish_and_kick(t);
	return NULL;
}

/* A lost wake-up shows as a time-out. */
static void consumer_wait(struct threads *t)
{
	struct pollfd waited = {.fd = t->event_fd, .events = POLLIN};
	uint64_t count;

	spsc_release(&t->f->consumer);
	if (!spsc_sleep(&t->f->consumer))
		return;
	assert_int_equal(poll(&waited, 1, 20000), 1);
	assert_int_equal(read(t->event_fd, &count, sizeof(count)), sizeof(count));
	spsc_awake(&t->f->consumer);
}

static void threads_lose_nothing_and_wake_up(void **state)
{
	struct threads t = {.f = *state, .event_fd = eventfd(0, EFD_NONBLOCK), .messages = 300000};
	struct spsc_message message;
	pthread_t thread;
	uint32_t got;

	assert_true(t.event_fd >= 0);
	assert_int_equal(pthread_create(&thread, NULL, produce, &t), 0);
	for (uint32_t i = 0; i < t.messages; i++) {
		while (!spsc_next(&t.f->consumer, &message))
			consumer_wait(&t);
		memcpy(&got, message.body, sizeof(got));
		assert_int_equal(got, i);
		for (uint32_t at = sizeof(got); at < message.len; at++)
			if (((const uint8_t *)message.body)[at] != (i & 0xff))
				fail_msg("message %u is torn", i);
		if (i % 8 == 0)
			spsc_release(&t.f->consumer);
	}
	pthread_join(thread, NULL);
	assert_false(spsc_next(&t.f->consumer, &message));
	assert_int_equal(t.f->producer.bad_tails, 0);
	assert_true(t.kicks > 0);
	close(t.event_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(agrees_with_model, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_visible_before_publish, setup, teardown),
		cmocka_unit_test_setup_teardown(full_ring_takes_again_after_release, setup, teardown),
		cmocka_unit_test_setup_teardown(largest_message_always_fits_an_empty_ring, setup, teardown),
		cmocka_unit_test_setup_teardown(leaving_room_is_left, setup, teardown),
		cmocka_unit_test_setup_teardown(sleeper_is_reported_once, setup, teardown),
		cmocka_unit_test_setup_teardown(producer_refuses_impossible_tails, setup, teardown),
		cmocka_unit_test_setup_teardown(consumer_refuses_impossible_heads, setup, teardown),
		cmocka_unit_test_setup_teardown(consumer_refuses_impossible_lengths, setup, teardown),
		cmocka_unit_test_setup_teardown(consumer_survives_scribbling, setup, teardown),
		cmocka_unit_test_setup_teardown(threads_lose_nothing_and_wake_up, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
