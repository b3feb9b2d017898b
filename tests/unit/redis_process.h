/* A redis-server of the test's own, on a Unix socket in a folder of the test's, without files of its own. */
#ifndef TESTS_UNIT_REDIS_PROCESS_H
#define TESTS_UNIT_REDIS_PROCESS_H

#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REDIS_START_MS = 20000, TEST_SKIPPED = 77 };

struct redis_process {
	const char *program;
	char socket[100];
	const char *password; /* NULL: none */
	pid_t pid;            /* 0: it does not run */
};

static inline bool redis_process_answers(const struct redis_process *r)
{
	redisContext *c = redisConnectUnix(r->socket);
	bool good = c && !c->err;

	redisFree(c);
	return good;
}

/* False: it is not on PATH, and the test is to be skipped. */
static inline bool redis_process_there(const char *program)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		if (freopen("/dev/null", "w", stdout))
			execlp(program, "redis-server", "--version", (char *)NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* It has `password` from the start. Ends with the test. False with a line on stderr. */
static inline bool redis_process_start(struct redis_process *r)
{
	unlink(r->socket);
	r->pid = fork();
	if (r->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!freopen("/dev/null", "w", stdout))
			_exit(127);
		execlp(r->program, "redis-server", "--port", "0", "--unixsocket", r->socket, "--save", "",
		       "--appendonly", "no", r->password ? "--requirepass" : NULL, r->password, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < REDIS_START_MS / 10 && r->pid > 0 && waitpid(r->pid, NULL, WNOHANG) == 0; i++) {
		if (redis_process_answers(r))
			return true;
		usleep(10000);
	}
	fprintf(stderr, "%s does not start\n", r->program);
	r->pid = 0;
	return false;
}

static inline void redis_process_stop(struct redis_process *r)
{
	if (r->pid <= 0)
		return;
	kill(r->pid, SIGCONT);
	kill(r->pid, SIGKILL);
	waitpid(r->pid, NULL, 0);
	unlink(r->socket);
	r->pid = 0;
}

/* One command, its arguments separated by spaces; what it answers is left out. False when it is an error. */
static inline bool redis_process_do(const struct redis_process *r, const char *words)
{
	redisContext *c = redisConnectUnix(r->socket);
	redisReply *reply = c && !c->err ? redisCommand(c, words) : NULL;
	bool good = reply && reply->type != REDIS_REPLY_ERROR;

	freeReplyObject(reply);
	redisFree(c);
	return good;
}

#endif
