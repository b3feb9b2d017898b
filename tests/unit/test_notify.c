/* config/notify.c: what a service manager would receive, over both kinds of socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/notify.h"

static void expect_state(const char *name)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char got[64] = "";

	assert_true(fd >= 0);
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", name);
	if (name[0] == '@')
		at.sun_path[0] = 0;
	assert_int_equal(bind(fd, (const struct sockaddr *)&at,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
			 0);
	setenv("NOTIFY_SOCKET", name, 1);
	assert_int_equal(notify("READY=1\nSTATUS=three workers"), 0);
	assert_int_equal(recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT), 28);
	assert_string_equal(got, "READY=1\nSTATUS=three workers");
	close(fd);
}

static void state_reaches_a_path(void **state)
{
	char directory[] = "/tmp/sluice-test-notify-XXXXXX", path[64];

	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/socket", directory);
	expect_state(path);
	unlink(path);
	rmdir(directory);
}

static void state_reaches_an_abstract_name(void **state)
{
	char name[64];

	snprintf(name, sizeof(name), "@sluice-test-notify-%d", (int)getpid());
	expect_state(name);
}

static void without_a_manager_nothing_happens(void **state)
{
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(notify("READY=1"), 0);
	setenv("NOTIFY_SOCKET", "", 1);
	assert_int_equal(notify("READY=1"), 0);
}

static void a_manager_that_is_gone_is_an_error(void **state)
{
	setenv("NOTIFY_SOCKET", "/nowhere/at/all", 1);
	assert_true(notify("READY=1") < 0);
	setenv("NOTIFY_SOCKET", "relative", 1);
	assert_true(notify("READY=1") < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(state_reaches_a_path),
		cmocka_unit_test(state_reaches_an_abstract_name),
		cmocka_unit_test(without_a_manager_nothing_happens),
		cmocka_unit_test(a_manager_that_is_gone_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
