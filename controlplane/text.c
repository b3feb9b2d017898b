/* See text.h. */
#include "controlplane/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_fini(struct text *t)
{
	free(t->at);
	*t = (struct text){0};
}

void text_clear(struct text *t)
{
	t->len = 0;
	t->failed = false;
}

static bool make_room(struct text *t, size_t more)
{
	size_t room = t->room ? t->room : 1024;
	char *grown;

	while (room - t->len < more)
		room *= 2;
	if (room == t->room)
		return true;
	grown = realloc(t->at, room);
	if (!grown) {
		t->failed = true;
		return false;
	}
	t->at = grown;
	t->room = room;
	return true;
}

void text_add(struct text *t, const void *bytes, size_t len)
{
	if (len == 0 || !make_room(t, len))
		return;
	memcpy(t->at + t->len, bytes, len);
	t->len += len;
}

void text_printf(struct text *t, const char *format, ...)
{
	va_list arguments;
	int len;

	va_start(arguments, format);
	len = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	if (len < 0 || !make_room(t, (size_t)len + 1))
		return;
	va_start(arguments, format);
	vsnprintf(t->at + t->len, (size_t)len + 1, format, arguments);
	va_end(arguments);
	t->len += (size_t)len;
}

/* ---- UTF-8 (RFC 3629) */

/* The length of the character at the start; 0: it is none. */
static size_t character_len(const uint8_t *at, size_t left)
{
	static const struct {
		uint8_t first_min, first_max, second_min, second_max, len;
	} forms[] = {
		{0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
		{0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		size_t len = forms[i].len;

		if (at[0] < forms[i].first_min || at[0] > forms[i].first_max)
			continue;
		if (len > left || (len > 1 && (at[1] < forms[i].second_min || at[1] > forms[i].second_max)))
			return 0;
		for (size_t j = 2; j < len; j++) {
			if (at[j] >> 6 != 2)
				return 0;
		}
		return len;
	}
	return 0;
}

/* C0, DEL, and C1, which UTF-8 writes as C2 80 to C2 9F. */
static bool is_control(const uint8_t *at, size_t len)
{
	return len == 1 ? at[0] < 0x20 || at[0] == 0x7f : len == 2 && at[0] == 0xc2 && at[1] < 0xa0;
}

bool text_is_plain(const void *bytes, size_t len)
{
	const uint8_t *at = bytes, *end = at + len;

	while (at < end) {
		size_t n = character_len(at, (size_t)(end - at));

		if (n == 0 || is_control(at, n))
			return false;
		at += n;
	}
	return true;
}

/* ---- JSON (RFC 8259) */

void text_json(struct text *t, const void *bytes, size_t len)
{
	const uint8_t *at = bytes, *end = at + len;

	text_add(t, "\"", 1);
	while (at < end) {
		size_t n = character_len(at, (size_t)(end - at));

		if (n == 0)
			text_add(t, "\\ufffd", 6);
		else if (is_control(at, n))
			text_printf(t, "\\u%04x", n == 1 ? at[0] : at[1]);
		else if (at[0] == '"' || at[0] == '\\')
			text_printf(t, "\\%c", at[0]);
		else
			text_add(t, at, n);
		at += n ? n : 1;
	}
	text_add(t, "\"", 1);
}

static void begin_member(struct text *t, const char *name)
{
	bool first = t->len == 0 || t->at[t->len - 1] == '{' || t->at[t->len - 1] == '[';

	text_printf(t, "%s\"%s\":", first ? "" : ",", name);
}

void text_member(struct text *t, const char *name, const char *value)
{
	begin_member(t, name);
	text_json(t, value, strlen(value));
}

void text_member_bytes(struct text *t, const char *name, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	begin_member(t, name);
	text_json(t, bytes, len);
	if (text_is_plain(bytes, len))
		return;
	text_printf(t, ",\"%s_hex\":\"", name);
	for (size_t i = 0; i < len; i++)
		text_printf(t, "%02x", at[i]);
	text_add(t, "\"", 1);
}

void text_member_number(struct text *t, const char *name, uint64_t value)
{
	begin_member(t, name);
	text_printf(t, "%llu", (unsigned long long)value);
}

void text_member_bool(struct text *t, const char *name, bool value)
{
	begin_member(t, name);
	text_printf(t, "%s", value ? "true" : "false");
}

void text_member_open(struct text *t, const char *name, char bracket)
{
	begin_member(t, name);
	text_add(t, &bracket, 1);
}
