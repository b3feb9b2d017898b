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
		if (option_belongs(&options[i], section))
			print_option(out, &options[i]);
}

/* One entry, as a comment: an empty list would do nothing. */
static void print_list(FILE *out, const struct config_list *list)
{
	const struct config_option *options;
	unsigned count, printed = 0;
	char allowed[256];

	fputc('\n', out);
	print_comment(out, "", list->help);
	fprintf(out, "# a list of at most %u entries; no default\n# %s:\n", list->max, list->name);
	options = schema_options(&count);
	for (unsigned i = 0; i < count; i++) {
		const struct config_option *o = &options[i];

		if (o->section == NULL || strcmp(o->section, list->name) != 0)
			continue;
		print_comment(out, "#     ", o->help);
		fprintf(out, "#     # %s\n", option_allowed(o, allowed, sizeof(allowed)));
		fprintf(out, "#   %s %s: %s\n", printed++ == 0 ? "-" : " ", o->name,
			o->fallback != NULL ? o->fallback : o->example);
	}
	fprintf(out, "#     %s\n", list->example);
}

void config_print_schema(FILE *out)
{
	const struct config_section *sections;
	const struct config_list *lists;
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
	lists = schema_lists(&count);
	for (unsigned i = 0; i < count; i++)
		print_list(out, &lists[i]);
	fputc('\n', out);
	print_section(out, NULL);
}

/* ---- sluice.yaml(5) */

/* man(7): a hyphen that is to be typed is \-, a backslash \e, and no line begins with a dot or an apostrophe.
 */
static void print_roff(FILE *out, const char *text)
{
	for (const char *c = text; *c != 0; c++) {
		if (c == text && (*c == '.' || *c == '\''))
			fputs("\\&", out);
		if (*c == '-')
			fputs("\\-", out);
		else if (*c == '\\')
			fputs("\\e", out);
		else
			fputc(*c, out);
	}
	fputc('\n', out);
}

static void print_manual_option(FILE *out, const struct config_option *o)
{
	char key[64], allowed[256], line[512];

	fputs(".TP\n.B ", out);
	print_roff(out, option_key(o, key, sizeof(key)));
	print_roff(out, o->help);
	snprintf(line, sizeof(line), "It is %s; %s%s.", option_allowed(o, allowed, sizeof(allowed)),
		 o->fallback != NULL ? "default: " : "no default", o->fallback != NULL ? o->fallback : "");
	print_roff(out, line);
	if (o->fallback == NULL && o->example != NULL) {
		snprintf(line, sizeof(line), "Example: %s", o->example);
		print_roff(out, line);
	}
}

static void print_manual_section(FILE *out, const char *section)
{
	const struct config_option *options;
	unsigned count;

	options = schema_options(&count);
	for (unsigned i = 0; i < count; i++)
		if (option_belongs(&options[i], section))
			print_manual_option(out, &options[i]);
}

static const char manual_head[] =
	".TH SLUICE.YAML 5 \"\" Sluice \"File formats\"\n"
	".SH NAME\nsluice.yaml \\- configuration of the Sluice DTLS gateway\n"
	".SH DESCRIPTION\n"
	"One YAML file holds the whole configuration of\n.BR sluice (8).\n"
	"It is read once at start; of the files that it names, some are read anew when they change, and say "
	"so below. Nothing starts unless every value is within its bounds and every file that it names can "
	"be "
	"used; the message names the line, the key, the value and what is allowed.\n"
	".PP\n"
	"An option that is left out, or left empty, has its default. An unknown key is an error. The file is "
	"UTF\\-8, "
	"one document, at most 256 KiB, without anchors, aliases and tags.\n"
	".PP\n"
	"The smallest useful file:\n"
	".PP\n.RS\n.nf\n"
	"port:\n"
	"  eal: [\"\\-\\-no\\-huge\", \"\\-m\", \"256\", \"\\-\\-no\\-pci\", \"\\-\\-vdev\", "
	"\"net_tap0,iface=sluice0\"]\n"
	"  ipv4: 10.77.0.1/24\n"
	"credentials:\n"
	"  psk_file: /etc/sluice/psk.txt\n"
	".fi\n.RE\n";

static const char manual_tail[] =
	".SH FILES\n"
	".TP\n.I /etc/sluice/sluice.yaml\nThe file that the systemd unit starts the gateway with.\n"
	".TP\n.I /run/credentials/sluice.service/\nWhere the systemd unit puts the secrets that it hands "
	"over.\n"
	".SH SEE ALSO\n.BR sluice (8),\n.BR sluicectl (8)\n";

static void print_manual_list(FILE *out, const struct config_list *list)
{
	const struct config_option *options;
	unsigned count;
	char line[512];

	fprintf(out, ".SH %s\n", list->name);
	print_roff(out, list->help);
	snprintf(line, sizeof(line), "It is a list of at most %u entries; no default.", list->max);
	print_roff(out, line);
	options = schema_options(&count);
	for (unsigned i = 0; i < count; i++)
		if (options[i].section != NULL && strcmp(options[i].section, list->name) == 0)
			print_manual_option(out, &options[i]);
}

void config_print_manual(FILE *out)
{
	const struct config_section *sections;
	const struct config_list *lists;
	unsigned count;

	fputs(manual_head, out);
	sections = schema_sections(&count);
	for (unsigned i = 0; i < count; i++) {
		fprintf(out, ".SH %s\n", sections[i].name);
		print_roff(out, sections[i].help);
		print_manual_section(out, sections[i].name);
	}
	lists = schema_lists(&count);
	for (unsigned i = 0; i < count; i++)
		print_manual_list(out, &lists[i]);
	fputs(".SH OTHER OPTIONS\n", out);
	print_manual_section(out, NULL);
	fputs(manual_tail, out);
}
