/* config/: the example file is the schema, defaults are what the schema says, and every kind of bad file is
 * refused with one sentence that names the place.
 */
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

#include "config/config.h"
#include "config/schema.h"

static char directory[] = "/tmp/sluice-test-config-XXXXXX";
static char error[2048];

/* Paths of files that the tests need, in place of %PSK%, %CERT%, %KEY% and %DIR% in a text. */
static char *expand(const char *text)
{
	static const char *const names[] = {"%PSK%", "%CERT%", "%KEY%", "%DIR%", "%OPEN%", "%GONE%"};
	static const char *const files[] = {"/psk", "/cert", "/key", "", "/open", "/gone"};
	char *out = NULL;
	size_t out_len;
	FILE *f = open_memstream(&out, &out_len);

	assert_non_null(f);
	while (*text != 0) {
		size_t i = 0;

		while (i < 6 && strncmp(text, names[i], strlen(names[i])) != 0)
			i++;
		if (i < 6) {
			fprintf(f, "%s%s", directory, files[i]);
			text += strlen(names[i]);
		} else {
			fputc(*text++, f);
		}
	}
	fclose(f);
	return out;
}

static struct config *load(const char *text)
{
	char *expanded = expand(text);
	struct config *c = config_load_text(expanded, strlen(expanded), "f", error, sizeof(error));

	free(expanded);
	return c;
}

/* The rest of a test makes no sense without its configuration. */
static struct config *load_good(const char *text)
{
	struct config *c = load(text);

	if (c == NULL) {
		print_error("%s\n", error);
		exit(1);
	}
	return c;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
}

static int make_files(void **state)
{
	if (mkdtemp(directory) == NULL)
		return -1;
	write_file("psk", "device:00112233445566778899aabbccddeeff\n", 0600);
	write_file("cert", "-----BEGIN CERTIFICATE-----\n", 0644);
	write_file("key", "-----BEGIN EC PRIVATE KEY-----\n", 0600);
	write_file("open", "-----BEGIN EC PRIVATE KEY-----\n", 0644);
	return 0;
}

static int remove_files(void **state)
{
	static const char *const names[] = {"psk", "cert", "key", "open", "yaml"};
	char path[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	return rmdir(directory);
}

#define LEAST "port: {ipv4: 192.0.2.1/24}\ncredentials: {psk_file: %PSK%}\n"

/* ---- what is accepted */

static void least_file_has_every_default(void **state)
{
	struct config *c = load_good(LEAST);

	assert_int_equal(c->workers.count, 1);
	assert_int_equal(c->workers.idle, CONFIG_IDLE_SLEEP);
	assert_null(c->workers.cores);
	assert_int_equal(c->port.eal_count, 0);
	assert_null(c->port.eal);
	assert_null(c->port.ipv6);
	assert_int_equal(c->port.udp_port, 5684);
	assert_int_equal(c->port.mtu, 1500);
	assert_true(c->sessions.cid);
	assert_true(c->tls.require_ems);
	assert_int_equal(c->tls.client_certificate, CONFIG_CLIENT_CERTIFICATE_NONE);
	assert_int_equal(c->tls.registrees, CONFIG_REGISTREES_OPTIONAL);
	assert_int_equal(c->tls.suites_count, 0);
	assert_string_equal(c->ring.socket, "/run/sluice/ring.sock");
	assert_string_equal(c->ring.mode, "0660");
	assert_null(c->crypto_engine);
	assert_string_equal(c->log_level, "info");
	config_free(c);
}

static void values_arrive(void **state)
{
	struct config *c =
		load_good("workers: {count: 64, idle: poll, idle_us: 10, cores: \"0@1,(1-2)@3\"}\n"
			  "port:\n"
			  "  eal: [\"--no-huge\", \"-m\", \"256\", \"--no-pci\", \"--vdev\", "
			  "\"net_tap0,iface=sluice0\"]\n"
			  "  ipv4: 10.77.0.1/24\n  ipv6: 2001:db8::1/64\n  vlan: 4094\n  udp_port: 5685\n"
			  "  mtu: 9000\nsessions: {max: 16000000, cid: no}\n"
			  "tls:\n  suites: [TLS_PSK_WITH_AES_128_CCM_8, TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8]\n"
			  "  certificate: %CERT%\n  key: %KEY%\n  trust_anchors: %CERT%\n"
			  "  client_certificate: required\n  registrees: required\n  require_ems: off\n"
			  "credentials: {psk_file: %PSK%}\n"
			  "ring: {socket: /tmp/r, mode: 0600, group: root, uplink_kib: 256}\n"
			  "crypto_engine: reference\nlog_level: debug\n");

	assert_int_equal(c->workers.count, 64);
	assert_int_equal(c->workers.idle, CONFIG_IDLE_POLL);
	assert_string_equal(c->workers.cores, "0@1,(1-2)@3");
	assert_int_equal(c->port.eal_count, 6);
	assert_string_equal(c->port.eal[5], "net_tap0,iface=sluice0");
	assert_string_equal(c->port.ipv6, "2001:db8::1/64");
	assert_int_equal(c->port.vlan, 4094);
	assert_int_equal(c->sessions.max, 16000000);
	assert_false(c->sessions.cid);
	assert_int_equal(c->tls.suites_count, 2);
	assert_string_equal(c->tls.suites[0], "TLS_PSK_WITH_AES_128_CCM_8");
	assert_int_equal(c->tls.client_certificate, CONFIG_CLIENT_CERTIFICATE_REQUIRED);
	assert_int_equal(c->tls.registrees, CONFIG_REGISTREES_REQUIRED);
	assert_false(c->tls.require_ems);
	assert_string_equal(c->ring.mode, "0600");
	assert_int_equal(c->ring.uplink_kib, 256);
	assert_int_equal(c->ring.downlink_kib, 4096);
	assert_string_equal(c->crypto_engine, "reference");
	config_free(c);
}

static void empty_values_count_as_absent(void **state)
{
	struct config *c =
		load(LEAST "sessions:\nworkers:\n  count:\n  cores: ~\ntls: {suites: null}\nlog_level: \n");

	assert_int_equal(c->workers.count, 1);
	assert_int_equal(c->sessions.max, 100000);
	assert_null(c->workers.cores);
	assert_null(c->tls.suites);
	assert_string_equal(c->log_level, "info");
	config_free(c);
}

static void a_raw_key_is_enough(void **state)
{
	struct config *c = load_good("port: {ipv4: 192.0.2.1/24}\n"
				     "tls: {raw_key: %KEY%, client_certificate: required, "
				     "suites: [TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8]}\n");

	assert_null(c->tls.certificate);
	assert_non_null(c->tls.raw_key);
	config_free(c);
}

static void tenants_arrive(void **state)
{
	struct config *c =
		load_good(LEAST "tls: {require_ems: no, unknown_server_name: refuse}\n"
				"tenants:\n"
				"  - name: water\n"
				"    server_names: [water.example, \"*.meters.water.example\"]\n"
				"    suites: [TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8]\n"
				"    certificate: %CERT%\n    key: %KEY%\n    trust_anchors: %CERT%\n"
				"    client_certificate: required\n    require_ems: no\n"
				"  - {server_names: [heat.example], certificate: %CERT%, key: %KEY%, name: "
				"heat, suites: ~}\n");

	assert_int_equal(c->tls.unknown_server_name, CONFIG_UNKNOWN_SERVER_NAME_REFUSE);
	assert_int_equal(c->tenants_count, 2);
	assert_string_equal(c->tenants[0].name, "water");
	assert_int_equal(c->tenants[0].server_names_count, 2);
	assert_string_equal(c->tenants[0].server_names[1], "*.meters.water.example");
	assert_int_equal(c->tenants[0].tls.suites_count, 1);
	assert_int_equal(c->tenants[0].tls.client_certificate, CONFIG_CLIENT_CERTIFICATE_REQUIRED);
	assert_false(c->tenants[0].tls.require_ems);
	/* nothing is inherited */
	assert_string_equal(c->tenants[1].name, "heat");
	assert_int_equal(c->tenants[1].tls.suites_count, 0);
	assert_int_equal(c->tenants[1].tls.client_certificate, CONFIG_CLIENT_CERTIFICATE_NONE);
	assert_true(c->tenants[1].tls.require_ems);
	config_free(c);
	c = load_good(LEAST "tenants:\n");
	assert_int_equal(c->tenants_count, 0);
	config_free(c);
	c = load_good(LEAST "tenants: []\n");
	assert_int_equal(c->tenants_count, 0);
	config_free(c);
}

static void too_many_tenants_are_refused(void **state)
{
	char *text = NULL;
	size_t text_len;
	FILE *f = open_memstream(&text, &text_len);

	fputs(LEAST "tenants:\n", f);
	for (unsigned i = 0; i <= CONFIG_TENANTS_MAX; i++)
		fprintf(f,
			"  - {name: t%u, server_names: [t%u.example], certificate: %%CERT%%, key: %%KEY%%}\n",
			i, i);
	fclose(f);
	assert_null(load(text));
	assert_non_null(strstr(error, "f:260: tenants must be a list of at most 256 entries"));
	*strstr(text, "  - {name: t256,") = 0;
	config_free(load_good(text));
	free(text);
}

/* ---- the schema, and what is made from it */

static void schema_is_consistent(void **state)
{
	const struct config_section *sections;
	const struct config_option *options;
	unsigned count, sections_count;
	char key[64];

	options = schema_options(&count);
	sections = schema_sections(&sections_count);
	for (unsigned i = 0; i < count; i++) {
		const struct config_option *o = &options[i];
		char why[2048];

		option_key(o, key, sizeof(key));
		print_message("%s\n", key);
		assert_ptr_equal(schema_find(o->section, o->name), o);
		assert_true(strlen(o->help) > 10 && o->help[strlen(o->help) - 1] == '.');
		assert_true(o->fallback != NULL || o->example != NULL || o->choices != NULL);
		if (o->type == OPTION_NUMBER)
			assert_true(o->min < o->max && o->unit != NULL && o->fallback != NULL);
		if (o->fallback != NULL)
			assert_true(option_accepts(o, o->fallback, strlen(o->fallback)));
		if (o->fallback != NULL && o->check != NULL)
			assert_true(o->check(o->fallback, why, sizeof(why)));
		assert_true(o->fallback == NULL || !o->shown);
	}
	for (unsigned i = 0; i < sections_count; i++)
		assert_null(schema_find(NULL, sections[i].name));
}

static char *print_schema(void)
{
	char *text = calloc(1, CONFIG_FILE_MAX);
	FILE *f = text != NULL ? fmemopen(text, CONFIG_FILE_MAX, "w") : NULL;

	assert_non_null(f);
	config_print_schema(f);
	fclose(f);
	return text;
}

static char *read_example(void)
{
	char *text = calloc(1, CONFIG_FILE_MAX);
	FILE *f = fopen(EXAMPLE_FILE, "r");

	assert_non_null(text);
	assert_non_null(f);
	assert_true(fread(text, 1, CONFIG_FILE_MAX - 1, f) > 0);
	fclose(f);
	return text;
}

static void example_file_is_the_schema(void **state)
{
	char *printed = print_schema(), *example = read_example();

	assert_string_equal(example,
			    printed); /* out of date? build/config/generate yaml > config/sluice.yaml */
	free(printed);
	free(example);
}

/* Line by line, with the file that it names put in place. */
static void example_file_loads_as_the_defaults(void **state)
{
	char *example = print_schema(), *psk = strstr(example, "/etc/sluice/psk.txt"), *end;
	struct config *shown, *least;
	char *text = NULL;

	assert_non_null(psk);
	*psk = 0;
	end = psk + strlen("/etc/sluice/psk.txt");
	assert_true(asprintf(&text, "%s%%PSK%%%s", example, end) > 0);
	shown = load_good(text);
	least = load_good("port: {ipv4: 10.77.0.1/24, eal: [--no-huge, -m, \"256\", --no-pci, --vdev, "
			  "\"net_tap0,iface=sluice0\"]}\ncredentials: {psk_file: %PSK%}\n");
	assert_memory_equal(&shown->sessions, &least->sessions, sizeof(least->sessions));
	assert_memory_equal(&shown->handshakes, &least->handshakes, sizeof(least->handshakes));
	assert_memory_equal(&shown->tls, &least->tls, sizeof(least->tls));
	assert_int_equal(shown->port.eal_count, least->port.eal_count);
	for (unsigned i = 0; i < least->port.eal_count; i++)
		assert_string_equal(shown->port.eal[i], least->port.eal[i]);
	assert_string_equal(shown->ring.socket, least->ring.socket);
	config_free(shown);
	config_free(least);
	free(text);
	free(example);
}

/* What the example file shows as a comment, without the "# " in front of each line. */
static void example_of_tenants_loads(void **state)
{
	char *example = print_schema(), *line = strstr(example, "# tenants:\n"), *text = NULL;
	size_t text_len;
	FILE *f = open_memstream(&text, &text_len);
	struct config *c;

	assert_non_null(line);
	fputs("port: {ipv4: 192.0.2.1/24}\ncredentials: {store: %DIR%}\n", f);
	for (; line[0] == '#'; line = strchr(line, '\n') + 1)
		fprintf(f, "%.*s\n", (int)strcspn(line, "\n") - 2, line + 2);
	fclose(f);
	c = load_good(text);
	assert_int_equal(c->tenants_count, 1);
	assert_string_equal(c->tenants[0].name, "utility");
	assert_string_equal(c->tenants[0].server_names[1], "*.meters.utility.example");
	assert_int_equal(c->tenants[0].tls.suites_count, 1);
	config_free(c);
	free(text);
	free(example);
}

static void prefixes_are_taken_apart(void **state)
{
	static const uint8_t v4[16] = {[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 1};
	uint8_t ip[16];
	unsigned prefix_len;

	assert_true(config_parse_prefix("192.0.2.1/24", ip, &prefix_len));
	assert_memory_equal(ip, v4, 16);
	assert_int_equal(prefix_len, 24);
	assert_true(config_parse_prefix("2001:db8::1/128", ip, &prefix_len));
	assert_int_equal(ip[0], 0x20);
	assert_int_equal(prefix_len, 128);
	assert_false(config_parse_prefix("192.0.2.1/33", ip, &prefix_len));
	assert_false(config_parse_prefix("192.0.2.1", ip, &prefix_len));
	assert_false(config_parse_prefix("2001:db8::1/129", ip, &prefix_len));
	assert_false(config_parse_prefix("192.0.2.1/-1", ip, &prefix_len));
	assert_false(config_parse_prefix("192.0.2.1/ 1", ip, &prefix_len));
	assert_false(config_parse_prefix("/24", ip, &prefix_len));
}

/* ---- what is refused */

struct bad {
	const char *text;
	const char *sentence; /* the message must hold this */
};

static const struct bad bad_files[] = {
#include "bad_config.h"
};

static void every_bad_file_is_refused(void **state)
{
	unsigned wrong = 0;

	for (size_t i = 0; i < sizeof(bad_files) / sizeof(bad_files[0]); i++) {
		struct config *c = load(bad_files[i].text);

		if (c != NULL || strstr(error, bad_files[i].sentence) == NULL ||
		    strchr(".?", error[strlen(error) - 1]) == NULL) {
			print_message("case %zu:\n%s\nexpected: %s\ngot: %s\n", i, bad_files[i].text,
				      bad_files[i].sentence, c != NULL ? "(accepted)" : error);
			wrong++;
		}
		config_free(c);
	}
	assert_int_equal(wrong, 0);
	assert_true(sizeof(bad_files) / sizeof(bad_files[0]) >= 100);
}

/* Cut anywhere, a good file is either good or refused, and nothing leaks or crashes. */
static void truncated_files_do_no_harm(void **state)
{
	char *text = print_schema();
	size_t len = strlen(text);

	for (size_t cut = 0; cut < len; cut += 7) {
		struct config *c = config_load_text(text, cut, "f", error, sizeof(error));

		assert_true(c != NULL || error[0] != 0);
		config_free(c);
	}
	free(text);
}

static void bad_bytes_are_refused(void **state)
{
	static const char nul[] = "port:\n\0  mtu: 1500\n", utf16[] = "\xff\xfep\0o\0r\0t\0:\0";

	assert_null(config_load_text(nul, sizeof(nul) - 1, "f", error, sizeof(error)));
	assert_non_null(strstr(error, "NUL"));
	assert_null(config_load_text(utf16, sizeof(utf16) - 1, "f", error, sizeof(error)));
	assert_non_null(strstr(error, "NUL"));
	assert_null(config_load_text("a: b\nlog_level: \xff\n", 17, "f", error, sizeof(error)));
	assert_non_null(strstr(error, "f:2: The text is not UTF-8"));
}

static void many_and_deep_are_refused(void **state)
{
	char *text = malloc(CONFIG_FILE_MAX);
	size_t len = 0;

	assert_non_null(text);
	memset(text, '[', 100000);
	assert_null(config_load_text(text, 100000, "f", error, sizeof(error)));
	assert_non_null(strstr(error, "nested too deeply"));
	len += (size_t)sprintf(text, "port: {eal: [");
	while (len < CONFIG_FILE_MAX - 100)
		len += (size_t)sprintf(text + len, "a,");
	len += (size_t)sprintf(text + len, "]}\n");
	assert_null(config_load_text(text, len, "f", error, sizeof(error)));
	assert_non_null(strstr(error, "more than 16384"));
	free(text);
}

static void unreadable_files_are_refused(void **state)
{
	char path[128], link[140];

	assert_null(config_load(directory, error, sizeof(error)));
	assert_non_null(strstr(error, "not a regular file"));
	assert_null(config_load("/dev/zero", error, sizeof(error)));
	assert_non_null(strstr(error, "not a regular file"));
	snprintf(path, sizeof(path), "%s/gone", directory);
	assert_null(config_load(path, error, sizeof(error)));
	assert_non_null(strstr(error, "No such file"));
	write_file("yaml", "log_level: info\n", 0600);
	snprintf(path, sizeof(path), "%s/yaml", directory);
	assert_null(config_load(path, error, sizeof(error)));
	assert_non_null(strstr(error, "no address"));
	assert_int_equal(truncate(path, CONFIG_FILE_MAX + 1), 0);
	assert_null(config_load(path, error, sizeof(error)));
	assert_non_null(strstr(error, "larger than 256 KiB"));
	assert_int_equal(truncate(path, 0), 0);
	assert_null(config_load(path, error, sizeof(error)));
	assert_non_null(strstr(error, "is empty"));
	snprintf(link, sizeof(link), "%s/yaml/x", directory);
	assert_null(config_load(link, error, sizeof(error)));
	assert_non_null(strstr(error, "Not a directory"));
}

static void short_error_buffers_are_enough(void **state)
{
	char small[8];

	assert_null(config_load_text("a: b", 4, "a-long-file-name", small, sizeof(small)));
	assert_int_equal(strlen(small), sizeof(small) - 1);
	assert_null(config_load_text("a: b", 4, "f", small, 1));
	assert_null(config_load_text("a: b", 4, "f", NULL, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(least_file_has_every_default),
		cmocka_unit_test(values_arrive),
		cmocka_unit_test(empty_values_count_as_absent),
		cmocka_unit_test(a_raw_key_is_enough),
		cmocka_unit_test(tenants_arrive),
		cmocka_unit_test(too_many_tenants_are_refused),
		cmocka_unit_test(schema_is_consistent),
		cmocka_unit_test(example_file_is_the_schema),
		cmocka_unit_test(example_file_loads_as_the_defaults),
		cmocka_unit_test(example_of_tenants_loads),
		cmocka_unit_test(prefixes_are_taken_apart),
		cmocka_unit_test(every_bad_file_is_refused),
		cmocka_unit_test(truncated_files_do_no_harm),
		cmocka_unit_test(bad_bytes_are_refused),
		cmocka_unit_test(many_and_deep_are_refused),
		cmocka_unit_test(unreadable_files_are_refused),
		cmocka_unit_test(short_error_buffers_are_enough),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
