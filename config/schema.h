/* The schema (pure): one table that describes every option once. The parser, the defaults, the checks, the
 * commented example file and the manual page are all made from it.
 */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"

enum { OPTIONS_MAX = 96, SECTION_OPTIONS_MAX = 24, CHOICES_MAX = 8 };

enum option_type {
	OPTION_NUMBER, /* uint32_t */
	OPTION_BOOL,   /* bool */
	OPTION_CHOICE, /* an enum: index into choices */
	OPTION_NAME,   /* char *: one of choices */
	OPTION_TEXT,   /* char * */
	OPTION_LIST,   /* char ** and its unsigned count right behind it */
};

/* Looks at one value, or at one entry of a list. True, or false with the end of the sentence "it ..." in why.
 */
typedef bool option_check(const char *text, char *why, size_t why_len);

struct config_section {
	const char *name;
	const char *help;
	size_t offset, size; /* within struct config */
};

/* A list of mappings, each of which takes options of its own and those of one section. */
struct config_list {
	const char *name;
	const char *help;
	const char *section;         /* whose options an entry takes, too */
	const char *example;         /* an option of that section, as it stands in an entry */
	size_t section_offset;       /* of the section's struct within an entry */
	size_t size;                 /* of an entry */
	size_t offset, count_offset; /* within struct config: the entries, and unsigned */
	unsigned max;
};

struct config_option {
	const char *section; /* NULL: not inside of one; or the name of a list */
	const char *name;
	const char *help;
	const char *unit; /* of a number */
	const char *const *choices;
	const char *fallback; /* the default as it would stand in the file; NULL: none */
	const char *example;  /* shown where there is no default */
	option_check *check;
	size_t offset;       /* within the section's struct, or the list's entry, or struct config */
	size_t count_offset; /* of a list */
	uint32_t min, max;   /* of a number; length in bytes of a text; number of entries of a list */
	enum option_type type;
	bool shown;  /* the example file sets the example instead of showing it as a comment */
	bool single; /* not in the entries of a list that takes the section's options */
};

const struct config_section *schema_sections(unsigned *count);

const struct config_list *schema_lists(unsigned *count);

/* In the order of the example file: options outside of sections last. */
const struct config_option *schema_options(unsigned *count);

/* Whether the option can stand in that section or in an entry of that list. NULL: outside of both. */
bool option_belongs(const struct config_option *o, const char *section);

/* NULL when there is none. section: as above. */
const struct config_option *schema_find(const char *section, const char *name);

/* "port.mtu", "log_level" */
const char *option_key(const struct config_option *o, char *out, size_t out_len);

/* "a whole number from 576 to 9000 (bytes)": what may stand in the file. Returns out. */
const char *option_allowed(const struct config_option *o, char *out, size_t out_len);

/* Whether a text is a valid value of the option (for a list: of an entry); without its check function. */
bool option_accepts(const struct config_option *o, const char *text, size_t text_len);

/* Writes an accepted value to its place in the struct that the option's offset counts from; of a list:
 * appends it. False when out of memory. */
bool option_store(const struct config_option *o, const char *text, void *base);

#endif
