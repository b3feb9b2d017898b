/* The credential store in Redis as sluicectl reads it: blocking. redis_server.h says how it lies there.
 * Changes are in backend_redis_write.c.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/backend_redis_private.h"
#include "crypto/secret.h"

enum {
	CONNECT_S = 5,
	ANSWER_S = 120, /* the server may have to write a million rows for one answer */
	TRIES = 5,
	SCAN_COUNT = 1000,
};

/* ---- commands */

void command_bytes(struct command *c, const void *bytes, size_t len)
{
	c->argv[c->argc] = bytes;
	c->lens[c->argc++] = len;
}

void command_text(struct command *c, const char *text)
{
	command_bytes(c, text, strlen(text));
}

int redis_fail(struct redis_backend *b, int err, const char *why)
{
	snprintf(b->fault, sizeof b->fault, "%s", why);
	return err;
}

/* Takes the next answer; NULL and *err when it is none or an error. */
redisReply *redis_answer(struct redis_backend *b, redisContext *c, int *err)
{
	void *answer = NULL;
	redisReply *reply;

	if (redisGetReply(c, &answer) != REDIS_OK) {
		*err = redis_fail(b, -ENOTCONN, c->errstr);
		return NULL;
	}
	reply = answer;
	*err = 0;
	if (reply->type != REDIS_REPLY_ERROR)
		return reply;
	*err = redis_fail(b, -EIO, reply->str);
	freeReplyObject(reply);
	return NULL;
}

int redis_send(struct redis_backend *b, redisContext *c, const struct command *command)
{
	if (redisAppendCommandArgv(c, command->argc, (const char **)(uintptr_t)command->argv,
				   command->lens) != REDIS_OK)
		return redis_fail(b, -ENOMEM, "out of memory");
	return 0;
}

redisReply *redis_ask(struct redis_backend *b, redisContext *c, const struct command *command, int *err)
{
	*err = redis_send(b, c, command);
	return *err ? NULL : redis_answer(b, c, err);
}

/* For words without anything special in them, separated by single spaces. */
redisReply *redis_ask_text(struct redis_backend *b, redisContext *c, const char *words, int *err)
{
	void *answer = redisAppendCommand(c, words) == REDIS_OK ? redis_answer(b, c, err) : NULL;

	return answer;
}

int redis_tell_text(struct redis_backend *b, redisContext *c, const char *words)
{
	int err = -ENOMEM;
	redisReply *reply = redis_ask_text(b, c, words, &err);

	freeReplyObject(reply);
	return err;
}

/* ---- connections */

redisContext *redis_connect(struct redis_backend *b)
{
	const struct timeval connect_time = {.tv_sec = CONNECT_S}, answer_time = {.tv_sec = ANSWER_S};
	const struct redis_server *s = &b->server;
	redisContext *c = s->ip[0] ? redisConnectWithTimeout(s->ip, s->port, connect_time)
				   : redisConnectUnixWithTimeout(s->unix_path, connect_time);
	struct command auth = {0};
	redisReply *reply;
	int err = 0;

	if (!c || c->err || redisSetTimeout(c, answer_time) != REDIS_OK) {
		(void)redis_fail(b, -ENOTCONN, c ? c->errstr : "out of memory");
		redisFree(c);
		return NULL;
	}
	command_text(&auth, "AUTH");
	command_text(&auth, s->password);
	if (s->password[0]) {
		reply = redis_ask(b, c, &auth, &err);
		freeReplyObject(reply);
	}
	if (!err)
		return c;
	redisFree(c);
	return NULL;
}

const char *redis_text_of(const redisReply *reply, size_t n)
{
	return reply->elements > n && reply->element[n]->type == REDIS_REPLY_STRING ? reply->element[n]->str
										    : NULL;
}

/* 0; -ENOENT: there is no store; -EPROTO and others with the fault. */
int redis_read_meta(struct redis_backend *b, struct redis_numbers *out)
{
	redisReply *reply;
	struct redis_meta meta;
	const char *fault;
	int err = -ENOMEM;

	reply = redis_ask_text(b, b->reader, "HMGET " REDIS_META " format seal change forgotten", &err);
	if (!reply)
		return err;
	meta = (struct redis_meta){.format = redis_text_of(reply, 0),
				   .seal = redis_text_of(reply, 1),
				   .change = redis_text_of(reply, 2),
				   .forgotten = redis_text_of(reply, 3)};
	meta.seal_len = meta.seal ? (size_t)reply->element[1]->len : 0;
	fault = redis_meta_fault(&meta, b->wrap);
	if (fault)
		err = redis_fail(b, meta.format ? -EPROTO : -ENOENT, fault);
	else if (!redis_number(meta.change, &out->change) || !redis_number(meta.forgotten, &out->forgotten))
		err = redis_fail(b, -EBADMSG, "its credential store is damaged");
	freeReplyObject(reply);
	return err;
}

/* A new store. Of two who make one at the same time one does, and both agree on the key, or are told. */
static int make_store(struct redis_backend *b)
{
	uint8_t seal[WRAP_OVERHEAD];
	struct command c = {0};
	redisReply *reply;
	int err = b->wrap ? redis_seal(b->wrap, seal) : 0;

	if (!err)
		err = redis_tell_text(b, b->reader, "WATCH " REDIS_META);
	if (!err)
		err = redis_tell_text(b, b->reader, "MULTI");
	if (err)
		return err;
	command_text(&c, "HSET");
	command_text(&c, REDIS_META);
	command_text(&c, "format");
	command_text(&c, "1");
	command_text(&c, "change");
	command_text(&c, "0");
	command_text(&c, "forgotten");
	command_text(&c, "0");
	command_text(&c, "seal");
	command_bytes(&c, seal, b->wrap ? sizeof seal : 0);
	reply = redis_ask(b, b->reader, &c, &err);
	freeReplyObject(reply);
	return err ? err : redis_tell_text(b, b->reader, "EXEC");
}

static void redis_close(void *store)
{
	struct redis_backend *b = store;

	if (b->reader)
		redisFree(b->reader);
	if (b->writer)
		redisFree(b->writer);
	wrap_free(b->wrap);
	secret_wipe(b, sizeof *b);
	free(b);
}

void *backend_redis_open(const struct backend_options *o, char *error, size_t error_len)
{
	struct redis_backend *b = calloc(1, sizeof *b);
	struct redis_numbers numbers;
	int err;

	snprintf(error, error_len, "Out of memory.");
	if (!b)
		return NULL;
	signal(SIGPIPE, SIG_IGN); /* a server that goes away is told by write() */
	if (!redis_server_parse(&b->server, o->redis, o->password_file, error, error_len))
		goto fail;
	if (o->key_file) {
		b->wrap = wrap_new(o->key_file, error, error_len);
		if (!b->wrap)
			goto fail;
	}
	b->reader = redis_connect(b);
	err = b->reader ? redis_read_meta(b, &numbers) : -ENOTCONN;
	if (err == -ENOENT && o->create && o->write) {
		err = make_store(b);
		if (!err)
			err = redis_read_meta(b, &numbers);
	}
	if (!err) {
		b->fault[0] = 0;
		return b;
	}
	snprintf(error, error_len, "The credential store in Redis at %s cannot be used: %s.", b->server.text,
		 b->fault[0] ? b->fault : strerror(-err));
fail:
	redis_close(b);
	return NULL;
}

static const char *redis_fault(const void *store)
{
	return ((const struct redis_backend *)store)->fault;
}

/* ---- reading */

static int redis_find(void *store, const struct credential_id *id, struct psk_credential *out)
{
	struct redis_backend *b = store;
	uint8_t key[ROW_KEY_MAX];
	size_t key_len = row_key_encode(id, key);
	struct command c = {0};
	redisReply *reply;
	int err;

	command_text(&c, "HGET");
	command_text(&c, REDIS_ROWS);
	command_bytes(&c, key, key_len);
	reply = redis_ask(b, b->reader, &c, &err);
	if (!reply)
		return err;
	if (reply->type == REDIS_REPLY_STRING) {
		err = row_decode(key, key_len, (const uint8_t *)reply->str, (size_t)reply->len, b->wrap, out);
		if (!err)
			row_name_identity(id, &out->registree);
		err = err ? err : 1;
	}
	freeReplyObject(reply);
	return err;
}

static int redis_counts(void *store, uint64_t *rows, uint64_t *last_change)
{
	struct redis_backend *b = store;
	struct redis_numbers numbers = {0};
	int err = redis_read_meta(b, &numbers);
	redisReply *reply = err ? NULL : redis_ask_text(b, b->reader, "HLEN " REDIS_ROWS, &err);

	*rows = reply && reply->type == REDIS_REPLY_INTEGER ? (uint64_t)reply->integer : 0;
	*last_change = numbers.change;
	freeReplyObject(reply);
	return err;
}

static bool read_change(const redisReply *entry, struct credential_change *out)
{
	const redisReply *change;
	char number[32] = "";
	size_t len;

	if (entry->elements != 2 || !redis_text_of(entry, 0) || entry->element[1]->elements != 2 ||
	    !redis_text_of(entry->element[1], 1))
		return false;
	len = strcspn(entry->element[0]->str, "-");
	memcpy(number, entry->element[0]->str, len < sizeof number ? len : 0);
	change = entry->element[1]->element[1];
	if (!redis_number(number, &out->number) || change->len < 2 ||
	    row_key_decode((const uint8_t *)change->str + 1, (size_t)change->len - 1, &out->id) < 0)
		return false;
	out->removed = change->str[0] != 0;
	return true;
}

static int redis_changes(void *store, uint64_t *number, struct credential_change *out, unsigned max)
{
	struct redis_backend *b = store;
	struct redis_numbers numbers;
	unsigned count = 0;
	char words[128];
	redisReply *reply;
	int err = redis_read_meta(b, &numbers);

	if (err)
		return err;
	if (*number == UINT64_MAX || *number < numbers.forgotten || *number > numbers.change) {
		err = *number == UINT64_MAX ? 0 : -ESTALE;
		*number = numbers.change;
		return err;
	}
	snprintf(words, sizeof words, "XRANGE " REDIS_LOG " %llu + COUNT %u", (unsigned long long)*number + 1,
		 max);
	reply = redis_ask_text(b, b->reader, words, &err);
	if (!reply)
		return err;
	for (; count < reply->elements && count < max; count++) {
		if (!read_change(reply->element[count], &out[count])) {
			freeReplyObject(reply);
			return -EBADMSG;
		}
		*number = out[count].number;
	}
	freeReplyObject(reply);
	if (count < max && *number < numbers.change)
		*number = numbers.change;
	return (int)count;
}

/* ---- walking: HSCAN gives rows in no order, some of them twice, and not of one state */

struct found {
	uint16_t key_len, row_len;
	uint8_t bytes[]; /* key, row */
};

struct walk {
	struct found **found;
	size_t count, room;
};

static void forget_walk(struct walk *w)
{
	for (size_t i = 0; i < w->count; i++) {
		secret_wipe(w->found[i]->bytes, (size_t)w->found[i]->key_len + w->found[i]->row_len);
		free(w->found[i]);
	}
	free(w->found);
	*w = (struct walk){0};
}

static int compare_keys(const void *a, const void *b)
{
	const struct found *x = *(struct found *const *)a, *y = *(struct found *const *)b;
	int order = memcmp(x->bytes, y->bytes, x->key_len < y->key_len ? x->key_len : y->key_len);

	return order ? order : (int)x->key_len - (int)y->key_len;
}

static int keep_found(struct walk *w, const redisReply *key, const redisReply *row)
{
	struct found **grown, *one;

	if (key->len > ROW_KEY_MAX || row->len > UINT16_MAX)
		return -EBADMSG;
	if (w->count == w->room) {
		w->room = w->room ? 2 * w->room : 1024;
		grown = realloc(w->found, w->room * sizeof(struct found *));
		if (!grown)
			return -ENOMEM;
		w->found = grown;
	}
	one = malloc(sizeof *one + (size_t)key->len + (size_t)row->len);
	if (!one)
		return -ENOMEM;
	one->key_len = (uint16_t)key->len;
	one->row_len = (uint16_t)row->len;
	memcpy(one->bytes, key->str, (size_t)key->len);
	memcpy(one->bytes + key->len, row->str, (size_t)row->len);
	w->found[w->count++] = one;
	return 0;
}

static int scan(struct redis_backend *b, struct walk *w)
{
	char words[96], cursor[32] = "0";
	redisReply *reply;
	int err = 0;

	do {
		snprintf(words, sizeof words, "HSCAN " REDIS_ROWS " %s COUNT %d", cursor, SCAN_COUNT);
		reply = redis_ask_text(b, b->reader, words, &err);
		if (!reply)
			return err;
		if (!redis_text_of(reply, 0) || reply->elements != 2)
			err = redis_fail(b, -EBADMSG, "its answer is not understood");
		else
			snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
		for (size_t i = 0; !err && i + 1 < reply->element[1]->elements; i += 2)
			err = keep_found(w, reply->element[1]->element[i], reply->element[1]->element[i + 1]);
		freeReplyObject(reply);
	} while (!err && strcmp(cursor, "0") != 0);
	return err;
}

static int visit_found(struct redis_backend *b, const struct found *one, const char *tenant,
		       struct credential *c, backend_visit visit, void *context)
{
	int err = row_key_decode(one->bytes, one->key_len, &c->id);

	if (!err && tenant && strcmp(c->id.tenant, tenant) != 0)
		return 0;
	if (!err)
		err = row_decode(one->bytes, one->key_len, one->bytes + one->key_len, one->row_len, b->wrap,
				 &c->psk);
	return visit(c, err, context);
}

/* The change number before and after tells whether what was read is one state. */
static int read_all(struct redis_backend *b, struct walk *w)
{
	struct redis_numbers before, after;
	int err = -EAGAIN;

	for (unsigned i = 0; i < TRIES && err == -EAGAIN; i++) {
		forget_walk(w);
		err = redis_read_meta(b, &before);
		if (!err)
			err = scan(b, w);
		if (!err)
			err = redis_read_meta(b, &after);
		if (!err && before.change != after.change)
			err = redis_fail(b, -EAGAIN, "it was changed while it was read, again and again");
	}
	return err;
}

static int redis_walk(void *store, const char *tenant, backend_visit visit, void *context)
{
	struct credential *c = calloc(1, sizeof *c);
	struct redis_backend *b = store;
	struct walk w = {0};
	int err = c ? read_all(b, &w) : -ENOMEM;

	if (!err && w.count > 0)
		qsort(w.found, w.count, sizeof(struct found *), compare_keys);
	for (size_t i = 0; !err && i < w.count; i++) {
		if (i == 0 || compare_keys(&w.found[i - 1], &w.found[i]) != 0)
			err = visit_found(b, w.found[i], tenant, c, visit, context);
	}
	forget_walk(&w);
	if (c)
		secret_wipe(c, sizeof *c);
	free(c);
	return err;
}

const struct backend_ops backend_redis = {
	.find = redis_find,
	.counts = redis_counts,
	.walk = redis_walk,
	.changes = redis_changes,
	.write = redis_write,
	.put = redis_put,
	.del = redis_del,
	.next_change = redis_next_change,
	.fault = redis_fault,
	.close = redis_close,
};
