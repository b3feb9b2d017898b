/* sluicectl as an operator uses it: the program itself, its output and its exit status. With a redis-server
 * as second argument the same on stores in Redis.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "controlplane/ctl.h" /* enum ctl_exit */
#include "tests/unit/redis_process.h"

static char directory[] = "/tmp/sluice-test-ctl-XXXXXX";
static char output[65536];
static struct redis_process servers[2]; /* program NULL: the stores are in LMDB */

/* Runs a shell line in the directory, where $C is the program, and returns its exit status; output holds both
 * streams. */
static int run(const char *line)
{
	FILE *f;
	size_t got;
	int status;

	fflush(stdout);
	/* NOLINTNEXTLINE(cert-env33-c,bugprone-command-processor): the lines are all in this file */
	f = popen(line, "r");
	assert_non_null(f);
	got = fread(output, 1, sizeof(output) - 1, f);
	output[got] = 0;
	status = pclose(f);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define EXPECT(status, text, line)                                                                           \
	do {                                                                                                 \
		int got_ = run("exec 2>&1; " line);                                                          \
		if (got_ != (status) || strstr(output, text) == NULL)                                        \
			fail_msg("%s\nexpected %d, \"%s\"; got %d, \"%s\"", line, status, text, got_,        \
				 output);                                                                    \
	} while (0)

static int make_directory(void **state)
{
	if (mkdtemp(directory) == NULL || chdir(directory) < 0)
		return -1;
	umask(022);
	if (servers[0].program == NULL)
		return setenv("SECOND", "env SLUICE_STORE=store2", 1) || setenv("SLUICE_STORE", "store", 1);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(servers[i].socket, sizeof(servers[i].socket), "%s/%u.sock", directory, i);
		if (!redis_process_start(&servers[i]))
			return -1;
	}
	snprintf(output, sizeof(output), "env SLUICE_REDIS=unix:%s", servers[1].socket);
	if (setenv("SECOND", output, 1))
		return -1;
	snprintf(output, sizeof(output), "unix:%s", servers[0].socket);
	return setenv("SLUICE_REDIS", output, 1);
}

static int clean(void **state)
{
	unsetenv("SLUICE_STORE_KEY");
	for (unsigned i = 0; i < 2; i++)
		if (servers[i].pid > 0 && !redis_process_do(&servers[i], "FLUSHALL"))
			return -1;
	return run("rm -rf store store2 ./*.csv ./*.jsonl ./*.pem key fifo");
}

static int remove_directory(void **state)
{
	clean(state);
	redis_process_stop(&servers[0]);
	redis_process_stop(&servers[1]);
	return chdir("/") < 0 ? -1 : rmdir(directory);
}

static void help_is_there_for_everything(void **state)
{
	static const char *const verbs[] = {
		"psk add",          "psk del",
		"psk show",         "psk list",
		"psk import",       "psk export",
		"registree add",    "registree del",
		"registree show",   "registree list",
		"registree import", "registree export",
		"store init",       "store new-key",
		"store info",       "store check",
		"store changes",    "status",
		"sessions list",    "sessions show",
		"sessions close",   "why",
		"identity",         "counters",
	};

	EXPECT(CTL_OK, "usage: sluicectl COMMAND", "$C --help");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		char line[128], usage[64];

		assert_int_equal(run("$C help"), CTL_OK);
		snprintf(usage, sizeof(usage), "%.*s", (int)strcspn(verbs[i], " "), verbs[i]);
		assert_non_null(strstr(output, usage));
		snprintf(line, sizeof(line), "$C %s --help 2>&1", verbs[i]);
		snprintf(usage, sizeof(usage), "usage: sluicectl %s", verbs[i]);
		assert_int_equal(run(line), CTL_OK);
		assert_non_null(strstr(output, usage));
		assert_non_null(strstr(output, "--help"));
	}
	EXPECT(CTL_USAGE, "usage:", "$C");
	EXPECT(CTL_USAGE, "no command \"psk fly\"", "$C psk fly");
	EXPECT(CTL_USAGE, "no command \"fly\"", "$C fly");
	EXPECT(CTL_USAGE, "\"store\" is no whole command", "$C store");
	EXPECT(CTL_USAGE, "no command before --redis", "$C --redis unix:x psk list");
	EXPECT(CTL_OK, "store     info", "$C store --help");
	EXPECT(CTL_OK, "store     info", "$C help store");
	EXPECT(CTL_OK, "sluicectl ", "$C --version");
	EXPECT(CTL_USAGE, "it has no option --fly", "$C psk list --fly");
	EXPECT(CTL_USAGE, "--tenant lacks its value", "$C psk list --tenant");
	EXPECT(CTL_USAGE, "too many arguments", "$C psk list x");
	EXPECT(CTL_USAGE, "FILE is missing", "$C psk import");
	EXPECT(CTL_USAGE, "given twice", "$C psk list --tenant a --tenant b");
}

/* Where there is no gateway, the operator learns what to do about it. */
static void without_a_gateway(void **state)
{
	EXPECT(CTL_FAILED, "Is the gateway running?", "$C status --socket nowhere.sock");
	EXPECT(CTL_FAILED, "Is the gateway running?", "SLUICE_SOCKET=nowhere.sock $C counters");
	EXPECT(CTL_FAILED, "Nobody listens",
	       "/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"dead.sock\")'; "
	       "$C sessions list --socket dead.sock; s=$?; rm dead.sock; exit $s");
	EXPECT(CTL_FAILED, "at most 107 bytes", "$C status --socket $(printf %0200d 0)");
	EXPECT(CTL_USAGE, "DEVICE is missing", "$C why");
	EXPECT(CTL_USAGE, "SESSION is missing", "$C sessions show");
	EXPECT(CTL_USAGE, "Which one?", "$C sessions close");
	EXPECT(CTL_USAGE, "--limit must be", "$C sessions list --limit 0");
	EXPECT(CTL_FAILED, "A session is named as", "$C sessions show ../status");
}

static void keys_come_and_go(void **state)
{
	EXPECT(CTL_FAILED,
	       servers[0].program == NULL ? "There is no credential store"
					  : "there is no credential store in it",
	       "$C psk list");
	EXPECT(CTL_OK, "", "echo 00ff | $C psk add dev --kind ae-id --id C-1 --id C-2");
	EXPECT(CTL_OK, "C-1 C-2", "$C psk list");
	EXPECT(CTL_OK, "2 bytes", "$C psk show dev");
	EXPECT(CTL_OK, "00ff", "$C psk show dev --with-keys");
	EXPECT(CTL_OK, "{\"identity\":\"dev\",\"kind\"", "$C psk show dev --json");
	EXPECT(CTL_OK, "", "echo 00ff | $C psk add dev --kind ae-id --id C-1 --id C-2");
	EXPECT(CTL_FAILED, "--replace", "echo 00fe | $C psk add dev");
	EXPECT(CTL_OK, "", "echo 00fe | $C psk add dev --replace");
	EXPECT(CTL_FAILED, "hexadecimal", "echo 0 | $C psk add other");
	EXPECT(CTL_FAILED, "no key on standard input", "$C psk add other </dev/null");
	EXPECT(CTL_OK, "warning: a key of fewer than 16 bytes can be guessed",
	       "echo 000102030405060708090a0b0c0d0e | $C psk add weak && $C psk del weak");
	EXPECT(CTL_FAILED, "IDENTITY or --identity-hex is missing", "echo 00 | $C psk add");
	EXPECT(CTL_OK, "", "echo 00 | $C psk add --identity-hex 00ff --tenant acme");
	EXPECT(CTL_OK, "hex:00ff", "$C psk list --tenant acme");
	EXPECT(CTL_OK, "", "test \"$($C psk add made --generate | tr -d '0-9a-f')\" = ''");
	EXPECT(CTL_OK, "16 bytes", "$C psk show made");
	EXPECT(CTL_FAILED, "no such credential", "$C psk del nobody");
	EXPECT(CTL_OK, "", "$C psk del dev");
	EXPECT(CTL_FAILED, "no such credential", "$C psk show dev");
	EXPECT(CTL_OK, "replaced\t-\tdev", "$C store changes");
	EXPECT(CTL_OK, "removed\t-\tdev", "$C store changes");
	EXPECT(CTL_OK, "rows         2", "$C store info");
	EXPECT(CTL_OK, "2 rows are sound, 0 are damaged", "$C store check");
	if (servers[0].program == NULL)
		EXPECT(CTL_FAILED, "", "find store -perm /007 | grep .");
}

static void registrees_come_and_go(void **state)
{
	EXPECT(CTL_OK, "", "echo '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----' > pub.pem");
	EXPECT(CTL_OK, "", "$C registree add --public-key-file pub.pem --kind lwm2m-endpoint --id urn:1");
	/* SHA-256 of three zero bytes */
	EXPECT(CTL_OK, "ni:///sha-256;cJ6AyISHokEeHuTfufIqhhSS0gxHZRUMDHlKvXD4FHw", "$C registree list");
	EXPECT(CTL_FAILED, "no PEM block \"CERTIFICATE\"",
	       "$C registree add --certificate-name x --root-file pub.pem --kind cse-id --id /x");
	EXPECT(CTL_FAILED, "both its name and its root", "$C registree add --certificate-name x");
	EXPECT(CTL_OK, "",
	       "$C registree add --certificate-name x --root $(printf '%064d' 7) --kind cse-id --id /x");
	EXPECT(CTL_OK, "root         000000000000000000000000000000000000000000000000000000000000000",
	       "$C registree show --certificate-name x --root $(printf '%064d' 7)");
	EXPECT(CTL_FAILED, "no such credential",
	       "$C registree show --certificate-name x --root $(printf '%064d' 8)");
	EXPECT(CTL_OK, "", "$C registree del --certificate-name x --root $(printf '%064d' 7)");
	EXPECT(CTL_OK, "1 rows are sound", "$C store check");
}

static void imports_are_all_or_nothing(void **state)
{
	EXPECT(CTL_OK, "",
	       "{ echo identity,key,tenant; for i in $(seq 1000); do echo dev-$i,00$i$i,acme; done; } > "
	       "good.csv");
	EXPECT(CTL_OK, "1000 rows", "chmod 600 good.csv; $C psk import good.csv --dry-run");
	EXPECT(CTL_OK, "rows         0", "$C store info");
	EXPECT(CTL_OK, "1000 added, 0 replaced, 0 unchanged", "$C psk import good.csv");
	EXPECT(CTL_OK, "0 added, 0 replaced, 1000 unchanged", "$C psk import good.csv");
	EXPECT(CTL_OK, "", "sed '500s/,0/,1/; 501s/^/new-/' good.csv > other.csv");
	EXPECT(CTL_FAILED, "other.csv:500: the credential is there already", "$C psk import other.csv");
	EXPECT(CTL_FAILED, "Nothing was imported: 1 bad row.", "$C psk import other.csv");
	EXPECT(CTL_OK, "rows         1000", "$C store info");
	EXPECT(CTL_OK, "1 added, 1 replaced, 998 unchanged", "$C psk import other.csv --replace");
	EXPECT(CTL_OK, "", "sed '7s/,/;/; 900s/00/0x/' good.csv > bad.csv");
	EXPECT(CTL_FAILED, "bad.csv:7: there are fewer columns", "$C psk import bad.csv --replace");
	EXPECT(CTL_FAILED, "bad.csv:900: the key must be", "$C psk import bad.csv --replace");
	EXPECT(CTL_FAILED, "Nothing was imported: 2 bad rows.", "$C psk import bad.csv --replace");
	EXPECT(CTL_OK, "rows         1001", "$C store info");
	EXPECT(CTL_OK, "", "{ cat good.csv; echo dev-1,77,acme; } > twice.csv");
	EXPECT(CTL_FAILED, "twice.csv:1002: the credential is in the file twice",
	       "$SECOND $C psk import twice.csv --replace");
	EXPECT(CTL_OK, "rows         0", "$SECOND $C store info");
}

static void odd_files_are_told(void **state)
{
	EXPECT(CTL_FAILED, "No such file", "$C psk import gone.csv");
	EXPECT(CTL_FAILED, "Is a directory", "mkdir d.csv; $C psk import d.csv; s=$?; rmdir d.csv; exit $s");
	EXPECT(CTL_FAILED, "format of x is not known", "$C psk import x");
	EXPECT(CTL_FAILED, "the file is empty", ": > empty.csv; $C psk import empty.csv");
	EXPECT(CTL_FAILED, "must name the columns", "echo a,b > names.csv; $C psk import names.csv");
	EXPECT(CTL_FAILED, "'registree import' takes it",
	       "echo '{\"public_key\":\"'$(printf '%064d' 7)'\"}' > r.jsonl; $C psk import r.jsonl");
	EXPECT(CTL_FAILED, "holds a NUL",
	       "printf 'identity,key\\na\\0,00\\n' > nul.csv; $C psk import nul.csv");
	EXPECT(CTL_FAILED, "longer than 16 KiB",
	       "{ echo identity,key; head -c 20000 /dev/zero | tr '\\0' a; } > long.csv; $C psk import "
	       "long.csv");
	EXPECT(CTL_OK, "1 added",
	       "printf '\\357\\273\\277identity,key\\r\\na,00\\r\\n\\r\\n' > win.csv; $C psk import win.csv");
	EXPECT(CTL_OK, "1 added",
	       "printf '{\"identity\":\"b\",\"key\":\"00\"}' | $C psk import - --format jsonl");
	EXPECT(CTL_OK, "everybody can read it", "chmod 644 win.csv; $C psk import win.csv");
}

static void exports_read_back(void **state)
{
	EXPECT(CTL_OK, "", "echo 00 | $C psk add 'a,\"b\"' --tenant t --kind ae-id --id C-1 --id C-2");
	EXPECT(CTL_OK, "", "echo 00 | $C psk add --identity-hex ff");
	EXPECT(CTL_OK, "", "$C registree add --public-key $(printf '%064d' 7) --kind cse-id --id /x");
	EXPECT(CTL_OK, "", "$C psk export --with-keys --output k.csv; $C registree export > r.csv");
	EXPECT(CTL_OK, "600 k.csv", "stat -c '%a %n' k.csv");
	EXPECT(CTL_OK, "", "$C psk export --with-keys --format jsonl > k.jsonl");
	EXPECT(CTL_OK, "2 added", "$SECOND $C psk import k.csv");
	EXPECT(CTL_OK, "2 unchanged", "$SECOND $C psk import k.jsonl");
	EXPECT(CTL_OK, "1 added", "$SECOND $C registree import r.csv");
	EXPECT(CTL_OK, "", "$C psk export | grep -c ',00,' | grep -qx 0");
	EXPECT(CTL_FAILED, "cannot be written", "$C psk export --output /nowhere/x");
	EXPECT(CTL_FAILED, "cannot be written", "$C psk export > /dev/full");
}

static void keys_can_be_wrapped(void **state)
{
	EXPECT(CTL_OK, "", "$C store new-key key && $C store init --key-file key");
	EXPECT(CTL_FAILED, "cannot be made", "$C store new-key key");
	EXPECT(CTL_OK, "", "echo 5ec4e75ec4e75ec4e7 | $C psk add dev --key-file key");
	EXPECT(CTL_FAILED, "no key file was given", "$C psk show dev");
	EXPECT(CTL_OK, "5ec4e7", "SLUICE_STORE_KEY=key $C psk show dev --with-keys");
	EXPECT(CTL_OK, "1 rows are sound", "$C store check --key-file key");
}

/* What a file cannot do: go away, ask for a password, hold something else under our names. */
static void servers_are_told(void **state)
{
	EXPECT(CTL_FAILED, "two different stores", "$C psk list --store store --redis unix:/x");
	EXPECT(CTL_FAILED, "No such file", "$C psk list --redis unix:/nowhere/x");
	EXPECT(CTL_FAILED, "Connection refused", "$C psk list --redis 127.0.0.1:1");
	EXPECT(CTL_FAILED, "is no address", "$C psk list --redis 127.0.0.1");
	EXPECT(CTL_FAILED, "is no address", "$C psk list --redis ::1:6379");
	EXPECT(CTL_FAILED, "whole path", "$C psk list --redis unix:x");
	EXPECT(CTL_OK, "", "$C store init");
	EXPECT(CTL_OK, "", "echo 00 | $C psk add dev; echo secret > key; chmod 644 key");
	assert_true(redis_process_do(&servers[0], "CONFIG SET requirepass secret"));
	EXPECT(CTL_FAILED, "NOAUTH", "$C psk list");
	EXPECT(CTL_FAILED, "others must have no access", "$C psk list --password-file key");
	EXPECT(CTL_OK, "dev", "chmod 600 key; $C psk list --password-file key");
	EXPECT(CTL_FAILED, "WRONGPASS", "echo public > key; $C psk list --password-file key");
	EXPECT(CTL_OK, "",
	       "redis-cli -s ${SLUICE_REDIS#unix:} -a secret CONFIG SET requirepass '' >/dev/null");
	assert_true(redis_process_do(&servers[0], "SET sluice:log foreign"));
	EXPECT(CTL_FAILED, "WRONGTYPE", "echo 01 | $C psk add dev --replace");
	assert_true(redis_process_do(&servers[0], "DEL sluice:log"));
	EXPECT(CTL_OK, "", "echo 01 | $C psk add dev --replace");
	EXPECT(CTL_OK, "", "echo '{\"identity\":\"a\",\"key\":\"00\"}' > a.jsonl; chmod 600 a.jsonl");
	assert_true(redis_process_do(&servers[0], "HSET sluice:meta format 2"));
	EXPECT(CTL_FAILED, "another version", "$C psk import a.jsonl");
}

/* The newest changes are kept, and what was forgotten is told. */
static void change_logs_are_bounded(void **state)
{
	EXPECT(CTL_OK, "",
	       "{ echo identity,key; seq -f 'd%.0f,00' 100001; } > a.csv; sed 's/,00/,01/' a.csv > b.csv; "
	       "sed 's/,00/,02/' a.csv | head -n 11 > c.csv; chmod 600 ?.csv");
	EXPECT(CTL_OK, "100001 added", "$C psk import a.csv");
	EXPECT(CTL_OK, "10 replaced", "$C psk import c.csv --replace");
	EXPECT(CTL_OK, "100011\treplaced\t-\td10\n", "$C store changes");
	EXPECT(CTL_OK, "100001 replaced", "$C psk import b.csv --replace");
	EXPECT(CTL_OK, "forgotten", "$C store changes");
	EXPECT(CTL_OK, "", "$C psk del d1");
	EXPECT(CTL_OK, "200013\tremoved\t-\td1\n", "$C store changes --since 200012");
}

static void damage_is_told(void **state)
{
	EXPECT(CTL_OK, "",
	       "for i in $(seq 2000); do echo '{\"identity\":\"d'$i'\",\"key\":\"00\"}'; done > d.jsonl");
	EXPECT(CTL_OK, "2000 added", "chmod 600 d.jsonl; $C psk import d.jsonl");
	EXPECT(CTL_OK, "",
	       "grep -abo d1999 store/data.mdb | tail -1 | cut -d: -f1 | "
	       "{ read at; printf X | dd of=store/data.mdb bs=1 seek=$((at + 4)) conv=notrunc; }");
	EXPECT(CTL_FAILED, "damaged", "$C store check");
	EXPECT(CTL_FAILED, "damaged",
	       "head -c 20000 store/data.mdb > cut.csv; cat cut.csv > store/data.mdb; $C store check");
}

int main(int argc, char **argv)
{
	char *program = argc >= 2 ? realpath(argv[1], NULL) : NULL;
	const struct CMUnitTest redis[] = {
		cmocka_unit_test_teardown(keys_come_and_go, clean),
		cmocka_unit_test_teardown(registrees_come_and_go, clean),
		cmocka_unit_test_teardown(imports_are_all_or_nothing, clean),
		cmocka_unit_test_teardown(exports_read_back, clean),
		cmocka_unit_test_teardown(keys_can_be_wrapped, clean),
		cmocka_unit_test_teardown(servers_are_told, clean),
		cmocka_unit_test_teardown(change_logs_are_bounded, clean),
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(help_is_there_for_everything, clean),
		cmocka_unit_test_teardown(without_a_gateway, clean),
		cmocka_unit_test_teardown(keys_come_and_go, clean),
		cmocka_unit_test_teardown(registrees_come_and_go, clean),
		cmocka_unit_test_teardown(imports_are_all_or_nothing, clean),
		cmocka_unit_test_teardown(odd_files_are_told, clean),
		cmocka_unit_test_teardown(exports_read_back, clean),
		cmocka_unit_test_teardown(keys_can_be_wrapped, clean),
		cmocka_unit_test_teardown(damage_is_told, clean),
	};

	if (program == NULL || setenv("C", program, 1) != 0) {
		fputs("usage: test_sluicectl PROGRAM [REDIS-SERVER]\n", stderr);
		return 2;
	}
	free(program);
	if (argc > 2 && !redis_process_there(argv[2]))
		return TEST_SKIPPED;
	servers[0].program = servers[1].program = argv[2];
	if (argc > 2)
		return cmocka_run_group_tests(redis, make_directory, remove_directory);
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
