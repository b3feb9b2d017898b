#include "config/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "config/config.h"
#include "crypto/suite.h"

static bool refuse(char *why, size_t why_len, const char *reason)
{
	snprintf(why, why_len, "%s", reason);
	return false;
}

/* The 32 bits of an IPv4 address from ::ffff:a.b.c.d */
static uint32_t ipv4_of(const uint8_t ip[16])
{
	return (uint32_t)ip[12] << 24 | (uint32_t)ip[13] << 16 | (uint32_t)ip[14] << 8 | ip[15];
}

bool config_parse_prefix(const char *text, uint8_t ip[16], unsigned *prefix_len)
{
	const char *slash = strchr(text, '/');
	char address[INET6_ADDRSTRLEN];
	size_t len = slash != NULL ? (size_t)(slash - text) : 0;
	unsigned bits = 0;
	bool v4;

	if (slash == NULL || len >= sizeof(address) || slash[1] == 0 || strlen(slash + 1) > 3 ||
	    slash[1 + strspn(slash + 1, "0123456789")] != 0)
		return false;
	for (const char *digit = slash + 1; *digit != 0; digit++)
		bits = bits * 10 + (unsigned)(*digit - '0');
	memcpy(address, text, len);
	address[len] = 0;
	v4 = strchr(address, ':') == NULL;
	if (v4) {
		memset(ip, 0, 10);
		memset(ip + 10, 0xff, 2);
	}
	if (inet_pton(v4 ? AF_INET : AF_INET6, address, v4 ? ip + 12 : ip) != 1)
		return false;
	*prefix_len = bits;
	return bits >= 1 && bits <= (v4 ? 32 : 128);
}

bool check_ipv4(const char *text, char *why, size_t why_len)
{
	uint8_t ip[16];
	unsigned prefix_len;
	uint32_t address, host;

	if (strchr(text, ':') != NULL || !config_parse_prefix(text, ip, &prefix_len))
		return refuse(why, why_len,
			      "must be an IPv4 address with the length of its prefix, such as 192.0.2.1/24");
	address = ipv4_of(ip);
	if (address >> 28 >= 0xe || address >> 24 == 0 || address >> 24 == 127)
		return refuse(why, why_len, "must be an address that a host can have on a network");
	host = prefix_len == 32 ? 0 : UINT32_MAX >> prefix_len;
	if (prefix_len < 31 && ((address & host) == 0 || (address & host) == host))
		return refuse(why, why_len, "must not be the first or the last address of its network");
	return true;
}

bool check_ipv6(const char *text, char *why, size_t why_len)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	static const uint8_t low[15];
	uint8_t ip[16];
	unsigned prefix_len;

	if (strchr(text, ':') == NULL || !config_parse_prefix(text, ip, &prefix_len))
		return refuse(
			why, why_len,
			"must be an IPv6 address with the length of its prefix, such as 2001:db8::1/64");
	if (ip[0] == 0xff || memcmp(ip, mapped, sizeof(mapped)) == 0 ||
	    (memcmp(ip, low, sizeof(low)) == 0 && ip[15] <= 1))
		return refuse(why, why_len, "must be an address that a host can have on a network");
	return true;
}

bool check_cores(const char *text, char *why, size_t why_len)
{
	if (text[strspn(text, "0123456789,-@()")] != 0)
		return refuse(why, why_len,
			      "must be a list as --lcores of DPDK takes it, such as 0-3 or 0@2,1@3");
	return true;
}

/* What another option says must not be said here again. */
bool check_eal(const char *text, char *why, size_t why_len)
{
	static const char *const ours[] = {"-l", "-c", "-s", "-S", "--lcores", "--main-lcore"};
	const char *at;

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		size_t len = strlen(ours[i]);

		if (strncmp(text, ours[i], len) == 0 &&
		    (ours[i][1] != '-' || text[len] == 0 || text[len] == '='))
			return refuse(why, why_len, "must not choose cores; workers.cores does that");
	}
	at = text + strcspn(text, " \t=");
	if (text[0] == '-' && *at != 0 && *at != '=')
		return refuse(
			why, why_len,
			"must be one argument: what stands behind the space is an entry of its own, such "
			"as [\"-m\", \"256\"]");
	return true;
}

bool check_power_of_two(const char *text, char *why, size_t why_len)
{
	unsigned long value = strtoul(text, NULL, 10);

	if (value == 0 || (value & (value - 1)) != 0)
		return refuse(why, why_len, "must be a power of two, such as 4096");
	return true;
}

bool check_mode(const char *text, char *why, size_t why_len)
{
	size_t len = strlen(text);

	if (len < 3 || len > 4 || text[strspn(text, "01234567")] != 0 || (len == 4 && text[0] != '0'))
		return refuse(why, why_len, "must be a file mode of three octal digits, such as 0660");
	if (text[len - 1] != '0')
		return refuse(
			why, why_len,
			"must end in 0: the socket gives access to every session, so it must stay closed "
			"to other users");
	return true;
}

bool check_group(const char *text, char *why, size_t why_len)
{
	char *buffer = malloc(65536); /* a group may have many members */
	struct group group, *found = NULL;

	if (buffer == NULL)
		return refuse(why, why_len, "cannot be looked up: out of memory");
	(void)getgrnam_r(text, &group, buffer, 65536, &found);
	free(buffer);
	if (found == NULL)
		return refuse(why, why_len, "must be a group of this machine");
	return true;
}

bool check_socket(const char *text, char *why, size_t why_len)
{
	size_t len = strlen(text);

	if (len >= sizeof(((struct sockaddr_un *)NULL)->sun_path) || text[len - 1] == '/')
		return refuse(why, why_len, "must be the path of a Unix socket, at most 107 bytes");
	return true;
}

bool check_suite(const char *text, char *why, size_t why_len)
{
	const struct suite *suites;
	unsigned count;
	size_t used;

	if (suite_by_name(text) != NULL)
		return true;
	snprintf(why, why_len, "must be one of");
	suites = suite_all(&count);
	for (unsigned i = 0; i < count; i++) {
		used = strlen(why);
		snprintf(why + used, why_len - used, "%s %s", i > 0 ? "," : "", suites[i].name);
	}
	return false;
}

bool check_exporter_label(const char *text, char *why, size_t why_len)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++) {
		if (text[i] <= ' ' || text[i] > '~')
			return refuse(why, why_len, "must be printable ASCII without spaces");
	}
	if (len > 64 || (strncmp(text, "EXPORTER", 8) != 0 && strncmp(text, "EXPERIMENTAL", 12) != 0))
		return refuse(why, why_len,
			      "must begin with EXPORTER or EXPERIMENTAL and have at most 64 bytes");
	return true;
}

static const char name_characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

bool check_tenant_name(const char *text, char *why, size_t why_len)
{
	size_t len = strspn(text, name_characters);

	while (text[len] == '.')
		len += 1 + strspn(text + len + 1, name_characters);
	return text[len] == 0
		       ? true
		       : refuse(why, why_len, "must be of letters, digits, hyphens, underscores and dots");
}

bool check_server_name(const char *text, char *why, size_t why_len)
{
	const char *name = strncmp(text, "*.", 2) == 0 ? text + 2 : text;
	const char *at = name;
	size_t len;

	if (strlen(text) > 253 || name[strspn(name, "0123456789.")] == 0)
		return refuse(why, why_len, "must be a name of at most 253 bytes, not an address");
	do {
		len = strspn(at, name_characters);
		if (len == 0 || len > 63 || (at[len] != 0 && at[len] != '.'))
			return refuse(why, why_len,
				      "must be a server name, such as iot.example or *.iot.example");
		at += len + 1;
	} while (at[-1] != 0);
	return true;
}

/* Looked at before it is opened: opening a device could have consequences. */
static int open_file(const char *path, bool secret, char *why, size_t why_len)
{
	struct stat st;
	bool known = stat(path, &st) == 0;
	int fd = known && S_ISREG(st.st_mode) ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;

	if (known && !S_ISREG(st.st_mode))
		snprintf(why, why_len, "must name a file, not a directory or a device");
	else if (fd < 0)
		snprintf(why, why_len, "names a file that cannot be read: %s", strerror(errno));
	else if (secret && (st.st_mode & (S_IRWXO | S_IWGRP)) != 0)
		snprintf(why, why_len,
			 "names a secret file with mode %04o; others must have no access and its group "
			 "must not write (chmod o-rwx,g-w)",
			 (unsigned)st.st_mode & 07777);
	else
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* A certificate in place of a key is a classic; it is told here in words. wolfSSL parses the file later. */
static bool check_pem(const char *path, bool secret, const char *label, char *why, size_t why_len)
{
	enum { LOOK_AT = 256 * 1024 };
	int fd = open_file(path, secret, why, why_len);
	char *text;
	ssize_t got;
	bool found;

	if (fd < 0)
		return false;
	text = malloc(LOOK_AT);
	got = text != NULL ? read(fd, text, LOOK_AT) : -1;
	found = got > 0 && memmem(text, (size_t)got, label, strlen(label)) != NULL;
	if (text != NULL)
		explicit_bzero(text, LOOK_AT);
	free(text);
	close(fd);
	if (!found)
		snprintf(why, why_len, "must name a PEM file that holds \"%s\"", label);
	return found;
}

bool check_http_url(const char *text, char *why, size_t why_len)
{
	static const char scheme[] = "http://";

	if (strncmp(text, scheme, strlen(scheme)) != 0 || text[strlen(scheme)] == 0 ||
	    text[strlen(scheme)] == '/' || text[strcspn(text, " \t\"<>")] != 0)
		return refuse(why, why_len, "must be an address such as http://ocsp.example.org/");
	return true;
}

bool check_readable(const char *text, char *why, size_t why_len)
{
	int fd = open_file(text, false, why, why_len);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

bool check_certificates(const char *text, char *why, size_t why_len)
{
	return check_pem(text, false, "-----BEGIN CERTIFICATE-----", why, why_len);
}

bool check_private_key(const char *text, char *why, size_t why_len)
{
	return check_pem(text, true, "PRIVATE KEY-----", why, why_len);
}

bool check_store(const char *text, char *why, size_t why_len)
{
	struct stat st;

	if (stat(text, &st) < 0) {
		snprintf(why, why_len, "names a directory that cannot be read: %s", strerror(errno));
		return false;
	}
	if (!S_ISDIR(st.st_mode))
		return refuse(why, why_len, "must name the directory of a store");
	if ((st.st_mode & S_IWOTH) != 0) {
		snprintf(why, why_len,
			 "names a directory with mode %04o; it must be closed to others (chmod 0750)",
			 (unsigned)st.st_mode & 07777);
		return false;
	}
	return true;
}

bool check_redis(const char *text, char *why, size_t why_len)
{
	const char *colon = strrchr(text, ':');
	char *end;
	long port;

	if (strncmp(text, "unix:", 5) == 0)
		return text[5] == '/' && strlen(text + 5) <= 107
			       ? true
			       : refuse(why, why_len,
					"must be unix: and the whole path of a "
					"socket, of at most 107 bytes");
	port = colon != NULL ? strtol(colon + 1, &end, 10) : 0;
	if (port < 1 || port > 65535 || *end != 0 || colon == text || colon[1] < '0' || colon[1] > '9' ||
	    (memchr(text, ':', (size_t)(colon - text)) != NULL && (text[0] != '[' || colon[-1] != ']')))
		return refuse(why, why_len, "must be host:port, [IPv6]:port or unix:/path");
	return true;
}

/* What stands in it is read, and judged, by the gateway. */
bool check_secret_file(const char *text, char *why, size_t why_len)
{
	int fd = open_file(text, true, why, why_len);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}
