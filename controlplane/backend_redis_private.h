/* What backend_redis.c (opening, reading) and backend_redis_write.c (changing) share, and nobody else.
 */
#ifndef CONTROLPLANE_BACKEND_REDIS_PRIVATE_H
#define CONTROLPLANE_BACKEND_REDIS_PRIVATE_H

#include <hiredis/hiredis.h>

#include "controlplane/backend.h"
#include "controlplane/redis_server.h"

enum { REDIS_ARGUMENTS_MAX = 2 + 2 * BACKEND_ROWS_MAX };

struct redis_backend {
	struct redis_server server;
	struct wrap *wrap;
	redisContext *reader, *writer; /* writer: NULL until something is changed */
	char fault[BACKEND_FAULT_MAX];
};

/* Arguments of one command; bytes are borrowed until it is sent. */
struct command {
	int argc;
	const char *argv[REDIS_ARGUMENTS_MAX];
	size_t lens[REDIS_ARGUMENTS_MAX];
};

void command_bytes(struct command *c, const void *bytes, size_t len);
void command_text(struct command *c, const char *text);

/* All of these: 0 or -errno with the fault said; answers are the caller's (freeReplyObject), NULL with *err.
 */
int redis_fail(struct redis_backend *b, int err, const char *why); /* returns err */
int redis_send(struct redis_backend *b, redisContext *c, const struct command *command);
redisReply *redis_answer(struct redis_backend *b, redisContext *c, int *err);
redisReply *redis_ask(struct redis_backend *b, redisContext *c, const struct command *command, int *err);
/* For words without anything special in them, separated by single spaces. */
redisReply *redis_ask_text(struct redis_backend *b, redisContext *c, const char *words, int *err);
int redis_tell_text(struct redis_backend *b, redisContext *c, const char *words);

redisContext *redis_connect(struct redis_backend *b);
/* The n-th element of an array when it is a text; NULL otherwise. */
const char *redis_text_of(const redisReply *reply, size_t n);

struct redis_numbers {
	uint64_t change, forgotten;
};

/* Also -ENOENT: there is no store. */
int redis_read_meta(struct redis_backend *b, struct redis_numbers *out);

/* For struct backend_ops. */
int redis_write(void *store, backend_body body, void *context);
int redis_put(void *writer, struct backend_row *rows, unsigned count, bool replace);
int redis_del(void *writer, const struct credential_id *id);
uint64_t redis_next_change(void *writer);

#endif
