/* See secret_file.h. */
#include "controlplane/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* 0, or -errno with why. */
static int look_at(int fd, struct stat *st, char *why, size_t why_len)
{
	if (fd < 0 || fstat(fd, st) < 0) {
		int err = -errno;

		snprintf(why, why_len, "cannot be read: %s", strerror(errno));
		return err;
	}
	if (!S_ISREG(st->st_mode)) {
		snprintf(why, why_len, "is not a regular file");
		return -EINVAL;
	}
	if ((st->st_mode & (S_IRWXO | S_IWGRP)) != 0) {
		snprintf(why, why_len,
			 "has mode %04o; others must have no access and its group must not write "
			 "(chmod o-rwx,g-w)",
			 (unsigned)st->st_mode & 07777);
		return -EPERM;
	}
	return 0;
}

static ssize_t read_all(int fd, uint8_t *out, size_t room)
{
	size_t len = 0;
	ssize_t got = 1;
	uint8_t more;

	while (got > 0 && len < room) {
		got = read(fd, out + len, room - len);
		if (got > 0)
			len += (size_t)got;
	}
	if (got > 0)
		got = read(fd, &more, 1);
	if (got < 0)
		return -errno;
	return got > 0 ? -EFBIG : (ssize_t)len;
}

/* Without blocking: a FIFO would keep the caller waiting. */
int secret_file_open(const char *path, struct stat *st, char *why, size_t why_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int ret = look_at(fd, st, why, why_len);

	if (ret == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return ret;
}

ssize_t secret_file_read(const char *path, void *out, size_t room, struct stat *st, char *why, size_t why_len)
{
	struct stat found;
	int fd = secret_file_open(path, &found, why, why_len);
	ssize_t ret;

	if (fd < 0)
		return fd;
	ret = read_all(fd, out, room);
	if (ret == -EFBIG)
		snprintf(why, why_len, "is longer than %zu bytes", room);
	else if (ret < 0)
		snprintf(why, why_len, "cannot be read: %s", strerror((int)-ret));
	if (ret >= 0 && st)
		*st = found;
	close(fd);
	return ret;
}
