/* What a value must be beyond its type (pure, but for looking at the files that it names). Each function is
 * an option_check of the schema: true, or false with the end of the sentence "it ..." in why. Main thread.
 */
#ifndef CONFIG_CHECK_H
#define CONFIG_CHECK_H

#include <stdbool.h>
#include <stddef.h>

bool check_ipv4(const char *text, char *why, size_t why_len);
bool check_ipv6(const char *text, char *why, size_t why_len);
bool check_cores(const char *text, char *why, size_t why_len);
bool check_eal(const char *text, char *why, size_t why_len);
bool check_power_of_two(const char *text, char *why, size_t why_len);
bool check_mode(const char *text, char *why, size_t why_len);
bool check_group(const char *text, char *why, size_t why_len);
bool check_socket(const char *text, char *why, size_t why_len);
bool check_suite(const char *text, char *why, size_t why_len);
/* A label of RFC 5705 4: those of TLS itself, which have no such beginning, would reveal keys. */
bool check_exporter_label(const char *text, char *why, size_t why_len);
bool check_tenant_name(const char *text, char *why, size_t why_len);

/* Of RFC 6066 3, or with *. in front. */
bool check_server_name(const char *text, char *why, size_t why_len);

/* A directory, closed to writing by others. */
bool check_store(const char *text, char *why, size_t why_len);

/* host:port, [IPv6]:port or unix:/path. */
bool check_redis(const char *text, char *why, size_t why_len);

/* http://host[:port][/path], without spaces. */
bool check_http_url(const char *text, char *why, size_t why_len);

/* A regular file that can be read; secret ones must be closed to others. */
bool check_readable(const char *text, char *why, size_t why_len);
bool check_certificates(const char *text, char *why, size_t why_len);
bool check_private_key(const char *text, char *why, size_t why_len);
bool check_secret_file(const char *text, char *why, size_t why_len);

#endif
