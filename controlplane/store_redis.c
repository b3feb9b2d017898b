/* See store_redis.h. */
#include "controlplane/store_redis.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "controlplane/lookups.h"
#include "controlplane/redis_link.h"
#include "controlplane/row.h"
#include "crypto/secret.h"
#include "crypto/wolfssl_random.h"

enum {
	LOOKUPS_MAX = 16384,
	CHANGES_AT_ONCE = 256,
	DIGESTS = 3, /* of a raw public key: whole, and its shorter names */
	EVENTS_MAX = 4,
};
#define POLL_NS 200000000ULL

struct redis_store {
	struct redis_server server;
	struct wrap *wrap;
	struct redis_link *link;
	struct lookups *lookups;
	uint64_t question; /* the last that was answered with -EAGAIN */
	int epoll_fd, timer_fd;
	uint64_t now_ns;
	uint64_t wait_ns; /* how long an answer takes these days */
	uint64_t armed_ns;

	/* The change log. `last`: the newest change known of. `cursor`: what the caller of changes() has
	 * seen, UINT64_MAX: it has not asked yet. What comes behind it is read into `changes`, from `taken`
	 * on. */
	bool known, polling, stale;
	uint64_t poll_ns, last, cursor;
	struct credential_change changes[CHANGES_AT_ONCE];
	unsigned changes_count, taken;

	bool was_ready;
	struct redis_store_counts counts;
};

/* A command that is under way for a look-up. */
struct query {
	struct redis_store *store;
	struct lookup *lookup; /* NULL: nobody waits any more */
	uint64_t sent_ns;
	unsigned keys_count; /* that it asks for: so many elements does its answer have */
};

/* ---- look-ups */

/* What a row may stand under. RFC 6920: for a raw public key also its first 16 and 15 bytes. */
struct keys {
	unsigned count;
	size_t lens[DIGESTS];
	uint8_t bytes[DIGESTS][ROW_KEY_MAX];
};

static void add_key(struct keys *keys, const struct credential_id *id)
{
	keys->lens[keys->count] = row_key_encode(id, keys->bytes[keys->count]);
	keys->count++;
}

static void make_keys(struct keys *keys, const struct credential_id *id)
{
	static const uint8_t shorter[] = {16, 15};
	struct credential_id other = *id;

	keys->count = 0;
	add_key(keys, id);
	for (size_t i = 0; id->kind == SLUICE_CREDENTIAL_RPK && i < sizeof shorter; i++) {
		other.digest_len = shorter[i];
		if (id->digest_len > shorter[i])
			add_key(keys, &other);
	}
}

/* reply: one element per key, as many as make_keys() made. */
static void take_row(struct redis_store *s, struct lookup *l, const redisReply *reply)
{
	int result = 0;
	const redisReply *row = NULL;

	for (size_t i = 0; i < reply->elements && !row; i++) {
		if (reply->element[i]->type == REDIS_REPLY_STRING) {
			row = reply->element[i];
			l->which = (uint8_t)i;
			result = row->len <= ROW_MAX ? 1 : -EBADMSG;
		}
	}
	lookup_answer(s->lookups, l, result, row ? row->str : NULL, row ? (size_t)row->len : 0, s->now_ns);
}

static void note_wait(struct redis_store *s, uint64_t sent_ns)
{
	uint64_t took = s->now_ns - sent_ns;

	s->wait_ns = s->wait_ns ? (7 * s->wait_ns + took) / 8 : took;
}

static void take_lookup_reply(redisAsyncContext *ac, void *answer, void *context)
{
	struct query *q = context;
	struct redis_store *s = q->store;
	const redisReply *reply = answer;
	bool good = redis_link_reply_good(s->link, reply);

	if (good)
		note_wait(s, q->sent_ns);
	if (q->lookup && good && reply->type == REDIS_REPLY_ARRAY && reply->elements == q->keys_count)
		take_row(s, q->lookup, reply);
	else if (q->lookup && reply)
		lookup_answer(s->lookups, q->lookup, -EIO, NULL, 0, s->now_ns);
	else if (q->lookup)
		q->lookup->by = NULL; /* it is sent again when there is a connection */
	free(q);
}

static bool send_lookup(struct redis_store *s, struct lookup *l)
{
	const char *argv[2 + DIGESTS] = {"HMGET", REDIS_ROWS};
	size_t lens[2 + DIGESTS] = {strlen(argv[0]), strlen(argv[1])};
	struct credential_id id;
	struct query *q;
	struct keys keys;

	if (row_key_decode(l->key, l->key_len, &id) < 0) { /* nothing can be stored under it */
		lookup_answer(s->lookups, l, 0, NULL, 0, s->now_ns);
		return true;
	}
	q = malloc(sizeof *q);
	if (!q)
		return false;
	make_keys(&keys, &id);
	for (unsigned i = 0; i < keys.count; i++) {
		argv[2 + i] = (const char *)keys.bytes[i];
		lens[2 + i] = keys.lens[i];
	}
	*q = (struct query){.store = s, .lookup = l, .sent_ns = s->now_ns, .keys_count = keys.count};
	if (!redis_link_send(s->link, take_lookup_reply, q, 2 + (int)keys.count, argv, lens)) {
		free(q);
		return false;
	}
	lookup_sent(s->lookups, l, &q->lookup);
	s->counts.asked++;
	return true;
}

static void send_lookups(struct redis_store *s)
{
	struct lookup *l;

	while (redis_link_ready(s->link) && (l = lookups_unsent(s->lookups))) {
		if (!send_lookup(s, l))
			return;
	}
}

static int tell(struct redis_store *s, const struct lookup *l, const struct credential_id *id,
		struct psk_credential *out)
{
	struct keys keys;
	int err;

	if (l->result != 1)
		return l->result;
	make_keys(&keys, id);
	err = row_decode(keys.bytes[l->which], keys.lens[l->which], l->row, l->row_len, s->wrap, out);
	if (err)
		return err;
	row_name_identity(id, &out->registree);
	return 1;
}

/* Only pre-shared keys are held back: whoever shows a certificate has proved that it is his, and learns
 * nothing from how quickly he is let in. */
static int ask(struct redis_store *s, const struct credential_id *id, struct psk_credential *out)
{
	uint8_t key[ROW_KEY_MAX];
	size_t key_len = row_key_encode(id, key);
	struct lookup *l = lookups_find(s->lookups, key, key_len);

	if (!l) {
		if (redis_link_is_down(s->link))
			return -ENOTCONN;
		l = lookups_add(s->lookups, key, key_len);
		if (!l)
			return -EBUSY;
	}
	s->question = l->number;
	if (l->step != LOOKUP_KEPT || l->hold == LOOKUP_HELD)
		return -EAGAIN;
	if (l->hold == LOOKUP_RIPE)
		return tell(s, l, id, out);
	s->counts.remembered++;
	if (id->kind != SLUICE_CREDENTIAL_PSK)
		return tell(s, l, id, out);
	lookup_hold(s->lookups, l);
	return -EAGAIN;
}

static int look_up(struct redis_store *s, const struct credential_id *id, struct psk_credential *out)
{
	int result = ask(s, id, out);

	s->counts.failed += result < 0 && result != -EAGAIN;
	s->counts.damaged += result == -EBADMSG;
	return result;
}

static int redis_find_psk(void *store, const char *tenant, const uint8_t *identity, size_t identity_len,
			  struct psk_credential *out)
{
	struct credential_id id;

	return credential_id_psk(&id, tenant, identity, identity_len) ? look_up(store, &id, out) : 0;
}

static int redis_find(void *store, const struct credential_id *id, struct registree *out)
{
	struct psk_credential *found = malloc(sizeof *found);
	int result = found ? look_up(store, id, found) : -ENOMEM;

	if (result == 1)
		*out = found->registree;
	if (found)
		secret_wipe(found, sizeof *found);
	free(found);
	return result;
}

/* ---- what is known of the whole store */

static const char *text_of(const redisReply *reply, size_t n)
{
	return reply->element[n]->type == REDIS_REPLY_STRING ? reply->element[n]->str : NULL;
}

static void note_change(struct redis_store *s, uint64_t last, uint64_t forgotten)
{
	if (!s->known || last != s->last)
		lookups_forget(s->lookups);
	if (s->cursor != UINT64_MAX && (s->cursor < forgotten || s->cursor > last)) {
		s->stale = true;
		s->changes_count = s->taken = 0;
	}
	s->last = last;
	s->known = true;
}

/* "format", "seal", "change", "forgotten": false when the store cannot be used. */
static bool take_meta(struct redis_store *s, const redisReply *reply)
{
	struct redis_meta meta = {0};
	const char *fault = "its answer is not understood";
	uint64_t last = 0, forgotten = 0;

	if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 4) {
		meta = (struct redis_meta){.format = text_of(reply, 0),
					   .seal = text_of(reply, 1),
					   .change = text_of(reply, 2),
					   .forgotten = text_of(reply, 3)};
		meta.seal_len = meta.seal ? (size_t)reply->element[1]->len : 0;
		fault = redis_meta_fault(&meta, s->wrap);
	}
	if (fault) {
		redis_link_refuse(s->link, fault);
		return false;
	}
	(void)redis_number(meta.change, &last);
	(void)redis_number(meta.forgotten, &forgotten);
	note_change(s, last, forgotten);
	return true;
}

/* One entry of the log: { id, { "c", { removed, key } } }. */
static bool read_change(const redisReply *entry, struct credential_change *out)
{
	const redisReply *fields, *change;
	char number[32];
	size_t len;

	if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2 ||
	    entry->element[0]->type != REDIS_REPLY_STRING || entry->element[1]->type != REDIS_REPLY_ARRAY)
		return false;
	len = strcspn(entry->element[0]->str, "-");
	fields = entry->element[1];
	if (len >= sizeof number || fields->elements != 2 || fields->element[1]->type != REDIS_REPLY_STRING)
		return false;
	memcpy(number, entry->element[0]->str, len);
	number[len] = 0;
	change = fields->element[1];
	if (change->len < 2 || !redis_number(number, &out->number) ||
	    row_key_decode((const uint8_t *)change->str + 1, (size_t)change->len - 1, &out->id) < 0)
		return false;
	out->removed = change->str[0] != 0;
	return true;
}

static void take_log_reply(redisAsyncContext *ac, void *answer, void *context)
{
	struct redis_store *s = context;
	const redisReply *reply = answer;

	s->polling = false;
	if (!redis_link_reply_good(s->link, reply) || reply->type != REDIS_REPLY_ARRAY ||
	    s->changes_count > 0)
		return;
	for (size_t i = 0; i < reply->elements && i < CHANGES_AT_ONCE; i++) {
		struct credential_change *change = &s->changes[s->changes_count];

		/* What is not understood may be about any session. */
		if (!read_change(reply->element[i], change)) {
			s->stale = true;
			s->changes_count = 0;
			return;
		}
		s->changes_count++;
	}
	if (reply->elements == 0) /* only new rows came */
		s->cursor = s->last;
}

static void ask_log(struct redis_store *s)
{
	const char *argv[] = {"XRANGE", REDIS_LOG, NULL, "+", "COUNT", "256"};
	char from[32];

	snprintf(from, sizeof from, "%llu", (unsigned long long)s->cursor + 1);
	argv[2] = from;
	s->polling = redis_link_send(s->link, take_log_reply, s, 6, argv, NULL);
}

static void take_meta_reply(redisAsyncContext *ac, void *answer, void *context)
{
	struct redis_store *s = context;
	const redisReply *reply = answer;

	s->polling = false;
	if (!redis_link_reply_good(s->link, reply) || !take_meta(s, reply))
		return;
	redis_link_accept(s->link); /* no more than once per connection means anything */
	s->was_ready = true;
	if (s->cursor != UINT64_MAX && s->cursor < s->last && !s->stale && s->changes_count == 0)
		ask_log(s);
}

static void ask_meta(void *context)
{
	const char *argv[] = {"HMGET", REDIS_META, "format", "seal", "change", "forgotten"};
	struct redis_store *s = context;

	s->polling = redis_link_send(s->link, take_meta_reply, s, 6, argv, NULL);
	s->poll_ns = s->now_ns + POLL_NS;
}

static int redis_changes(void *store, uint64_t *number, struct credential_change *out, unsigned max)
{
	struct redis_store *s = store;
	unsigned n = 0;

	if (!s->known)
		return *number == UINT64_MAX ? 0 : -ENOTCONN;
	if (*number == UINT64_MAX || s->stale) {
		int result = *number == UINT64_MAX ? 0 : -ESTALE;

		s->stale = false;
		s->changes_count = s->taken = 0;
		*number = s->cursor = s->last;
		return result;
	}
	if (s->cursor == UINT64_MAX) /* it knows where it is from earlier */
		s->cursor = *number;
	if (s->changes_count == 0)
		*number = s->cursor;
	for (; s->taken < s->changes_count && n < max; n++)
		out[n] = s->changes[s->taken++];
	if (n > 0)
		*number = s->cursor = out[n - 1].number;
	if (s->taken == s->changes_count && s->changes_count > 0) {
		s->changes_count = s->taken = 0;
		s->poll_ns = 0; /* there may be more */
	}
	return (int)n;
}

/* ---- time and events */

static void lost(void *context)
{
	struct redis_store *s = context;

	s->polling = false;
	s->counts.lost += s->was_ready;
	s->was_ready = false;
	lookups_unsend(s->lookups);
	if (redis_link_is_down(s->link)) {
		lookups_forget(s->lookups);
		lookups_fail(s->lookups, -ENOTCONN, s->now_ns);
	}
}

static void take_events(struct redis_store *s)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t expirations;
	int n = epoll_wait(s->epoll_fd, events, EVENTS_MAX, 0);

	for (int i = 0; i < n; i++) {
		if (events[i].data.ptr) {
			(void)!read(s->timer_fd, &expirations, sizeof expirations);
			s->armed_ns = 0;
			continue;
		}
		if (events[i].events & EPOLLOUT)
			redis_link_writable(s->link);
		if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
			redis_link_readable(s->link);
	}
}

/* What is held back is let go with more precision than an epoll time-out has. */
static void set_timer(struct redis_store *s)
{
	uint64_t at = lookups_release(s->lookups);
	struct itimerspec when = {0};

	if (at == s->armed_ns || at == UINT64_MAX || at == 0)
		return;
	when.it_value.tv_sec = (time_t)(at / 1000000000);
	when.it_value.tv_nsec = (long)(at % 1000000000);
	if (timerfd_settime(s->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0)
		s->armed_ns = at;
}

static unsigned redis_process(void *store, uint64_t now_ns)
{
	struct redis_store *s = store;

	s->now_ns = now_ns;
	lookups_timers(s->lookups, now_ns, s->wait_ns);
	redis_link_process(s->link, now_ns);
	if (redis_link_ready(s->link) && !s->polling && now_ns >= s->poll_ns)
		ask_meta(s);
	send_lookups(s);
	take_events(s);
	send_lookups(s); /* those that waited for the connection */
	redis_link_process(s->link, now_ns);
	set_timer(s);
	return lookups_ripe(s->lookups);
}

static uint64_t redis_deadline(const void *store)
{
	const struct redis_store *s = store;
	uint64_t lookups = lookups_deadline(s->lookups), link = redis_link_deadline(s->link);
	uint64_t deadline = lookups < link ? lookups : link;

	if (redis_link_ready(s->link) && !s->polling && s->poll_ns < deadline)
		deadline = s->poll_ns;
	return deadline;
}

static uint64_t redis_question(const void *store)
{
	return ((const struct redis_store *)store)->question;
}

static uint64_t redis_next_answer(void *store)
{
	return lookups_next_ripe(((struct redis_store *)store)->lookups);
}

static int redis_fd(const void *store)
{
	return ((const struct redis_store *)store)->epoll_fd;
}

/* ---- opening */

struct redis_store *redis_store_open(const struct redis_store_options *o, char *error, size_t error_len)
{
	struct redis_store *s = calloc(1, sizeof *s);
	const struct redis_link_user user = {.greet = ask_meta, .lost = lost, .context = s};
	struct epoll_event timer = {.events = EPOLLIN, .data.ptr = s};
	const uint64_t timeout_ns = o->timeout_ms * 1000000ULL;
	uint64_t seed;

	snprintf(error, error_len, "Out of memory.");
	if (!s)
		return NULL;
	s->cursor = UINT64_MAX;
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (s->epoll_fd < 0 || s->timer_fd < 0 ||
	    epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->timer_fd, &timer) ||
	    random_block((unsigned char *)&seed, sizeof seed))
		goto fail;
	s->lookups = lookups_new(LOOKUPS_MAX, timeout_ns, o->cache_s * 1000000000ULL, seed);
	s->link = redis_link_new(&s->server, s->epoll_fd, timeout_ns, &user);
	if (!s->lookups || !s->link ||
	    !redis_server_parse(&s->server, o->address, o->password_file, error, error_len))
		goto fail;
	if (o->key_file) {
		s->wrap = wrap_new(o->key_file, error, error_len);
		if (!s->wrap)
			goto fail;
	}
	return s;
fail:
	redis_store_close(s);
	return NULL;
}

void redis_store_close(struct redis_store *s)
{
	if (!s)
		return;
	redis_link_free(s->link);
	lookups_free(s->lookups);
	wrap_free(s->wrap);
	if (s->timer_fd >= 0)
		close(s->timer_fd);
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	secret_wipe(s, sizeof *s);
	free(s);
}

const struct redis_store_counts *redis_store_counts(const struct redis_store *s)
{
	return &s->counts;
}

static void redis_close(void *store)
{
	redis_store_close(store);
}

static bool redis_reachable(const void *store)
{
	return redis_link_ready(((const struct redis_store *)store)->link);
}

const struct credential_store store_redis = {
	.name = "redis",
	.find_psk = redis_find_psk,
	.find = redis_find,
	.changes = redis_changes,
	.fd = redis_fd,
	.process = redis_process,
	.deadline = redis_deadline,
	.question = redis_question,
	.next_answer = redis_next_answer,
	.reachable = redis_reachable,
	.close = redis_close,
};
