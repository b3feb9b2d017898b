/* See listen.h. */
#include "ring/listen.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 64 };

/* Removes a socket that a dead gateway left. Anything else at the path stays. */
static int remove_stale(const struct sockaddr_un *address, int type)
{
	struct stat status;
	int fd, error;

	if (lstat(address->sun_path, &status) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(status.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	error = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ? 0 : errno;
	close(fd);
	if (error != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(address->sun_path) == 0 ? 0 : -errno;
}

static int set_owner(const char *path, unsigned mode, const char *group)
{
	const struct group *entry;

	if (group != NULL) {
		entry = getgrnam(group); /* NOLINT(concurrency-mt-unsafe): at start, one thread */
		if (entry == NULL)
			return -EINVAL;
		if (chown(path, (uid_t)-1, entry->gr_gid) != 0)
			return -errno;
	}
	return chmod(path, mode) == 0 ? 0 : -errno;
}

const char *listen_fault(int err)
{
	switch (-err) {
	case ENOENT:
		return "its directory does not exist";
	case EADDRINUSE:
		return "another program listens there";
	case EEXIST:
		return "there is something of that name that is no socket";
	case EINVAL:
		return "there is no such group";
	default:
		return strerror(-err); /* NOLINT(concurrency-mt-unsafe): at start, one thread */
	}
}

int listen_local(const char *path, int type, unsigned mode, const char *group)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t path_len = strlen(path);
	int fd, ret;

	if (path_len == 0 || path_len >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, path_len);
	ret = remove_stale(&address, type);
	if (ret != 0)
		return ret;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		ret = -errno;
		goto err_close;
	}
	ret = set_owner(path, mode, group); /* nobody can connect before listen() */
	if (ret == 0 && listen(fd, LISTEN_BACKLOG) != 0)
		ret = -errno;
	if (ret != 0)
		goto err_unlink;
	return fd;
err_unlink:
	unlink(path);
err_close:
	close(fd);
	return ret;
}
