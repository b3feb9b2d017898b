#include "config/report.h"

#include <stdio.h>
#include <string.h>

int report(struct report *r, unsigned line, const char *format, ...)
{
	size_t used;
	va_list args;

	if (r->text_len == 0 || r->text[0] != 0)
		return -1;
	if (line > 0)
		snprintf(r->text, r->text_len, "%s:%u: ", r->file, line);
	else
		snprintf(r->text, r->text_len, "%s: ", r->file);
	used = strlen(r->text);
	va_start(args, format);
	vsnprintf(r->text + used, r->text_len - used, format, args);
	va_end(args);
	return -1;
}

const char *report_quote(const char *bytes, size_t len, char out[REPORT_QUOTE_MAX])
{
	const size_t room = REPORT_QUOTE_MAX - 1;
	const size_t keep = len <= room ? len : room - 3;

	for (size_t i = 0; i < keep; i++) {
		unsigned char c = (unsigned char)bytes[i];

		out[i] = c < 0x20 || c == 0x7f || c == '"' ? '?' : bytes[i];
	}
	if (keep < len)
		memcpy(out + keep, "...", 3);
	out[keep < len ? keep + 3 : keep] = 0;
	return out;
}
