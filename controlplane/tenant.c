/* See tenant.h. The names lie in one hash table; of a wildcard "*.example.org" the part from its dot on, so
 * that a look-up tries the whole name and then what is left behind each dot.
 */
#include "controlplane/tenant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERVER_NAME_MAX = 255 };

struct server_name {
	const char *text; /* in lower case; NULL: an empty place */
	unsigned owner;   /* its place among the tenants */
};

struct tenants {
	struct tls **all;
	unsigned count;
	bool refuse_unknown;
	struct server_name *names;
	uint32_t mask;
	struct ticket_keys *tickets; /* of all; NULL: nobody gives any */
	struct renewals *renewals;
};

/* ---- names */

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* FNV-1a: what lies in the table is the operator's, and at most half of it is full. */
static uint32_t hash_name(const char *name, size_t len)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (uint8_t)name[i]) * 16777619u;
	return hash;
}

/* The place of a name, or the empty one where it belongs. */
static struct server_name *find_place(const struct tenants *ts, const char *name, size_t len)
{
	uint32_t at = hash_name(name, len) & ts->mask;

	while (ts->names[at].text &&
	       (strlen(ts->names[at].text) != len || memcmp(ts->names[at].text, name, len) != 0))
		at = (at + 1) & ts->mask;
	return &ts->names[at];
}

const struct tls *tenants_choose(const struct tenants *ts, const uint8_t *name, size_t len)
{
	char text[SERVER_NAME_MAX];
	const struct tls *unknown = ts->refuse_unknown ? NULL : ts->all[0];

	if (!name)
		return ts->all[0];
	if (len > sizeof text)
		return unknown;
	for (size_t i = 0; i < len; i++)
		text[i] = lower((char)name[i]);
	for (size_t at = 0; at < len; at++) {
		const struct server_name *found;

		if (at > 0 && text[at] != '.')
			continue;
		found = find_place(ts, text + at, len - at);
		if (found->text)
			return ts->all[found->owner];
	}
	return unknown;
}

static int add_name(struct tenants *ts, const char *name, unsigned owner)
{
	char *text = strdup(name[0] == '*' ? name + 1 : name);

	if (!text)
		return -1;
	for (char *at = text; *at; at++)
		*at = lower(*at);
	*find_place(ts, text, strlen(text)) = (struct server_name){.text = text, .owner = owner};
	return 0;
}

static int add_names(struct tenants *ts, const struct config *config)
{
	uint32_t size = 4, count = 0;
	int ret = 0;

	for (unsigned i = 0; i < config->tenants_count; i++)
		count += config->tenants[i].server_names_count;
	while (size < 2 * count)
		size *= 2;
	ts->names = calloc(size, sizeof *ts->names);
	if (!ts->names)
		return -1;
	ts->mask = size - 1;
	for (unsigned i = 0; i < config->tenants_count; i++) {
		for (unsigned j = 0; ret == 0 && j < config->tenants[i].server_names_count; j++)
			ret = add_name(ts, config->tenants[i].server_names[j], i + 1);
	}
	return ret;
}

/* ---- the tenants */

const struct tls *tenants_default(const struct tenants *ts)
{
	return ts->all[0];
}

const struct tls *tenants_find(const struct tenants *ts, const char *tenant)
{
	for (unsigned i = 0; i < ts->count; i++) {
		if (strcmp(ts->all[i]->tenant, tenant) == 0)
			return ts->all[i];
	}
	return NULL;
}

unsigned tenants_count(const struct tenants *ts)
{
	return ts->count;
}

const struct tls *tenants_at(const struct tenants *ts, unsigned place)
{
	return ts->all[place];
}

/* The keys are the same for all: whose a ticket is stands inside. */
static int use_tickets(struct tenants *ts, struct tls *t, const struct config *config, char *error,
		       size_t error_len)
{
	char why[300];

	if (!ts->tickets) {
		ts->tickets = ticket_keys_new(config->handshakes.ticket_keys,
					      config->handshakes.ticket_lifetime_s, why, sizeof why);
		if (!ts->tickets) {
			snprintf(error, error_len, "handshakes.ticket_keys: %s", why);
			return -1;
		}
	}
	if (tls_use_tickets(t, ts->tickets) == 0)
		return 0;
	snprintf(error, error_len, "this build of wolfSSL has no session tickets");
	return -1;
}

static int add_tenant(struct tenants *ts, const struct config *config, const struct config_tls *options,
		      const char *name, struct credentials credentials, char *error, size_t error_len)
{
	struct tls *t = tls_new(config, options, name, credentials, error, error_len);

	if (!t)
		return -1;
	t->place = ts->count;
	ts->all[ts->count++] = t;
	return options->tickets ? use_tickets(ts, t, config, error, error_len) : 0;
}

/* What changes while it is read is noticed afterwards. */
static int add_all(struct tenants *ts, const struct config *config, struct credentials credentials,
		   char *error, size_t error_len)
{
	int ret;

	ts->renewals = renewals_new(config);
	ts->all = calloc(config->tenants_count + 1, sizeof *ts->all);
	if (!ts->renewals || !ts->all)
		return -1;
	ret = add_tenant(ts, config, &config->tls, "", credentials, error, error_len);
	for (unsigned i = 0; ret == 0 && i < config->tenants_count; i++)
		ret = add_tenant(ts, config, &config->tenants[i].tls, config->tenants[i].name, credentials,
				 error, error_len);
	if (ret)
		return ret;
	snprintf(error, error_len, "out of memory");
	ret = add_names(ts, config);
	return ret ? ret : renewals_start(ts->renewals, ts->all, ts->count);
}

struct tenants *tenants_new(const struct config *config, struct credentials credentials, char *error,
			    size_t error_len)
{
	struct tenants *ts = calloc(1, sizeof *ts);

	snprintf(error, error_len, "out of memory");
	if (!ts)
		return NULL;
	ts->refuse_unknown = config->tls.unknown_server_name == CONFIG_UNKNOWN_SERVER_NAME_REFUSE;
	if (add_all(ts, config, credentials, error, error_len) == 0)
		return ts;
	tenants_free(ts);
	return NULL;
}

int tenants_fd(const struct tenants *ts)
{
	return renewals_fd(ts->renewals);
}

void tenants_renew(struct tenants *ts)
{
	renewals_take(ts->renewals, ts->all);
}

void tenants_renewal(const struct tenants *ts, unsigned place, struct renewal_state *out)
{
	renewals_state(ts->renewals, place, out);
}

void tenants_look(const struct tenants *ts)
{
	renewals_now(ts->renewals);
}

void tenants_free(struct tenants *ts)
{
	if (!ts)
		return;
	renewals_free(ts->renewals);
	for (unsigned i = 0; ts->names && i <= ts->mask; i++)
		free((char *)(uintptr_t)ts->names[i].text);
	free(ts->names);
	for (unsigned i = 0; i < ts->count; i++)
		tls_free(ts->all[i]);
	free(ts->all);
	ticket_keys_free(ts->tickets);
	free(ts);
}
