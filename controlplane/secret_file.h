/* Files with secrets in them (pure): read whole, and only when they are closed to others. What is looked at
 * is the file that is read, so that no other can be put in its place between the two. Any thread.
 */
#ifndef CONTROLPLANE_SECRET_FILE_H
#define CONTROLPLANE_SECRET_FILE_H

#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Opens it, without blocking, when it is a regular file and closed to others, and fills st. The caller closes
 * it. -errno as below, with the end of a sentence in why. */
int secret_file_open(const char *path, struct stat *st, char *why, size_t why_len);

/* Fills out, of room bytes, with all of the file; the caller wipes it, whatever this returns. st: filled with
 * what the file was when it was read; may be NULL. The number of bytes, or -errno with the end of a sentence
 * in why ("cannot be read: ..."): -EINVAL when it is not a regular file, -EPERM when others may read or write
 * it or its group may write it, -EFBIG when it is longer than room. */
ssize_t secret_file_read(const char *path, void *out, size_t room, struct stat *st, char *why,
			 size_t why_len);

#endif
