/* Whether a file that is looked at again and again is still the one that was read. */
#ifndef CONTROLPLANE_FILE_SAME_H
#define CONTROLPLANE_FILE_SAME_H

#include <stdbool.h>
#include <sys/stat.h>

/* Any thread. Neither replaced nor written nor given other rights since (reading changes nothing of it). A
 * file that is not there is all zero. */
static inline bool file_same(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* A file that is to be read again when it changes. One thread. */
struct watched {
	const char *path; /* NULL: none */
	struct stat seen; /* at the last look; all zero: it is not there */
	struct stat read; /* when it was read, or tried to be */
};

/* How it is now. A symbolic link is as good as what it leads to. True when it is as at the look before: who
 * writes it may have come to an end. */
static inline bool watched_look(struct watched *w)
{
	struct stat now;
	bool at_rest;

	if (stat(w->path, &now) != 0)
		now = (struct stat){0};
	at_rest = file_same(&now, &w->seen);
	w->seen = now;
	return at_rest;
}

/* Before it is read: what changes from the last look on is noticed afterwards. */
static inline void watched_read(struct watched *w)
{
	w->read = w->seen;
}

static inline bool watched_has_changed(const struct watched *w)
{
	return !file_same(&w->seen, &w->read);
}

#endif
