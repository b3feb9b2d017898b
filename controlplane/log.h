/* What the control plane has to say to the operator: one line per event, with a level, to wherever main()
 * routes it. Workers do not log; they count (STYLE 7). Nothing secret ever goes through here, and what a peer
 * chose (an identity, a name) goes through log_text() first.
 */
#ifndef CONTROLPLANE_LOG_H
#define CONTROLPLANE_LOG_H

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Takes one finished line without its newline. May be called by any thread. */
typedef void (*log_sink)(enum log_level level, const char *line);

/* Main thread, before others start. sink NULL: standard error, each line with the time and its level. */
void log_route(log_sink sink);
/* Lines above this level are not made. Default: LOG_LEVEL_INFO. Any thread. */
void log_set_level(enum log_level level);
/* "error", "warning", "info" or "debug"; anything else (NULL too) is LOG_LEVEL_INFO. */
enum log_level log_level_by_name(const char *name);

/* Any thread. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* At most `rate` lines per second on average, `rate` at once; the first line after a gap says how many were
 * left out. Each limiter belongs to one thread; starts as {.rate = n}. */
struct log_limit {
	uint32_t rate;
	uint32_t left;
	uint64_t second; /* that `left` is for */
	uint64_t left_out;
	uint64_t left_out_ever; /* for a counter */
};
void log_limited(struct log_limit *limit, uint64_t now_ns, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Writes bytes that a peer chose as printable ASCII, others as \xHH, cut to fit with "..." at the end.
 * Returns out, for use as an argument of log_write(). room >= 8. */
const char *log_text(char *out, size_t room, const void *bytes, size_t len);

#endif
