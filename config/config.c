/* From a file to a struct config, in steps that each end in one readable sentence when they fail: read,
 * outline, match with the schema, load with libcyaml, fill in defaults, check what concerns several options.
 * Main thread or control thread; nothing here is shared.
 */
#include "config/config.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/check.h"
#include "config/outline.h"
#include "config/report.h"
#include "config/schema.h"
#include "crypto/suite.h"

enum { NAME_MAX_BYTES = 64, SCOPE_MAX = 96, KEY_MAX = 160, ALLOWED_MAX = 256, WHY_MAX = 1536 };

/* One entry of a list of mappings, and where its options stand in the file. */
struct list_entry {
	const struct config_list *list;
	int node;
	int option_nodes[OPTIONS_MAX];
};

/* A file that is being loaded. */
struct loading {
	struct report report;
	struct outline outline;
	const struct config_section *sections;
	const struct config_list *lists;
	const struct config_option *options;
	unsigned sections_count, lists_count, options_count;
	int section_nodes[OPTIONS_MAX]; /* where each stands in the file; OUTLINE_NONE: it does not */
	int option_nodes[OPTIONS_MAX];
	struct list_entry *entries; /* of all lists, in the order of the file */
	unsigned entries_count;
	struct config *config;
};

/* Where options may stand: outside of everything, in a section, or in an entry of a list. */
struct scope {
	const char *section;    /* or list; NULL: outside */
	int *nodes;             /* of the options */
	char prefix[SCOPE_MAX]; /* "port.", "tenants.utility." */
};

static struct scope top_scope(struct loading *l, const char *section)
{
	struct scope s = {.section = section, .nodes = l->option_nodes};

	if (section != NULL)
		snprintf(s.prefix, sizeof(s.prefix), "%s.", section);
	return s;
}

/* People find an entry by its name, or else by its place. */
static struct scope entry_scope(struct loading *l, unsigned entry)
{
	struct list_entry *e = &l->entries[entry];
	struct scope s = {.section = e->list->name, .nodes = e->option_nodes};
	const struct outline_node *nodes = l->outline.nodes;
	unsigned place = 1;

	for (unsigned i = 0; i < entry; i++)
		place += l->entries[i].list == e->list;
	snprintf(s.prefix, sizeof(s.prefix), "%s.%u.", s.section, place);
	for (unsigned i = (unsigned)e->node + 1; i < l->outline.count; i++) {
		char why[WHY_MAX];

		if (nodes[i].parent == e->node && strcmp(nodes[i].key, "name") == 0 &&
		    nodes[i].kind == OUTLINE_SCALAR && !nodes[i].null && nodes[i].text_len < NAME_MAX_BYTES &&
		    check_tenant_name(nodes[i].text, why, sizeof(why)))
			snprintf(s.prefix, sizeof(s.prefix), "%s.%s.", s.section, nodes[i].text);
	}
	return s;
}

/* ---- read */

static char *read_file(const char *path, size_t *len, struct report *r)
{
	struct stat st;
	char *text = NULL;
	ssize_t got;
	int fd;

	if (stat(path, &st) < 0 || (S_ISREG(st.st_mode) && access(path, R_OK) < 0)) {
		report(r, 0, "The file cannot be read: %s.", strerror(errno));
		return NULL;
	}
	if (!S_ISREG(st.st_mode)) {
		report(r, 0, "This is not a regular file.");
		return NULL;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	text = fd >= 0 ? malloc(CONFIG_FILE_MAX + 1) : NULL;
	got = text != NULL ? read(fd, text, CONFIG_FILE_MAX + 1) : -1;
	if (got < 0)
		report(r, 0, "The file cannot be read: %s.", strerror(errno));
	else if (got > CONFIG_FILE_MAX)
		report(r, 0, "The file is larger than %d KiB.", CONFIG_FILE_MAX / 1024);
	if (fd >= 0)
		close(fd);
	if (got < 0 || got > CONFIG_FILE_MAX) {
		free(text);
		return NULL;
	}
	*len = (size_t)got;
	return text;
}

/* ---- match with the schema */

static unsigned distance(const char *a, const char *b)
{
	enum { LONGEST = 31 };
	unsigned row[LONGEST + 1];
	size_t a_len = strlen(a), b_len = strlen(b);

	if (a_len > LONGEST || b_len > LONGEST)
		return LONGEST;
	for (unsigned j = 0; j <= b_len; j++)
		row[j] = j;
	for (unsigned i = 1; i <= a_len; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= b_len; j++) {
			unsigned change = diagonal + (a[i - 1] != b[j - 1]);
			unsigned least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

			diagonal = row[j];
			row[j] = change < least ? change : least;
		}
	}
	return row[b_len];
}

/* The key that was probably meant: the nearest one, or the same one in another place. NULL: no idea. */
static const char *guess_key(const struct loading *l, const struct scope *s, const char *key,
			     char out[KEY_MAX])
{
	unsigned nearest = 3;

	out[0] = 0;
	for (unsigned i = 0; s->section == NULL && i < l->sections_count + l->lists_count; i++) {
		const char *name =
			i < l->sections_count ? l->sections[i].name : l->lists[i - l->sections_count].name;

		if (distance(key, name) < nearest) {
			nearest = distance(key, name);
			snprintf(out, KEY_MAX, "%s", name);
		}
	}
	for (unsigned i = 0; i < l->options_count; i++) {
		const struct config_option *o = &l->options[i];
		bool here = option_belongs(o, s->section);
		unsigned d = distance(key, o->name);

		if (here && d > 2 && strlen(key) > 2 && strncmp(o->name, key, strlen(key)) == 0)
			d = 2;
		if (d >= nearest || (!here && d != 0))
			continue;
		nearest = d;
		if (here)
			snprintf(out, KEY_MAX, "%s%s", s->prefix, o->name);
		else
			option_key(o, out, KEY_MAX);
	}
	return out[0] != 0 ? out : NULL;
}

static void add_name(char out[WHY_MAX], const char *name)
{
	size_t used = strlen(out);

	snprintf(out + used, WHY_MAX - used, "%s%s", used > 0 ? ", " : "", name);
}

/* Everything that may stand in a scope, with commas between. */
static const char *names_in(const struct loading *l, const struct scope *s, char out[WHY_MAX])
{
	out[0] = 0;
	for (unsigned i = 0; s->section == NULL && i < l->sections_count; i++)
		add_name(out, l->sections[i].name);
	for (unsigned i = 0; s->section == NULL && i < l->lists_count; i++)
		add_name(out, l->lists[i].name);
	for (unsigned i = 0; i < l->options_count; i++)
		if (option_belongs(&l->options[i], s->section))
			add_name(out, l->options[i].name);
	return out;
}

static int refuse_key(struct loading *l, const struct outline_node *n, const struct scope *s)
{
	char quoted[REPORT_QUOTE_MAX], guess[KEY_MAX], names[WHY_MAX];
	const char *meant = guess_key(l, s, n->key, guess);

	report_quote(n->key, strlen(n->key), quoted);
	if (meant != NULL)
		return report(&l->report, n->line, "There is no option \"%s%s\"; did you mean %s?", s->prefix,
			      quoted, meant);
	return report(&l->report, n->line, "There is no option \"%s%s\"; here may stand: %s.", s->prefix,
		      quoted, names_in(l, s, names));
}

static int match_value(struct loading *l, const struct config_option *o, const char *key,
		       const struct outline_node *n)
{
	char quoted[REPORT_QUOTE_MAX], allowed[ALLOWED_MAX], why[WHY_MAX];

	if (n->kind != OUTLINE_SCALAR)
		return report(&l->report, n->line, "%s must be %s.", key,
			      option_allowed(o, allowed, sizeof(allowed)));
	report_quote(n->text, n->text_len, quoted);
	if (!option_accepts(o, n->text, n->text_len))
		return report(&l->report, n->line, "The value \"%s\" of %s is not allowed: it must be %s.",
			      quoted, key,
			      o->type == OPTION_LIST ? "a text of 1 to 4095 bytes"
						     : option_allowed(o, allowed, sizeof(allowed)));
	if (o->check != NULL && !o->check(n->text, why, sizeof(why)))
		return report(&l->report, n->line, "The value \"%s\" of %s is not allowed: it %s.", quoted,
			      key, why);
	return 0;
}

static int match_list(struct loading *l, const struct config_option *o, const char *key, int list)
{
	const struct outline_node *nodes = l->outline.nodes;
	char allowed[ALLOWED_MAX];
	unsigned entries = 0;

	option_allowed(o, allowed, sizeof(allowed));
	if (nodes[list].kind != OUTLINE_LIST)
		return report(&l->report, nodes[list].line, "%s must be %s.", key, allowed);
	for (unsigned i = (unsigned)list + 1; i < l->outline.count; i++) {
		if (nodes[i].parent != list)
			continue;
		if (match_value(l, o, key, &nodes[i]) < 0)
			return -1;
		entries++;
	}
	if (entries > o->max)
		return report(&l->report, nodes[list].line, "%s holds %u entries; it must be %s.", key,
			      entries, allowed);
	return 0;
}

static int match_option(struct loading *l, const struct scope *s, int node)
{
	const struct outline_node *n = &l->outline.nodes[node];
	const struct config_option *o = schema_find(s->section, n->key);
	char key[KEY_MAX];

	if (o == NULL)
		return refuse_key(l, n, s);
	if (n->kind == OUTLINE_SCALAR && n->null)
		return 0;
	s->nodes[o - l->options] = node;
	snprintf(key, sizeof(key), "%s%s", s->prefix, o->name);
	return o->type == OPTION_LIST ? match_list(l, o, key, node) : match_value(l, o, key, n);
}

static int match_options(struct loading *l, const struct scope *s, int node)
{
	for (unsigned i = (unsigned)node + 1; i < l->outline.count; i++)
		if (l->outline.nodes[i].parent == node && match_option(l, s, (int)i) < 0)
			return -1;
	return 0;
}

static int match_section(struct loading *l, unsigned section, int node)
{
	const struct outline_node *nodes = l->outline.nodes;
	struct scope scope;

	if (nodes[node].kind == OUTLINE_SCALAR && nodes[node].null)
		return 0;
	if (nodes[node].kind != OUTLINE_MAPPING)
		return report(&l->report, nodes[node].line,
			      "%s must hold options, each on a line of its own below it.",
			      l->sections[section].name);
	l->section_nodes[section] = node;
	scope = top_scope(l, l->sections[section].name);
	return match_options(l, &scope, node);
}

static int match_entry(struct loading *l, const struct config_list *list, int node)
{
	struct list_entry *grown = realloc(l->entries, (l->entries_count + 1) * sizeof(*grown));
	struct scope scope;

	if (grown == NULL)
		return report(&l->report, 0, "Out of memory.");
	l->entries = grown;
	grown += l->entries_count++;
	grown->list = list;
	grown->node = node;
	for (unsigned i = 0; i < OPTIONS_MAX; i++)
		grown->option_nodes[i] = OUTLINE_NONE;
	scope = entry_scope(l, l->entries_count - 1);
	return match_options(l, &scope, node);
}

static int match_entries(struct loading *l, const struct config_list *list, int node)
{
	const struct outline_node *nodes = l->outline.nodes;
	unsigned count = 0;

	if (nodes[node].kind == OUTLINE_SCALAR && nodes[node].null)
		return 0;
	for (unsigned i = (unsigned)node; i < l->outline.count; i++) {
		enum outline_kind wanted = i == (unsigned)node ? OUTLINE_LIST : OUTLINE_MAPPING;

		if (i != (unsigned)node && nodes[i].parent != node)
			continue;
		if (nodes[i].kind != wanted || count > list->max)
			return report(&l->report, nodes[i].line,
				      "%s must be a list of at most %u entries, each with options such as "
				      "\"- name:\" and \"server_names:\".",
				      list->name, list->max);
		if (i != (unsigned)node && match_entry(l, list, (int)i) < 0)
			return -1;
		count++;
	}
	return 0;
}

static int match_top(struct loading *l, int node)
{
	const char *key = l->outline.nodes[node].key;
	const struct scope scope = top_scope(l, NULL);

	for (unsigned i = 0; i < l->sections_count; i++)
		if (strcmp(key, l->sections[i].name) == 0)
			return match_section(l, i, node);
	for (unsigned i = 0; i < l->lists_count; i++)
		if (strcmp(key, l->lists[i].name) == 0)
			return match_entries(l, &l->lists[i], node);
	return match_option(l, &scope, node);
}

static int match(struct loading *l)
{
	const struct outline_node *nodes = l->outline.nodes;

	for (unsigned i = 0; i < OPTIONS_MAX; i++)
		l->section_nodes[i] = l->option_nodes[i] = OUTLINE_NONE;
	if (l->outline.count == 0 || nodes[0].null)
		return report(&l->report, 0,
			      "The file is empty; it needs at least an address (port.ipv4 or port.ipv6) and "
			      "credentials (credentials.psk_file, credentials.store, credentials.redis, "
			      "tls.certificate or tls.raw_key).");
	if (nodes[0].kind != OUTLINE_MAPPING)
		return report(&l->report, nodes[0].line,
			      "The file must hold sections and options, such as \"port:\".");
	for (unsigned i = 1; i < l->outline.count; i++)
		if (nodes[i].parent == 0 && match_top(l, (int)i) < 0)
			return -1;
	return 0;
}

/* ---- load with libcyaml */

/* The schema as libcyaml wants it. Null values and empty sections are ignored: they count as absent. */
struct cyaml_schema {
	struct cyaml_schema_field top[OPTIONS_MAX + 1];
	struct cyaml_schema_field
		inside[OPTIONS_MAX + OPTIONS_MAX]; /* sections one after the other, each ended */
	cyaml_strval_t choices[OPTIONS_MAX][CHOICES_MAX];
	struct cyaml_schema_value document;
};

static const struct cyaml_schema_value list_entry = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

static void set_choices(const struct config_option *o, cyaml_strval_t *strings,
			struct cyaml_schema_value *value)
{
	uint32_t count = 0;

	for (; o->choices[count] != NULL; count++) {
		strings[count].str = o->choices[count];
		strings[count].val = o->type == OPTION_BOOL ? count % 2 == 0 : count;
	}
	value->type = CYAML_ENUM;
	value->flags |= CYAML_FLAG_STRICT;
	value->data_size = o->type == OPTION_BOOL ? sizeof(bool) : sizeof(enum config_idle);
	value->enumeration.strings = strings;
	value->enumeration.count = count;
}

static void set_field(const struct config_option *o, cyaml_strval_t *strings,
		      struct cyaml_schema_field *field)
{
	field->key = o->name;
	field->data_offset = (uint32_t)o->offset;
	field->value.flags = CYAML_FLAG_OPTIONAL;
	switch (o->type) {
	case OPTION_NUMBER:
		field->value.type = CYAML_UINT;
		field->value.data_size = sizeof(uint32_t);
		break;
	case OPTION_BOOL:
	case OPTION_CHOICE:
		set_choices(o, strings, &field->value);
		break;
	case OPTION_NAME:
	case OPTION_TEXT:
		field->value.type = CYAML_STRING;
		field->value.flags |= CYAML_FLAG_POINTER;
		field->value.data_size = sizeof(char);
		field->value.string.max = CYAML_UNLIMITED;
		break;
	case OPTION_LIST:
		field->value.type = CYAML_SEQUENCE;
		field->value.flags |= CYAML_FLAG_POINTER;
		field->value.data_size = sizeof(char *);
		field->value.sequence.entry = &list_entry;
		field->value.sequence.max = o->max;
		field->count_offset = (uint32_t)o->count_offset;
		field->count_size = sizeof(unsigned);
		break;
	}
}

static void ignore_field(const char *key, struct cyaml_schema_field *field)
{
	field->key = key;
	field->value.type = CYAML_IGNORE;
	field->value.flags = CYAML_FLAG_OPTIONAL;
}

/* Adds the options of one section (NULL: those outside), and returns the field behind them. */
static struct cyaml_schema_field *add_options(const struct loading *l, struct cyaml_schema *s,
					      const char *section, struct cyaml_schema_field *field)
{
	for (unsigned i = 0; i < l->options_count; i++) {
		const struct config_option *o = &l->options[i];

		if (!option_belongs(o, section))
			continue;
		if (l->option_nodes[i] == OUTLINE_NONE)
			ignore_field(o->name, field++);
		else
			set_field(o, s->choices[i], field++);
	}
	return field;
}

static void derive_schema(const struct loading *l, struct cyaml_schema *s)
{
	struct cyaml_schema_field *top = s->top, *inside = s->inside;

	for (unsigned i = 0; i < l->sections_count; i++, top++) {
		const struct config_section *section = &l->sections[i];

		if (l->section_nodes[i] == OUTLINE_NONE) {
			ignore_field(section->name, top);
			continue;
		}
		top->key = section->name;
		top->data_offset = (uint32_t)section->offset;
		top->value.type = CYAML_MAPPING;
		top->value.flags = CYAML_FLAG_OPTIONAL;
		top->value.data_size = (uint32_t)section->size;
		top->value.mapping.fields = inside;
		inside = add_options(l, s, section->name, inside) + 1;
	}
	/* An option may be left empty in one entry and not in the next, which no schema of libcyaml can say:
	   fill_entries() reads them from the outline. */
	for (unsigned i = 0; i < l->lists_count; i++)
		ignore_field(l->lists[i].name, top++);
	add_options(l, s, NULL, top);
	s->document.type = CYAML_MAPPING;
	s->document.flags = CYAML_FLAG_POINTER;
	s->document.data_size = sizeof(struct config);
	s->document.mapping.fields = s->top;
}

static void *allocate(void *context, void *memory, size_t size)
{
	if (size > 0)
		return realloc(memory, size);
	free(memory);
	return NULL;
}

static int load(struct loading *l, const char *text, size_t len)
{
	const cyaml_config_t settings = {
		.mem_fn = allocate, .log_level = CYAML_LOG_ERROR, .flags = CYAML_CFG_NO_ALIAS};
	struct cyaml_schema *schema = calloc(1, sizeof(*schema));
	cyaml_err_t error = CYAML_ERR_OOM;

	if (schema != NULL) {
		derive_schema(l, schema);
		error = cyaml_load_data((const uint8_t *)text, len, &settings, &schema->document,
					(cyaml_data_t **)&l->config, NULL);
	}
	free(schema);
	if (error != CYAML_OK)
		return report(&l->report, 0, "The file cannot be loaded: %s.", cyaml_strerror(error));
	if (l->config == NULL)
		l->config = calloc(1, sizeof(*l->config));
	return l->config != NULL ? 0 : report(&l->report, 0, "Out of memory.");
}

/* The struct that the option's offset counts from. */
static void *base_of(const struct config_option *o, struct config *c)
{
	const struct config_section *sections;
	unsigned count;

	sections = schema_sections(&count);
	for (unsigned i = 0; o->section != NULL && i < count; i++)
		if (strcmp(sections[i].name, o->section) == 0)
			return (char *)c + sections[i].offset;
	return c;
}

/* The same in an entry of a list. */
static void *base_in_entry(const struct config_option *o, const struct config_list *list, void *entry)
{
	return (char *)entry + (strcmp(o->section, list->section) == 0 ? list->section_offset : 0);
}

static bool is_of_list(const struct loading *l, const struct config_option *o)
{
	for (unsigned i = 0; i < l->lists_count; i++)
		if (o->section != NULL && strcmp(o->section, l->lists[i].name) == 0)
			return true;
	return false;
}

static int fill_defaults(struct loading *l)
{
	for (unsigned i = 0; i < l->options_count; i++) {
		const struct config_option *o = &l->options[i];

		if (l->option_nodes[i] == OUTLINE_NONE && o->fallback != NULL && !is_of_list(l, o) &&
		    !option_store(o, o->fallback, base_of(o, l->config)))
			return report(&l->report, 0, "Out of memory.");
	}
	return 0;
}

static bool fill_option(const struct loading *l, const struct config_option *o, int node, void *base)
{
	const struct outline_node *nodes = l->outline.nodes;

	if (node == OUTLINE_NONE)
		return o->fallback == NULL || option_store(o, o->fallback, base);
	if (o->type != OPTION_LIST)
		return option_store(o, nodes[node].text, base);
	for (unsigned i = (unsigned)node + 1; i < l->outline.count; i++)
		if (nodes[i].parent == node && !option_store(o, nodes[i].text, base))
			return false;
	return true;
}

static bool fill_entry(const struct loading *l, const struct list_entry *e, void *entry)
{
	for (unsigned i = 0; i < l->options_count; i++) {
		const struct config_option *o = &l->options[i];

		if (option_belongs(o, e->list->name) &&
		    !fill_option(l, o, e->option_nodes[i], base_in_entry(o, e->list, entry)))
			return false;
	}
	return true;
}

/* Each entry is counted before it is filled, so that config_free() finds what it owns. */
static int fill_entries(struct loading *l)
{
	for (unsigned i = 0; i < l->entries_count; i++) {
		const struct config_list *list = l->entries[i].list;
		unsigned *count = (unsigned *)(void *)((char *)l->config + list->count_offset);
		void **array = (void **)(void *)((char *)l->config + list->offset);
		char *grown = realloc(*array, (*count + 1) * list->size);

		if (grown == NULL)
			return report(&l->report, 0, "Out of memory.");
		*array = grown;
		grown += *count * list->size;
		memset(grown, 0, list->size);
		(*count)++;
		if (!fill_entry(l, &l->entries[i], grown))
			return report(&l->report, 0, "Out of memory.");
	}
	return 0;
}

/* ---- check what concerns several options */

static unsigned line_of(const struct loading *l, const struct scope *s, const char *name)
{
	int node = s->nodes[schema_find(s->section, name) - l->options];

	return node != OUTLINE_NONE ? l->outline.nodes[node].line : 0;
}

/* Whether devices of the tenant can have pre-shared keys. */
static bool has_psk(const struct config *c, bool is_default)
{
	return c->credentials.store != NULL || c->credentials.redis != NULL ||
	       (is_default && c->credentials.psk_file != NULL);
}

static int check_files(struct loading *l, const struct scope *s, const struct config_tls *t)
{
	if (t->certificate != NULL && t->key == NULL)
		return report(&l->report, line_of(l, s, "certificate"), "%scertificate needs %skey.",
			      s->prefix, s->prefix);
	if (t->key != NULL && t->certificate == NULL)
		return report(&l->report, line_of(l, s, "key"), "%skey needs %scertificate.", s->prefix,
			      s->prefix);
	if (t->client_certificate != CONFIG_CLIENT_CERTIFICATE_NONE && t->trust_anchors == NULL &&
	    t->raw_key == NULL)
		return report(
			&l->report, line_of(l, s, "client_certificate"),
			"%sclient_certificate needs %strust_anchors or %sraw_key; without them it must be "
			"none.",
			s->prefix, s->prefix, s->prefix);
	if (t->trust_anchors != NULL && t->client_certificate == CONFIG_CLIENT_CERTIFICATE_NONE)
		return report(&l->report, line_of(l, s, "trust_anchors"),
			      "%strust_anchors needs %sclient_certificate: optional or required. With none, "
			      "which is the default, no device is asked for its certificate.",
			      s->prefix, s->prefix);
	if (t->ocsp_clients != CONFIG_OCSP_CLIENTS_NONE && t->trust_anchors == NULL)
		return report(&l->report, line_of(l, s, "ocsp_clients"),
			      "%socsp_clients needs %strust_anchors; without it it must be none.", s->prefix,
			      s->prefix);
	if (t->ocsp_stapling && t->certificate == NULL)
		return report(&l->report, line_of(l, s, "ocsp_stapling"),
			      "%socsp_stapling needs %scertificate.", s->prefix, s->prefix);
	if (t->crls_count > 0 && t->trust_anchors == NULL)
		return report(&l->report, line_of(l, s, "crls"), "%scrls needs %strust_anchors.", s->prefix,
			      s->prefix);
	return 0;
}

static int check_suites(struct loading *l, const struct scope *scope, const struct config_tls *t, bool psk)
{
	for (unsigned i = 0; i < t->suites_count; i++) {
		const struct suite *s = suite_by_name(t->suites[i]);

		if (s->credential == SUITE_PSK && !psk)
			return report(&l->report, line_of(l, scope, "suites"),
				      "%s in %ssuites needs %scredentials.store or credentials.redis.",
				      s->name, scope->prefix,
				      strcmp(scope->section, "tls") == 0 ? "credentials.psk_file, " : "");
		if (s->credential == SUITE_CERTIFICATE && t->certificate == NULL && t->raw_key == NULL)
			return report(
				&l->report, line_of(l, scope, "suites"),
				"%s in %ssuites needs %scertificate. For devices that take raw public keys "
				"%sraw_key does.",
				s->name, scope->prefix, scope->prefix, scope->prefix);
		for (unsigned j = 0; j < i; j++)
			if (strcmp(t->suites[j], t->suites[i]) == 0)
				return report(&l->report, line_of(l, scope, "suites"),
					      "%s is twice in %ssuites.", s->name, scope->prefix);
	}
	return 0;
}

static int check_default_tenant(struct loading *l)
{
	const struct config *c = l->config;
	const struct scope scope = top_scope(l, "tls");

	if (check_files(l, &scope, &c->tls) < 0)
		return -1;
	if (c->tls.certificate == NULL && c->tls.raw_key == NULL && !has_psk(c, true))
		return report(
			&l->report, 0,
			"Nobody could connect: at least one of credentials.psk_file, credentials.store, "
			"credentials.redis and tls.certificate or tls.raw_key is needed.");
	return check_suites(l, &scope, &c->tls, has_psk(c, true));
}

/* The tenant that the name chooses already, or NULL. */
static const char *owner_of(const struct config *c, unsigned tenants, const char *server_name)
{
	for (unsigned i = 0; i < tenants; i++)
		for (unsigned j = 0; j < c->tenants[i].server_names_count; j++)
			if (strcasecmp(c->tenants[i].server_names[j], server_name) == 0)
				return c->tenants[i].name;
	return NULL;
}

static int check_names(struct loading *l, const struct scope *s, unsigned entry)
{
	const struct config *c = l->config;
	const struct config_tenant *t = &c->tenants[entry];
	unsigned line = l->outline.nodes[l->entries[entry].node].line;

	if (t->name == NULL)
		return report(&l->report, line, "This tenant has no name: %sname is needed.", s->prefix);
	if (t->server_names_count == 0)
		return report(&l->report, line, "Nothing chooses this tenant: %sserver_names is needed.",
			      s->prefix);
	for (unsigned i = 0; i < entry; i++)
		if (strcmp(c->tenants[i].name, t->name) == 0)
			return report(&l->report, line_of(l, s, "name"), "The tenant \"%s\" is there twice.",
				      t->name);
	for (unsigned i = 0; i < t->server_names_count; i++) {
		const char *owner = owner_of(c, entry, t->server_names[i]);

		if (owner != NULL)
			return report(&l->report, line_of(l, s, "server_names"),
				      "\"%s\" in %sserver_names is a server name of the tenant \"%s\", too.",
				      t->server_names[i], s->prefix, owner);
	}
	return 0;
}

static int check_tenants(struct loading *l)
{
	const struct config *c = l->config;

	for (unsigned i = 0; i < c->tenants_count; i++) {
		const struct scope scope = entry_scope(l, i);

		if (check_names(l, &scope, i) < 0 || check_files(l, &scope, &c->tenants[i].tls) < 0)
			return -1;
		if (c->tenants[i].tls.certificate == NULL && c->tenants[i].tls.raw_key == NULL &&
		    !has_psk(c, false))
			return report(
				&l->report, l->outline.nodes[l->entries[i].node].line,
				"Nobody could connect to this tenant: at least one of credentials.store, "
				"credentials.redis and %scertificate or %sraw_key is needed.",
				scope.prefix, scope.prefix);
		if (check_suites(l, &scope, &c->tenants[i].tls, has_psk(c, false)) < 0)
			return -1;
	}
	return 0;
}

static int check_together(struct loading *l)
{
	const struct config *c = l->config;
	const struct scope port = top_scope(l, "port"), handshakes = top_scope(l, "handshakes"),
			   credentials = top_scope(l, "credentials"), admin = top_scope(l, "admin");

	if (c->port.ipv4 == NULL && c->port.ipv6 == NULL)
		return report(
			&l->report, 0,
			"The gateway has no address: at least one of port.ipv4 and port.ipv6 is needed.");
	/* RFC 8200 5: every link of IPv6 carries this much. */
	if (c->port.ipv6 != NULL && c->port.mtu < 1280)
		return report(&l->report, line_of(l, &port, "mtu"),
			      "port.mtu is %u; it must be at least 1280 when port.ipv6 is set.", c->port.mtu);
	if (c->handshakes.mtu > c->port.mtu)
		return report(&l->report, line_of(l, &handshakes, "mtu"),
			      "handshakes.mtu is %u; it must not be above port.mtu, which is %u.",
			      c->handshakes.mtu, c->port.mtu);
	if (c->port.mbufs < c->port.rx_descriptors + c->port.tx_descriptors)
		return report(
			&l->report, line_of(l, &port, "mbufs"),
			"port.mbufs is %u; it must be at least port.rx_descriptors + port.tx_descriptors, "
			"which is %u.",
			c->port.mbufs, c->port.rx_descriptors + c->port.tx_descriptors);
	if (strcmp(c->ring.socket, c->admin.socket) == 0)
		return report(&l->report, line_of(l, &admin, "socket"),
			      "admin.socket and ring.socket are the same, %s; each needs a path of its own.",
			      c->ring.socket);
	if (c->credentials.store_key != NULL && c->credentials.store == NULL && c->credentials.redis == NULL)
		return report(&l->report, line_of(l, &credentials, "store_key"),
			      "credentials.store_key needs credentials.store or credentials.redis.");
	if (c->credentials.redis != NULL && c->credentials.store != NULL)
		return report(
			&l->report, line_of(l, &credentials, "redis"),
			"credentials.redis and credentials.store are two stores; there can be only one.");
	if (c->credentials.redis_password_file != NULL && c->credentials.redis == NULL)
		return report(&l->report, line_of(l, &credentials, "redis_password_file"),
			      "credentials.redis_password_file needs credentials.redis.");
	return check_default_tenant(l) < 0 ? -1 : check_tenants(l);
}

/* ---- the public functions */

struct config *config_load_text(const char *text, size_t len, const char *name, char *error, size_t error_len)
{
	struct loading l = {.report = {.file = name, .text = error, .text_len = error_len}};
	struct config *result = NULL;

	if (error_len > 0)
		error[0] = 0;
	l.sections = schema_sections(&l.sections_count);
	l.lists = schema_lists(&l.lists_count);
	l.options = schema_options(&l.options_count);
	if (outline_read(&l.outline, text, len, &l.report) == 0 && match(&l) == 0 &&
	    load(&l, text, len) == 0 && fill_defaults(&l) == 0 && fill_entries(&l) == 0 &&
	    check_together(&l) == 0)
		result = l.config;
	else
		config_free(l.config);
	outline_fini(&l.outline);
	free(l.entries);
	return result;
}

struct config *config_load(const char *path, char *error, size_t error_len)
{
	struct report r = {.file = path, .text = error, .text_len = error_len};
	struct config *result;
	size_t len = 0;
	char *text;

	if (error_len > 0)
		error[0] = 0;
	text = read_file(path, &len, &r);
	if (text == NULL)
		return NULL;
	result = config_load_text(text, len, path, error, error_len);
	free(text);
	return result;
}

static void free_list(char **list, unsigned count)
{
	for (unsigned i = 0; list != NULL && i < count; i++)
		free(list[i]);
	free((void *)list);
}

static void free_option(const void *base, const struct config_option *o)
{
	const char *at = (const char *)base + o->offset;
	unsigned entries;
	void *owned;

	if (o->type != OPTION_TEXT && o->type != OPTION_NAME && o->type != OPTION_LIST)
		return;
	memcpy(&owned, at, sizeof(owned));
	if (o->type != OPTION_LIST) {
		free(owned);
		return;
	}
	memcpy(&entries, (const char *)base + o->count_offset, sizeof(entries));
	free_list(owned, entries);
}

static void free_entries(const struct config *c, const struct config_list *list)
{
	const struct config_option *options;
	unsigned entries, count;
	char *array;

	options = schema_options(&count);
	memcpy(&array, (const char *)c + list->offset, sizeof(array));
	memcpy(&entries, (const char *)c + list->count_offset, sizeof(entries));
	for (unsigned i = 0; i < entries; i++)
		for (unsigned j = 0; j < count; j++)
			if (option_belongs(&options[j], list->name))
				free_option(base_in_entry(&options[j], list, array + i * list->size),
					    &options[j]);
	free(array);
}

void config_free(struct config *c)
{
	const struct config_section *sections;
	const struct config_option *options;
	const struct config_list *lists;
	unsigned count, sections_count, lists_count;

	if (c == NULL)
		return;
	options = schema_options(&count);
	sections = schema_sections(&sections_count);
	for (unsigned i = 0; i < sections_count; i++)
		for (unsigned j = 0; j < count; j++)
			if (option_belongs(&options[j], sections[i].name))
				free_option((const char *)c + sections[i].offset, &options[j]);
	for (unsigned j = 0; j < count; j++)
		if (option_belongs(&options[j], NULL))
			free_option(c, &options[j]);
	lists = schema_lists(&lists_count);
	for (unsigned i = 0; i < lists_count; i++)
		free_entries(c, &lists[i]);
	free(c);
}
