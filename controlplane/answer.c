/* See answer.h. */
#include "controlplane/answer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controlplane/internal.h"
#include "controlplane/metrics.h"
#include "dataplane/version.h"

enum {
	SLOTS_PER_STEP = 2048,
	SESSIONS_PER_STEP = 64,
	ATTEMPTS_MAX = ADMIN_LIMIT_MAX,
};

static const char type_json[] = "application/json";
static const char type_prometheus[] = "text/plain; version=0.0.4; charset=utf-8";

/* ---- sessions */

static const char *const credential_names[] = {"none", "psk", "x509", "rpk"};
static const char *const kind_names[] = {"none", "credential", "cse-id", "ae-id", "lwm2m-endpoint"};

static const char *name_in(const char *const *names, size_t count, unsigned at)
{
	return at < count ? names[at] : "unknown";
}

#define NAME_IN(names, at) name_in(names, sizeof(names) / sizeof((names)[0]), at)

static void put_ref(struct text *t, const char *name, struct sluice_ref ref)
{
	char text[40];

	snprintf(text, sizeof text, "%u.%u.%u", ref.worker, ref.index, ref.generation);
	text_member(t, name, text);
}

/* Exporter values are keys of the application's: they are not among these. */
static void put_fields(struct text *t, const struct sluice_session_up *up)
{
	struct sluice_field f = {0};
	bool tenant = false;

	text_member_open(t, "identities", '[');
	for (bool first = true; sluice_field_next(up, &f);) {
		if (f.type != SLUICE_FIELD_IDENTITY)
			continue;
		text_add(t, ",", first ? 0 : 1);
		text_json(t, f.bytes, f.len);
		first = false;
	}
	text_add(t, "]", 1);
	f = (struct sluice_field){0};
	while (sluice_field_next(up, &f)) {
		if (f.type == SLUICE_FIELD_CREDENTIAL_ID)
			text_member_bytes(t, "credential_id", f.bytes, f.len);
		else if (f.type == SLUICE_FIELD_TENANT && (tenant = true))
			text_member_bytes(t, "tenant", f.bytes, f.len);
		else if (f.type == SLUICE_FIELD_SNI)
			text_member_bytes(t, "server_name", f.bytes, f.len);
	}
	if (!tenant)
		text_member(t, "tenant", "");
}

static void put_session(struct answer *a, const struct association *as)
{
	const struct sluice_session_up *up = association_up(as);
	const struct suite *suite = suite_by_id(up->suite);
	char peer[PEER_TEXT_MAX];

	text_add(&a->text, ",\n{", a->any ? 3 : 0);
	text_add(&a->text, "\n{", a->any ? 0 : 2);
	a->any = true;
	put_ref(&a->text, "session", up->ref);
	text_member(&a->text, "address", peer_text(peer, &as->path.peer));
	text_member(&a->text, "identity_kind", NAME_IN(kind_names, up->identity));
	text_member(&a->text, "credential", NAME_IN(credential_names, up->credential));
	put_fields(&a->text, up);
	text_member(&a->text, "suite", suite ? suite->name : "unknown");
	text_member_bool(&a->text, "cid", up->has_cid);
	text_member_number(&a->text, "age_s", (a->c->now_ns - as->since_ns) / 1000000000);
	text_add(&a->text, "}", 1);
}

static bool field_is(const struct sluice_field *f, const void *bytes, size_t len)
{
	return f->len == len && memcmp(f->bytes, bytes, len) == 0;
}

static bool address_fits(const struct admin_request *q, const struct peer_address *peer)
{
	return !q->has_address || (memcmp(q->address.ip, peer->ip, sizeof peer->ip) == 0 &&
				   (!q->has_port || q->address.port == peer->port));
}

static bool session_fits(const struct admin_request *q, const struct association *as)
{
	const struct sluice_session_up *up = association_up(as);
	bool identity = !q->has_identity, tenant = !q->has_tenant || q->tenant[0] == 0;
	struct sluice_field f = {0};

	if (!address_fits(q, &as->path.peer))
		return false;
	while (sluice_field_next(up, &f)) {
		if (f.type == SLUICE_FIELD_IDENTITY || f.type == SLUICE_FIELD_CREDENTIAL_ID)
			identity |= q->has_identity && field_is(&f, q->identity, q->identity_len);
		if (f.type == SLUICE_FIELD_TENANT && q->has_tenant)
			tenant = field_is(&f, q->tenant, strlen(q->tenant));
	}
	return identity && tenant;
}

/* The next worker whose sessions are to be listed. */
static void next_worker(struct answer *a)
{
	a->slot = 0;
	a->worker = a->request.has_worker ? UINT16_MAX : (uint16_t)(a->worker + 1);
}

static bool end_of_sessions(struct answer *a)
{
	text_add(&a->text, "\n]", 2);
	if (a->stopped)
		text_printf(&a->text, ",\"next\":\"%u.%u\"", a->worker, a->slot);
	text_add(&a->text, "}\n", 2);
	return false;
}

/* A space keeps an answer alive whose step has found nothing: the client sees that it is worked on. */
static bool step_sessions(struct answer *a)
{
	uint32_t looked = 0, found = 0;

	while (looked < SLOTS_PER_STEP && found < SESSIONS_PER_STEP && a->worker < a->c->workers) {
		uint32_t before = a->slot;
		const struct association *as =
			associations_walk(a->c->associations, a->worker, &a->slot, SLOTS_PER_STEP - looked);

		looked += a->slot == UINT32_MAX ? 1 : a->slot - before;
		if (as && session_fits(&a->request, as)) {
			if (a->left == 0) { /* there is one more than was asked for */
				a->slot = association_up(as)->ref.index;
				a->stopped = true;
				return end_of_sessions(a);
			}
			put_session(a, as);
			a->left--;
			found++;
		}
		if (a->slot == UINT32_MAX)
			next_worker(a);
	}
	if (a->worker >= a->c->workers)
		return end_of_sessions(a);
	text_add(&a->text, " ", 1);
	return true;
}

static unsigned begin_sessions(struct answer *a)
{
	const struct admin_request *q = &a->request;

	a->worker = q->has_worker && q->worker > q->cursor_worker ? q->worker : q->cursor_worker;
	a->slot = q->has_worker && q->worker > q->cursor_worker ? 0 : q->cursor_slot;
	a->left = q->limit;
	text_printf(&a->text, "{\"sessions\":[");
	a->step = step_sessions;
	if (q->has_worker && (q->worker >= a->c->workers || q->cursor_worker > q->worker)) {
		text_clear(&a->text);
		a->step = NULL;
		a->fault = (struct admin_fault){.status = 400};
		if (q->worker >= a->c->workers)
			snprintf(a->fault.why, sizeof a->fault.why, "There are %u workers, counted from 0.",
				 a->c->workers);
		else
			snprintf(a->fault.why, sizeof a->fault.why,
				 "The cursor is of worker %u, and worker %u was asked for.", q->cursor_worker,
				 q->worker);
	}
	return 200;
}

static unsigned not_found(struct answer *a, const char *why)
{
	a->fault.status = 404;
	snprintf(a->fault.why, sizeof a->fault.why, "%s", why);
	return 404;
}

static unsigned close_session(struct answer *a, const struct association *as)
{
	struct mail_ended mail = {.ref = association_up(as)->ref, .reason = SLUICE_REASON_ADMIN};
	char peer[PEER_TEXT_MAX];

	if (outbox_send(&a->c->outboxes[mail.ref.worker], MAIL_REMOVE, &mail, sizeof mail, NULL, 0)) {
		a->fault.status = 503;
		snprintf(a->fault.why, sizeof a->fault.why, "Out of memory.");
		return 503;
	}
	log_write(LOG_LEVEL_INFO, "%s: the operator closes the session %u.%u.%u",
		  peer_text(peer, &as->path.peer), mail.ref.worker, mail.ref.index, mail.ref.generation);
	text_add(&a->text, "{", 1);
	put_ref(&a->text, "closing", mail.ref);
	text_add(&a->text, "}\n", 2);
	return 200;
}

static unsigned begin_session(struct answer *a)
{
	const struct association *as = association_find(a->c->associations, a->request.ref);

	if (!as)
		return not_found(a, "There is no such session (any more).");
	if (a->request.close)
		return close_session(a, as);
	put_session(a, as);
	text_add(&a->text, "\n", 1);
	return 200;
}

/* With the port there is one session, found at once; without it there may be many behind one address. */
static unsigned begin_identity(struct answer *a)
{
	const struct association *as;

	if (!a->request.has_port)
		return begin_sessions(a);
	as = association_at(a->c->associations, &a->request.address);
	if (!as)
		return not_found(a, "No session has this address.");
	text_printf(&a->text, "{\"sessions\":[");
	put_session(a, as);
	text_add(&a->text, "\n]}\n", 4);
	return 200;
}

/* ---- why */

static void put_time(struct text *t, const char *name, uint64_t ms)
{
	time_t seconds = (time_t)(ms / 1000);
	char text[64], stamp[32];
	struct tm utc;

	gmtime_r(&seconds, &utc);
	strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(text, sizeof text, "%s.%03uZ", stamp, (unsigned)(ms % 1000));
	text_member(t, name, text);
}

static void put_attempt(struct text *t, const struct history_attempt *at)
{
	const struct suite *suite = at->suite ? suite_by_id(at->suite) : NULL;
	char peer[PEER_TEXT_MAX];

	text_add(t, "{", 1);
	put_time(t, "time", at->ended_ms);
	text_member(t, "address", peer_text(peer, &at->peer));
	text_member(t, "tenant", at->tenant);
	text_member(t, "outcome", at->established ? "established" : "refused");
	text_member(t, "credential", NAME_IN(credential_names, at->credential));
	if (at->name_len > 0)
		text_member_bytes(t, "credential_id", at->name, at->name_len);
	if (at->identity[0])
		text_member(t, "identity", at->identity);
	if (at->server_name_len > 0)
		text_member_bytes(t, "server_name", at->server_name, at->server_name_len);
	if (suite)
		text_member(t, "suite", suite->name);
	text_member_number(t, "took_ms", at->took_ms);
	if (at->established) {
		put_ref(t, "session", at->ref);
	} else {
		text_member(t, "cause", refusal_name(at->cause));
		text_member(t, "alert", alert_name(at->alert));
		text_member(t, "why", at->why);
	}
	text_add(t, "}", 1);
}

static unsigned begin_why(struct answer *a)
{
	static const struct history_attempt *found[ATTEMPTS_MAX]; /* the control thread is one */
	const struct admin_request *q = &a->request;
	struct history_query query = {
		.name = q->identity,
		.name_len = q->has_identity ? q->identity_len : 0,
		.peer = q->address,
		.tenant = q->has_tenant ? q->tenant : NULL,
	};
	unsigned n = history_find(a->c->history, &query, found, q->limit);

	text_printf(&a->text, "{\"attempts\":[");
	for (unsigned i = 0; i < n; i++) {
		text_add(&a->text, ",\n", i ? 2 : 0);
		put_attempt(&a->text, found[i]);
	}
	text_printf(&a->text, "],\"remembered\":%u}\n", history_count(a->c->history));
	return 200;
}

/* ---- state and counters */

static unsigned begin_health(struct answer *a)
{
	unsigned worker;
	bool stuck = admin_stuck_worker(a->c, &worker);

	text_add(&a->text, "{", 1);
	text_member(&a->text, "status", stuck ? "stuck" : "live");
	if (stuck)
		text_member_number(&a->text, "worker", worker);
	text_add(&a->text, "}\n", 2);
	return stuck ? 503 : 200;
}

static unsigned begin_ready(struct answer *a)
{
	char why[200];
	bool ready = admin_ready(a->c, why, sizeof why);

	text_add(&a->text, "{", 1);
	text_member_bool(&a->text, "ready", ready);
	if (!ready)
		text_member(&a->text, "why", why);
	text_add(&a->text, "}\n", 2);
	return ready ? 200 : 503;
}

static uint64_t sum_refused(const struct control *c)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < tenants_count(c->tenants); i++) {
		for (unsigned cause = 0; cause < REFUSAL_CAUSES_COUNT; cause++)
			sum += c->outcomes[i].refused.of[cause];
	}
	return sum;
}

static void put_tenants(struct answer *a)
{
	text_member_open(&a->text, "tenants", '[');
	for (unsigned i = 0; i < tenants_count(a->c->tenants); i++) {
		text_add(&a->text, ",", i ? 1 : 0);
		text_json(&a->text, tenants_at(a->c->tenants, i)->tenant,
			  strlen(tenants_at(a->c->tenants, i)->tenant));
	}
	text_add(&a->text, "]", 1);
}

/* One line per tenant that has a certificate, or whose files cannot be used. */
static void put_certificates(struct answer *a)
{
	bool first = true;

	text_member_open(&a->text, "certificates", '[');
	for (unsigned i = 0; i < tenants_count(a->c->tenants); i++) {
		const struct tls *t = tenants_at(a->c->tenants, i);
		uint64_t until_s = tls_not_after_s(t);
		struct renewal_state renewal;

		tenants_renewal(a->c->tenants, i, &renewal);
		if (until_s == 0 && !renewal.fault[0])
			continue;
		text_add(&a->text, ",{", first ? 0 : 2);
		text_add(&a->text, "{", first ? 1 : 0);
		text_member(&a->text, "tenant", t->tenant);
		if (until_s)
			put_time(&a->text, "not_after", until_s * 1000);
		if (renewal.fault[0])
			text_member(&a->text, "fault", renewal.fault);
		text_add(&a->text, "}", 1);
		first = false;
	}
	text_add(&a->text, "]", 1);
}

static void put_psk_file(struct answer *a)
{
	struct psk_live *file = stores_file(a->c->stores);
	struct renewal_state state;

	if (!file)
		return;
	psk_live_state(file, &state);
	text_member_number(&a->text, "psk_file_keys", psk_live_rows(file));
	if (state.fault[0])
		text_member(&a->text, "psk_file_fault", state.fault);
}

static unsigned begin_status(struct answer *a)
{
	struct control *c = a->c;
	uint64_t established = 0;
	char why[200];
	bool ready = admin_ready(c, why, sizeof why);

	for (unsigned i = 0; i < tenants_count(c->tenants); i++)
		established += c->outcomes[i].established;
	text_add(&a->text, "{", 1);
	text_member(&a->text, "version", SLUICE_VERSION_TEXT);
	text_member_bool(&a->text, "ready", ready);
	if (!ready)
		text_member(&a->text, "why", why);
	text_member_number(&a->text, "uptime_s", (uint64_t)time(NULL) - c->started_s);
	text_member_number(&a->text, "workers", c->workers);
	text_member_number(&a->text, "sessions", associations_count(c->associations));
	text_member_number(&a->text, "sessions_max", (uint64_t)c->config->sessions.max * c->workers);
	text_member_number(&a->text, "handshakes_in_flight", attempts_count(c->attempts));
	text_member_number(&a->text, "handshakes_established", established);
	text_member_number(&a->text, "handshakes_refused", sum_refused(c));
	text_member_bool(&a->text, "application_attached", c->application.connection_fd >= 0);
	text_member(&a->text, "credential_store", c->credentials.ops ? c->credentials.ops->name : "none");
	text_member_bool(&a->text, "credential_store_reachable", admin_store_reachable(c));
	put_psk_file(a);
	put_tenants(a);
	put_certificates(a);
	text_add(&a->text, "}\n", 2);
	return 200;
}

static bool step_metrics(struct answer *a)
{
	metrics_prometheus(a->c, a->family++, &a->text);
	return a->family < metrics_families();
}

static unsigned begin_metrics(struct answer *a)
{
	a->type = type_prometheus;
	a->step = step_metrics;
	return 200;
}

static bool step_counters(struct answer *a)
{
	bool last = a->family + 1 == metrics_families();

	text_add(&a->text, ",\n", a->family ? 2 : 0);
	metrics_json(a->c, a->family++, &a->text);
	if (last)
		text_add(&a->text, "]}\n", 3);
	return !last;
}

static unsigned begin_counters(struct answer *a)
{
	text_printf(&a->text, "{\"families\":[");
	a->step = step_counters;
	return 200;
}

/* ---- all of them */

unsigned answer_begin(struct answer *a)
{
	static unsigned (*const begin[ADMIN_ROUTES_COUNT])(struct answer *) = {
		[ADMIN_HEALTH] = begin_health,     [ADMIN_READY] = begin_ready,
		[ADMIN_METRICS] = begin_metrics,   [ADMIN_STATUS] = begin_status,
		[ADMIN_COUNTERS] = begin_counters, [ADMIN_SESSIONS] = begin_sessions,
		[ADMIN_SESSION] = begin_session,   [ADMIN_WHY] = begin_why,
		[ADMIN_IDENTITY] = begin_identity,
	};

	a->type = type_json;
	return begin[a->request.route](a);
}

void answer_fault(struct answer *a)
{
	a->type = type_json;
	a->step = NULL;
	text_clear(&a->text);
	text_add(&a->text, "{", 1);
	text_member(&a->text, "error", a->fault.why);
	text_add(&a->text, "}\n", 2);
}

size_t answer_read(struct answer *a, char *out, size_t room)
{
	size_t n;

	if (a->sent == a->text.len && a->step) {
		text_clear(&a->text);
		a->sent = 0;
		if (!a->step(a))
			a->step = NULL;
	}
	n = a->text.len - a->sent;
	n = n < room ? n : room;
	if (n > 0)
		memcpy(out, a->text.at + a->sent, n);
	a->sent += n;
	return n;
}

void answer_fini(struct answer *a)
{
	text_fini(&a->text);
}
