/* Secrets in files: read whole, or not at all and with the reason. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "controlplane/secret_file.h"

static char directory[] = "/tmp/sluice-secret-XXXXXX";
static char path[64], why[160];

static void write_file(const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static ssize_t read_file(char *out, size_t room)
{
	why[0] = 0;
	return secret_file_read(path, out, room, NULL, why, sizeof why);
}

static void a_closed_file_is_read_whole(void **state)
{
	static const mode_t modes[] = {0600, 0400, 0640, 0440, 0700};
	struct stat st = {0};
	char out[16];

	for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
		write_file("secret", modes[i]);
		memset(out, 'x', sizeof out);
		assert_int_equal(read_file(out, sizeof out), 6);
		assert_memory_equal(out, "secretxxxxxxxxxx", sizeof out);
	}
	assert_int_equal(secret_file_read(path, out, 6, &st, why, sizeof why), 6); /* no byte to spare */
	assert_int_equal(st.st_size, 6);
	assert_true(st.st_mtim.tv_sec > 0);
	write_file("", 0600);
	assert_int_equal(read_file(out, sizeof out), 0);
}

static void one_that_is_open_to_others_is_not(void **state)
{
	static const mode_t modes[] = {0604, 0602, 0601, 0620, 0660, 0644, 0666, 0777};
	char out[16];

	for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
		char mode[16];

		write_file("secret", modes[i]);
		memset(out, 'x', sizeof out);
		assert_int_equal(read_file(out, sizeof out), -EPERM);
		snprintf(mode, sizeof mode, "has mode %04o", (unsigned)modes[i]);
		assert_non_null(strstr(why, mode));
		assert_non_null(strstr(why, "others must have no access and its group must not write "
					    "(chmod o-rwx,g-w)"));
		assert_memory_equal(out, "xxxxxxxxxxxxxxxx", sizeof out);
	}
}

static void what_is_too_long_or_no_file_is_refused(void **state)
{
	char out[16];

	write_file("secret", 0600);
	assert_int_equal(read_file(out, 5), -EFBIG);
	assert_string_equal(why, "is longer than 5 bytes");
	unlink(path);
	assert_int_equal(read_file(out, sizeof out), -ENOENT);
	assert_non_null(strstr(why, "cannot be read: No such file"));
	assert_int_equal(mkfifo(path, 0600), 0); /* does not keep us waiting */
	assert_int_equal(read_file(out, sizeof out), -EINVAL);
	assert_string_equal(why, "is not a regular file");
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(read_file(out, sizeof out), -EINVAL);
	rmdir(path);
}

static int set_up(void **state)
{
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof path, "%s/secret", directory);
	return 0;
}

static int tear_down(void **state)
{
	unlink(path);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_closed_file_is_read_whole),
		cmocka_unit_test(one_that_is_open_to_others_is_not),
		cmocka_unit_test(what_is_too_long_or_no_file_is_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
