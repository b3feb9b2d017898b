/* One complete sentence about what is wrong in a file (pure): "sluice.yaml:12: The value ...". The first
 * report stays; later ones are ignored, so that the cause is told and not its consequences.
 */
#ifndef CONFIG_REPORT_H
#define CONFIG_REPORT_H

#include <stdarg.h>
#include <stddef.h>

enum { REPORT_QUOTE_MAX = 96 };

struct report {
	const char *file; /* as the user named it */
	char *text;       /* of the caller; text[0] == 0 while there is nothing to report */
	size_t text_len;
};

/* line 0: the file as a whole. Returns -1, for `return report(...)`. */
int report(struct report *r, unsigned line, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Hostile bytes made fit for a terminal and a log: control characters and quotes become '?', what is long is
 * cut. Returns out. */
const char *report_quote(const char *bytes, size_t len, char out[REPORT_QUOTE_MAX]);

#endif
