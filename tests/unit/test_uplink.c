/* Gateway and libsluice together: attaching, messages both ways, wake-ups, ends; and what either side does to
 * the other when it is hostile or dies.
 */
#include "fake_gateway.h"
#include "ring/attach.h"
#include "session_up_builder.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

struct fixture {
	struct fake_gateway gateway;
	struct sluice *app;
};

static void *attach_thread(void *path)
{
	return sluice_attach(path);
}

/* sluice_attach() waits for the gateway, which is this thread. */
static void attach(struct fixture *f)
{
	pthread_t thread;
	void *app;

	assert_int_equal(pthread_create(&thread, NULL, attach_thread, f->gateway.path), 0);
	assert_int_equal(fake_gateway_attach(&f->gateway), 0);
	pthread_join(thread, &app);
	assert_non_null(app);
	f->app = app;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	return fake_gateway_start(&f->gateway) ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	sluice_detach(f->app);
	fake_gateway_stop(&f->gateway);
	free(f);
	return 0;
}

static int setup_attached(void **state)
{
	int ret = setup(state);

	if (ret == 0)
		attach(*state);
	return ret;
}

/* The next message, which must be there. */
static struct sluice_message receive_one(struct sluice *app)
{
	struct sluice_message message;

	assert_int_equal(sluice_receive(app, &message, 1), 1);
	return message;
}

static void messages_arrive_as_sent(void **state)
{
	struct fixture *f = *state;
	struct fake_gateway *g = &f->gateway;
	struct sluice_send_failed failed = {fake_ref(0, 5), SLUICE_REASON_TOO_LARGE, 1200, 77};
	struct sluice_peer_moved moved = {.ref = fake_ref(0, 5), .peer.port = 9};
	struct sluice_field field = {0};
	struct sluice_message m;

	assert_int_equal(sluice_workers(f->app), FAKE_WORKERS);
	assert_true(fake_session_up(g, fake_ref(0, 5), "CAE17", true));
	assert_true(fake_data(g, fake_ref(0, 5), "hello", 5));
	assert_true(uplink_event(g->uplinks[0], SLUICE_SEND_FAILED, &failed, sizeof(failed)));
	assert_true(uplink_event(g->uplinks[0], SLUICE_PEER_MOVED, &moved, sizeof(moved)));
	assert_true(fake_session_down(g, fake_ref(0, 5)));
	assert_int_equal(sluice_receive(f->app, &m, 1), 0);
	fake_publish(g);

	m = receive_one(f->app);
	assert_int_equal(m.type, SLUICE_SESSION_UP);
	assert_int_equal(m.up->ref.index, 5);
	assert_int_equal(m.up->suite, 0xc0a8);
	assert_int_equal(m.up->again, 1);
	assert_true(sluice_field_next(m.up, &field));
	assert_int_equal(field.type, SLUICE_FIELD_IDENTITY);
	assert_int_equal(field.len, 5);
	assert_memory_equal(field.bytes, "CAE17", 5);
	assert_false(sluice_field_next(m.up, &field));
	m = receive_one(f->app);
	assert_int_equal(m.type, SLUICE_DATA);
	assert_int_equal(m.data->payload_len, 5);
	assert_memory_equal(m.data + 1, "hello", 5);
	m = receive_one(f->app);
	assert_int_equal(m.type, SLUICE_SEND_FAILED);
	assert_int_equal(m.failed->arg, 1200);
	assert_int_equal(m.failed->cookie, 77);
	m = receive_one(f->app);
	assert_int_equal(m.type, SLUICE_PEER_MOVED);
	assert_int_equal(m.moved->peer.port, 9);
	m = receive_one(f->app);
	assert_int_equal(m.type, SLUICE_SESSION_DOWN);
	assert_string_equal(sluice_reason_text((enum sluice_reason)m.down->reason), "closed by the peer");
	assert_string_equal(sluice_reason_text(SLUICE_REASON_REVOKED), "certificate revoked");
	assert_string_equal(sluice_reason_text((enum sluice_reason)(SLUICE_REASON_REVOKED - 1)), "unknown");
	assert_string_equal(sluice_reason_text(SLUICE_REASONS), "unknown");
}

static bool memory_holds(const struct uplink *u, const char *text)
{
	return memmem(u->memory, u->memory_len, text, strlen(text)) != NULL;
}

/* Exporter values are gone from shared memory when the message is given back, also across the ring's end. */
static void exporter_values_are_wiped(void **state)
{
	struct fixture *f = *state;
	struct fake_gateway *g = &f->gateway;
	struct sluice_message m[4];

	for (unsigned round = 0; round < 40000; round++) {
		struct up_builder b;
		char secret[49];

		up_begin(&b, SLUICE_IDENTITY_AE_ID);
		b.up.ref = fake_ref(0, 1);
		snprintf(secret, sizeof(secret), "secret-%041u", round);
		up_text(&b, SLUICE_FIELD_IDENTITY, "CAE17");
		up_text(&b, SLUICE_FIELD_EXPORTER_LABEL, "EXPORTER-x");
		up_text(&b, SLUICE_FIELD_EXPORTER_VALUE, secret);
		assert_true(fake_data(g, fake_ref(0, 1), "before", 6));
		assert_true(uplink_event(g->uplinks[0], SLUICE_SESSION_UP, &b,
					 (uint32_t)sizeof(b.up) + b.up.fields_len));
		fake_publish(g);
		assert_int_equal(sluice_receive(f->app, m, 4), 2);
		assert_int_equal(m[1].type, SLUICE_SESSION_UP);
		assert_memory_equal(((const uint8_t *)(m[1].up + 1)) + m[1].up->fields_len - 48, secret, 48);
		if (round % 1000 != 0)
			continue;
		assert_true(memory_holds(g->uplinks[0], secret));
		assert_int_equal(sluice_receive(f->app, m, 4), 0);
		assert_false(memory_holds(g->uplinks[0], "secret-"));
	}
}

static void answers_reach_the_right_worker(void **state)
{
	struct fixture *f = *state;
	struct uplink *second = f->gateway.uplinks[1];
	struct sluice_data data;
	uint8_t buffer[UPLINK_PAYLOAD_MAX];
	uint64_t malformed = 0;

	assert_int_equal(sluice_send(f->app, fake_ref(1, 9), "answer", 6, 1234), 0);
	assert_int_equal(sluice_close_session(f->app, fake_ref(1, 10)), 0);
	assert_int_equal(uplink_take(second, &data, buffer, sizeof(buffer), &malformed), 0);
	sluice_flush(f->app);
	assert_int_equal(uplink_take(f->gateway.uplinks[0], &data, buffer, sizeof(buffer), &malformed), 0);
	assert_int_equal(uplink_take(second, &data, buffer, sizeof(buffer), &malformed), SLUICE_DATA);
	assert_int_equal(data.ref.index, 9);
	assert_int_equal(data.seq, 1234);
	assert_int_equal(data.payload_len, 6);
	assert_memory_equal(buffer, "answer", 6);
	assert_int_equal(uplink_take(second, &data, buffer, sizeof(buffer), &malformed), SLUICE_CLOSE);
	assert_int_equal(data.ref.index, 10);
	assert_int_equal(malformed, 0);
}

static void payload_above_the_room_is_not_copied(void **state)
{
	struct fixture *f = *state;
	struct sluice_data data;
	char buffer[4] = "abcd";
	uint64_t malformed = 0;

	assert_int_equal(sluice_send(f->app, fake_ref(0, 1), "12345", 5, 0), 0);
	sluice_flush(f->app);
	assert_int_equal(uplink_take(f->gateway.uplinks[0], &data, buffer, sizeof(buffer), &malformed),
			 SLUICE_DATA);
	assert_int_equal(data.payload_len, 5);
	assert_memory_equal(buffer, "abcd", 4);
}

static void send_refuses_what_cannot_go(void **state)
{
	struct fixture *f = *state;
	static uint8_t payload[UPLINK_PAYLOAD_MAX + 1];
	unsigned sent = 0;

	assert_int_equal(sluice_send(f->app, fake_ref(FAKE_WORKERS, 1), payload, 1, 0), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(sluice_send(f->app, fake_ref(0, 1), payload, sizeof(payload), 0), -1);
	assert_int_equal(errno, EMSGSIZE);
	while (sluice_send(f->app, fake_ref(0, 1), payload, UPLINK_PAYLOAD_MAX, 0) == 0)
		sent++;
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(sent, FAKE_DOWN_BYTES / (UPLINK_PAYLOAD_MAX + 64));
}

static void data_leaves_room_for_events(void **state)
{
	struct fixture *f = *state;
	static uint8_t payload[1000];
	unsigned events = 0;

	while (fake_data(&f->gateway, fake_ref(0, 1), payload, sizeof(payload)))
		;
	while (fake_session_down(&f->gateway, fake_ref(0, 1)))
		events++;
	assert_true(events >= UPLINK_EVENT_RESERVE / SPSC_ALIGN);
	assert_false(
		uplink_data(f->gateway.uplinks[0], &(struct sluice_data){.payload_len = 20000}, payload));
}

/* The application sleeps in sluice_wait(); the gateway's publish wakes it. */
static void *publish_later(void *argument)
{
	usleep(50000);
	fake_publish(argument);
	return NULL;
}

static void sleeping_application_is_woken(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;

	assert_int_equal(sluice_wait(f->app, 10), 0);
	for (unsigned worker = 0; worker < FAKE_WORKERS; worker++) {
		assert_true(fake_data(&f->gateway, fake_ref(worker, 1), "x", 1));
		assert_int_equal(pthread_create(&thread, NULL, publish_later, &f->gateway), 0);
		assert_int_equal(sluice_wait(f->app, 20000), 1);
		pthread_join(thread, NULL);
		assert_int_equal(receive_one(f->app).type, SLUICE_DATA);
		assert_int_equal(sluice_wait(f->app, 10), 0); /* the kick is gone */
	}
	assert_true(fake_data(&f->gateway, fake_ref(0, 1), "x", 1));
	fake_publish(&f->gateway);
	assert_false(sluice_sleep(f->app));
	assert_int_equal(sluice_wait(f->app, 20000), 1);
}

static void own_loop_polls_the_descriptor(void **state)
{
	struct fixture *f = *state;
	struct pollfd waited = {.fd = sluice_fd(f->app), .events = POLLIN};
	struct sluice_message message;

	assert_true(sluice_sleep(f->app));
	assert_int_equal(poll(&waited, 1, 0), 0);
	assert_true(fake_data(&f->gateway, fake_ref(1, 1), "x", 1));
	fake_publish(&f->gateway);
	assert_int_equal(poll(&waited, 1, 20000), 1);
	assert_int_equal(receive_one(f->app).type, SLUICE_DATA);
	assert_int_equal(sluice_receive(f->app, &message, 1), 0);
	assert_true(sluice_sleep(f->app));
	assert_int_equal(poll(&waited, 1, 0), 0);
}

static void sleeping_worker_is_woken(void **state)
{
	struct fixture *f = *state;
	struct uplink *u = f->gateway.uplinks[0];
	struct pollfd waited = {.fd = u->wake_fd, .events = POLLIN};
	struct sluice_data data;
	uint64_t malformed = 0;
	char buffer[16];

	assert_true(uplink_sleep(u));
	assert_int_equal(poll(&waited, 1, 0), 0);
	assert_int_equal(sluice_send(f->app, fake_ref(0, 1), "x", 1, 0), 0);
	sluice_flush(f->app);
	assert_int_equal(poll(&waited, 1, 20000), 1);
	assert_false(uplink_sleep(u));
	uplink_awake(u);
	assert_int_equal(poll(&waited, 1, 0), 0);
	assert_int_equal(uplink_take(u, &data, buffer, sizeof(buffer), &malformed), SLUICE_DATA);
	assert_true(uplink_sleep(u));
}

/* What was published before the gateway went is received, then EPIPE. */
static void end_of_the_gateway_is_noticed(void **state)
{
	struct fixture *f = *state;
	struct sluice_message message;

	assert_true(fake_data(&f->gateway, fake_ref(0, 1), "last", 4));
	fake_publish(&f->gateway);
	fake_gateway_close(&f->gateway);
	assert_int_equal(sluice_wait(f->app, 20000), 1);
	assert_int_equal(receive_one(f->app).type, SLUICE_DATA);
	assert_int_equal(sluice_wait(f->app, 20000), -1);
	assert_int_equal(errno, EPIPE);
	assert_int_equal(sluice_receive(f->app, &message, 1), -1);
	assert_int_equal(errno, EPIPE);
	assert_true(fake_gateway_listen(&f->gateway)); /* over the socket that the first one left */
	sluice_detach(f->app);
	attach(f);
	assert_int_equal(sluice_wait(f->app, 10), 0);
}

/* The gateway publishes, and dies before it can kick. */
static void *publish_and_die(void *argument)
{
	struct fake_gateway *g = argument;

	usleep(50000);
	spsc_publish(&g->uplinks[1]->up);
	close(g->connection_fd);
	g->connection_fd = -1;
	return NULL;
}

static void last_words_are_heard(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;

	assert_true(fake_data(&f->gateway, fake_ref(1, 1), "last", 4));
	assert_int_equal(pthread_create(&thread, NULL, publish_and_die, &f->gateway), 0);
	assert_int_equal(sluice_wait(f->app, 20000), 1);
	pthread_join(thread, NULL);
	assert_int_equal(receive_one(f->app).type, SLUICE_DATA);
	assert_int_equal(sluice_wait(f->app, 20000), -1);
	assert_int_equal(errno, EPIPE);
}

/* Messages taken and not yet given back fill the ring: sleeping gives them back, or nothing could wake us. */
static void sleeping_gives_the_room_back(void **state)
{
	struct fixture *f = *state;
	static uint8_t payload[UPLINK_PAYLOAD_MAX];
	struct sluice_message messages[128];
	int count = 0;

	while (fake_data(&f->gateway, fake_ref(0, 1), payload, sizeof(payload)))
		count++;
	fake_publish(&f->gateway);
	assert_int_equal(sluice_receive(f->app, messages, 128), count);
	assert_false(fake_data(&f->gateway, fake_ref(0, 1), payload, sizeof(payload)));
	assert_int_equal(sluice_wait(f->app, 0), 0);
	assert_true(fake_data(&f->gateway, fake_ref(0, 1), payload, sizeof(payload)));
}

static void end_of_the_application_is_noticed(void **state)
{
	struct fixture *f = *state;
	struct pollfd waited = {.fd = f->gateway.connection_fd, .events = POLLIN};

	assert_int_equal(poll(&waited, 1, 0), 0);
	sluice_detach(f->app);
	f->app = NULL;
	assert_int_equal(poll(&waited, 1, 20000), 1);
	uplink_publish(f->gateway.uplinks[0]); /* nobody there: no SIGPIPE, no harm */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(messages_arrive_as_sent, setup_attached, teardown),
		cmocka_unit_test_setup_teardown(exporter_values_are_wiped, setup_attached, teardown),
		cmocka_unit_test_setup_teardown(answers_reach_the_right_worker, setup_attached, teardown),
		cmocka_unit_test_setup_teardown(payload_above_the_room_is_not_copied, setup_attached,
						teardown),
		cmocka_unit_test_setup_teardown(send_refuses_what_cannot_go, setup_attached, teardown),
		cmocka_unit_test_setup_teardown(data_leaves_room_for_events, setup_attached, teardown),
		cmocka_unit_test_setup_teardown(sleeping_application_is_woken, setup_attached, teardown),
		cmocka_unit_test_setup_teardown(own_loop_polls_the_descriptor, setup_attached, teardown),
		cmocka_unit_test_setup_teardown(sleeping_worker_is_woken, setup_attached, teardown),
		cmocka_unit_test_setup_teardown(end_of_the_gateway_is_noticed, setup_attached, teardown),
		cmocka_unit_test_setup_teardown(last_words_are_heard, setup_attached, teardown),
		cmocka_unit_test_setup_teardown(sleeping_gives_the_room_back, setup_attached, teardown),
		cmocka_unit_test_setup_teardown(end_of_the_application_is_noticed, setup_attached, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
