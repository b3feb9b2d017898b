/* A Unix stream socket that answers questions of one line with one line: many askers at once, each may ask as
 * often as it likes. File permissions decide who may. Nothing here blocks; an asker that does not read its
 * answers, or sends a line that is too long, is cut off. One thread.
 */
#ifndef RING_DOOR_H
#define RING_DOOR_H

#include <stddef.h>

enum {
	DOOR_ASKERS_MAX = 64, /* connected; more wait in the socket's queue */
	DOOR_QUESTION_MAX = 128,
};

struct door;

/* Writes the answer to a question (terminated, without its newline) to out. Returns the length. */
typedef size_t door_answer(const void *context, const char *question, char *out);

/* Makes the socket, of mode 0660; one that a dead process left is replaced. An answer takes at most
 * answer_max bytes. NULL with errno on failure (EADDRINUSE: somebody listens there; EEXIST: path is not a
 * socket). */
struct door *door_open(const char *path, size_t answer_max, door_answer *answer, const void *context);
void door_close(struct door *d); /* removes the socket. NULL is fine */

/* Readable when door_process() has something to do. */
int door_fd(const struct door *d);
void door_process(struct door *d);

#endif
