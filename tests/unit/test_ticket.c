/* Keys of session tickets: sealing and opening over time, and between gateways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <utime.h>

#include <cmocka.h>

#include "../../controlplane/ticket.c"

#define NOW_S      UINT64_C(1800000000)
#define LIFETIME_S 86400

static char path[64];

struct sealed {
	uint8_t name[TICKET_NAME_LEN], iv[TICKET_IV_LEN], mac[TICKET_MAC_LEN], bytes[40];
};

static const char text[40] = "a master secret and who it belongs to";

static struct ticket_keys *new_keys(const char *file)
{
	char error[300] = "";
	struct ticket_keys *k = ticket_keys_new(file, LIFETIME_S, error, sizeof error);

	if (!k)
		print_error("%s\n", error);
	assert_non_null(k);
	return k;
}

static void write_keys(const char *lines, mode_t mode, time_t changed)
{
	struct utimbuf times = {changed, changed};
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(lines, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
	assert_int_equal(utime(path, &times), 0);
}

static struct sealed seal(struct ticket_keys *k, uint64_t now_s)
{
	struct sealed s;

	memcpy(s.bytes, text, sizeof text);
	assert_int_equal(ticket_seal(k, now_s, s.name, s.iv, s.mac, s.bytes, sizeof s.bytes), 0);
	assert_memory_not_equal(s.bytes, text, sizeof text);
	return s;
}

static int open_it(struct ticket_keys *k, uint64_t now_s, struct sealed s)
{
	int ret = ticket_open(k, now_s, s.name, s.iv, s.mac, s.bytes, sizeof s.bytes);

	if (ret == 0)
		assert_memory_equal(s.bytes, text, sizeof text);
	if (ret == -EBADMSG)
		for (size_t i = 0; i < sizeof s.bytes; i++)
			assert_int_equal(s.bytes[i], 0);
	return ret;
}

static void what_is_sealed_opens_for_its_lifetime(void **state)
{
	struct ticket_keys *k = new_keys(NULL);
	struct sealed s = seal(k, NOW_S);

	assert_int_equal(open_it(k, NOW_S, s), 0);
	assert_int_equal(open_it(k, NOW_S + LIFETIME_S - 1, s), 0);
	assert_int_equal(open_it(k, NOW_S + LIFETIME_S + 2 * TICKET_PERIOD_S, s), -ENOENT);
	ticket_keys_free(k);
}

static void every_bit_counts(void **state)
{
	struct ticket_keys *k = new_keys(NULL);
	struct sealed s = seal(k, NOW_S);
	uint8_t *const parts[] = {s.name, s.iv, s.mac, s.bytes};
	const size_t lens[] = {TICKET_NAME_LEN, NONCE_LEN, TAG_LEN, sizeof s.bytes};

	for (unsigned part = 0; part < 4; part++) {
		for (size_t bit = 0; bit < 8 * lens[part]; bit++) {
			parts[part][bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_not_equal(open_it(k, NOW_S, s), 0);
			parts[part][bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
	assert_int_equal(open_it(k, NOW_S, s), 0);
	ticket_keys_free(k);
}

/* Never the same nonce with the same key, whatever a restart makes one forget. */
static void nothing_repeats(void **state)
{
	struct ticket_keys *k = new_keys(NULL);
	struct sealed a = seal(k, NOW_S), b = seal(k, NOW_S), c = seal(k, NOW_S + TICKET_PERIOD_S);

	assert_memory_not_equal(a.iv, b.iv, NONCE_LEN);
	assert_memory_not_equal(a.bytes, b.bytes, sizeof a.bytes);
	assert_memory_equal(a.name, b.name, TICKET_NAME_LEN);
	assert_memory_not_equal(a.name, c.name, NAME_ID_LEN);
	k->sealed = SEALED_MAX; /* of the hour of c */
	assert_int_equal(
		ticket_seal(k, NOW_S + TICKET_PERIOD_S, b.name, b.iv, b.mac, b.bytes, sizeof b.bytes), -EIO);
	b = seal(k, NOW_S + 2 * TICKET_PERIOD_S);
	assert_int_equal(open_it(k, NOW_S + 2 * TICKET_PERIOD_S, b), 0);
	ticket_keys_free(k);
}

static void random_secrets_are_forgotten(void **state)
{
	struct ticket_keys *k = new_keys(NULL), *other = new_keys(NULL);
	struct sealed first = seal(k, NOW_S), last = seal(k, NOW_S + LIFETIME_S - 1), next;
	uint8_t master[TICKET_MASTER_LEN];

	memcpy(master, k->masters.of[0], sizeof master);
	next = seal(k, NOW_S + LIFETIME_S);
	assert_memory_not_equal(k->masters.of[0], master, sizeof master);
	assert_int_equal(open_it(k, NOW_S + LIFETIME_S, last), 0);
	assert_int_equal(open_it(k, NOW_S + LIFETIME_S, first), 0);
	assert_int_equal(open_it(k, NOW_S + LIFETIME_S, next), 0);
	(void)seal(k, NOW_S + 2 * LIFETIME_S);
	assert_int_equal(open_it(k, NOW_S + 2 * LIFETIME_S, last), -ENOENT);
	for (unsigned i = 0; i < TICKET_MASTERS_MAX; i++)
		assert_memory_not_equal(k->masters.of[i], master, sizeof master);
	(void)seal(k, NOW_S + 20 * LIFETIME_S); /* after a long silence the one before is of no use either */
	assert_int_equal(k->masters.count, 1);
	(void)seal(other, NOW_S);
	assert_int_equal(open_it(other, NOW_S, seal(k, NOW_S + 20 * LIFETIME_S)), -ENOENT);
	ticket_keys_free(k);
	ticket_keys_free(other);
}

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"
#define B "BBbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb0123\n"

static void gateways_share_a_file(void **state)
{
	struct ticket_keys *a, *b;
	struct sealed of_a;

	write_keys("# ours\n\n" A, 0600, 1000);
	a = new_keys(path);
	b = new_keys(path);
	of_a = seal(a, NOW_S);
	assert_int_equal(open_it(b, NOW_S + 100, of_a), 0);
	/* b's clock is an hour behind, a day behind */
	assert_int_equal(open_it(b, NOW_S - TICKET_PERIOD_S, of_a), 0);
	assert_int_equal(open_it(b, NOW_S - LIFETIME_S, of_a), -ENOENT);
	ticket_keys_free(b);
	write_keys(B A, 0600, 2000);
	b = new_keys(path); /* a new secret goes first, the old one still opens */
	assert_int_equal(open_it(b, NOW_S, of_a), 0);
	assert_int_equal(open_it(a, NOW_S + LOOK_EVERY_S, seal(b, NOW_S)), 0); /* a has read the file again */
	write_keys(B, 0600, 3000);
	assert_int_equal(open_it(b, NOW_S + LOOK_EVERY_S - 1, of_a), 0);
	assert_int_equal(open_it(b, NOW_S + LOOK_EVERY_S, of_a), -ENOENT);
	write_keys(A, 0644, 4000); /* what cannot be trusted changes nothing */
	assert_int_equal(open_it(b, NOW_S + 2 * LOOK_EVERY_S, of_a), -ENOENT);
	ticket_keys_free(a);
	ticket_keys_free(b);
}

static void bad_files_are_refused(void **state)
{
	static const char *const bad[] = {
		"",        "# nothing\n",
		"aa\n",    A "x\n",
		A A A A A, "g" A,
		"-" A,     "zaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"};
	char error[300];

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		write_keys(bad[i], 0600, 1000);
		assert_null(ticket_keys_new(path, LIFETIME_S, error, sizeof error));
		assert_non_null(strstr(error, "hexadecimal"));
	}
	write_keys(A, 0604, 1000);
	assert_null(ticket_keys_new(path, LIFETIME_S, error, sizeof error));
	assert_non_null(strstr(error, "others must have no access"));
	assert_null(ticket_keys_new("/nonexistent/keys", LIFETIME_S, error, sizeof error));
	assert_non_null(strstr(error, "No such file"));
	write_keys(A B "\r\n# and\n" A B, 0640, 1000);
	ticket_keys_free(new_keys(path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_sealed_opens_for_its_lifetime),
		cmocka_unit_test(every_bit_counts),
		cmocka_unit_test(nothing_repeats),
		cmocka_unit_test(random_secrets_are_forgotten),
		cmocka_unit_test(gateways_share_a_file),
		cmocka_unit_test(bad_files_are_refused),
	};
	int fd, failed;

	strcpy(path, "/tmp/sluice-ticket-XXXXXX");
	fd = mkstemp(path);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	close(fd);
	unlink(path);
	return failed;
}
