/* edge.c: whose requests pass, what the others are answered, and which tenants are checked. */
#include "ring/edge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "ring/coap.h"
#include "session_up_builder.h"

enum { OWN_ID = 0x7777 };

/* A request under construction. */
struct request {
	uint8_t bytes[1024];
	size_t len;
	uint32_t number;
};

static struct request begin(const char *head, size_t len)
{
	struct request r = {.len = len};

	memcpy(r.bytes, head, len);
	return r;
}

#define BEGIN(head) begin(head, sizeof(head) - 1)

static void option(struct request *r, uint32_t number, const char *value)
{
	const struct coap_option added = {number, (const uint8_t *)value, strlen(value)};

	r->len = coap_add_option(r->bytes, sizeof(r->bytes), r->len, r->number, &added);
	r->number = number;
}

static struct edge_answer answer;

static enum edge_verdict judge(enum edge_check check, const struct up_builder *who, const struct request *r)
{
	uint8_t *exact = malloc(r->len > 0 ? r->len : 1);
	enum edge_verdict verdict;

	memcpy(exact, r->bytes, r->len);
	verdict = edge_judge(check, who != NULL ? &who->up : NULL, exact, r->len, OWN_ID, &answer);
	free(exact);
	return verdict;
}

/* The answer is that code, has the request's token, and its message ID or our own. */
static void assert_answer(const struct request *r, uint8_t code)
{
	struct coap_message asked, told;

	assert_int_equal(coap_read(&asked, r->bytes, r->len), COAP_GOOD);
	assert_int_equal(coap_read(&told, answer.bytes, answer.len), COAP_GOOD);
	assert_int_equal(told.code, code);
	assert_int_equal(told.token_len, asked.token_len);
	assert_memory_equal(told.token, asked.token, asked.token_len);
	if (asked.type == COAP_CONFIRMABLE) {
		assert_int_equal(told.type, COAP_ACKNOWLEDGEMENT);
		assert_int_equal(told.id, asked.id);
	} else {
		assert_int_equal(told.type, COAP_NON_CONFIRMABLE);
		assert_int_equal(told.id, OWN_ID);
	}
}

static struct request onem2m(const char *from)
{
	struct request r = BEGIN("\x44\x02\x12\x34tokn");

	option(&r, COAP_URI_PATH, "cse-base");
	if (from != NULL)
		option(&r, COAP_ONEM2M_FR, from);
	option(&r, COAP_ONEM2M_RQI, "request-7");
	return r;
}

static enum edge_verdict judge_from(const struct up_builder *who, const char *from)
{
	struct request r = onem2m(from);

	return judge(EDGE_ONEM2M, who, &r);
}

/* TS-0003 7.2.1 */
static void an_ae_asks_under_its_own_name(void **state)
{
	struct up_builder who;
	struct request r = onem2m("CAE2");

	(void)state;
	up_begin(&who, SLUICE_IDENTITY_AE_ID);
	up_text(&who, SLUICE_FIELD_IDENTITY, "CAE1");
	up_text(&who, SLUICE_FIELD_IDENTITY, "/cse/CAE1");
	up_text(&who, SLUICE_FIELD_CREDENTIAL_ID, "CAE2");
	assert_int_equal(judge_from(&who, "CAE1"), EDGE_PASS);
	assert_int_equal(answer.len, 0);
	assert_int_equal(judge_from(&who, "/cse/CAE1"), EDGE_PASS);
	assert_int_equal(judge(EDGE_ONEM2M, &who, &r), EDGE_FROM); /* the credential's name is none of them */
	assert_answer(&r, COAP_FORBIDDEN);
	assert_int_equal(judge_from(&who, "CAE"), EDGE_FROM);
	assert_int_equal(judge_from(&who, "CAE11"), EDGE_FROM);
	assert_int_equal(judge_from(&who, "cae1"), EDGE_FROM);
	assert_int_equal(judge_from(&who, ""), EDGE_FROM);
	assert_int_equal(judge_from(&who, NULL), EDGE_FROM);
	assert_int_equal(judge_from(&who, "/other/CAE1"), EDGE_FROM);
	assert_int_equal(judge_from(&who, "CAE1"), EDGE_PASS);
}

/* The response says ACCESS_DENIED to the oneM2M layer, which finds its request by the identifier. */
static void a_refusal_in_words_of_onem2m(void **state)
{
	struct request r = onem2m("CAE2");
	struct coap_option at = {0};
	struct coap_message told;
	struct up_builder who;

	(void)state;
	up_begin(&who, SLUICE_IDENTITY_AE_ID);
	up_text(&who, SLUICE_FIELD_IDENTITY, "CAE1");
	assert_int_equal(judge(EDGE_ONEM2M, &who, &r), EDGE_FROM);
	assert_int_equal(coap_read(&told, answer.bytes, answer.len), COAP_GOOD);
	assert_true(coap_option_next(&told, &at));
	assert_int_equal(at.number, COAP_ONEM2M_RQI);
	assert_memory_equal(at.value, "request-7", at.len);
	assert_true(coap_option_next(&told, &at));
	assert_int_equal(at.number, COAP_ONEM2M_RSC);
	assert_int_equal(at.len, 2);
	assert_int_equal(at.value[0] << 8 | at.value[1], 4103);
	assert_false(coap_option_next(&told, &at));
}

static void an_identifier_too_long_to_repeat(void **state)
{
	struct request r = BEGIN("\x48\x02\x12\x34"
				 "12345678");
	char long_text[300];
	struct up_builder who;

	(void)state;
	memset(long_text, 'q', sizeof(long_text));
	long_text[255] = '\0';
	up_begin(&who, SLUICE_IDENTITY_AE_ID);
	up_text(&who, SLUICE_FIELD_IDENTITY, "CAE1");
	option(&r, COAP_ONEM2M_RQI, long_text);
	assert_int_equal(judge(EDGE_ONEM2M, &who, &r), EDGE_FROM);
	assert_answer(&r, COAP_FORBIDDEN);
	long_text[255] = 'q';
	long_text[299] = '\0';
	option(&r, COAP_ONEM2M_RQI + 1, long_text); /* of another number: nobody's business */
	assert_int_equal(judge(EDGE_ONEM2M, &who, &r), EDGE_FROM);
	assert_answer(&r, COAP_FORBIDDEN);
	r = BEGIN("\x48\x02\x12\x34"
		  "12345678");
	option(&r, COAP_ONEM2M_RQI, long_text);
	assert_int_equal(judge(EDGE_ONEM2M, &who, &r), EDGE_FROM);
	assert_answer(&r, COAP_FORBIDDEN);
}

/* A backend might take the second one. */
static void both_of_two_names_must_be_right(void **state)
{
	struct up_builder who;
	struct request r = BEGIN("\x40\x01\x00\x01");

	(void)state;
	up_begin(&who, SLUICE_IDENTITY_AE_ID);
	up_text(&who, SLUICE_FIELD_IDENTITY, "CAE1");
	option(&r, COAP_ONEM2M_FR, "CAE1");
	assert_int_equal(judge(EDGE_ONEM2M, &who, &r), EDGE_PASS);
	option(&r, COAP_ONEM2M_FR, "CAE2");
	assert_int_equal(judge(EDGE_ONEM2M, &who, &r), EDGE_FROM);
}

static void a_cse_relays_but_is_no_local_ae(void **state)
{
	struct up_builder who;

	(void)state;
	up_begin(&who, SLUICE_IDENTITY_CSE_ID);
	up_text(&who, SLUICE_FIELD_IDENTITY, "mn-cse");
	assert_int_equal(judge_from(&who, "mn-cse"), EDGE_PASS);
	assert_int_equal(judge_from(&who, "/mn-cse/CAE7"), EDGE_PASS);
	assert_int_equal(judge_from(&who, "//provider.example/mn-cse/S1"), EDGE_PASS);
	assert_int_equal(judge_from(&who, "CAE7"), EDGE_FROM);
	assert_int_equal(judge_from(&who, ""), EDGE_FROM);
}

static struct request lwm2m(const char *path, const char *query)
{
	struct request r = BEGIN("\x51\x02\x00\x09t");

	option(&r, COAP_URI_PATH, path);
	option(&r, COAP_URI_QUERY, "lt=86400");
	if (query != NULL)
		option(&r, COAP_URI_QUERY, query);
	option(&r, COAP_URI_QUERY, "b=U");
	return r;
}

static enum edge_verdict judge_query(const struct up_builder *who, const char *path, const char *query)
{
	struct request r = lwm2m(path, query);

	return judge(EDGE_LWM2M, who, &r);
}

static void a_device_registers_its_own_endpoint(void **state)
{
	struct request r = lwm2m("rd", "ep=urn:dev:2");
	struct up_builder who;

	(void)state;
	up_begin(&who, SLUICE_IDENTITY_LWM2M_ENDPOINT);
	up_text(&who, SLUICE_FIELD_IDENTITY, "urn:dev:1");
	up_text(&who, SLUICE_FIELD_CREDENTIAL_ID, "urn:dev:2");
	assert_int_equal(judge_query(&who, "rd", "ep=urn:dev:1"), EDGE_PASS);
	assert_int_equal(judge_query(&who, "bs", "ep=urn:dev:1"), EDGE_PASS);
	assert_int_equal(judge(EDGE_LWM2M, &who, &r), EDGE_ENDPOINT);
	assert_answer(&r, COAP_BAD_REQUEST);
	assert_int_equal(judge_query(&who, "bs", "ep=urn:dev:2"), EDGE_ENDPOINT);
	assert_int_equal(judge_query(&who, "rd/", "ep=urn:dev:2"), EDGE_ENDPOINT);
	assert_int_equal(judge_query(&who, "rd", "ep="), EDGE_ENDPOINT);
	assert_int_equal(judge_query(&who, "rd", "ep=urn:dev:1\xc3\xa9"), EDGE_ENDPOINT);
	/* an update; a name that the security layer has told (LwM2M core 1.1, 6.2.1) */
	assert_int_equal(judge_query(&who, "rd", NULL), EDGE_PASS);
	assert_int_equal(judge_query(&who, "rd", "epn=urn:dev:2"), EDGE_PASS);
}

/* From a server that makes one URI of all options, and reads it again. */
static void a_parameter_cannot_hide_in_another_option(void **state)
{
	static const char *const queries[] = {"lt=60&ep=urn:dev:2", "&ep=urn:dev:2",   "ep=urn:dev:1&",
					      "%65p=urn:dev:2",     "e%70=urn:dev:2",  "ep%3durn:dev:2",
					      "b%26ep=urn:dev:2",   "ep=urn:dev:1&b=U"};
	static const char *const paths[] = {"rd?ep=urn:dev:2", "?", "rd%3fep=urn:dev:2", "rd%3F", "r%3%3f"};
	struct up_builder who;

	(void)state;
	up_begin(&who, SLUICE_IDENTITY_LWM2M_ENDPOINT);
	up_text(&who, SLUICE_FIELD_IDENTITY, "urn:dev:1");
	up_text(&who, SLUICE_FIELD_IDENTITY, "urn:dev:1&");
	for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++)
		assert_int_equal(judge_query(&who, "rd", queries[i]), EDGE_ENDPOINT);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		assert_int_equal(judge_query(&who, paths[i], "ep=urn:dev:1"), EDGE_ENDPOINT);
	/* what only looks like it */
	assert_int_equal(judge_query(&who, "rd%3", "ep=urn:dev:1"), EDGE_PASS);
	assert_int_equal(judge_query(&who, "%3e", "lt=6%30"), EDGE_PASS);
	assert_int_equal(judge_query(&who, "", ""), EDGE_PASS);
}

static void a_query_cannot_hide_in_a_proxy_uri(void **state)
{
	struct request r = BEGIN("\x40\x02\x00\x01");
	struct up_builder who;

	(void)state;
	up_begin(&who, SLUICE_IDENTITY_LWM2M_ENDPOINT);
	up_text(&who, SLUICE_FIELD_IDENTITY, "urn:dev:1");
	option(&r, COAP_PROXY_URI, "coap://127.0.0.1/rd?ep=urn:dev:2");
	assert_int_equal(judge(EDGE_LWM2M, &who, &r), EDGE_PROXY);
	assert_answer(&r, COAP_PROXYING_NOT_SUPPORTED);
}

static void the_name_of_a_credential_stands_for_an_identity(void **state)
{
	struct up_builder who;

	(void)state;
	up_begin(&who, SLUICE_IDENTITY_CREDENTIAL);
	up_text(&who, SLUICE_FIELD_CREDENTIAL_ID, "meter");
	assert_int_equal(judge_query(&who, "rd", "ep=meter"), EDGE_PASS);
	assert_int_equal(judge_query(&who, "rd", "ep=other"), EDGE_ENDPOINT);
	assert_int_equal(judge_from(&who, "meter"), EDGE_PASS);
	assert_int_equal(judge_from(&who, "other"), EDGE_FROM);
}

static void nothing_passes_without_a_proof(void **state)
{
	struct request r = lwm2m("rd", "ep=x"), ping = BEGIN("\x40\x00\x00\x01");
	struct up_builder who;

	(void)state;
	assert_int_equal(judge(EDGE_LWM2M, NULL, &r), EDGE_UNPROVEN);
	assert_answer(&r, COAP_FORBIDDEN);
	up_begin(&who, SLUICE_IDENTITY_NONE);
	up_text(&who, SLUICE_FIELD_CREDENTIAL_ID, "x"); /* which proves nothing by itself */
	assert_int_equal(judge(EDGE_LWM2M, &who, &r), EDGE_UNPROVEN);
	assert_int_equal(judge(EDGE_LWM2M, &who, &ping), EDGE_UNPROVEN);
	assert_int_equal(answer.len, 0);
	up_begin(&who, SLUICE_IDENTITY_AE_ID); /* proven for something else */
	up_text(&who, SLUICE_FIELD_IDENTITY, "x");
	assert_int_equal(judge(EDGE_LWM2M, &who, &r), EDGE_UNPROVEN);
	up_begin(&who, SLUICE_IDENTITY_LWM2M_ENDPOINT);
	up_text(&who, SLUICE_FIELD_IDENTITY, "x");
	assert_int_equal(judge_from(&who, "x"), EDGE_UNPROVEN);
	assert_int_equal(judge(EDGE_LWM2M, &who, &r), EDGE_PASS);
}

static void answers_and_pings_pass(void **state)
{
	struct request ping = BEGIN("\x40\x00\x00\x01"), ack = BEGIN("\x60\x45\x00\x01\xffok"),
		       reset = BEGIN("\x70\x00\x00\x01");
	struct up_builder who;

	(void)state;
	up_begin(&who, SLUICE_IDENTITY_AE_ID);
	up_text(&who, SLUICE_FIELD_IDENTITY, "CAE1");
	assert_int_equal(judge(EDGE_ONEM2M, &who, &ping), EDGE_PASS);
	assert_int_equal(judge(EDGE_ONEM2M, &who, &ack), EDGE_PASS);
	assert_int_equal(judge(EDGE_ONEM2M, &who, &reset), EDGE_PASS);
}

/* RFC 7252 3, 4.2, 4.3 */
static void what_is_malformed_is_reset_or_ignored(void **state)
{
	struct request con = BEGIN("\x40\x02\xbe\xef\xf0"), non = BEGIN("\x50\x02\xbe\xef\xf0"),
		       other = BEGIN("\x16\xfe\xfd\x00\x00"), none = {.len = 0};
	struct up_builder who;

	(void)state;
	up_begin(&who, SLUICE_IDENTITY_AE_ID);
	up_text(&who, SLUICE_FIELD_IDENTITY, "CAE1");
	assert_int_equal(judge(EDGE_ONEM2M, &who, &con), EDGE_MALFORMED);
	assert_int_equal(answer.len, 4);
	assert_memory_equal(answer.bytes, "\x70\x00\xbe\xef", 4);
	assert_int_equal(judge(EDGE_ONEM2M, &who, &non), EDGE_MALFORMED);
	assert_int_equal(answer.len, 0);
	assert_int_equal(judge(EDGE_ONEM2M, &who, &other), EDGE_FOREIGN);
	assert_int_equal(answer.len, 0);
	assert_int_equal(judge(EDGE_ONEM2M, &who, &none), EDGE_FOREIGN);
}

static enum edge_check check_of(const struct edge_rules *rules, const char *tenant)
{
	struct up_builder who;

	up_begin(&who, SLUICE_IDENTITY_AE_ID);
	if (tenant != NULL)
		up_text(&who, SLUICE_FIELD_TENANT, tenant);
	return edge_check_of(rules, &who.up);
}

static void tenants_have_rules(void **state)
{
	char cse[] = "plant=onem2m", lwm2m_text[] = "a=b=lwm2m", none[] = "free=none", fallback[] = "=lwm2m",
	     others[] = "onem2m", twice[] = "plant=none", unknown[] = "plant=mqtt", empty[] = "",
	     others_again[] = "lwm2m";
	static struct edge_rules rules;

	(void)state;
	assert_int_equal(check_of(&rules, "plant"), EDGE_NONE);
	assert_null(edge_rule_parse(&rules, cse));
	assert_int_equal(check_of(&rules, "plant"), EDGE_ONEM2M);
	assert_int_equal(check_of(&rules, "plan"), EDGE_NONE);
	assert_int_equal(check_of(&rules, NULL), EDGE_NONE);
	assert_null(edge_rule_parse(&rules, lwm2m_text));
	assert_int_equal(check_of(&rules, "a=b"), EDGE_LWM2M);
	assert_null(edge_rule_parse(&rules, fallback));
	assert_int_equal(check_of(&rules, NULL), EDGE_LWM2M);
	assert_null(edge_rule_parse(&rules, none));
	assert_null(edge_rule_parse(&rules, others));
	assert_int_equal(check_of(&rules, "free"), EDGE_NONE);
	assert_int_equal(check_of(&rules, "any"), EDGE_ONEM2M);
	assert_non_null(edge_rule_parse(&rules, twice));
	assert_non_null(edge_rule_parse(&rules, others_again));
	assert_int_equal(check_of(&rules, "any"), EDGE_ONEM2M);
	assert_non_null(edge_rule_parse(&rules, unknown));
	assert_non_null(edge_rule_parse(&rules, empty));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ae_asks_under_its_own_name),
		cmocka_unit_test(a_refusal_in_words_of_onem2m),
		cmocka_unit_test(an_identifier_too_long_to_repeat),
		cmocka_unit_test(both_of_two_names_must_be_right),
		cmocka_unit_test(a_cse_relays_but_is_no_local_ae),
		cmocka_unit_test(a_device_registers_its_own_endpoint),
		cmocka_unit_test(a_parameter_cannot_hide_in_another_option),
		cmocka_unit_test(a_query_cannot_hide_in_a_proxy_uri),
		cmocka_unit_test(the_name_of_a_credential_stands_for_an_identity),
		cmocka_unit_test(nothing_passes_without_a_proof),
		cmocka_unit_test(answers_and_pings_pass),
		cmocka_unit_test(what_is_malformed_is_reset_or_ignored),
		cmocka_unit_test(tenants_have_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
