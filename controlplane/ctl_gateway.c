/* See ctl_gateway.h. */
#include "controlplane/ctl_gateway.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static const char default_socket[] = "/run/sluice/admin.sock";

enum {
	ANSWER_MAX = 64 << 20, /* bytes; the largest is a page of sessions, about 1 MiB */
	WAIT_S = 30,
};

const char *gateway_socket(const struct ctl_arguments *a)
{
	const char *path = a->options[CTL_SOCKET];

	if (path == NULL)
		path = getenv(
			"SLUICE_SOCKET"); /* NOLINT(concurrency-mt-unsafe): nobody changes the environment */
	return path != NULL && *path != 0 ? path : default_socket;
}

/* Who listens on a socket, and what to do when it does not. */
struct listener {
	const char *missing; /* no such socket */
	const char *dead;    /* nobody listens */
	const char *group;   /* whose members may connect */
};

static const struct listener gateway = {
	.missing = "Is the gateway running? Its configuration names the socket under admin.socket; --socket "
		   "names "
		   "another one here.",
	.dead = "the gateway is not running. 'systemctl status sluice' may tell why.",
	.group = "admin.group in the gateway's configuration",
};

static const struct listener door = {
	.missing = "Is sluice-forward running, with this path as its --door?",
	.dead = "sluice-forward is not running, or has another --door.",
	.group = "the one that sluice-forward runs as",
};

static void explain(const struct listener *l, const char *path, int error)
{
	switch (error) {
	case ENOENT:
		ctl_fail("There is no socket %s. %s", path, l->missing);
		break;
	case ECONNREFUSED:
		ctl_fail("Nobody listens on %s: %s", path, l->dead);
		break;
	case EACCES:
	case EPERM:
		ctl_fail("You may not use %s. Run this as root, or as a member of the socket's group (%s; "
			 "'ls -l %s' shows it).",
			 path, l->group, path);
		break;
	case EAGAIN:
		ctl_fail("Nothing is answered on %s within %d s: is the machine overloaded, or the program "
			 "stopped?",
			 path, WAIT_S);
		break;
	default:
		ctl_fail("%s: %s.", path, strerror(error));
		break;
	}
}

static int open_socket(const struct listener *l, const char *path)
{
	struct timeval wait = {.tv_sec = WAIT_S};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		ctl_fail("%s: the path of a socket has at most 107 bytes.", path);
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) == 0 &&
	    connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	explain(l, path, errno);
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Everything up to the end. NULL with errno. */
static char *read_all(int fd)
{
	size_t len = 0, room = 65536;
	char *text = malloc(room), *grown;
	ssize_t got = 1;

	while (text != NULL && (got = recv(fd, text + len, room - 1 - len, 0)) > 0) {
		len += (size_t)got;
		if (len < room - 1)
			continue;
		room *= 2;
		grown = room <= ANSWER_MAX ? realloc(text, room) : NULL;
		if (grown == NULL)
			break;
		text = grown;
	}
	if (text != NULL && got == 0) {
		text[len] = 0;
		return text;
	}
	free(text);
	errno = got < 0 ? errno : ENOMEM;
	return NULL;
}

/* HTTP/1.0: the answer ends with the connection, and comes in one piece. */
unsigned gateway_request(const char *socket_path, const char *method, const char *target, char **body)
{
	char request[4096], *answer = NULL, *end;
	int fd = open_socket(&gateway, socket_path);
	unsigned long status = 0;
	int len;

	if (fd < 0)
		return 0;
	len = snprintf(request, sizeof(request), "%s %s HTTP/1.0\r\nHost: gateway\r\n\r\n", method, target);
	if (send(fd, request, (size_t)len, MSG_NOSIGNAL) == len)
		answer = read_all(fd);
	if (answer == NULL)
		explain(&gateway, socket_path, errno);
	close(fd);
	if (answer == NULL)
		return 0;
	end = strstr(answer, "\r\n\r\n");
	if (end != NULL && strncmp(answer, "HTTP/1.", 7) == 0 && strlen(answer) > 9)
		status = strtoul(answer + 9, NULL, 10);
	if (status < 200 || status > 599) {
		ctl_fail("What listens on %s is no gateway of this kind.", socket_path);
		free(answer);
		return 0;
	}
	memmove(answer, end + 4, strlen(end + 4) + 1);
	*body = answer;
	return (unsigned)status;
}

/* One line there, one line back. */
json_t *gateway_ask_door(const char *path, const char *question)
{
	char line[8192];
	size_t len = 0;
	ssize_t got = 1;
	json_t *json = NULL;
	int fd = open_socket(&door, path);

	if (fd < 0)
		return NULL;
	len = (size_t)snprintf(line, sizeof(line), "%s\n", question);
	if (len < sizeof(line) && send(fd, line, len, MSG_NOSIGNAL) == (ssize_t)len) {
		for (len = 0; len < sizeof(line) && memchr(line, '\n', len) == NULL && got > 0;
		     len += got > 0 ? (size_t)got : 0)
			got = recv(fd, line + len, sizeof(line) - len, 0);
	}
	if (got < 0)
		explain(&door, path, errno);
	close(fd);
	if (got > 0)
		json = json_loadb(line, len, JSON_ALLOW_NUL | JSON_DISABLE_EOF_CHECK, NULL);
	if (json == NULL && got >= 0)
		ctl_fail("What listens on %s is no door of sluice-forward.", path);
	return json;
}

json_t *gateway_json(const struct ctl_arguments *a, const char *method, const char *target, unsigned accepted,
		     unsigned *status)
{
	json_error_t error;
	char *body = NULL;
	json_t *json;

	*status = gateway_request(gateway_socket(a), method, target, &body);
	if (*status == 0)
		return NULL;
	json = json_loads(body, JSON_ALLOW_NUL, &error);
	free(body);
	if (json == NULL) {
		ctl_fail("The gateway's answer is cut short or no JSON.");
		return NULL;
	}
	if (*status < 400 || *status == accepted)
		return json;
	ctl_fail("%s", json_string_value(json_object_get(json, "error")) != NULL
			       ? json_string_value(json_object_get(json, "error"))
			       : "The gateway refuses this.");
	json_decref(json);
	return NULL;
}

void gateway_target_begin(struct gateway_target *t, const char *path)
{
	snprintf(t->text, sizeof(t->text), "%s", path);
	t->has_parameter = false;
}

void gateway_target_add(struct gateway_target *t, const char *name, const char *value)
{
	size_t used = strlen(t->text);

	if (value == NULL)
		return;
	used += (size_t)snprintf(t->text + used, sizeof(t->text) - used,
				 "%c%s=", t->has_parameter ? '&' : '?', name);
	t->has_parameter = true;
	for (; *value != 0 && used + 4 < sizeof(t->text); value++) {
		unsigned char c = (unsigned char)*value;
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			     strchr("-._~:[]", c) != NULL;

		used += (size_t)snprintf(t->text + used, sizeof(t->text) - used, plain ? "%c" : "%%%02x", c);
	}
}
