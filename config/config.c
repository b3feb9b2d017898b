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
#include <sys/stat.h>
#include <unistd.h>

#include "config/outline.h"
#include "config/report.h"
#include "config/schema.h"
#include "crypto/suite.h"

enum { KEY_MAX = 64, ALLOWED_MAX = 256, WHY_MAX = 1536 };

/* A file that is being loaded. */
struct loading {
	struct report report;
	struct outline outline;
	const struct config_section *sections;
	const struct config_option *options;
	unsigned sections_count, options_count;
	int section_nodes[OPTIONS_MAX]; /* where each stands in the file; OUTLINE_NONE: it does not */
	int option_nodes[OPTIONS_MAX];
	struct config *config;
};

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
static const char *guess_key(const struct loading *l, const char *section, const char *key, char out[KEY_MAX])
{
	unsigned nearest = 3;

	out[0] = 0;
	for (unsigned i = 0; section == NULL && i < l->sections_count; i++)
		if (distance(key, l->sections[i].name) < nearest) {
			nearest = distance(key, l->sections[i].name);
			snprintf(out, KEY_MAX, "%s", l->sections[i].name);
		}
	for (unsigned i = 0; i < l->options_count; i++) {
		const struct config_option *o = &l->options[i];
		bool here = section != NULL ? o->section != NULL && strcmp(o->section, section) == 0
					    : o->section == NULL;
		unsigned d = distance(key, o->name);

		if (d < nearest && (here || d == 0)) {
			nearest = d;
			option_key(o, out, KEY_MAX);
		}
	}
	return out[0] != 0 ? out : NULL;
}

static int refuse_key(struct loading *l, const struct outline_node *n, const char *section)
{
	char quoted[REPORT_QUOTE_MAX], guess[KEY_MAX];
	const char *meant = guess_key(l, section, n->key, guess);

	report_quote(n->key, strlen(n->key), quoted);
	return report(&l->report, n->line, "There is no option \"%s%s%s\"%s%s%s",
		      section != NULL ? section : "", section != NULL ? "." : "", quoted,
		      meant != NULL ? "; did you mean " : "", meant != NULL ? meant : "",
		      meant != NULL ? "?" : ".");
}

static int match_value(struct loading *l, const struct config_option *o, const struct outline_node *n)
{
	char key[KEY_MAX], quoted[REPORT_QUOTE_MAX], allowed[ALLOWED_MAX], why[WHY_MAX];

	option_key(o, key, sizeof(key));
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

static int match_list(struct loading *l, const struct config_option *o, int list)
{
	const struct outline_node *nodes = l->outline.nodes;
	char key[KEY_MAX], allowed[ALLOWED_MAX];
	unsigned entries = 0;

	option_key(o, key, sizeof(key));
	option_allowed(o, allowed, sizeof(allowed));
	if (nodes[list].kind != OUTLINE_LIST)
		return report(&l->report, nodes[list].line, "%s must be %s.", key, allowed);
	for (unsigned i = (unsigned)list + 1; i < l->outline.count; i++) {
		if (nodes[i].parent != list)
			continue;
		if (match_value(l, o, &nodes[i]) < 0)
			return -1;
		entries++;
	}
	if (entries > o->max)
		return report(&l->report, nodes[list].line, "%s holds %u entries; it must be %s.", key,
			      entries, allowed);
	return 0;
}

static int match_option(struct loading *l, const char *section, int node)
{
	const struct outline_node *n = &l->outline.nodes[node];
	const struct config_option *o = schema_find(section, n->key);

	if (o == NULL)
		return refuse_key(l, n, section);
	if (n->kind == OUTLINE_SCALAR && n->null)
		return 0;
	l->option_nodes[o - l->options] = node;
	return o->type == OPTION_LIST ? match_list(l, o, node) : match_value(l, o, n);
}

static int match_section(struct loading *l, unsigned section, int node)
{
	const struct outline_node *nodes = l->outline.nodes;

	if (nodes[node].kind == OUTLINE_SCALAR && nodes[node].null)
		return 0;
	if (nodes[node].kind != OUTLINE_MAPPING)
		return report(&l->report, nodes[node].line,
			      "%s must hold options, each on a line of its own below it.",
			      l->sections[section].name);
	l->section_nodes[section] = node;
	for (unsigned i = (unsigned)node + 1; i < l->outline.count; i++)
		if (nodes[i].parent == node && match_option(l, l->sections[section].name, (int)i) < 0)
			return -1;
	return 0;
}

static int match_top(struct loading *l, int node)
{
	for (unsigned i = 0; i < l->sections_count; i++)
		if (strcmp(l->outline.nodes[node].key, l->sections[i].name) == 0)
			return match_section(l, i, node);
	return match_option(l, NULL, node);
}

static int match(struct loading *l)
{
	const struct outline_node *nodes = l->outline.nodes;

	for (unsigned i = 0; i < OPTIONS_MAX; i++)
		l->section_nodes[i] = l->option_nodes[i] = OUTLINE_NONE;
	if (l->outline.count == 0 || nodes[0].null)
		return report(&l->report, 0,
			      "The file is empty; it needs at least an address (port.ipv4 or port.ipv6) and "
			      "credentials (credentials.psk_file or tls.certificate).");
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

static void set_field(const struct config_option *o, size_t base, cyaml_strval_t *strings,
		      struct cyaml_schema_field *field)
{
	field->key = o->name;
	field->data_offset = (uint32_t)(o->offset - base);
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
		field->count_offset = (uint32_t)(o->count_offset - base);
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
					      const char *section, size_t base,
					      struct cyaml_schema_field *field)
{
	for (unsigned i = 0; i < l->options_count; i++) {
		const struct config_option *o = &l->options[i];

		if (section != NULL ? o->section == NULL || strcmp(o->section, section) != 0
				    : o->section != NULL)
			continue;
		if (l->option_nodes[i] == OUTLINE_NONE)
			ignore_field(o->name, field++);
		else
			set_field(o, base, s->choices[i], field++);
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
		inside = add_options(l, s, section->name, section->offset, inside) + 1;
	}
	add_options(l, s, NULL, 0, top);
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

static int fill_defaults(struct loading *l)
{
	for (unsigned i = 0; i < l->options_count; i++)
		if (l->option_nodes[i] == OUTLINE_NONE && l->options[i].fallback != NULL &&
		    !option_store(&l->options[i], l->options[i].fallback, l->config))
			return report(&l->report, 0, "Out of memory.");
	return 0;
}

/* ---- check what concerns several options */

static unsigned line_of(const struct loading *l, const char *section, const char *name)
{
	int node = l->option_nodes[schema_find(section, name) - l->options];

	return node != OUTLINE_NONE ? l->outline.nodes[node].line : 0;
}

static int check_files(struct loading *l)
{
	const struct config *c = l->config;
	const struct config_tls *t = &c->tls;

	if (t->certificate != NULL && t->key == NULL)
		return report(&l->report, line_of(l, "tls", "certificate"), "tls.certificate needs tls.key.");
	if (t->key != NULL && t->certificate == NULL)
		return report(&l->report, line_of(l, "tls", "key"), "tls.key needs tls.certificate.");
	if (t->client_certificate != CONFIG_CLIENT_CERTIFICATE_NONE && t->trust_anchors == NULL)
		return report(&l->report, line_of(l, "tls", "client_certificate"),
			      "tls.client_certificate needs tls.trust_anchors, or be \"none\".");
	if (t->certificate == NULL && c->credentials.psk_file == NULL)
		return report(
			&l->report, 0,
			"Nobody could connect: at least one of credentials.psk_file and tls.certificate is "
			"needed.");
	return 0;
}

static int check_suites(struct loading *l)
{
	const struct config *c = l->config;

	for (unsigned i = 0; i < c->tls.suites_count; i++) {
		const struct suite *s = suite_by_name(c->tls.suites[i]);

		if (s->credential == SUITE_PSK && c->credentials.psk_file == NULL)
			return report(&l->report, line_of(l, "tls", "suites"),
				      "%s in tls.suites needs credentials.psk_file.", s->name);
		if (s->credential == SUITE_CERTIFICATE && c->tls.certificate == NULL)
			return report(&l->report, line_of(l, "tls", "suites"),
				      "%s in tls.suites needs tls.certificate.", s->name);
		for (unsigned j = 0; j < i; j++)
			if (strcmp(c->tls.suites[j], c->tls.suites[i]) == 0)
				return report(&l->report, line_of(l, "tls", "suites"),
					      "%s is twice in tls.suites.", s->name);
	}
	return 0;
}

static int check_together(struct loading *l)
{
	const struct config *c = l->config;

	if (c->port.ipv4 == NULL && c->port.ipv6 == NULL)
		return report(
			&l->report, 0,
			"The gateway has no address: at least one of port.ipv4 and port.ipv6 is needed.");
	/* RFC 8200 5: every link of IPv6 carries this much. */
	if (c->port.ipv6 != NULL && c->port.mtu < 1280)
		return report(&l->report, line_of(l, "port", "mtu"),
			      "port.mtu is %u; it must be at least 1280 when port.ipv6 is set.", c->port.mtu);
	if (c->handshakes.mtu > c->port.mtu)
		return report(&l->report, line_of(l, "handshakes", "mtu"),
			      "handshakes.mtu is %u; it must not be above port.mtu, which is %u.",
			      c->handshakes.mtu, c->port.mtu);
	if (c->port.mbufs < c->port.rx_descriptors + c->port.tx_descriptors)
		return report(
			&l->report, line_of(l, "port", "mbufs"),
			"port.mbufs is %u; it must be at least port.rx_descriptors + port.tx_descriptors, "
			"which is %u.",
			c->port.mbufs, c->port.rx_descriptors + c->port.tx_descriptors);
	return check_files(l) < 0 ? -1 : check_suites(l);
}

/* ---- the public functions */

struct config *config_load_text(const char *text, size_t len, const char *name, char *error, size_t error_len)
{
	struct loading l = {.report = {.file = name, .text = error, .text_len = error_len}};
	struct config *result = NULL;

	if (error_len > 0)
		error[0] = 0;
	l.sections = schema_sections(&l.sections_count);
	l.options = schema_options(&l.options_count);
	if (outline_read(&l.outline, text, len, &l.report) == 0 && match(&l) == 0 &&
	    load(&l, text, len) == 0 && fill_defaults(&l) == 0 && check_together(&l) == 0)
		result = l.config;
	else
		config_free(l.config);
	outline_fini(&l.outline);
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

static void free_option(const struct config *c, const struct config_option *o)
{
	const char *at = (const char *)c + o->offset;
	unsigned entries;
	void *owned;

	if (o->type != OPTION_TEXT && o->type != OPTION_NAME && o->type != OPTION_LIST)
		return;
	memcpy(&owned, at, sizeof(owned));
	if (o->type != OPTION_LIST) {
		free(owned);
		return;
	}
	memcpy(&entries, (const char *)c + o->count_offset, sizeof(entries));
	free_list(owned, entries);
}

void config_free(struct config *c)
{
	const struct config_option *options;
	unsigned count;

	if (c == NULL)
		return;
	options = schema_options(&count);
	for (unsigned i = 0; i < count; i++)
		free_option(c, &options[i]);
	free(c);
}
