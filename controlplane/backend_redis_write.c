/* Changes of the credential store in Redis, pipelined.
 *
 * A change is one MULTI/EXEC under a WATCH of sluice:meta, which every change writes: all of it happens or
 * nothing, and two of them never mix. What it compares with is read through a second connection, because in a
 * MULTI nothing is answered. What Redis does not give: it does not take back what EXEC did when one of the
 * commands fails, which these do only when others have put something else under our names; and what it keeps
 * when its machine fails is what its own configuration says (appendfsync).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/backend_redis_private.h"
#include "crypto/secret.h"
#include "crypto/sha256.h"

enum { TRIES = 5, QUEUED_MAX = 1024 };

/* What this change has put or removed already, which the server does not show before EXEC: by the hash of the
 * key. Open addressing. */
struct seen {
	uint64_t key[2];
	uint64_t content[2]; /* hash of what it says; meaningless when removed */
	uint64_t version;    /* 0: an empty place */
	bool removed;
};

struct writer {
	struct redis_backend *backend;
	struct redis_numbers numbers; /* change: the last number given */
	struct seen *seen;
	size_t seen_count, seen_room; /* room: a power of two */
	uint64_t logged;
	unsigned queued; /* commands whose answers have not been read */
};

static void hash_bytes(uint64_t out[2], const void *bytes, size_t len)
{
	uint8_t digest[SHA256_LEN];
	struct sha256 h;

	sha256_start(&h, sha256_initial, 0);
	sha256_update(&h, bytes, len);
	sha256_finish(&h, digest);
	memcpy(out, digest, 2 * sizeof out[0]);
	secret_wipe(&h, sizeof h);
}

/* What a credential says, whatever its version and however it is sealed. */
static void hash_content(uint64_t out[2], const struct credential *c)
{
	struct credential plain = *c;
	uint8_t row[ROW_MAX];
	int len;

	plain.psk.registree.version = 0;
	len = row_encode(&plain, NULL, row);
	hash_bytes(out, row, len > 0 ? (size_t)len : 0);
	secret_wipe(row, sizeof row);
	secret_wipe(&plain.psk.key, sizeof plain.psk.key);
}

static struct seen *place_of(struct seen *table, size_t room, const uint64_t key[2])
{
	size_t at = key[0] & (room - 1);

	while (table[at].version && (table[at].key[0] != key[0] || table[at].key[1] != key[1]))
		at = (at + 1) & (room - 1);
	return &table[at];
}

/* The place of this key, with room for it. NULL when out of memory. */
static struct seen *seen_place(struct writer *w, const uint64_t key[2])
{
	size_t room = w->seen_room ? 2 * w->seen_room : 1024;
	struct seen *grown;

	if (2 * (w->seen_count + 1) > w->seen_room) {
		grown = calloc(room, sizeof *grown);
		if (!grown)
			return NULL;
		for (size_t i = 0; i < w->seen_room; i++) {
			if (w->seen[i].version)
				*place_of(grown, room, w->seen[i].key) = w->seen[i];
		}
		if (w->seen)
			secret_wipe(w->seen, w->seen_room * sizeof *w->seen);
		free(w->seen);
		w->seen = grown;
		w->seen_room = room;
	}
	return place_of(w->seen, w->seen_room, key);
}

static void note_seen(struct writer *w, struct seen *place, const uint64_t key[2], const uint64_t content[2],
		      bool removed)
{
	w->seen_count += place->version == 0;
	memcpy(place->key, key, sizeof place->key);
	memcpy(place->content, content, sizeof place->content);
	place->version = w->numbers.change;
	place->removed = removed;
}

/* The server has taken what was queued. */
static int await_queued(struct writer *w)
{
	redisReply *reply;
	int err = 0;

	for (; !err && w->queued > 0; w->queued--) {
		reply = redis_answer(w->backend, w->backend->writer, &err);
		freeReplyObject(reply);
	}
	return err;
}

/* One command inside the MULTI. */
static int queue(struct writer *w, const struct command *c)
{
	int err = redis_send(w->backend, w->backend->writer, c);

	w->queued += !err;
	return !err && w->queued >= QUEUED_MAX ? await_queued(w) : err;
}

static int queue_log(struct writer *w, bool removed, const uint8_t *key, size_t key_len)
{
	uint8_t entry[1 + ROW_KEY_MAX];
	struct command c = {0};
	char id[32];

	snprintf(id, sizeof id, "%llu-0", (unsigned long long)w->numbers.change);
	entry[0] = removed;
	memcpy(entry + 1, key, key_len);
	command_text(&c, "XADD");
	command_text(&c, REDIS_LOG);
	command_text(&c, id);
	command_text(&c, "c");
	command_bytes(&c, entry, 1 + key_len);
	w->logged++;
	return queue(w, &c);
}

/* What to do about a row that the server has. A damaged one can only be replaced. */
static int compare_stored(struct writer *w, struct backend_row *row, const uint8_t *key, size_t key_len,
			  const redisReply *stored, bool replace)
{
	struct psk_credential *there = malloc(sizeof *there);
	int err = there ? row_decode(key, key_len, (const uint8_t *)stored->str, (size_t)stored->len,
				     w->backend->wrap, there)
			: -ENOMEM;
	int result = replace ? STORE_REPLACED : -EEXIST;

	if (!err)
		row->earlier = there->registree.version;
	if (!err && credential_same(there, &row->credential.psk))
		result = STORE_UNCHANGED;
	else if (err && (err != -EBADMSG || !replace))
		result = err;
	if (there)
		secret_wipe(there, sizeof *there);
	free(there);
	return result;
}

static int compare_seen(struct backend_row *row, const struct seen *place, const uint64_t content[2],
			bool replace)
{
	if (place->removed)
		return STORE_ADDED;
	row->earlier = place->version;
	if (memcmp(place->content, content, sizeof place->content) == 0)
		return STORE_UNCHANGED;
	return replace ? STORE_REPLACED : -EEXIST;
}

/* Decides about one row, and encodes it when it is to be written. bytes: ROW_KEY_MAX + ROW_MAX, the key in
 * front. */
static int put_row(struct writer *w, struct backend_row *row, const redisReply *stored, bool replace,
		   struct command *set, uint8_t *bytes)
{
	struct credential *c = &row->credential;
	size_t key_len = row_key_encode(&c->id, bytes);
	uint64_t key[2], content[2];
	struct seen *place;
	int len, err = 0;

	row->earlier = 0;
	hash_bytes(key, bytes, key_len);
	hash_content(content, c);
	place = seen_place(w, key);
	if (!place)
		return -ENOMEM;
	row->result = place->version ? compare_seen(row, place, content, replace)
		      : stored->type == REDIS_REPLY_STRING
			      ? compare_stored(w, row, bytes, key_len, stored, replace)
			      : STORE_ADDED;
	if (row->result < 0 || row->result == STORE_UNCHANGED)
		return row->result < 0 && row->result != -EEXIST ? row->result : 0;
	c->psk.registree.version = ++w->numbers.change;
	len = row_encode(c, w->backend->wrap, bytes + ROW_KEY_MAX);
	if (len < 0)
		return len;
	note_seen(w, place, key, content, false);
	if (row->result == STORE_REPLACED)
		err = queue_log(w, false, bytes, key_len);
	command_bytes(set, bytes, key_len);
	command_bytes(set, bytes + ROW_KEY_MAX, (size_t)len);
	return err;
}

static redisReply *read_rows(struct writer *w, const struct backend_row *rows, unsigned count, uint8_t *keys,
			     int *err)
{
	struct command get = {0};
	redisReply *reply;

	command_text(&get, "HMGET");
	command_text(&get, REDIS_ROWS);
	for (unsigned i = 0; i < count; i++) {
		uint8_t *key = keys + (size_t)i * ROW_KEY_MAX;

		command_bytes(&get, key, row_key_encode(&rows[i].credential.id, key));
	}
	reply = redis_ask(w->backend, w->backend->reader, &get, err);
	if (reply && (reply->type != REDIS_REPLY_ARRAY || reply->elements != count)) {
		*err = redis_fail(w->backend, -EBADMSG, "its answer is not understood");
		freeReplyObject(reply);
		reply = NULL;
	}
	return reply;
}

int redis_put(void *writer, struct backend_row *rows, unsigned count, bool replace)
{
	enum { EACH = ROW_KEY_MAX + ROW_MAX };
	uint8_t *bytes = malloc((size_t)count * EACH);
	struct command set = {0};
	struct writer *w = writer;
	redisReply *stored;
	int err = bytes ? 0 : -ENOMEM;

	for (unsigned i = 0; !err && i < count; i++)
		err = credential_fault(&rows[i].credential) ? -EINVAL : 0;
	stored = err ? NULL : read_rows(w, rows, count, bytes, &err);
	command_text(&set, "HSET");
	command_text(&set, REDIS_ROWS);
	for (unsigned i = 0; !err && i < count; i++)
		err = put_row(w, &rows[i], stored->element[i], replace, &set, bytes + (size_t)i * EACH);
	if (!err && set.argc > 2)
		err = queue(w, &set);
	freeReplyObject(stored);
	if (bytes)
		secret_wipe(bytes, (size_t)count * EACH);
	free(bytes);
	return err;
}

int redis_del(void *writer, const struct credential_id *id)
{
	static const uint64_t nothing[2];
	struct writer *w = writer;
	uint8_t bytes[ROW_KEY_MAX];
	size_t len = row_key_encode(id, bytes);
	struct command has = {0}, del = {0};
	redisReply *reply;
	struct seen *place;
	uint64_t key[2];
	bool there;
	int err;

	hash_bytes(key, bytes, len);
	place = seen_place(w, key);
	command_text(&has, "HEXISTS");
	command_text(&has, REDIS_ROWS);
	command_bytes(&has, bytes, len);
	reply = place ? redis_ask(w->backend, w->backend->reader, &has, &err) : NULL;
	if (!reply)
		return place ? err : -ENOMEM;
	there = place->version ? !place->removed : reply->integer == 1;
	freeReplyObject(reply);
	if (!there)
		return 0;
	w->numbers.change++;
	note_seen(w, place, key, nothing, true);
	command_text(&del, "HDEL");
	command_text(&del, REDIS_ROWS);
	command_bytes(&del, bytes, len);
	err = queue(w, &del);
	if (!err)
		err = queue_log(w, true, bytes, len);
	return err ? err : 1;
}

uint64_t redis_next_change(void *writer)
{
	return ((struct writer *)writer)->numbers.change + 1;
}

/* ---- the whole change */

/* The number up to which the log forgets, so that it keeps REDIS_LOG_MAX entries. */
static int find_forgotten(struct writer *w, uint64_t *forgotten)
{
	struct redis_backend *b = w->backend;
	uint64_t excess;
	char words[96];
	redisReply *reply;
	int err = 0;

	reply = redis_ask_text(b, b->reader, "XLEN " REDIS_LOG, &err);
	if (!reply)
		return err;
	excess = (uint64_t)reply->integer + w->logged;
	excess = excess > REDIS_LOG_MAX ? excess - REDIS_LOG_MAX : 0;
	if (excess > (uint64_t)reply->integer) { /* even some of this change */
		excess = 0;
		*forgotten = w->numbers.change;
	}
	freeReplyObject(reply);
	if (!excess)
		return 0;
	snprintf(words, sizeof words, "XRANGE " REDIS_LOG " - + COUNT %llu", (unsigned long long)excess);
	reply = redis_ask_text(b, b->reader, words, &err);
	if (reply && reply->elements > 0 && redis_text_of(reply->element[reply->elements - 1], 0))
		*forgotten = strtoull(reply->element[reply->elements - 1]->element[0]->str, NULL, 10);
	freeReplyObject(reply);
	return err;
}

static int queue_meta(struct writer *w)
{
	struct command meta = {0}, trim = {0};
	char change[32], forgotten[32], kept[32];
	uint64_t forgets = w->numbers.forgotten;
	int err = w->logged ? find_forgotten(w, &forgets) : 0;

	snprintf(change, sizeof change, "%llu", (unsigned long long)w->numbers.change);
	snprintf(forgotten, sizeof forgotten, "%llu", (unsigned long long)forgets);
	snprintf(kept, sizeof kept, "%d", REDIS_LOG_MAX);
	command_text(&meta, "HSET");
	command_text(&meta, REDIS_META);
	command_text(&meta, "change");
	command_text(&meta, change);
	command_text(&meta, "forgotten");
	command_text(&meta, forgotten);
	command_text(&trim, "XTRIM");
	command_text(&trim, REDIS_LOG);
	command_text(&trim, "MAXLEN");
	command_text(&trim, kept);
	if (!err)
		err = queue(w, &meta);
	return err || !w->logged ? err : queue(w, &trim);
}

/* -EAGAIN: somebody else has changed the store meanwhile. */
static int execute(struct writer *w)
{
	struct redis_backend *b = w->backend;
	int err = queue_meta(w);
	redisReply *reply;

	if (!err)
		err = await_queued(w);
	reply = err ? NULL : redis_ask_text(b, b->writer, "EXEC", &err);
	if (err == -ENOTCONN)
		(void)redis_fail(b, err, "the connection was lost in the last moment; it may have been done");
	if (reply && reply->type == REDIS_REPLY_NIL)
		err = redis_fail(b, -EAGAIN, "others change it again and again");
	for (size_t i = 0; reply && i < reply->elements; i++) {
		if (reply->element[i]->type == REDIS_REPLY_ERROR)
			err = redis_fail(b, -EBADMSG, reply->element[i]->str);
	}
	freeReplyObject(reply);
	return err;
}

static void discard(struct writer *w)
{
	if (await_queued(w) || redis_tell_text(w->backend, w->backend->writer, "DISCARD")) {
		redisFree(w->backend->writer); /* which is as good */
		w->backend->writer = NULL;
	}
}

static int write_once(struct redis_backend *b, backend_body body, bool again, void *context)
{
	struct writer w = {.backend = b};
	struct backend_writer writer = {.ops = &backend_redis, .writer = &w};
	uint64_t begun;
	int err = redis_tell_text(b, b->writer, "WATCH " REDIS_META);

	if (!err)
		err = redis_read_meta(b, &w.numbers);
	if (!err)
		err = redis_tell_text(b, b->writer, "MULTI");
	if (err)
		return err;
	begun = w.numbers.change;
	err = body(&writer, again, context);
	if (!err && w.numbers.change != begun)
		err = execute(&w);
	else
		discard(&w);
	if (w.seen)
		secret_wipe(w.seen, w.seen_room * sizeof *w.seen);
	free(w.seen);
	return err;
}

int redis_write(void *store, backend_body body, void *context)
{
	struct redis_backend *b = store;
	int err = -EAGAIN;

	b->fault[0] = 0;
	if (!b->writer)
		b->writer = redis_connect(b);
	if (!b->writer)
		return -ENOTCONN;
	for (unsigned i = 0; i < TRIES && err == -EAGAIN; i++)
		err = write_once(b, body, i > 0, context);
	return err;
}
