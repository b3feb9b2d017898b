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

#endif
