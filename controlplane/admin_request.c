/* See admin_request.h. */
#include "controlplane/admin_request.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum parameter {
	PARAMETER_IDENTITY,
	PARAMETER_ADDRESS,
	PARAMETER_TENANT,
	PARAMETER_WORKER,
	PARAMETER_CURSOR,
	PARAMETER_LIMIT,
	PARAMETERS_COUNT,
};

#define BIT(parameter) (1U << (PARAMETER_##parameter))

static const struct {
	const char *path;
	unsigned parameters; /* that it takes */
	unsigned one_of;     /* of which it needs one, and takes no two */
} routes[ADMIN_ROUTES_COUNT] = {
	[ADMIN_HEALTH] = {"/health", 0, 0},
	[ADMIN_READY] = {"/ready", 0, 0},
	[ADMIN_METRICS] = {"/metrics", 0, 0},
	[ADMIN_STATUS] = {"/status", 0, 0},
	[ADMIN_COUNTERS] = {"/counters", 0, 0},
	[ADMIN_SESSIONS] = {"/sessions",
			    BIT(IDENTITY) | BIT(ADDRESS) | BIT(TENANT) | BIT(WORKER) | BIT(CURSOR) |
				    BIT(LIMIT),
			    0},
	[ADMIN_SESSION] = {"/sessions/{worker}.{index}.{generation}", 0, 0},
	[ADMIN_WHY] = {"/why", BIT(IDENTITY) | BIT(ADDRESS) | BIT(TENANT) | BIT(LIMIT),
		       BIT(IDENTITY) | BIT(ADDRESS)},
	[ADMIN_IDENTITY] = {"/identity", BIT(ADDRESS) | BIT(LIMIT), BIT(ADDRESS)},
};

static const char sessions_folder[] = "/sessions/";

__attribute__((format(printf, 3, 4))) static bool refuse(struct admin_fault *fault, unsigned status,
							 const char *format, ...)
{
	va_list arguments;

	fault->status = status;
	fault->allow = NULL;
	va_start(arguments, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): the line above does it */
	vsnprintf(fault->why, sizeof fault->why, format, arguments);
	va_end(arguments);
	return false;
}

/* ---- values */

/* A decimal number without sign and leading zeros, at most `max`; *at moves behind it. */
static bool read_number(const char **at, uint64_t max, uint64_t *out)
{
	const char *start = *at;
	uint64_t value = 0;

	while (**at >= '0' && **at <= '9' && *at - start < 11)
		value = value * 10 + (uint64_t)(*(*at)++ - '0');
	*out = value;
	return *at > start && value <= max && (start[0] != '0' || *at == start + 1);
}

static bool read_whole_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	return read_number(&text, max, out) && *text == 0 && *out >= min;
}

static bool read_ip(const char *text, size_t len, struct peer_address *out)
{
	char copy[INET6_ADDRSTRLEN];

	if (len >= sizeof copy)
		return false;
	memcpy(copy, text, len);
	copy[len] = 0;
	memset(out, 0, sizeof *out);
	if (inet_pton(AF_INET6, copy, out->ip) == 1)
		return true;
	memset(out->ip + 10, 0xff, 2);
	return inet_pton(AF_INET, copy, out->ip + 12) == 1;
}

static bool read_port(const char *text, struct peer_address *out)
{
	uint64_t port;

	if (!read_whole_number(text, 1, 65535, &port))
		return false;
	out->port = htons((uint16_t)port);
	return true;
}

bool admin_address_read(const char *text, struct peer_address *out, bool *has_port)
{
	const char *colon = strchr(text, ':'), *bracket = strchr(text, ']');

	*has_port = false;
	if (text[0] == '[') {
		if (!bracket || !read_ip(text + 1, (size_t)(bracket - text - 1), out))
			return false;
		*has_port = bracket[1] == ':';
		return bracket[1] == 0 || (*has_port && read_port(bracket + 2, out));
	}
	if (!colon || strchr(colon + 1, ':')) /* IPv4 alone, or IPv6 alone */
		return read_ip(text, strlen(text), out);
	*has_port = true;
	return read_ip(text, (size_t)(colon - text), out) && read_port(colon + 1, out);
}

static bool read_cursor(const char *text, struct admin_request *out)
{
	uint64_t worker, slot;

	if (!read_number(&text, UINT16_MAX, &worker) || *text++ != '.' ||
	    !read_whole_number(text, 0, UINT32_MAX - 1, &slot))
		return false;
	out->cursor_worker = (uint16_t)worker;
	out->cursor_slot = (uint32_t)slot;
	return true;
}

static bool read_ref(const char *text, struct sluice_ref *ref)
{
	uint64_t worker, index, generation;

	if (!read_number(&text, UINT16_MAX, &worker) || *text++ != '.' ||
	    !read_number(&text, UINT32_MAX, &index) || *text++ != '.' ||
	    !read_whole_number(text, 0, UINT32_MAX, &generation))
		return false;
	*ref = (struct sluice_ref){
		.worker = (uint16_t)worker, .index = (uint32_t)index, .generation = (uint32_t)generation};
	return true;
}

/* ---- parameters: bytes of len, terminated behind them, and maybe with a zero inside */

static bool take_identity(const char *value, size_t len, struct admin_request *out)
{
	if (len == 0 || len > sizeof out->identity)
		return false;
	memcpy(out->identity, value, len);
	out->identity_len = (uint8_t)len;
	out->has_identity = true;
	return true;
}

static bool take_address(const char *value, size_t len, struct admin_request *out)
{
	out->has_address = true;
	return strlen(value) == len && admin_address_read(value, &out->address, &out->has_port);
}

static bool take_tenant(const char *value, size_t len, struct admin_request *out)
{
	if (strlen(value) != len || len > TENANT_MAX)
		return false;
	memcpy(out->tenant, value, len + 1);
	out->has_tenant = true;
	return true;
}

static bool take_worker(const char *value, size_t len, struct admin_request *out)
{
	uint64_t worker;

	if (strlen(value) != len || !read_whole_number(value, 0, 63, &worker))
		return false;
	out->worker = (uint16_t)worker;
	out->has_worker = true;
	return true;
}

static bool take_cursor(const char *value, size_t len, struct admin_request *out)
{
	return strlen(value) == len && read_cursor(value, out);
}

static bool take_limit(const char *value, size_t len, struct admin_request *out)
{
	uint64_t limit;

	if (strlen(value) != len || !read_whole_number(value, 1, ADMIN_LIMIT_MAX, &limit))
		return false;
	out->limit = (uint32_t)limit;
	return true;
}

static const struct {
	const char *name, *allowed;
	bool (*take)(const char *value, size_t len, struct admin_request *out);
} parameters[PARAMETERS_COUNT] = {
	[PARAMETER_IDENTITY] = {"identity", "1 to 255 bytes", take_identity},
	[PARAMETER_ADDRESS] =
		{"address", "an address such as 192.0.2.1, 192.0.2.1:5684, 2001:db8::1 or [2001:db8::1]:5684",
		 take_address},
	[PARAMETER_TENANT] = {"tenant", "the name of a tenant (empty: the one without a name)", take_tenant},
	[PARAMETER_WORKER] = {"worker", "a number from 0 to 63", take_worker},
	[PARAMETER_CURSOR] = {"cursor", "what an earlier answer gave as \"next\"", take_cursor},
	[PARAMETER_LIMIT] = {"limit", "a number from 1 to 1000", take_limit},
};

/* "a, b and c": those of a set. */
static const char *list_parameters(unsigned set, char *out, size_t room)
{
	size_t used = 0;

	snprintf(out, room, "none");
	for (unsigned i = 0; i < PARAMETERS_COUNT; i++) {
		if (!(set >> i & 1))
			continue;
		used += (size_t)snprintf(out + used, room - used, "%s%s", used ? ", " : "",
					 parameters[i].name);
	}
	return out;
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef0123456789ABCDEF";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) % 16 : -1;
}

/* RFC 3986 2.1; '+' is itself. False for a broken escape or too long a value. */
static bool unescape(const char *from, size_t len, char *out, size_t room, size_t *out_len)
{
	size_t used = 0;

	for (size_t i = 0; i < len; i++, used++) {
		char c = from[i];

		if (c == '%') {
			int high = i + 2 < len ? hex_digit(from[i + 1]) : -1;

			if (high < 0 || hex_digit(from[i + 2]) < 0)
				return false;
			c = (char)(high << 4 | hex_digit(from[i + 2]));
			i += 2;
		}
		if (used + 1 >= room)
			return false;
		out[used] = c;
	}
	out[used] = 0;
	*out_len = used;
	return true;
}

static bool take_parameter(const char *name, size_t name_len, const char *value, size_t value_len,
			   unsigned *seen, struct admin_request *out, struct admin_fault *fault)
{
	char text[CREDENTIAL_NAME_MAX + 1], list[128];
	size_t len = 0;
	unsigned i = 0;

	while (i < PARAMETERS_COUNT &&
	       (strlen(parameters[i].name) != name_len || memcmp(parameters[i].name, name, name_len) != 0))
		i++;
	if (i == PARAMETERS_COUNT || !(routes[out->route].parameters >> i & 1))
		return refuse(fault, 400, "%s has no parameter of that name. It takes: %s.",
			      routes[out->route].path,
			      list_parameters(routes[out->route].parameters, list, sizeof list));
	if (*seen >> i & 1)
		return refuse(fault, 400, "The parameter %s is given twice.", parameters[i].name);
	*seen |= 1U << i;
	if (!unescape(value, value_len, text, sizeof text, &len) || !parameters[i].take(text, len, out))
		return refuse(fault, 400, "The parameter %s must be %s, percent-encoded where needed.",
			      parameters[i].name, parameters[i].allowed);
	return true;
}

static bool read_query(const char *query, struct admin_request *out, struct admin_fault *fault)
{
	unsigned seen = 0, one_of = routes[out->route].one_of;
	char list[128];

	while (query && *query) {
		size_t len = strcspn(query, "&");
		const char *equals = memchr(query, '=', len);
		size_t name_len = equals ? (size_t)(equals - query) : len;
		const char *value = equals ? equals + 1 : query + len;

		if (!take_parameter(query, name_len, value, (size_t)(query + len - value), &seen, out, fault))
			return false;
		query += len;
		if (*query == '&')
			query++;
	}
	if (one_of && !(seen & one_of))
		return refuse(fault, 400, "%s needs one of the parameters: %s.", routes[out->route].path,
			      list_parameters(one_of, list, sizeof list));
	if (seen & one_of & ((seen & one_of) - 1))
		return refuse(fault, 400, "%s takes only one of the parameters: %s.", routes[out->route].path,
			      list_parameters(one_of, list, sizeof list));
	return true;
}

/* ---- path and method */

static bool find_route(const char *path, size_t len, struct admin_request *out, struct admin_fault *fault)
{
	char rest[64];
	size_t folder_len = sizeof sessions_folder - 1, rest_len;
	size_t used = 0;
	char list[300] = "";

	for (unsigned i = 0; i < ADMIN_ROUTES_COUNT; i++) {
		used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
					 routes[i].path);
		if (i == ADMIN_SESSION || strlen(routes[i].path) != len ||
		    memcmp(routes[i].path, path, len) != 0)
			continue;
		out->route = (enum admin_route)i;
		return true;
	}
	if (len <= folder_len || memcmp(path, sessions_folder, folder_len) != 0)
		return refuse(fault, 404, "There is no such path. There are: %s.", list);
	rest_len = len - folder_len;
	out->route = ADMIN_SESSION;
	if (rest_len >= sizeof rest)
		return refuse(fault, 400, "A session is named {worker}.{index}.{generation}.");
	memcpy(rest, path + folder_len, rest_len);
	rest[rest_len] = 0;
	if (!read_ref(rest, &out->ref))
		return refuse(
			fault, 400,
			"A session is named {worker}.{index}.{generation}, three decimal numbers, as in "
			"/sessions/0.12.3.");
	return true;
}

static bool check_method(const char *method, struct admin_request *out, struct admin_fault *fault)
{
	const char *allow = out->route == ADMIN_SESSION ? "GET, HEAD, DELETE" : "GET, HEAD";

	out->close = out->route == ADMIN_SESSION && strcmp(method, "DELETE") == 0;
	if (out->close || strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
		return true;
	(void)refuse(fault, 405, "%s takes the methods %s.", routes[out->route].path, allow);
	fault->allow = allow;
	return false;
}

bool admin_request_read(const char *method, const char *target, struct admin_request *out,
			struct admin_fault *fault)
{
	size_t path_len = strcspn(target, "?");
	const char *query = target[path_len] ? target + path_len + 1 : NULL;

	memset(out, 0, sizeof *out);
	out->limit = ADMIN_LIMIT_DEFAULT;
	if (path_len + (query ? strlen(query) : 0) > ADMIN_TARGET_MAX)
		return refuse(fault, 414, "The request's target is longer than %d bytes.", ADMIN_TARGET_MAX);
	return find_route(target, path_len, out, fault) && check_method(method, out, fault) &&
	       read_query(query, out, fault);
}
