/* sluicectl: what a running gateway tells of itself. Names come from devices: whatever is printed for a
 * person has no control characters left.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/admin_request.h"
#include "controlplane/ctl_gateway.h"
#include "crypto/suite.h"

/* ---- printing */

/* UTF-8 as jansson has checked it; control characters, C1 too, as \xHH. At least `width` columns, about. */
static void print_text(const char *text, size_t len, unsigned width)
{
	unsigned columns = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		bool c1 = c == 0xc2 && i + 1 < len && (unsigned char)text[i + 1] < 0xa0;

		if (c < 0x20 || c == 0x7f || c1) {
			printf("\\x%02x", c1 ? (unsigned char)text[++i] : c);
			columns += 4;
		} else {
			putchar(c);
			columns += c >> 6 != 2;
		}
	}
	for (; columns < width; columns++)
		putchar(' ');
}

static void print_value(const json_t *value, unsigned width)
{
	char number[32];

	if (json_is_string(value)) {
		print_text(json_string_value(value), json_string_length(value), width);
	} else if (json_is_integer(value)) {
		snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		print_text(number, strlen(number), width);
	} else {
		print_text(json_is_true(value)    ? "yes"
			   : json_is_false(value) ? "no"
						  : "-",
			   json_is_boolean(value) && json_is_true(value) ? 3
			   : json_is_boolean(value)                      ? 2
									 : 1,
			   width);
	}
}

static void print_member(const json_t *object, const char *name, unsigned width)
{
	const json_t *value = json_object_get(object, name);

	print_value(value, width);
	putchar(' ');
}

static void print_json(const json_t *json)
{
	(void)json_dumpf(json, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	putchar('\n');
}

/* What an answer lists: a line of JSON each when that is asked for. */
static void print_each(const json_t *list, const struct ctl_arguments *a,
		       void (*print)(const json_t *one, const struct ctl_arguments *a))
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		if (a->options[CTL_JSON] != NULL)
			print_json(json_array_get(list, i));
		else
			print(json_array_get(list, i), a);
	}
}

static void print_named(const json_t *name)
{
	if (json_string_length(name) > 0)
		print_text(json_string_value(name), json_string_length(name), 0);
	else
		fputs("(the one without a name)", stdout);
}

/* "water until 2027-01-31T00:00:00Z, but now: what is wrong" */
static void print_certificate(const json_t *one)
{
	const json_t *until = json_object_get(one, "not_after"), *fault = json_object_get(one, "fault");

	print_named(json_object_get(one, "tenant"));
	if (until != NULL) {
		fputs(" until ", stdout);
		print_text(json_string_value(until), json_string_length(until), 0);
	}
	if (fault != NULL) {
		fputs(", but the files as they are cannot be used: ", stdout);
		print_text(json_string_value(fault), json_string_length(fault), 0);
	}
}

/* "a, b, c" */
static void print_list(const json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i);

		if (i > 0)
			fputs(", ", stdout);
		if (json_is_object(one))
			print_certificate(one);
		else
			print_named(one);
	}
	if (json_array_size(list) == 0)
		putchar('-');
}

/* One line per member: underscores become spaces. */
static void print_object(const json_t *object)
{
	void *at = json_object_iter((json_t *)(uintptr_t)object);

	for (; at != NULL; at = json_object_iter_next((json_t *)(uintptr_t)object, at)) {
		const json_t *value = json_object_iter_value(at);
		char name[40];

		snprintf(name, sizeof(name), "%s", json_object_iter_key(at));
		for (char *c = name; *c != 0; c++)
			*c = *c == '_' ? ' ' : *c;
		printf("%-28s ", name);
		if (json_is_array(value))
			print_list(value);
		else
			print_value(value, 0);
		putchar('\n');
	}
}

/* ---- status */

int ctl_status(const struct ctl_command *command, const struct ctl_arguments *a)
{
	unsigned status;
	json_t *json = gateway_json(a, "GET", "/status", 0, &status);
	bool ready;

	if (json == NULL)
		return CTL_FAILED;
	if (a->options[CTL_JSON] != NULL)
		print_json(json);
	else
		print_object(json);
	ready = json_is_true(json_object_get(json, "ready"));
	json_decref(json);
	return ready ? CTL_OK : CTL_FAILED;
}

/* ---- counters */

/* The sum over all workers of the samples that are alike but for the worker. */
static json_int_t sum_over_workers(const json_t *samples, size_t at, const char *label)
{
	const json_t *first = json_array_get(samples, at);
	const char *wanted = label != NULL ? json_string_value(json_object_get(first, label)) : NULL;
	json_int_t sum = 0;

	for (size_t i = at; i < json_array_size(samples); i++) {
		const json_t *one = json_array_get(samples, i);
		const char *name = label != NULL ? json_string_value(json_object_get(one, label)) : NULL;

		if ((wanted == NULL && name == NULL) ||
		    (wanted != NULL && name != NULL && strcmp(wanted, name) == 0))
			sum += json_integer_value(json_object_get(one, "value"));
	}
	return sum;
}

/* The label that tells the samples of one worker apart, if there is one. */
static const char *label_of(const json_t *sample)
{
	void *at = json_object_iter((json_t *)(uintptr_t)sample);

	for (; at != NULL; at = json_object_iter_next((json_t *)(uintptr_t)sample, at)) {
		const char *key = json_object_iter_key(at);

		if (strcmp(key, "worker") != 0 && strcmp(key, "value") != 0 && strcmp(key, "help") != 0 &&
		    strcmp(key, "tenant") != 0)
			return key;
	}
	return NULL;
}

static void print_counter(const json_t *family, const json_t *sample, const char *label, json_int_t value,
			  bool all)
{
	const char *help = json_string_value(json_object_get(sample, "help"));
	const char *tenant = json_string_value(json_object_get(sample, "tenant"));
	char name[128];

	if (value == 0 && !all)
		return;
	if (help == NULL)
		help = json_string_value(json_object_get(family, "help"));
	snprintf(name, sizeof(name), "%s%s%s%s%s", json_string_value(json_object_get(family, "name")),
		 label != NULL ? "." : "",
		 label != NULL ? json_string_value(json_object_get(sample, label)) : "",
		 tenant != NULL && *tenant != 0 ? "@" : "", tenant != NULL ? tenant : "");
	print_text(name, strlen(name), 44);
	printf(" %14" JSON_INTEGER_FORMAT "  %s\n", value, help != NULL ? help : "");
}

static void print_family(const json_t *family, const struct ctl_arguments *a)
{
	bool all = a->options[CTL_ALL] != NULL;
	const json_t *samples = json_object_get(family, "samples");
	const json_t *first = json_array_get(samples, 0);
	const char *label = label_of(first);
	bool by_worker = json_object_get(first, "worker") != NULL;
	const char *type = json_string_value(json_object_get(family, "type"));
	const char *worker = json_string_value(json_object_get(first, "worker"));

	if (type != NULL && strcmp(type, "histogram") == 0) /* for machines */
		return;
	for (size_t i = 0; i < json_array_size(samples); i++) {
		const json_t *one = json_array_get(samples, i);
		const char *of = json_string_value(json_object_get(one, "worker"));

		if (!by_worker)
			print_counter(family, one, label, json_integer_value(json_object_get(one, "value")),
				      all);
		else if (of != NULL && strcmp(of, worker) == 0)
			print_counter(family, one, label, sum_over_workers(samples, i, label), all);
	}
}

int ctl_counters(const struct ctl_command *command, const struct ctl_arguments *a)
{
	unsigned status;
	json_t *json = gateway_json(a, "GET", "/counters", 0, &status);

	if (json == NULL)
		return CTL_FAILED;
	print_each(json_object_get(json, "families"), a, print_family);
	json_decref(json);
	return CTL_OK;
}

/* ---- sessions */

/* Calls `take` for each session that the options choose, page by page, until it returns false. False when it
 * was said why not. */
static bool each_session(const struct ctl_arguments *a, bool (*take)(const json_t *session, void *context),
			 void *context)
{
	char cursor[64] = "0.0";
	bool more = true;

	while (more) {
		struct gateway_target t;
		unsigned status;
		json_t *json, *sessions;
		const char *next;

		gateway_target_begin(&t, "/sessions");
		gateway_target_add(&t, "identity", a->options[CTL_IDENTITY]);
		gateway_target_add(&t, "address", a->options[CTL_ADDRESS]);
		gateway_target_add(&t, "tenant", a->options[CTL_TENANT]);
		gateway_target_add(&t, "worker", a->options[CTL_WORKER]);
		gateway_target_add(&t, "limit", "1000");
		gateway_target_add(&t, "cursor", cursor);
		json = gateway_json(a, "GET", t.text, 0, &status);
		if (json == NULL)
			return false;
		sessions = json_object_get(json, "sessions");
		for (size_t i = 0; more && i < json_array_size(sessions); i++)
			more = take(json_array_get(sessions, i), context);
		next = json_string_value(json_object_get(json, "next"));
		if (next == NULL)
			more = false;
		else
			snprintf(cursor, sizeof(cursor), "%s", next);
		json_decref(json);
	}
	return true;
}

struct listing {
	unsigned long left, shown;
	bool json;
};

static void print_session(const json_t *session)
{
	print_member(session, "session", 22);
	print_member(session, "address", 28);
	print_member(session, "tenant", 10);
	print_member(session, "credential", 10);
	print_member(session, "suite", 38);
	print_member(session, "age_s", 8);
	if (json_array_size(json_object_get(session, "identities")) > 0)
		print_list(json_object_get(session, "identities"));
	else
		print_value(json_object_get(session, "credential_id"), 0);
	putchar('\n');
}

static bool list_one(const json_t *session, void *context)
{
	struct listing *l = context;

	if (l->left == 0)
		return false;
	if (l->json) {
		print_json(session);
	} else {
		if (l->shown == 0)
			printf("%-22s %-28s %-10s %-10s %-38s %-8s %s\n", "SESSION", "ADDRESS", "TENANT",
			       "CREDENTIAL", "SUITE", "AGE (s)", "IDENTITY");
		print_session(session);
	}
	l->shown++;
	l->left--;
	return l->left > 0;
}

static bool read_limit(const struct ctl_arguments *a, unsigned long *limit)
{
	const char *text = a->options[CTL_LIMIT];
	char *end;

	*limit = ULONG_MAX;
	if (text == NULL)
		return true;
	*limit = strtoul(text, &end, 10);
	if (*end == 0 && *text >= '1' && *text <= '9')
		return true;
	ctl_fail("--limit must be a whole number, and not 0.");
	return false;
}

int ctl_sessions_list(const struct ctl_command *command, const struct ctl_arguments *a)
{
	struct listing l = {.json = a->options[CTL_JSON] != NULL};

	if (!read_limit(a, &l.left))
		return CTL_USAGE;
	return each_session(a, list_one, &l) ? CTL_OK : CTL_FAILED;
}

static json_t *one_session(const struct ctl_arguments *a, const char *method, const char *name)
{
	struct gateway_target t;
	unsigned status;
	char path[80];

	if (strlen(name) > 60 || name[strspn(name, "0123456789.")] != 0) {
		ctl_fail("A session is named as 'sluicectl sessions list' shows it, such as 0.12.3.");
		return NULL;
	}
	snprintf(path, sizeof(path), "/sessions/%s", name);
	gateway_target_begin(&t, path);
	return gateway_json(a, method, t.text, 0, &status);
}

int ctl_sessions_show(const struct ctl_command *command, const struct ctl_arguments *a)
{
	json_t *json = one_session(a, "GET", a->operand);

	if (json == NULL)
		return CTL_FAILED;
	if (a->options[CTL_JSON] != NULL)
		print_json(json);
	else
		print_object(json);
	json_decref(json);
	return CTL_OK;
}

/* Names are gathered first: a listing that goes on while its sessions vanish would be hard to trust. */
struct closing {
	char (*names)[40];
	size_t count, room;
};

static bool gather_one(const json_t *session, void *context)
{
	struct closing *c = context;
	const char *name = json_string_value(json_object_get(session, "session"));

	if (c->count == c->room) {
		size_t room = c->room > 0 ? 2 * c->room : 64;
		void *grown = realloc(c->names, room * sizeof(c->names[0]));

		if (grown == NULL)
			return false;
		c->names = grown;
		c->room = room;
	}
	if (name != NULL)
		snprintf(c->names[c->count++], sizeof(c->names[0]), "%s", name);
	return true;
}

static int close_gathered(const struct ctl_arguments *a)
{
	struct closing c = {0};
	int result = each_session(a, gather_one, &c) ? CTL_OK : CTL_FAILED;

	if (result == CTL_OK && c.count == 0)
		result = ctl_fail("No session fits.");
	for (size_t i = 0; result == CTL_OK && i < c.count; i++) {
		struct gateway_target t;
		unsigned status;
		char path[80];
		json_t *json;

		snprintf(path, sizeof(path), "/sessions/%s", c.names[i]);
		gateway_target_begin(&t, path);
		json = gateway_json(a, "DELETE", t.text, 404, &status); /* 404: it ended meanwhile */
		if (json == NULL)
			result = CTL_FAILED;
		else if (status < 400)
			printf("%s closed\n", c.names[i]);
		json_decref(json);
	}
	free(c.names);
	return result;
}

int ctl_sessions_close(const struct ctl_command *command, const struct ctl_arguments *a)
{
	json_t *json;

	if (a->operand == NULL && a->options[CTL_IDENTITY] == NULL && a->options[CTL_ADDRESS] == NULL) {
		ctl_fail("Which one? A session's name, --identity or --address is needed.");
		return CTL_USAGE;
	}
	if (a->operand == NULL)
		return close_gathered(a);
	json = one_session(a, "DELETE", a->operand);
	if (json == NULL)
		return CTL_FAILED;
	printf("%s closed\n", a->operand);
	json_decref(json);
	return CTL_OK;
}

/* ---- who and why */

static int ask_gateway(const struct ctl_arguments *a)
{
	struct listing l = {.left = ULONG_MAX, .json = a->options[CTL_JSON] != NULL};
	struct gateway_target t;
	unsigned status;
	json_t *json, *sessions;

	gateway_target_begin(&t, "/identity");
	gateway_target_add(&t, "address", a->operand);
	gateway_target_add(&t, "limit", "1000");
	json = gateway_json(a, "GET", t.text, 0, &status);
	if (json == NULL)
		return CTL_FAILED;
	sessions = json_object_get(json, "sessions");
	for (size_t i = 0; i < json_array_size(sessions); i++)
		(void)list_one(json_array_get(sessions, i), &l);
	if (json_array_size(sessions) == 0)
		(void)ctl_fail("No session has this address.");
	json_decref(json);
	return l.shown > 0 ? CTL_OK : CTL_FAILED;
}

/* The door's answer in the words of the list of sessions. */
static void name_as_listed(json_t *json)
{
	json_t *ref = json_object_get(json, "session");
	const struct suite *suite = suite_by_id((uint16_t)json_integer_value(json_object_get(json, "suite")));
	char name[64];

	snprintf(name, sizeof(name),
		 "%" JSON_INTEGER_FORMAT ".%" JSON_INTEGER_FORMAT ".%" JSON_INTEGER_FORMAT,
		 json_integer_value(json_object_get(ref, "worker")),
		 json_integer_value(json_object_get(ref, "index")),
		 json_integer_value(json_object_get(ref, "generation")));
	(void)json_object_set_new(json, "session", json_string(name));
	(void)json_object_set_new(json, "suite", json_string(suite != NULL ? suite->name : "unknown"));
	(void)json_object_del(json, "found");
}

static int ask_door(const struct ctl_arguments *a)
{
	json_t *json = gateway_ask_door(a->options[CTL_DOOR], a->operand);
	const char *why = json_string_value(json_object_get(json, "why"));
	bool found = json_is_true(json_object_get(json, "found"));

	if (json == NULL)
		return CTL_FAILED;
	if (!found)
		(void)ctl_fail("%s", why != NULL ? why : "No session has this address.");
	else if (a->options[CTL_JSON] != NULL)
		print_json(json);
	else
		name_as_listed(json);
	if (found && a->options[CTL_JSON] == NULL)
		print_object(json);
	json_decref(json);
	return found ? CTL_OK : CTL_FAILED;
}

int ctl_identity(const struct ctl_command *command, const struct ctl_arguments *a)
{
	if (a->options[CTL_DOOR] != NULL)
		return ask_door(a);
	return ask_gateway(a);
}

static void print_attempt(const json_t *attempt, const struct ctl_arguments *a)
{
	bool established = strcmp(json_string_value(json_object_get(attempt, "outcome")), "established") == 0;

	print_member(attempt, "time", 24);
	print_member(attempt, "address", 24);
	if (json_object_get(attempt, "credential_id") != NULL) {
		print_member(attempt, "credential", 0);
		print_member(attempt, "credential_id", 0);
	}
	fputs(established ? "established: " : "refused: ", stdout);
	if (established) {
		print_member(attempt, "suite", 0);
		print_member(attempt, "session", 0);
	} else {
		print_member(attempt, "why", 0);
		fputs("(alert ", stdout);
		print_value(json_object_get(attempt, "alert"), 0);
		putchar(')');
	}
	putchar('\n');
}

int ctl_why(const struct ctl_command *command, const struct ctl_arguments *a)
{
	struct peer_address address;
	struct gateway_target t;
	const json_t *attempts;
	unsigned status;
	bool has_port;
	json_t *json;

	gateway_target_begin(&t, "/why");
	gateway_target_add(&t, admin_address_read(a->operand, &address, &has_port) ? "address" : "identity",
			   a->operand);
	gateway_target_add(&t, "tenant", a->options[CTL_TENANT]);
	gateway_target_add(&t, "limit", a->options[CTL_LIMIT]);
	json = gateway_json(a, "GET", t.text, 0, &status);
	if (json == NULL)
		return CTL_FAILED;
	attempts = json_object_get(json, "attempts");
	print_each(attempts, a, print_attempt);
	status = json_array_size(attempts) > 0 ? CTL_OK : CTL_FAILED;
	if (status == CTL_FAILED)
		(void)ctl_fail("The gateway remembers no handshake of it. A device that does not repeat its "
			       "ClientHello with the gateway's cookie leaves nothing but counters "
			       "(records.hello_verify, say): see 'sluicectl counters'.");
	json_decref(json);
	return (int)status;
}
