/* See edge.h. */
#include "ring/edge.h"

#include <assert.h>
#include <string.h>

#include "ring/coap.h"

enum { ONEM2M_OPTION_MAX = 255 }; /* bytes, TS-0008 6.2.2.4; longer is not repeated */

static_assert(COAP_HEADER_LEN + COAP_TOKEN_MAX + 5 + ONEM2M_OPTION_MAX + 5 + 2 + 1 + 64 <= EDGE_ANSWER_MAX,
	      "every answer has room");

/* ---- rules */

static bool check_by_name(const char *name, enum edge_check *check)
{
	static const char *const names[EDGE_CHECKS] = {
		[EDGE_NONE] = "none", [EDGE_ONEM2M] = "onem2m", [EDGE_LWM2M] = "lwm2m"};

	for (unsigned i = 0; i < EDGE_CHECKS; i++) {
		if (strcmp(name, names[i]) == 0) {
			*check = (enum edge_check)i;
			return true;
		}
	}
	return false;
}

static const struct edge_rule *rule_of(const struct edge_rules *rules, const char *tenant, size_t len)
{
	for (unsigned i = 0; i < rules->count; i++) {
		const struct edge_rule *rule = &rules->of[i];

		if (strlen(rule->tenant) == len && memcmp(rule->tenant, tenant, len) == 0)
			return rule;
	}
	return NULL;
}

const char *edge_rule_parse(struct edge_rules *rules, char *text)
{
	char *equals = strrchr(text, '=');
	enum edge_check check;

	if (!check_by_name(equals != NULL ? equals + 1 : text, &check))
		return "the check is onem2m, lwm2m or none";
	if (equals == NULL) {
		if (rules->has_others)
			return "all other tenants have a check already; TENANT=CHECK is for one";
		rules->others = check;
		rules->has_others = true;
		return NULL;
	}
	*equals = '\0';
	if (rule_of(rules, text, strlen(text)) != NULL)
		return "this tenant has a check already";
	if (rules->count == EDGE_RULES_MAX)
		return "too many tenants";
	rules->of[rules->count++] = (struct edge_rule){text, check};
	return NULL;
}

enum edge_check edge_check_of(const struct edge_rules *rules, const struct sluice_session_up *up)
{
	struct sluice_field field = {0};
	const struct edge_rule *rule;
	const char *tenant = "";
	size_t len = 0;

	while (sluice_field_next(up, &field)) {
		if (field.type == SLUICE_FIELD_TENANT) {
			tenant = field.bytes;
			len = field.len;
		}
	}
	rule = rule_of(rules, tenant, len);
	return rule != NULL ? rule->check : rules->others;
}

/* ---- identities */

static bool field_is(const struct sluice_field *field, uint16_t type, const uint8_t *text, size_t len)
{
	return field->type == type && field->len == len && memcmp(field->bytes, text, len) == 0;
}

/* Is this text an identity of the session? The credential's own name counts where it stands for one. */
static bool is_identity(const struct sluice_session_up *up, const uint8_t *text, size_t len)
{
	struct sluice_field field = {0};

	while (sluice_field_next(up, &field)) {
		if (field_is(&field, SLUICE_FIELD_IDENTITY, text, len) ||
		    (up->identity == SLUICE_IDENTITY_CREDENTIAL &&
		     field_is(&field, SLUICE_FIELD_CREDENTIAL_ID, text, len)))
			return true;
	}
	return false;
}

/* Has the session proven an identity of a kind that this check knows? */
static bool is_proven(enum edge_check check, const struct sluice_session_up *up)
{
	if (up == NULL)
		return false;
	switch (up->identity) {
	case SLUICE_IDENTITY_CREDENTIAL:
		return true;
	case SLUICE_IDENTITY_CSE_ID:
	case SLUICE_IDENTITY_AE_ID:
		return check == EDGE_ONEM2M;
	case SLUICE_IDENTITY_LWM2M_ENDPOINT:
		return check == EDGE_LWM2M;
	default:
		return false;
	}
}

/* ---- requests */

static bool from_allowed(const struct sluice_session_up *up, const struct coap_option *from)
{
	if (up->identity == SLUICE_IDENTITY_CSE_ID && from->len > 0 && from->value[0] == '/')
		return true;
	return is_identity(up, from->value, from->len);
}

/* The option may be there once. If it is there again, a backend might believe the other one (RFC 7252 5.4.5):
 * all must be right. */
static enum edge_verdict judge_onem2m(const struct sluice_session_up *up, const struct coap_message *request)
{
	struct coap_option option = {0};
	bool named = false;

	while (coap_option_next(request, &option)) {
		if (option.number != COAP_ONEM2M_FR)
			continue;
		if (!from_allowed(up, &option))
			return EDGE_FROM;
		named = true;
	}
	return named ? EDGE_PASS : EDGE_FROM;
}

static bool has(const uint8_t *text, size_t len, char c)
{
	return len > 0 && memchr(text, c, len) != NULL;
}

/* A backend may join the options into a URI and take that apart again (RFC 7252 6.5, 6.4). One that forgets
 * to escape what is inside an option finds parameters there that are none. */
static bool hides_a_parameter(const struct coap_option *query)
{
	const uint8_t *equals = query->len > 0 ? memchr(query->value, '=', query->len) : NULL;
	size_t name_len = equals != NULL ? (size_t)(equals - query->value) : query->len;

	return has(query->value, query->len, '&') || has(query->value, name_len, '%');
}

/* The same for a segment of the path in which a query begins, in clear or escaped. */
static bool hides_a_query(const struct coap_option *segment)
{
	for (size_t i = 0; i + 3 <= segment->len; i++) {
		const uint8_t *at = segment->value + i;

		if (at[0] == '%' && at[1] == '3' && (at[2] == 'f' || at[2] == 'F'))
			return true;
	}
	return has(segment->value, segment->len, '?');
}

static bool query_allowed(const struct sluice_session_up *up, const struct coap_option *query)
{
	if (hides_a_parameter(query))
		return false;
	if (query->len < 3 || memcmp(query->value, "ep=", 3) != 0)
		return true;
	return is_identity(up, query->value + 3, query->len - 3);
}

/* Whatever the method and the path: both may be spelled in many ways, the parameter in one. */
static enum edge_verdict judge_lwm2m(const struct sluice_session_up *up, const struct coap_message *request)
{
	struct coap_option option = {0};

	while (coap_option_next(request, &option)) {
		if (option.number == COAP_PROXY_URI)
			return EDGE_PROXY;
		if (option.number == COAP_URI_QUERY && !query_allowed(up, &option))
			return EDGE_ENDPOINT;
		if (option.number == COAP_URI_PATH && hides_a_query(&option))
			return EDGE_ENDPOINT;
	}
	return EDGE_PASS;
}

/* ---- answers */

/* TS-0008 6.4, TS-0004 6.6.3: the request's identifier comes back, with ACCESS_DENIED (4103). */
static size_t add_onem2m_options(uint8_t *out, size_t room, size_t len, const struct coap_message *request)
{
	static const uint8_t denied[] = {4103 >> 8, 4103 & 0xff};
	const struct coap_option status = {COAP_ONEM2M_RSC, denied, sizeof(denied)};
	struct coap_option option = {0};
	uint32_t before = 0;

	while (coap_option_next(request, &option)) {
		if (option.number != COAP_ONEM2M_RQI || option.len > ONEM2M_OPTION_MAX)
			continue;
		len = coap_add_option(out, room, len, before, &option);
		before = option.number;
		break;
	}
	return coap_add_option(out, room, len, before, &status);
}

static const struct {
	uint8_t code;
	const char *text; /* RFC 7252 5.5.2 */
} answers[EDGE_VERDICTS_COUNT] = {
	[EDGE_UNPROVEN] = {COAP_FORBIDDEN, "this session has no identity to ask under"},
	[EDGE_FROM] = {COAP_FORBIDDEN, "oneM2M-FR is not the identity of this session"},
	[EDGE_ENDPOINT] = {COAP_BAD_REQUEST, "ep is not plainly the endpoint name of this session"},
	[EDGE_PROXY] = {COAP_PROXYING_NOT_SUPPORTED, "no Proxy-Uri here"},
};

static void write_answer(enum edge_check check, enum edge_verdict verdict, const struct coap_message *request,
			 uint16_t own_id, struct edge_answer *answer)
{
	uint8_t *out = answer->bytes;
	size_t len = coap_answer(out, EDGE_ANSWER_MAX, request, answers[verdict].code, own_id);

	if (check == EDGE_ONEM2M)
		len = add_onem2m_options(out, EDGE_ANSWER_MAX, len, request);
	answer->len = coap_add_payload(out, EDGE_ANSWER_MAX, len, answers[verdict].text);
}

static enum edge_verdict judge_request(enum edge_check check, const struct sluice_session_up *up,
				       const struct coap_message *request)
{
	if (!is_proven(check, up))
		return EDGE_UNPROVEN;
	return check == EDGE_ONEM2M ? judge_onem2m(up, request) : judge_lwm2m(up, request);
}

enum edge_verdict edge_judge(enum edge_check check, const struct sluice_session_up *up,
			     const uint8_t *datagram, size_t len, uint16_t own_id, struct edge_answer *answer)
{
	enum edge_verdict verdict;
	struct coap_message message;

	answer->len = 0;
	switch (coap_read(&message, datagram, len)) {
	case COAP_FOREIGN:
		return EDGE_FOREIGN;
	case COAP_MALFORMED: /* RFC 7252 4.2 */
		if (message.type == COAP_CONFIRMABLE) {
			coap_reset(answer->bytes, &message);
			answer->len = COAP_HEADER_LEN;
		}
		return EDGE_MALFORMED;
	case COAP_GOOD:
		break;
	}
	if (!coap_is_request(&message))
		return is_proven(check, up) ? EDGE_PASS : EDGE_UNPROVEN;
	verdict = judge_request(check, up, &message);
	if (verdict != EDGE_PASS)
		write_answer(check, verdict, &message, own_id, answer);
	return verdict;
}
