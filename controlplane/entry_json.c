/* One JSON object on one line (RFC 8259), whose values are strings, or for ids an array of strings. Strings
 * are unescaped where they stand: the text only gets shorter.
 */
#include <string.h>

#include "controlplane/entry.h"

struct json {
	char *at;
	char *why;
};

static bool refuse(struct json *j, const char *reason)
{
	snprintf(j->why, ENTRY_WHY_MAX, "%s", reason);
	return false;
}

static void skip_space(struct json *j)
{
	j->at += strspn(j->at, " \t\r\n");
}

/* Takes one character of the grammar, and the space around it. */
static bool take(struct json *j, char expected)
{
	skip_space(j);
	if (*j->at != expected)
		return false;
	j->at++;
	skip_space(j);
	return true;
}

static bool take_hex4(const char *text, uint32_t *code)
{
	uint8_t bytes[2];

	if (strnlen(text, 4) < 4 || !hex_decode(text, 4, bytes, 2))
		return false;
	*code = (uint32_t)bytes[0] << 8 | bytes[1];
	return true;
}

static char *put_utf8(char *out, uint32_t code)
{
	if (code < 0x80) {
		*out++ = (char)code;
	} else if (code < 0x800) {
		*out++ = (char)(0xc0 | code >> 6);
		*out++ = (char)(0x80 | (code & 0x3f));
	} else if (code < 0x10000) {
		*out++ = (char)(0xe0 | code >> 12);
		*out++ = (char)(0x80 | (code >> 6 & 0x3f));
		*out++ = (char)(0x80 | (code & 0x3f));
	} else {
		*out++ = (char)(0xf0 | code >> 18);
		*out++ = (char)(0x80 | (code >> 12 & 0x3f));
		*out++ = (char)(0x80 | (code >> 6 & 0x3f));
		*out++ = (char)(0x80 | (code & 0x3f));
	}
	return out;
}

/* \uXXXX, or two of them for what lies beyond the basic plane. j->at is behind the u. */
static bool take_unicode(struct json *j, char **out)
{
	uint32_t code, low;

	if (!take_hex4(j->at, &code) || code == 0 || (code >= 0xdc00 && code < 0xe000))
		return false;
	j->at += 4;
	if (code >= 0xd800 && code < 0xdc00) {
		if (j->at[0] != '\\' || j->at[1] != 'u' || !take_hex4(j->at + 2, &low) || low < 0xdc00 ||
		    low > 0xdfff)
			return false;
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
		j->at += 6;
	}
	*out = put_utf8(*out, code);
	return true;
}

static bool take_escape(struct json *j, char **out)
{
	static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
	char letter = *j->at;
	const char *found = letter != 0 ? strchr(letters, letter) : NULL;

	if (letter == 'u') {
		j->at++;
		return take_unicode(j, out);
	}
	if (found == NULL)
		return false;
	*(*out)++ = meanings[found - letters];
	j->at++;
	return true;
}

/* NULL when there is no string. */
static char *take_string(struct json *j)
{
	char *start, *out;

	skip_space(j);
	if (*j->at != '"')
		return NULL;
	start = out = ++j->at;
	while (*j->at != '"') {
		if ((unsigned char)*j->at < 0x20)
			return NULL;
		if (*j->at != '\\') {
			*out++ = *j->at++;
			continue;
		}
		j->at++;
		if (!take_escape(j, &out))
			return NULL;
	}
	j->at++;
	*out = 0;
	return start;
}

static bool take_ids(struct json *j, struct entry *e)
{
	const bool array = take(j, '[');

	if (e->ids_count > 0)
		return refuse(j, "ids is there twice");
	if (array && take(j, ']'))
		return true;
	do {
		char *id = take_string(j);

		if (id == NULL)
			return refuse(j, "ids must be a string or an array of strings");
		if (e->ids_count == IDENTITIES_MAX)
			return refuse(j, "there are more than 16 identities");
		e->ids[e->ids_count++] = id;
	} while (array && take(j, ','));
	return !array || take(j, ']') || refuse(j, "ids must end in a bracket");
}

static bool take_member(struct json *j, struct entry *e)
{
	const char *name = take_string(j), *value;
	unsigned field = 0;

	if (name == NULL || !take(j, ':'))
		return refuse(j, "a member must be \"name\": \"value\"");
	if (strcmp(name, "ids") == 0)
		return take_ids(j, e);
	while (field < ENTRY_IDS && strcmp(name, entry_field_names[field]) != 0)
		field++;
	if (field == ENTRY_IDS)
		return refuse(
			j, "it has a member other than identity, identity_hex, key, certificate_name, root, "
			   "public_key, tenant, kind and ids");
	value = take_string(j);
	if (value == NULL)
		return refuse(j, "a value is not a string");
	if (e->fields[field] != NULL)
		return refuse(j, "a member is there twice");
	e->fields[field] = value;
	return true;
}

bool entry_from_json(char *line, struct entry *e, char *why)
{
	struct json j = {.at = line, .why = why};

	memset(e, 0, sizeof(*e));
	if (!take(&j, '{'))
		return refuse(&j, "it is not a JSON object");
	if (!take(&j, '}')) {
		do {
			if (!take_member(&j, e))
				return false;
		} while (take(&j, ','));
		if (!take(&j, '}'))
			return refuse(&j, "the JSON object does not end");
	}
	return *j.at == 0 || refuse(&j, "something follows the JSON object");
}
