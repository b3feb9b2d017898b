/* lookup.c and peer.c: what a backend is told about a source address; and door.c, with real askers. */
#include "ring/lookup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "ring/door.h"
#include "session_up_builder.h"

static struct source_pool *pool;
static struct peers *peers;
static struct lookup lookup;
static char out[LOOKUP_ANSWER_MAX + 1];

static int setup(void **state)
{
	struct source_net net;

	(void)state;
	if (!source_net_parse(&net, AF_INET, "127.64.0.0/16"))
		return -1;
	pool = source_new(&net, 0);
	peers = peers_new(SOURCE_SLOTS_MAX);
	lookup = (struct lookup){AF_INET, pool, peers};
	return pool != NULL && peers != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	peers_free(peers);
	source_free(pool);
	return 0;
}

static const char *ask(const char *question)
{
	size_t len = lookup_answer(&lookup, question, out);

	assert_true(len > 0 && len <= LOOKUP_ANSWER_MAX && out[len - 1] == '\n');
	out[len] = '\0';
	return out;
}

/* Announces it, and writes its source address to text. */
static uint32_t announce(struct up_builder *b, uint32_t index, char text[INET_ADDRSTRLEN])
{
	uint32_t slot;
	uint8_t ip[4];

	b->up.ref = (struct sluice_ref){.index = index, .generation = 7, .worker = 1};
	slot = source_take(pool, b->up.ref, source_fingerprint(&b->up), 0);
	assert_int_not_equal(slot, SOURCE_NONE);
	assert_true(peer_set(peers, slot, EDGE_NONE, &b->up));
	source_address(pool, slot, ip);
	inet_ntop(AF_INET, ip, text, INET_ADDRSTRLEN);
	return slot;
}

static void a_session_is_found(void **state)
{
	static const uint8_t peer_ip[16] = {[10] = 0xff, 0xff, 192, 0, 2, 7};
	char address[INET_ADDRSTRLEN], question[64];
	struct up_builder b;
	uint32_t slot;

	(void)state;
	up_begin(&b, SLUICE_IDENTITY_AE_ID);
	b.up.suite = 0xc0a8;
	b.up.has_cid = 1;
	memcpy(b.up.peer.ip, peer_ip, sizeof(peer_ip));
	b.up.peer.port = htons(40001);
	up_text(&b, SLUICE_FIELD_IDENTITY, "CAE1");
	up_text(&b, SLUICE_FIELD_IDENTITY, "/cse/CAE1");
	up_text(&b, SLUICE_FIELD_CREDENTIAL_ID, "urn:dev:1");
	up_text(&b, SLUICE_FIELD_TENANT, "plant");
	up_text(&b, SLUICE_FIELD_SNI, "plant.example");
	slot = announce(&b, 3, address);
	assert_string_equal(ask(address),
			    "{\"found\":true,\"session\":{\"worker\":1,\"index\":3,\"generation\":7},"
			    "\"tenant\":\"plant\",\"identity_kind\":\"ae-id\",\"identities\":[\"CAE1\","
			    "\"/cse/CAE1\"],\"credential\":\"psk\",\"credential_id\":\"urn:dev:1\","
			    "\"credential_id_hex\":\"75726e3a6465763a31\",\"server_name\":\"plant.example\","
			    "\"suite\":49320,\"cid\":true,\"peer\":\"192.0.2.7:40001\"}\n");
	snprintf(question, sizeof(question), "%s:5683", address);
	assert_non_null(strstr(ask(question), "CAE1"));
	peer_moved(peers, slot,
		   &(struct sluice_address){.ip = {0x20, 0x01, 0x0d, 0xb8, [15] = 9}, .port = htons(1)});
	assert_non_null(strstr(ask(address), "\"peer\":\"[2001:db8::9]:1\""));
	source_release(pool, b.up.ref, 0); /* even while its record is kept */
	assert_string_equal(ask(address), "{\"found\":false,\"why\":\"no session has this address\"}\n");
}

static void questions_that_name_nobody(void **state)
{
	static const char *const strange[] = {"",
					      "127.64.0.300",
					      "[127.64.0.9",
					      "[]:1",
					      "::1",
					      "meter",
					      "127.64.0.9 ",
					      "..",
					      "127.64.0.09999999999999999999"};
	static const char *const free_ones[] = {"127.64.0.9", "10.0.0.1", "127.64.0.0", "127.64.255.255",
						"127.0.0.1"};

	(void)state;
	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++)
		assert_string_equal(ask(strange[i]), "{\"found\":false,\"why\":\"not an IPv4 address\"}\n");
	for (size_t i = 0; i < sizeof(free_ones) / sizeof(free_ones[0]); i++)
		assert_string_equal(ask(free_ones[i]),
				    "{\"found\":false,\"why\":\"no session has this address\"}\n");
}

/* Text of a peer's choosing must neither break out of its quotes nor be taken for another. */
static void names_are_written_safely(void **state)
{
	char address[INET_ADDRSTRLEN];
	struct up_builder b;

	(void)state;
	up_begin(&b, SLUICE_IDENTITY_CREDENTIAL);
	up_text(&b, SLUICE_FIELD_CREDENTIAL_ID, "a\",\"tenant\":\"b\\\n");
	announce(&b, 1, address);
	assert_non_null(strstr(ask(address),
			       "\"credential_id\":\"a\\u0022,\\u0022tenant\\u0022:\\u0022b\\u005c\\u000a\""));
	up_begin(&b, SLUICE_IDENTITY_CREDENTIAL);
	up_text(&b, SLUICE_FIELD_CREDENTIAL_ID, "z\xc3\xa4hler \xe2\x82\xac \xf0\x9f\x94\x8c");
	announce(&b, 2, address);
	assert_non_null(
		strstr(ask(address), "\"credential_id\":\"z\xc3\xa4hler \xe2\x82\xac \xf0\x9f\x94\x8c\""));
}

static void bytes_that_are_no_text_are_null(void **state)
{
	static const char *const of[] = {"\xff",
					 "a\xc3",
					 "\xc0\xaf",
					 "\xe0\x80\x80",
					 "\xed\xa0\x80",
					 "\xf4\x90\x80\x80",
					 "\xf8\x88\x80\x80\x80",
					 "\x80",
					 "\xe2\x82"};
	char address[INET_ADDRSTRLEN];
	struct up_builder b;

	(void)state;
	for (uint32_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		up_begin(&b, SLUICE_IDENTITY_CREDENTIAL);
		up_text(&b, SLUICE_FIELD_CREDENTIAL_ID, of[i]);
		announce(&b, 10 + i, address);
		assert_non_null(strstr(ask(address), "\"credential_id\":null,\"credential_id_hex\":\""));
	}
	assert_non_null(strstr(out, "\"credential_id_hex\":\"e282\""));
}

static void exporter_values_are_not_kept(void **state)
{
	struct sluice_field field = {0};
	char address[INET_ADDRSTRLEN];
	struct up_builder b;
	uint32_t slot;

	(void)state;
	up_begin(&b, SLUICE_IDENTITY_AE_ID);
	up_text(&b, SLUICE_FIELD_EXPORTER_LABEL, "EXPORTER-oneM2M-Connection");
	up_text(&b, SLUICE_FIELD_EXPORTER_VALUE, "secretsecretsecret");
	up_text(&b, SLUICE_FIELD_IDENTITY, "C1");
	slot = announce(&b, 20, address);
	assert_true(sluice_field_next(peer_up(peer_get(peers, slot)), &field));
	assert_int_equal(field.type, SLUICE_FIELD_IDENTITY);
	assert_memory_equal(field.bytes, "C1", 2);
	assert_false(sluice_field_next(peer_up(peer_get(peers, slot)), &field));
	assert_null(strstr(ask(address), "secret"));
}

static void the_longest_answer_fits(void **state)
{
	static struct {
		struct sluice_session_up up;
		uint8_t fields[UINT16_MAX];
	} huge;
	uint16_t header[2] = {SLUICE_FIELD_CREDENTIAL_ID, UINT16_MAX - 7};
	uint32_t slot;
	char address[INET_ADDRSTRLEN];
	uint8_t ip[4];

	(void)state;
	huge.up.ref = (struct sluice_ref){.index = 30, .generation = 1};
	huge.up.fields_len = UINT16_MAX - 3;
	memset(huge.fields, 1, sizeof(huge.fields));
	memcpy(huge.fields, header, sizeof(header));
	slot = source_take(pool, huge.up.ref, 1, 0);
	assert_true(peer_set(peers, slot, EDGE_NONE, &huge.up));
	source_address(pool, slot, ip);
	inet_ntop(AF_INET, ip, address, sizeof(address));
	assert_true(strlen(ask(address)) > 8 * (UINT16_MAX - 7));
	assert_non_null(strstr(out, "\"peer\":\"[::]:0\"}\n"));
}

static void peers_come_and_go(void **state)
{
	struct up_builder b;

	(void)state;
	up_begin(&b, SLUICE_IDENTITY_AE_ID);
	assert_null(peer_get(peers, 5000));
	assert_null(peer_get(peers, SOURCE_SLOTS_MAX));
	for (unsigned i = 0; i < 3; i++)
		assert_true(peer_set(peers, 5000, EDGE_LWM2M, &b.up));
	assert_int_equal(peer_get(peers, 5000)->check, EDGE_LWM2M);
	peer_drop(peers, 5000);
	peer_drop(peers, 5000);
	assert_null(peer_get(peers, 5000));
	assert_true(peer_set(peers, 5001, EDGE_NONE, &b.up));
	peers_clear(peers);
	assert_null(peer_get(peers, 5001));
}

/* ---- the door */

static size_t shout(const void *context, const char *question, char *answer)
{
	(void)context;
	return (size_t)sprintf(answer, "<%s>\n", question);
}

static size_t shout_long(const void *context, const char *question, char *answer)
{
	(void)context;
	memset(answer, question[0], 1 << 19);
	return 1 << 19;
}

static int knock(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void process(struct door *d)
{
	for (unsigned i = 0; i < 100; i++)
		door_process(d);
}

static void expect(int fd, const char *text)
{
	char buffer[4096];
	ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);

	assert_int_equal(n, (ssize_t)strlen(text));
	assert_memory_equal(buffer, text, strlen(text));
}

static void expect_cut_off(int fd)
{
	static char rest[1 << 20];
	ssize_t n;

	do
		n = recv(fd, rest, sizeof(rest), MSG_DONTWAIT);
	while (n > 0);
	assert_true(n == 0 || errno == ECONNRESET); /* not EAGAIN */
	close(fd);
}

static void the_door_answers_line_by_line(void **state)
{
	char path[] = "/tmp/sluice-door-XXXXXX", line[DOOR_QUESTION_MAX + 1];
	struct stat status;
	struct door *d;
	int a, b;

	(void)state;
	close(mkstemp(path));
	assert_null(door_open(path, 64, shout, NULL)); /* a file that is not ours */
	assert_int_equal(errno, EEXIST);
	unlink(path);
	d = door_open(path, 4096, shout, NULL);
	assert_non_null(d);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0660);
	assert_null(door_open(path, 4096, shout, NULL));
	assert_int_equal(errno, EADDRINUSE);
	a = knock(path);
	b = knock(path);
	assert_int_equal(send(a, "on", 2, 0), 2);
	process(d);
	assert_int_equal(send(a, "e\ntwo\r\nthr", 10, 0), 10);
	assert_int_equal(send(b, "four\n", 5, 0), 5);
	process(d);
	expect(a, "<one>\n<two>\n");
	expect(b, "<four>\n");
	assert_int_equal(send(a, "ee\n", 3, 0), 3);
	process(d);
	expect(a, "<three>\n");
	memset(line, 'x', sizeof(line));
	assert_int_equal(send(a, line, sizeof(line), 0), sizeof(line));
	process(d);
	expect_cut_off(a);
	assert_int_equal(send(b, "five\n", 5, 0), 5);
	process(d);
	expect(b, "<five>\n");
	close(b);
	door_close(d);
	assert_int_equal(access(path, F_OK), -1);
}

/* More askers than places: the others wait until one goes, and nobody keeps the door busy meanwhile. */
static void the_door_has_so_many_places(void **state)
{
	char path[] = "/tmp/sluice-door-XXXXXX";
	int askers[DOOR_ASKERS_MAX + 1];
	struct door *d;

	(void)state;
	close(mkstemp(path));
	unlink(path);
	d = door_open(path, 4096, shout, NULL);
	assert_non_null(d);
	for (unsigned i = 0; i <= DOOR_ASKERS_MAX; i++) {
		askers[i] = knock(path);
		assert_int_equal(send(askers[i], "?\n", 2, 0), 2);
		process(d);
	}
	for (unsigned i = 0; i < DOOR_ASKERS_MAX; i++)
		expect(askers[i], "<?>\n");
	assert_int_equal(recv(askers[DOOR_ASKERS_MAX], path, 1, MSG_DONTWAIT), -1);
	close(askers[0]);
	process(d);
	expect(askers[DOOR_ASKERS_MAX], "<?>\n");
	for (unsigned i = 1; i <= DOOR_ASKERS_MAX; i++)
		close(askers[i]);
	door_close(d);
}

static void an_asker_that_does_not_read_is_cut_off(void **state)
{
	char path[] = "/tmp/sluice-door-XXXXXX";
	struct door *d;
	int bad;

	(void)state;
	close(mkstemp(path));
	unlink(path);
	d = door_open(path, 1 << 19, shout_long, NULL);
	assert_non_null(d);
	bad = knock(path);
	for (unsigned i = 0; i < 20; i++)
		(void)send(bad, "q\n", 2, MSG_NOSIGNAL);
	process(d);
	expect_cut_off(bad);
	door_close(d);
}

static void a_dead_socket_is_replaced(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char path[] = "/tmp/sluice-door-XXXXXX";
	struct door *d;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	close(mkstemp(path));
	unlink(path);
	strcpy(address.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	d = door_open(path, 4096, shout, NULL);
	assert_non_null(d);
	door_close(d);
}

/* One that is alive and has no place left in its queue: to connect() and wait would be to hang. */
static void a_busy_socket_is_left_alone(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char path[] = "/tmp/sluice-door-XXXXXX";
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), waiting;

	(void)state;
	close(mkstemp(path));
	unlink(path);
	strcpy(address.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 0), 0);
	waiting = knock(path);
	alarm(60); /* instead of hanging */
	assert_null(door_open(path, 4096, shout, NULL));
	alarm(0);
	assert_int_equal(errno, EADDRINUSE);
	assert_int_equal(access(path, F_OK), 0);
	close(waiting);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_is_found),
		cmocka_unit_test(questions_that_name_nobody),
		cmocka_unit_test(names_are_written_safely),
		cmocka_unit_test(bytes_that_are_no_text_are_null),
		cmocka_unit_test(exporter_values_are_not_kept),
		cmocka_unit_test(the_longest_answer_fits),
		cmocka_unit_test(peers_come_and_go),
		cmocka_unit_test(the_door_answers_line_by_line),
		cmocka_unit_test(the_door_has_so_many_places),
		cmocka_unit_test(an_asker_that_does_not_read_is_cut_off),
		cmocka_unit_test(a_dead_socket_is_replaced),
		cmocka_unit_test(a_busy_socket_is_left_alone),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
