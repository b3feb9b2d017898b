/* Questions that handshakes wait for and other threads ask: those to OCSP responders. They have numbers, so
 * that an answer wakes those alone who wait for it; the credential store's have others, see credential.h.
 * What is answered lies here until the control thread fetches it.
 */
#ifndef CONTROLPLANE_QUESTION_H
#define CONTROLPLANE_QUESTION_H

#include <stdint.h>

struct questions;
struct question;

struct questions *questions_new(void);        /* NULL when it cannot be had */
void questions_free(struct questions *qs);    /* none may be open. NULL is fine */
int questions_fd(const struct questions *qs); /* an eventfd: readable when some have been answered */

/* ---- any thread */

/* NULL when out of memory. */
struct question *question_new(struct questions *qs);
/* Not 0, and none of the credential store's. */
uint64_t question_number(const struct question *q);
/* Not asked after all: nobody waits for it. NULL is fine. */
void question_drop(struct question *q);
/* The answer is where those who wait will look. It takes the question. */
void question_answered(struct question *q);

/* ---- control thread */

/* The number of one that has been answered, in the order of the answers; 0: none (any more). */
uint64_t questions_next_answered(struct questions *qs);

#endif
