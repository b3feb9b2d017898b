/* See redis_server.h. */
#include "controlplane/redis_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/secret_file.h"
#include "crypto/secret.h"

/* Sealed once with the store's key, so that another key is noticed at once and not at the first row. */
static const char seal_name[] = "sluice credential store in redis";

static bool read_password(struct redis_server *s, char *error, size_t error_len)
{
	const char *path = s->password_file.path;
	char bytes[REDIS_PASSWORD_MAX + 2], why[160] = "";
	ssize_t got = secret_file_read(path, bytes, sizeof bytes, NULL, why, sizeof why);
	bool good;

	if (got >= 0 || got == -EFBIG)
		snprintf(why, sizeof why, "must hold one line, the password");
	while (got > 0 && (bytes[got - 1] == '\n' || bytes[got - 1] == '\r'))
		got--;
	good = got > 0 && got <= REDIS_PASSWORD_MAX && !memchr(bytes, 0, (size_t)got) &&
	       !memchr(bytes, '\n', (size_t)got);
	if (good) {
		secret_wipe(s->password, sizeof s->password);
		memcpy(s->password, bytes, (size_t)got);
	} else {
		snprintf(error, error_len, "The password file %s %s.", path, why);
	}
	secret_wipe(bytes, sizeof bytes);
	return good;
}

int redis_server_renew_password(struct redis_server *s, char *error, size_t error_len)
{
	if (!s->password_file.path)
		return 0;
	(void)watched_look(&s->password_file);
	if (!watched_has_changed(&s->password_file))
		return 0;
	watched_read(&s->password_file);
	return read_password(s, error, error_len) ? 1 : -EINVAL;
}

static bool resolve(struct redis_server *s, const char *host, char *error, size_t error_len)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	int ret = getaddrinfo(host, NULL, &hints, &found);

	if (ret == 0)
		ret = getnameinfo(found->ai_addr, found->ai_addrlen, s->ip, sizeof s->ip, NULL, 0,
				  NI_NUMERICHOST);
	if (ret)
		snprintf(error, error_len, "The Redis server %s has no address: %s.", s->text,
			 gai_strerror(ret));
	freeaddrinfo(found);
	return ret == 0;
}

static bool parse_tcp(struct redis_server *s, char *error, size_t error_len)
{
	char host[sizeof s->text], *colon, *end, *name = host;
	uint8_t number[sizeof(struct in6_addr)];
	long port;

	memcpy(host, s->text, sizeof host);
	colon = strrchr(host, ':');
	if (!colon || colon == host)
		goto malformed;
	port = strtol(colon + 1, &end, 10);
	if (end == colon + 1 || *end || port < 1 || port > 65535)
		goto malformed;
	*colon = 0;
	if (host[0] == '[' && colon[-1] == ']') {
		colon[-1] = 0;
		name++;
	} else if (strchr(host, ':')) {
		goto malformed;
	}
	s->port = (int)port;
	if (inet_pton(AF_INET, name, number) == 1)
		return inet_ntop(AF_INET, number, s->ip, sizeof s->ip) != NULL;
	if (inet_pton(AF_INET6, name, number) == 1)
		return inet_ntop(AF_INET6, number, s->ip, sizeof s->ip) != NULL;
	return resolve(s, name, error, error_len);
malformed:
	snprintf(error, error_len,
		 "\"%s\" is no address of a Redis server: host:port, [IPv6]:port or unix:/path.", s->text);
	return false;
}

bool redis_server_parse(struct redis_server *s, const char *address, const char *password_file, char *error,
			size_t error_len)
{
	memset(s, 0, sizeof *s);
	if (strlen(address) >= sizeof s->text) {
		snprintf(error, error_len, "The address of the Redis server is too long.");
		return false;
	}
	snprintf(s->text, sizeof s->text, "%s", address);
	if (strncmp(address, "unix:", 5) == 0) {
		if (address[5] != '/' || strlen(address + 5) >= sizeof s->unix_path) {
			snprintf(
				error, error_len,
				"unix: must be followed by the whole path of a socket, of at most %zu bytes.",
				sizeof s->unix_path - 1);
			return false;
		}
		snprintf(s->unix_path, sizeof s->unix_path, "%s", address + 5);
	} else if (!parse_tcp(s, error, error_len)) {
		return false;
	}
	if (!password_file)
		return true;
	s->password_file.path = password_file;
	(void)watched_look(&s->password_file);
	watched_read(&s->password_file);
	return read_password(s, error, error_len);
}

bool redis_number(const char *text, uint64_t *number)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*number = strtoull(text, &end, 10);
	return errno == 0 && *end == 0;
}

int redis_seal(struct wrap *wrap, uint8_t *out)
{
	return wrap_seal(wrap, (const uint8_t *)seal_name, sizeof seal_name, NULL, 0, out);
}

const char *redis_meta_fault(const struct redis_meta *meta, struct wrap *wrap)
{
	uint64_t format, number;

	if (!meta->format)
		return "there is no credential store in it ('sluicectl store init' makes one)";
	if (!redis_number(meta->format, &format) || format != REDIS_STORE_FORMAT)
		return "its credential store was made by another version";
	if (!redis_number(meta->change, &number) || !redis_number(meta->forgotten, &number) || !meta->seal)
		return "its credential store is damaged";
	if (meta->seal_len == 0)
		return wrap ? "its keys are not wrapped, but a key file was given" : NULL;
	if (!wrap)
		return "its keys are wrapped, and no key file was given";
	if (meta->seal_len != WRAP_OVERHEAD ||
	    wrap_open(wrap, (const uint8_t *)seal_name, sizeof seal_name, (const uint8_t *)meta->seal,
		      meta->seal_len, NULL) < 0)
		return "its keys were wrapped with another key file";
	return NULL;
}
