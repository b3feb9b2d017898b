/* See log.h. */
#include "controlplane/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LINE_MAX_LEN = 1024 };

static const char *const level_names[] = {"error", "warning", "info", "debug"};

static void sink_stderr(enum log_level level, const char *line)
{
	struct timespec now;
	struct tm utc;
	char stamp[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
	fprintf(stderr, "%s.%03ldZ %s %s\n", stamp, now.tv_nsec / 1000000, level_names[level], line);
}

static log_sink current_sink = sink_stderr; /* written before threads start */
static _Atomic int current_level = LOG_LEVEL_INFO;

void log_route(log_sink sink)
{
	current_sink = sink ? sink : sink_stderr;
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&current_level, level, memory_order_relaxed);
}

enum log_level log_level_by_name(const char *name)
{
	for (int i = 0; name && i <= LOG_LEVEL_DEBUG; i++) {
		if (strcmp(name, level_names[i]) == 0)
			return (enum log_level)i;
	}
	return LOG_LEVEL_INFO;
}

static bool level_is_on(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&current_level, memory_order_relaxed);
}

void log_write(enum log_level level, const char *format, ...)
{
	char line[LINE_MAX_LEN];
	va_list arguments;

	if (!level_is_on(level))
		return;
	va_start(arguments, format);
	vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	current_sink(level, line);
}

void log_limited(struct log_limit *limit, uint64_t now_ns, enum log_level level, const char *format, ...)
{
	char line[LINE_MAX_LEN];
	va_list arguments;
	uint64_t second = now_ns / 1000000000 + 1;

	if (!level_is_on(level))
		return;
	if (second != limit->second) {
		limit->second = second;
		limit->left = limit->rate;
	}
	if (limit->left == 0) {
		limit->left_out++;
		limit->left_out_ever++;
		return;
	}
	limit->left--;
	if (limit->left_out) {
		log_write(level, "%llu more lines like the following were left out",
			  (unsigned long long)limit->left_out);
		limit->left_out = 0;
	}
	va_start(arguments, format);
	vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	current_sink(level, line);
}

const char *log_text(char *out, size_t room, const void *bytes, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *in = bytes;
	size_t used = 0;

	for (size_t i = 0; i < len; i++) {
		if (used + 4 + 3 >= room) { /* the longest form, and "..." */
			memcpy(out + used, "...", 3);
			used += 3;
			break;
		}
		if (in[i] >= 0x20 && in[i] < 0x7f && in[i] != '\\' && in[i] != '"') {
			out[used++] = (char)in[i];
		} else {
			out[used++] = '\\';
			out[used++] = 'x';
			out[used++] = hex[in[i] >> 4];
			out[used++] = hex[in[i] & 15];
		}
	}
	out[used] = 0;
	return out;
}
