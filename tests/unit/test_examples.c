/* The example programs, as a reader of them would start them: test_examples PRINT [PYTHON WHO LIBRARY] */
#include "fake_gateway.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { WAIT_MS = 20000 };

static char **arguments;

struct fixture {
	struct fake_gateway gateway;
	pid_t child;
	int output;
	char text[4096];
	size_t text_len;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	return fake_gateway_start(&f->gateway) ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->child > 0) {
		kill(f->child, SIGKILL);
		waitpid(f->child, NULL, 0);
	}
	if (f->output > 0)
		close(f->output);
	fake_gateway_stop(&f->gateway);
	free(f);
	return 0;
}

static void child_start(struct fixture *f, const char *first, const char *second)
{
	const char *argv[5] = {first}; /* the program, its script if any, the ring, --echo */
	int fds[2], n = 1;

	if (second != NULL)
		argv[n++] = second;
	argv[n++] = f->gateway.path;
	argv[n] = "--echo";
	assert_int_equal(pipe(fds), 0);
	f->child = fork();
	if (f->child == 0) {
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		close(fds[0]);
		execv(first, (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	close(fds[1]);
	f->output = fds[0];
	fcntl(f->output, F_SETFL, O_NONBLOCK);
	assert_int_equal(fake_gateway_attach(&f->gateway), 0);
}

static void expect_output(struct fixture *f, const char *text)
{
	for (unsigned ms = 0; ms < WAIT_MS; ms++) {
		ssize_t n = read(f->output, f->text + f->text_len, sizeof(f->text) - 1 - f->text_len);

		f->text_len += n > 0 ? (size_t)n : 0;
		f->text[f->text_len] = '\0';
		if (strstr(f->text, text) != NULL)
			return;
		usleep(1000);
	}
	fail_msg("no \"%s\" in: %s", text, f->text);
}

static void expect_echo(struct fixture *f, struct sluice_ref ref, const char *payload)
{
	struct uplink *u = f->gateway.uplinks[ref.worker];
	struct sluice_data data;
	char buffer[64];
	uint64_t malformed = 0;
	int type = 0;

	for (unsigned ms = 0; ms < WAIT_MS && type == 0; ms++) {
		type = uplink_take(u, &data, buffer, sizeof(buffer), &malformed);
		usleep(1000);
	}
	assert_int_equal(type, SLUICE_DATA);
	assert_int_equal(malformed, 0);
	assert_memory_equal(&data.ref, &ref, sizeof(ref));
	assert_int_equal(data.payload_len, strlen(payload));
	assert_memory_equal(buffer, payload, strlen(payload));
}

static void announce_and_send(struct fixture *f)
{
	assert_true(fake_session_up(&f->gateway, fake_ref(0, 7), "CAE17", false));
	assert_true(fake_session_up(&f->gateway, fake_ref(1, 7), "CAE18", false));
	assert_true(fake_data(&f->gateway, fake_ref(0, 7), "first", 5));
	assert_true(fake_data(&f->gateway, fake_ref(1, 7), "second\x1b", 7));
	fake_publish(&f->gateway);
}

static void print_tells_who_sent_what(void **state)
{
	struct fixture *f = *state;

	child_start(f, arguments[1], NULL);
	announce_and_send(f);
	expect_output(f, "CAE17\tfirst\n");
	expect_output(f, "CAE18\tsecond.\n");
	expect_echo(f, fake_ref(0, 7), "first");
	expect_echo(f, fake_ref(1, 7), "second\x1b");
	fake_gateway_drop(&f->gateway);
	expect_output(f, "Broken pipe");
}

static void python_tells_who_sent_what(void **state)
{
	struct fixture *f = *state;
	int status;

	if (arguments[2] == NULL)
		skip();
	setenv("SLUICE_LIBRARY", arguments[4], 1);
	child_start(f, arguments[2], arguments[3]);
	announce_and_send(f);
	assert_true(fake_session_up_by_name(&f->gateway, fake_ref(0, 8), "psk8"));
	assert_true(fake_session_down(&f->gateway, fake_ref(0, 7)));
	fake_publish(&f->gateway);
	expect_output(f, "up    CAE17 (AE-ID), PSK \"\", tenant default, from 192.0.2.7:5683\n");
	expect_output(f, "data  CAE17 (AE-ID), PSK \"\", tenant default: first\n");
	expect_output(f, "data  CAE18 (AE-ID), PSK \"\", tenant default: second\\x1b\n");
	expect_output(f, "up    psk8 (credential), PSK \"psk8\", tenant default, from ");
	expect_output(f, "down  CAE17 (AE-ID), PSK \"\", tenant default: closed by the peer\n");
	expect_echo(f, fake_ref(0, 7), "first");
	expect_echo(f, fake_ref(1, 7), "second\x1b");
	fake_gateway_drop(&f->gateway);
	assert_int_equal(waitpid(f->child, &status, 0), f->child);
	f->child = 0;
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(print_tells_who_sent_what, setup, teardown),
		cmocka_unit_test_setup_teardown(python_tells_who_sent_what, setup, teardown),
	};

	arguments = argv;
	return argc > 1 ? cmocka_run_group_tests(tests, NULL, NULL) : 2;
}
