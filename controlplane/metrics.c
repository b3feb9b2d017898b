/* See metrics.h. A family is a row in a table and a function that puts its samples. */
#include "controlplane/metrics.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controlplane/internal.h"
#include "dataplane/version.h"

struct family;

struct writer {
	const struct control *c;
	const struct family *family;
	struct text *text;
	bool json, first;
};

struct family {
	const char *name, *help;
	bool gauge;
	void (*put)(struct writer *w);
	size_t offset; /* of an event within struct worker_counters */
};

/* Up to two labels; a key of NULL: none. help: of this sample alone, or NULL. */
struct sample {
	const char *suffix; /* of the name, instead of "_total"; NULL: as the type has it */
	const char *key[2], *label[2];
	const char *help;
	uint64_t value;
};

/* ---- writing */

/* A label's value: backslash, quote and newline are escaped. */
static void put_label(struct text *t, const char *key, const char *value, const char *before)
{
	text_printf(t, "%s%s=\"", before, key);
	for (; *value; value++) {
		if (*value == '\n')
			text_add(t, "\\n", 2);
		else
			text_printf(t, "%s%c", *value == '\\' || *value == '"' ? "\\" : "", *value);
	}
	text_add(t, "\"", 1);
}

static void put_prometheus(struct writer *w, const struct sample *s)
{
	const char *suffix = s->suffix ? s->suffix : w->family->gauge ? "" : "_total";

	text_printf(w->text, "sluice_%s%s", w->family->name, suffix);
	for (unsigned i = 0; i < 2 && s->key[i]; i++)
		put_label(w->text, s->key[i], s->label[i], i == 0 ? "{" : ",");
	text_printf(w->text, "%s %llu\n", s->key[0] ? "}" : "", (unsigned long long)s->value);
}

static void put_json(struct writer *w, const struct sample *s)
{
	text_add(w->text, ",{", w->first ? 0 : 2);
	text_add(w->text, "{", w->first ? 1 : 0);
	for (unsigned i = 0; i < 2 && s->key[i]; i++)
		text_member(w->text, s->key[i], s->label[i]);
	text_member_number(w->text, "value", s->value);
	if (s->help)
		text_member(w->text, "help", s->help);
	text_add(w->text, "}", 1);
}

static void put(struct writer *w, struct sample s)
{
	if (w->json)
		put_json(w, &s);
	else
		put_prometheus(w, &s);
	w->first = false;
}

/* ---- counters of the workers */

/* DROP_NOT_OURS -> drop_not_ours */
static const char *in_small_letters(char *out, size_t room, const char *name)
{
	size_t len = strlen(name);

	len = len < room ? len : room - 1;
	for (size_t i = 0; i < len; i++)
		out[i] = (char)tolower((unsigned char)name[i]);
	out[len] = 0;
	return out;
}

struct named_counter {
	const char *name, *help;
};

static void put_array(struct writer *w, const char *label, const struct named_counter *names, unsigned count,
		      size_t offset)
{
	char worker[12], name[48];

	for (unsigned i = 0; i < w->c->workers; i++) {
		const _Atomic uint64_t *at = (const void *)((const char *)w->c->links[i].counters + offset);

		snprintf(worker, sizeof worker, "%u", i);
		for (unsigned j = 0; j < count; j++) {
			if (names[j].name)
				put(w, (struct sample){.key = {"worker", label},
						       .label = {worker, in_small_letters(name, sizeof name,
											  names[j].name)},
						       .help = names[j].help,
						       .value = counter_get(&at[j])});
		}
	}
}

static void put_frames(struct writer *w)
{
	static const struct named_counter names[] = {
#define X(name, text) {#name, text},
		FRAME_VERDICTS(X)
#undef X
	};

	put_array(w, "verdict", names, FRAME_VERDICTS_COUNT, offsetof(struct worker_counters, frames));
}

static void put_records(struct writer *w)
{
	static const struct named_counter names[] = {
#define X(name, text) {#name, text},
		RECORD_VERDICTS(X)
#undef X
	};

	put_array(w, "verdict", names, RECORD_VERDICTS_COUNT, offsetof(struct worker_counters, records));
}

static void put_ended(struct writer *w)
{
	static const struct named_counter names[SLUICE_REASONS] = {
		[SLUICE_REASON_CLOSE_NOTIFY] = {"close_notify", "the device said close_notify"},
		[SLUICE_REASON_ALERT] = {"alert", "the device sent a fatal alert"},
		[SLUICE_REASON_IDLE] = {"idle", "no record within sessions.idle_timeout_s"},
		[SLUICE_REASON_EVICTED] = {"evicted", "the least recently used one of a full table"},
		[SLUICE_REASON_REPLACED] = {"replaced", "a new handshake from the same address"},
		[SLUICE_REASON_CLOSED] = {"closed", "by the application"},
		[SLUICE_REASON_ADMIN] = {"admin", "by the operator"},
		[SLUICE_REASON_CREDENTIAL_GONE] = {"credential_gone",
						   "its credential was removed or replaced"},
		[SLUICE_REASON_AUTH_FAILURES] = {"auth_failures", "too many forged records"},
		[SLUICE_REASON_SEQUENCE_END] = {"sequence_end", "its sequence numbers are used up"},
		[SLUICE_REASON_SHUTDOWN] = {"shutdown", "the gateway stopped"},
		[SLUICE_REASON_REVOKED] =
			{"revoked", "its certificate, or one above it, was revoked or is no anchor now"},
	};

	put_array(w, "reason", names, SLUICE_REASONS, offsetof(struct worker_counters, ended));
}

static void put_event(struct writer *w)
{
	char worker[12];

	for (unsigned i = 0; i < w->c->workers; i++) {
		const char *counters = (const char *)w->c->links[i].counters;

		snprintf(worker, sizeof worker, "%u", i);
		put(w, (struct sample){.key = {"worker"},
				       .label = {worker},
				       .value = counter_get((const void *)(counters + w->family->offset))});
	}
}

/* ---- the control thread's */

static void put_one(struct writer *w, uint64_t value)
{
	put(w, (struct sample){.value = value});
}

static void put_build(struct writer *w)
{
	put(w, (struct sample){.key = {"version"}, .label = {SLUICE_VERSION_TEXT}, .value = 1});
}

static void put_start(struct writer *w)
{
	put_one(w, w->c->started_s);
}

static void put_workers(struct writer *w)
{
	put_one(w, w->c->workers);
}

static void put_sessions(struct writer *w)
{
	put_one(w, associations_count(w->c->associations));
}

static void put_in_flight(struct writer *w)
{
	put_one(w, attempts_count(w->c->attempts));
}

static void put_attached(struct writer *w)
{
	put_one(w, w->c->application.connection_fd >= 0);
}

static void put_attachments(struct writer *w)
{
	put_one(w, w->c->application.attach);
}

static void put_log_left_out(struct writer *w)
{
	put_one(w,
		w->c->log_up.left_out_ever + w->c->log_down.left_out_ever + w->c->log_refused.left_out_ever);
}

static void put_mail_waiting(struct writer *w)
{
	char worker[12];

	for (unsigned i = 0; i < w->c->workers; i++) {
		snprintf(worker, sizeof worker, "%u", i);
		put(w, (struct sample){.key = {"worker"},
				       .label = {worker},
				       .value = w->c->outboxes[i].waiting_count});
	}
}

static void put_ready(struct writer *w)
{
	char why[128];

	put_one(w, admin_ready(w->c, why, sizeof why));
}

static void put_store(struct writer *w)
{
	const struct credentials *s = &w->c->credentials;

	if (s->ops)
		put(w, (struct sample){.key = {"store"},
				       .label = {s->ops->name},
				       .value = admin_store_reachable(w->c)});
}

/* Of the store in a file of ours; another one has counters of its own. */
static void put_store_rows(struct writer *w)
{
	const struct store_live *live = stores_live(w->c->stores);

	if (live)
		put_one(w, store_live_rows(live));
}

static void put_psk_file_rows(struct writer *w)
{
	const struct psk_live *file = stores_file(w->c->stores);

	if (file)
		put_one(w, psk_live_rows(file));
}

static void put_psk_file_renewals(struct writer *w)
{
	struct psk_live *file = stores_file(w->c->stores);
	struct renewal_state state;

	if (!file)
		return;
	psk_live_state(file, &state);
	put(w, (struct sample){.key = {"outcome"}, .label = {"taken"}, .value = state.taken});
	put(w, (struct sample){.key = {"outcome"}, .label = {"refused"}, .value = state.refused});
}

static void put_psk_file_fault(struct writer *w)
{
	struct psk_live *file = stores_file(w->c->stores);
	struct renewal_state state;

	if (!file)
		return;
	psk_live_state(file, &state);
	put_one(w, state.fault[0] != 0);
}

static void put_store_lost(struct writer *w)
{
	const struct store_live *live = stores_live(w->c->stores);
	const struct redis_store *redis = stores_redis(w->c->stores);

	if (live || redis)
		put_one(w, live ? store_live_counts(live)->lost : redis_store_counts(redis)->lost);
}

static void put_store_failed(struct writer *w)
{
	const struct store_live *live = stores_live(w->c->stores);
	const struct redis_store *redis = stores_redis(w->c->stores);

	if (live || redis)
		put_one(w, live ? store_live_counts(live)->failed : redis_store_counts(redis)->failed);
}

static void put_store_damaged(struct writer *w)
{
	const struct store_live *live = stores_live(w->c->stores);
	const struct redis_store *redis = stores_redis(w->c->stores);

	if (live || redis)
		put_one(w, live ? store_live_counts(live)->damaged : redis_store_counts(redis)->damaged);
}

static void put_store_asked(struct writer *w)
{
	const struct redis_store *redis = stores_redis(w->c->stores);

	if (redis)
		put_one(w, redis_store_counts(redis)->asked);
}

static void put_store_remembered(struct writer *w)
{
	const struct redis_store *redis = stores_redis(w->c->stores);

	if (redis)
		put_one(w, redis_store_counts(redis)->remembered);
}

static void put_requests(struct writer *w)
{
	const struct admin_counts *n = admin_counts(w->c->admin);

	put(w, (struct sample){.key = {"outcome"}, .label = {"answered"}, .value = n->answered});
	put(w, (struct sample){.key = {"outcome"}, .label = {"refused"}, .value = n->refused});
}

static void put_established(struct writer *w)
{
	for (unsigned i = 0; i < tenants_count(w->c->tenants); i++)
		put(w, (struct sample){.key = {"tenant"},
				       .label = {tenants_at(w->c->tenants, i)->tenant},
				       .value = w->c->outcomes[i].established});
}

static void put_not_after(struct writer *w)
{
	for (unsigned i = 0; i < tenants_count(w->c->tenants); i++) {
		const struct tls *t = tenants_at(w->c->tenants, i);

		if (tls_not_after_s(t))
			put(w, (struct sample){
				       .key = {"tenant"}, .label = {t->tenant}, .value = tls_not_after_s(t)});
	}
}

static void put_renewals(struct writer *w)
{
	for (unsigned i = 0; i < tenants_count(w->c->tenants); i++) {
		const char *tenant = tenants_at(w->c->tenants, i)->tenant;
		struct renewal_state state;

		tenants_renewal(w->c->tenants, i, &state);
		put(w, (struct sample){.key = {"tenant", "outcome"},
				       .label = {tenant, "taken"},
				       .value = state.taken});
		put(w, (struct sample){.key = {"tenant", "outcome"},
				       .label = {tenant, "refused"},
				       .value = state.refused});
	}
}

static void put_renewal_faults(struct writer *w)
{
	for (unsigned i = 0; i < tenants_count(w->c->tenants); i++) {
		struct renewal_state state;

		tenants_renewal(w->c->tenants, i, &state);
		put(w, (struct sample){.key = {"tenant"},
				       .label = {tenants_at(w->c->tenants, i)->tenant},
				       .value = state.fault[0] != 0});
	}
}

/* Every cause of the default tenant; of the others those that there were, or hundreds of tenants would make
 * thousands of lines of zeros. */
static void put_refusals(struct writer *w)
{
	for (unsigned i = 0; i < tenants_count(w->c->tenants); i++) {
		for (unsigned cause = 0; cause < REFUSAL_CAUSES_COUNT; cause++) {
			uint64_t value = w->c->outcomes[i].refused.of[cause];

			if (i > 0 && value == 0)
				continue;
			put(w, (struct sample){
				       .key = {"tenant", "cause"},
				       .label = {tenants_at(w->c->tenants, i)->tenant, refusal_name(cause)},
				       .help = refusal_help(cause),
				       .value = value});
		}
	}
}

/* Buckets are cumulative, and the last one has everything. */
static void put_durations(struct writer *w)
{
	uint64_t below = 0, took_ms = 0;

	for (unsigned i = 0; i < tenants_count(w->c->tenants); i++)
		took_ms += w->c->outcomes[i].took_ms;
	for (unsigned bucket = 0; bucket < OUTCOME_BUCKETS; bucket++) {
		char bound[16] = "+Inf";

		for (unsigned i = 0; i < tenants_count(w->c->tenants); i++)
			below += w->c->outcomes[i].took[bucket];
		if (bucket < OUTCOME_BUCKETS - 1)
			snprintf(bound, sizeof bound, "%g", outcome_bucket_ms[bucket] / 1000.0);
		put(w, (struct sample){.suffix = "_bucket", .key = {"le"}, .label = {bound}, .value = below});
	}
	if (w->json)
		return;
	text_printf(w->text, "sluice_%s_sum %.3f\n", w->family->name, (double)took_ms / 1000.0);
	text_printf(w->text, "sluice_%s_count %llu\n", w->family->name, (unsigned long long)below);
}

/* ---- the table */

static const struct family families[] = {
	{"build_info", "The version that runs", true, put_build, 0},
	{"start_time_seconds", "When the gateway was started, as Unix time", true, put_start, 0},
	{"ready", "1 when the gateway can serve devices: what /ready tells", true, put_ready, 0},
	{"store_reachable", "1 when the credential store answers", true, put_store, 0},
	{"store_rows", "Credentials in the LMDB store when it was opened", true, put_store_rows, 0},
	{"store_lost", "How often the credential store was lost", false, put_store_lost, 0},
	{"store_failed", "Look-ups in the credential store that failed", false, put_store_failed, 0},
	{"store_damaged", "Of these, rows that were damaged", false, put_store_damaged, 0},
	{"store_asked", "Look-ups sent to the Redis server", false, put_store_asked, 0},
	{"store_remembered", "Look-ups answered from memory instead", false, put_store_remembered, 0},
	{"psk_file_rows", "Pre-shared keys in use from the file", true, put_psk_file_rows, 0},
	{"psk_file_renewals",
	 "Changes of the file of pre-shared keys by what became of each: taken, or refused and the old ones "
	 "kept",
	 false, put_psk_file_renewals, 0},
	{"psk_file_fault",
	 "1 while the file of pre-shared keys is not what is in use, because it cannot be used", true,
	 put_psk_file_fault, 0},
	{"workers", "Worker threads", true, put_workers, 0},
	{"sessions", "Live sessions", true, put_sessions, 0},
	{"handshakes_in_flight", "Handshakes that the control thread works on", true, put_in_flight, 0},
	{"handshakes_established", "Handshakes that came to a session, by tenant", false, put_established, 0},
	{"refusals", "Handshakes that did not, by tenant and cause", false, put_refusals, 0},
	{"handshake_seconds", "How long successful handshakes took", true, put_durations, 0},
	{"certificate_not_after_seconds", "When the gateway's certificate ends, as Unix time, by tenant",
	 true, put_not_after, 0},
	{"certificate_renewals",
	 "Changes of certificate, key or trust anchors by what became of each: taken, or refused and the old "
	 "ones "
	 "kept",
	 false, put_renewals, 0},
	{"certificate_fault",
	 "1 while the files of the tenant are not what is in use, because they cannot be used", true,
	 put_renewal_faults, 0},
	{"application_attached", "1 while an application is attached to the ring", true, put_attached, 0},
	{"application_attachments", "How often an application attached", false, put_attachments, 0},
	{"frames", "Frames by what became of each", false, put_frames, 0},
	{"records", "Records by what became of each", false, put_records, 0},
	{"sessions_down", "Sessions that ended, by reason", false, put_ended, 0},
#define X(name, text) {#name, text, false, put_event, offsetof(struct worker_counters, name)},
	EVENT_COUNTERS(X)
#undef X
		{"mail_waiting", "Messages to a worker that wait for room in its mailbox", true,
		 put_mail_waiting, 0},
	{"log_lines_left_out", "Log lines above the limit per second", false, put_log_left_out, 0},
	{"admin_requests", "Requests on the admin socket", false, put_requests, 0},
};

unsigned metrics_families(void)
{
	return sizeof families / sizeof families[0];
}

static const char *type_of(const struct family *f)
{
	return f->put == put_durations ? "histogram" : f->gauge ? "gauge" : "counter";
}

void metrics_prometheus(const struct control *c, unsigned family, struct text *out)
{
	const struct family *f = &families[family];
	struct writer w = {.c = c, .family = f, .text = out, .first = true};
	const char *suffix = f->gauge ? "" : "_total";

	text_printf(out, "# HELP sluice_%s%s %s.\n# TYPE sluice_%s%s %s\n", f->name, suffix, f->help, f->name,
		    suffix, type_of(f));
	f->put(&w);
}

void metrics_json(const struct control *c, unsigned family, struct text *out)
{
	const struct family *f = &families[family];
	struct writer w = {.c = c, .family = f, .text = out, .json = true, .first = true};

	text_add(out, "{", 1);
	text_member(out, "name", f->name);
	text_member(out, "type", type_of(f));
	text_member(out, "help", f->help);
	text_member_open(out, "samples", '[');
	f->put(&w);
	text_add(out, "]}", 2);
}
