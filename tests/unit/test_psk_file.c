/* The file of pre-shared keys: what is in it, and every way in which a line or the file can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "controlplane/psk_file.h"

static char path[] = "/tmp/sluice-psk-XXXXXX";

static void write_file(const void *text, size_t len, unsigned mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
	chmod(path, mode);
}

static struct psk_file *open_text(const char *text)
{
	char error[512] = "";
	struct psk_file *f;

	write_file(text, strlen(text), 0640);
	f = psk_file_open(path, error, sizeof error);
	if (!f)
		fail_msg("%s", error);
	return f;
}

static void expect_error(const char *text, size_t len, const char *line, const char *what)
{
	char error[512] = "";

	write_file(text, len, 0600);
	assert_null(psk_file_open(path, error, sizeof error));
	if (!strstr(error, path) || !strstr(error, line) || !strstr(error, what))
		fail_msg("\"%s\" does not say \"%s\" and \"%s\"", error, line, what);
	assert_null(strstr(error, "c0ffee")); /* never a key */
}

static int find(struct psk_file *f, const char *identity, struct psk_credential *out)
{
	return psk_file_find(f, "", (const uint8_t *)identity, strlen(identity), out);
}

static void test_good(void **state)
{
	struct psk_file *f = open_text("# keys\n"
				       "\n"
				       "device-1:00112233\r\n"
				       "  urn:dev:ops:32473-1:AABBccdd  \n"
				       "\t# another comment\n"
				       "with space and \xc3\xa4:c0ffee\n"
				       "last:01");
	struct psk_credential found;

	assert_int_equal(psk_file_count(f), 4);
	assert_int_equal(psk_file_weak(f), 4);
	assert_int_equal(find(f, "device-1", &found), 1);
	assert_int_equal(found.key_len, 4);
	assert_memory_equal(found.key, "\x00\x11\x22\x33", 4);
	assert_int_equal(found.registree.kind, SLUICE_IDENTITY_CREDENTIAL);
	assert_int_equal(found.registree.identities_count, 1);
	assert_string_equal(found.registree.identities[0], "device-1");
	assert_int_equal(find(f, "urn:dev:ops:32473-1", &found), 1); /* the last colon counts */
	assert_memory_equal(found.key, "\xaa\xbb\xcc\xdd", 4);
	assert_int_equal(find(f, "with space and \xc3\xa4", &found), 1);
	assert_int_equal(find(f, "last", &found), 1);
	assert_int_equal(find(f, "device-", &found), 0);
	assert_int_equal(find(f, "device-11", &found), 0);
	assert_int_equal(find(f, "# keys", &found), 0);
	psk_file_close(f);
}

static void test_longest(void **state)
{
	char text[1000], *at = text;
	struct psk_credential found;
	struct psk_file *f;

	at += sprintf(at, "%0128d:", 7);
	for (int i = 0; i < 64; i++)
		at += sprintf(at, "%02x", i);
	f = open_text(text);
	text[128] = 0;
	assert_int_equal(find(f, text, &found), 1);
	assert_int_equal(found.key_len, 64);
	assert_int_equal(found.key[63], 63);
	psk_file_close(f);
}

#define EXPECT_ERROR(text, line, what) expect_error(text, strlen(text), line, what)

static void test_bad_lines(void **state)
{
	char long_line[400];

	EXPECT_ERROR("good:01\n\ndevice c0ffee\n", "line 3:", "no colon");
	EXPECT_ERROR(":c0ffee\n", "line 1:", "identity is empty");
	EXPECT_ERROR("a:01\nb:\n", "line 2:", "no key");
	EXPECT_ERROR("a:01\nb:c0ffee0\n", "line 2:", "odd number");
	EXPECT_ERROR("a:01\nb:c0ffeex0\n", "line 2:", "hexadecimal");
	EXPECT_ERROR("a:01\nb:02\na:c0ffee\n", "line 3:", "same identity");
	expect_error("a:01\nb\0c:02\n", 11, "line 2:", "NUL");
	snprintf(long_line, sizeof long_line, "%0129d:01", 1);
	EXPECT_ERROR(long_line, "line 1:", "longer than 128 bytes");
	snprintf(long_line, sizeof long_line, "a:%0130d", 1);
	EXPECT_ERROR(long_line, "line 1:", "longer than 64 bytes");
}

static void test_bad_files(void **state)
{
	char error[512] = "";

	write_file("a:01\n", 5, 0604);
	assert_null(psk_file_open(path, error, sizeof error));
	assert_non_null(strstr(error, "has mode 0604; others must have no access and its group must not "
				      "write (chmod o-rwx,g-w)"));
	write_file("a:01\n", 5, 0620);
	assert_null(psk_file_open(path, error, sizeof error));
	write_file("a:01\n", 5, 0602);
	assert_null(psk_file_open(path, error, sizeof error));
	assert_null(psk_file_open("/nowhere/psk", error, sizeof error));
	assert_non_null(strstr(error, "/nowhere/psk cannot be read: No such file"));
	assert_null(psk_file_open("/tmp", error, sizeof error));
	assert_non_null(strstr(error, "is not a regular file"));
}

static uint64_t version(const char *text, const char *identity)
{
	struct psk_file *f = open_text(text);
	struct psk_credential found;

	assert_int_equal(find(f, identity, &found), 1);
	psk_file_close(f);
	return found.registree.version;
}

/* It names a row whatever stands beside it, and no change of another store has such a number. */
static void test_version(void **state)
{
	uint64_t one = version("a:01\nb:02\n", "a");

	assert_true(one == version("# moved\nc:0101\na:01\n", "a"));
	assert_true(one != version("a:02\n", "a"));
	assert_true(one != version("a:0100\n", "a"));
	assert_true(one != version("b:01\n", "b"));
	assert_true(version("aa:01\n", "aa") != version("a:6101\n", "a"));
	assert_true(one > INT64_MAX);
}

static void test_empty(void **state)
{
	struct psk_file *f = open_text("");
	struct psk_credential found;

	assert_int_equal(psk_file_count(f), 0);
	assert_int_equal(find(f, "x", &found), 0);
	assert_int_equal(find(f, "", &found), 0);
	psk_file_close(f);
}

static void test_weak(void **state)
{
	struct psk_file *f = open_text("a:000102030405060708090a0b0c0d0e0f\n"
				       "b:000102030405060708090a0b0c0d0e\n"
				       "# c:00\n"
				       "d:00\n"
				       "e:000102030405060708090a0b0c0d0e0f10\n");

	assert_int_equal(psk_file_weak(f), 2);
	psk_file_close(f);
}

static void test_many(void **state)
{
	enum { COUNT = 100000 };
	char *text = malloc(COUNT * 32), *at = text, identity[32];
	struct psk_credential found;
	struct psk_file *f;

	assert_non_null(text);
	for (int i = 0; i < COUNT; i++)
		at += sprintf(at, "device-%d:%08x\n", i, (unsigned)i);
	f = open_text(text);
	free(text);
	assert_int_equal(psk_file_count(f), COUNT);
	for (int i = 0; i < COUNT; i += 7) {
		const uint8_t key[4] = {0, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};

		sprintf(identity, "device-%d", i);
		assert_int_equal(find(f, identity, &found), 1);
		assert_memory_equal(found.key, key, 4);
	}
	assert_int_equal(find(f, "device-100000", &found), 0);
	psk_file_close(f);
}

static int set_up(void **state)
{
	int fd = mkstemp(path);

	return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),      cmocka_unit_test(test_longest),
		cmocka_unit_test(test_bad_lines), cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_weak),      cmocka_unit_test(test_version),
		cmocka_unit_test(test_empty),     cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
