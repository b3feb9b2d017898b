/* What a person reads, made from the schema: the commented example and the option list of sluice.yaml(5). */
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "config/schema.h"

enum { WIDTH = 100 };

/* Wraps text into comment lines. */
static void print_comment(FILE *out, const char *indent, const char *text)
{
	size_t left = strlen(text);
	const size_t room = WIDTH - strlen(indent) - 2;

	while (left > 0) {
		size_t len = left;

		if (len > room)
			for (len = room; len > 0 && text[len] != ' '; len--)
				;
		fprintf(out, "%s# %.*s\n", indent, (int)len, text);
		text += len;
		left -= len;
		while (left > 0 && *text == ' ') {
			text++;
			left--;
		}
	}
}

static bool is_text(const struct config_option *o)
{
	return o->type == OPTION_TEXT;
}

static void print_option(FILE *out, const struct config_option *o)
{
	const char *indent = o->section != NULL ? "  " : "";
	const char *value = o->fallback != NULL ? o->fallback : o->example;
	const char *quote = is_text(o) ? "\"" : "";
	char allowed[256];

	print_comment(out, indent, o->help);
	if (o->fallback != NULL && is_text(o))
		fprintf(out, "%s# default: \"%s\"\n", indent, o->fallback);
	else if (is_text(o))
		fprintf(out, "%s# no default\n", indent);
	else
		fprintf(out, "%s# %s; %s%s\n", indent, option_allowed(o, allowed, sizeof(allowed)),
			o->fallback != NULL ? "default: " : "no default",
			o->fallback != NULL ? o->fallback : "");
	fprintf(out, "%s%s%s: %s%s%s\n", indent, o->fallback != NULL || o->shown ? "" : "# ", o->name, quote,
		value, quote);
}

static void print_section(FILE *out, const char *section)
{
	const struct config_option *options;
	unsigned count;

	options = schema_options(&count);
	for (unsigned i = 0; i < count; i++)
		if (section != NULL ? options[i].section != NULL && strcmp(options[i].section, section) == 0
				    : options[i].section == NULL)
			print_option(out, &options[i]);
}

void config_print_schema(FILE *out)
{
	const struct config_section *sections;
	unsigned count;

	fputs("# Sluice: every option, with its default or an example. Printed by: sluice --print-config\n"
	      "# An option that is left out, or left empty, has its default. Check a file with: sluice "
	      "--check-config\n",
	      out);
	sections = schema_sections(&count);
	for (unsigned i = 0; i < count; i++) {
		fputc('\n', out);
		print_comment(out, "", sections[i].help);
		fprintf(out, "%s:\n", sections[i].name);
		print_section(out, sections[i].name);
	}
	fputc('\n', out);
	print_section(out, NULL);
}
