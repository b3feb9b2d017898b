/* controlplane/entry.c and entry_json.c: credentials as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/entry.h"

#define ROOT "53269057e12fe2b74ba07c892560a2d753877eb62ff44d5a19002530ed97ffe4"

static char why[ENTRY_WHY_MAX];

/* One line under one header, or one line of JSON when header is NULL. */
static bool read_line(const char *header, const char *text, struct credential *c)
{
	char *first = strdup(header != NULL ? header : ""), *line = strdup(text);
	struct entry_columns columns;
	struct entry e;
	bool good;

	assert_true(first != NULL && line != NULL);
	why[0] = 0;
	good = header == NULL
		       ? entry_from_json(line, &e, why)
		       : entry_from_header(first, &columns, why) && entry_from_csv(line, &columns, &e, why);
	good = good && entry_to_credential(&e, c, why);
	assert_int_equal(good, why[0] == 0);
	free(first);
	free(line);
	return good;
}

static void csv_is_read(void **state)
{
	struct credential c;

	assert_true(read_line("identity,key", "dev,00ff", &c));
	assert_int_equal(c.id.kind, SLUICE_CREDENTIAL_PSK);
	assert_int_equal(c.id.name_len, 3);
	assert_int_equal(c.psk.key_len, 2);
	assert_int_equal(c.psk.key[1], 0xff);
	assert_int_equal(c.psk.registree.kind, SLUICE_IDENTITY_CREDENTIAL);
	assert_true(read_line("ids,tenant,kind,key,identity", "C-1 C-2,acme,ae-id,00FF,\"a,\"\"b\"\"\"", &c));
	assert_memory_equal(c.id.name, "a,\"b\"", 5);
	assert_string_equal(c.id.tenant, "acme");
	assert_int_equal(c.psk.registree.identities_count, 2);
	assert_string_equal(c.psk.registree.identities[1], "C-2");
	assert_true(read_line("identity,identity_hex,key,kind,ids", ",00ff,00,lwm2m-endpoint,one two", &c));
	assert_memory_equal(c.id.name, "\0\xff", 2);
	assert_int_equal(c.psk.registree.identities_count, 1);
	assert_string_equal(c.psk.registree.identities[0], "one two");
	assert_true(read_line("certificate_name,root,kind,ids", "cse.example," ROOT ",cse-id,/cse", &c));
	assert_int_equal(c.id.kind, SLUICE_CREDENTIAL_X509);
	assert_int_equal(c.id.digest[0], 0x53);
	assert_true(read_line("public_key", "ni:///sha-256-120;UyaQV-Ev4rdLoHyJJWCi", &c));
	assert_int_equal(c.id.kind, SLUICE_CREDENTIAL_RPK);
	assert_int_equal(c.id.digest_len, 15);
}

static void json_is_read(void **state)
{
	struct credential c;

	assert_true(read_line(NULL, "{\"identity\":\"dev\",\"key\":\"00ff\"}", &c));
	assert_true(read_line(NULL,
			      " { \"ids\" : [ \"C-1\" , \"C-2\" ] , \"kind\" : \"ae-id\", \"key\":\"00\", "
			      "\"identity\":\"\\u00fc\\\\\\/\\ud83d\\ude00\" } ",
			      &c));
	assert_int_equal(c.id.name_len, 8);
	assert_memory_equal(c.id.name, "\xc3\xbc\\/\xf0\x9f\x98\x80", 8);
	assert_int_equal(c.psk.registree.identities_count, 2);
	assert_true(
		read_line(NULL, "{\"public_key\":\"" ROOT "\",\"kind\":\"cse-id\",\"ids\":\"/cse\"}", &c));
	assert_int_equal(c.id.digest_len, 32);
}

static void bad_lines_are_refused(void **state)
{
	static const struct {
		const char *header, *line, *reason;
	} bad[] = {
		{"", "x", "must name the columns"},
		{"identity,colour", "x", "must name the columns"},
		{"identity,identity", "x", "named twice"},
		{"\"identity", "x", "must name the columns"},
		{"identity,key", "dev", "fewer columns"},
		{"identity,key", "dev,00,x", "more columns"},
		{"identity,key", "\"dev,00", "quotation mark"},
		{"identity,key", "\"dev\"x,00", "quotation mark"},
		{"identity,key", ",00", "one credential"},
		{"identity,key", "dev,", "key is missing"},
		{"identity,key", "dev,0", "hexadecimal"},
		{"identity,key", "dev,0g", "hexadecimal"},
		{"identity,key", "a\x01,00", "UTF-8"},
		{"identity,key", "a\xff,00", "UTF-8"},
		{"identity_hex,key", "0,00", "1 to 128"},
		{"identity_hex,key", "000,00", "two for each byte"},
		{"identity,identity_hex,key", "a,00,00", "exclude"},
		{"identity,key,ids", "a,00,x", "needs its kind"},
		{"identity,key,kind", "a,00,ae-id", "identity is missing"},
		{"identity,key,kind", "a,00,AE-ID", "kind must be"},
		{"identity,key,kind,ids", "a,00,credential,x", "no other identity"},
		{"identity,key,kind,ids", "a,00,ae-id,1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17",
		 "more than 16"},
		{"identity,key,tenant",
		 "a,00,0123456789012345678901234567890123456789012345678901234567890123", "tenant is longer"},
		{"identity,public_key,key", "a," ROOT ",00", "one credential"},
		{"certificate_name", "x", "both its name and its root"},
		{"certificate_name,root", "x,00", "64 hexadecimal"},
		{"public_key", "ni:///sha-1;UyaQV", "RFC 6920"},
		{"public_key,key", ROOT ",00", "only a pre-shared key"},
		{NULL, "", "not a JSON object"},
		{NULL, "[]", "not a JSON object"},
		{NULL, "{", "member"},
		{NULL, "{}", "one credential"},
		{NULL, "{\"identity\":\"a\"", "does not end"},
		{NULL, "{\"identity\":\"a\",}", "member"},
		{NULL, "{\"identity\":\"a\",\"key\":\"00\"} x", "something follows"},
		{NULL, "{\"identity\":1}", "not a string"},
		{NULL, "{\"identity\":null}", "not a string"},
		{NULL, "{\"identity\":\"a}", "not a string"},
		{NULL, "{\"identity\":\"\\x\"}", "not a string"},
		{NULL, "{\"identity\":\"\\u0000\"}", "not a string"},
		{NULL, "{\"identity\":\"\\ud800\"}", "not a string"},
		{NULL, "{\"identity\":\"\\udc00\"}", "not a string"},
		{NULL, "{\"identity\":\"\\u12\"}", "not a string"},
		{NULL, "{\"identity\":\"a\",\"identity\":\"b\"}", "twice"},
		{NULL, "{\"identitty\":\"a\"}", "member other than"},
		{NULL, "{\"ids\":[1]}", "ids must be"},
		{NULL, "{\"ids\":[\"a\"}", "bracket"},
		{NULL, "{\"ids\":[\"a\"],\"ids\":[\"b\"]}", "twice"},
		{NULL, "{\"identity\":\"a\",\"key\":\"00\",\"kind\":\"ae-id\",\"ids\":[\"a b\"]}",
		 "no spaces"},
	};
	struct credential c;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		bool good = read_line(bad[i].header, bad[i].line, &c);

		if (good || strstr(why, bad[i].reason) == NULL)
			fail_msg("case %zu \"%s\": expected \"%s\", got \"%s\"", i, bad[i].line,
				 bad[i].reason, good ? "accepted" : why);
	}
}

/* No message of a refused line may tell its key. */
static void keys_stay_out_of_messages(void **state)
{
	struct credential c;

	assert_false(read_line("identity,key", "dev,5ec4e7x", &c));
	assert_null(strstr(why, "5ec4e7"));
	assert_false(read_line(NULL, "{\"identity\":\"d\",\"key\":\"5ec4e7x\"}", &c));
	assert_null(strstr(why, "5ec4e7"));
}

/* What is printed reads back as the same. */
static void printed_lines_read_back(void **state)
{
	static const char *const lines[] = {
		"{\"identity\":\"a,\\\"\\\\ü\",\"key\":\"00ff\",\"tenant\":\"t,\",\"kind\":\"ae-id\",\"ids\":"
		"[\"C-1\",\"C-2\"]}",
		"{\"identity_hex\":\"00ff\",\"key\":\"00\"}",
		"{\"certificate_name\":\"x\",\"root\":\"" ROOT "\",\"kind\":\"cse-id\",\"ids\":[\"/a b\"]}",
		"{\"public_key\":\"ni:///"
		"sha-256-128;UyaQV-Ev4rdLoHyJJWCi1w\",\"kind\":\"lwm2m-endpoint\",\"ids\":[\"u\"]}",
	};
	struct credential first, again;
	char header[256], line[1024];
	FILE *f;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (!read_line(NULL, lines[i], &first))
			fail_msg("%s: %s", lines[i], why);
		f = fmemopen(header, sizeof(header), "w");
		entry_print_header(f, first.id.kind, true);
		fclose(f);
		header[strcspn(header, "\n")] = 0;
		for (int json = 0; json < 2; json++) {
			f = fmemopen(line, sizeof(line), "w");
			json ? entry_print_json(f, &first, true) : entry_print_csv(f, &first, true);
			fclose(f);
			line[strcspn(line, "\n")] = 0;
			if (!read_line(json ? NULL : header, line, &again))
				fail_msg("%s: %s", line, why);
			assert_memory_equal(&first, &again, sizeof(first));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(csv_is_read),
		cmocka_unit_test(json_is_read),
		cmocka_unit_test(bad_lines_are_refused),
		cmocka_unit_test(keys_stay_out_of_messages),
		cmocka_unit_test(printed_lines_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
