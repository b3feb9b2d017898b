#include "config/outline.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct reader {
	struct outline *outline;
	struct report *report;
	unsigned documents;
	int parents[OUTLINE_DEPTH_MAX]; /* the mappings and lists that are open */
	unsigned depth;
	char *key; /* read, its value not yet; owned */
	unsigned key_line;
};

static unsigned line_of(const yaml_event_t *e)
{
	return (unsigned)e->start_mark.line + 1;
}

static bool wants_key(const struct reader *r)
{
	return r->depth > 0 && r->key == NULL &&
	       r->outline->nodes[r->parents[r->depth - 1]].kind == OUTLINE_MAPPING;
}

static bool has_control_character(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return true;
	return false;
}

static char *copy_text(const yaml_event_t *e)
{
	return strndup((const char *)e->data.scalar.value, e->data.scalar.length);
}

/* YAML 1.2 core schema: only a plain scalar can be null. */
static bool is_null(const yaml_event_t *e)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

	if (e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < sizeof(nulls) / sizeof(nulls[0]); i++)
		if (strcmp((const char *)e->data.scalar.value, nulls[i]) == 0)
			return true;
	return false;
}

static int take_key(struct reader *r, const yaml_event_t *e)
{
	int parent = r->parents[r->depth - 1];
	char quoted[REPORT_QUOTE_MAX];

	if (e->type != YAML_SCALAR_EVENT)
		return report(r->report, line_of(e), "A key must be a plain word, not a mapping or a list.");
	r->key = copy_text(e);
	r->key_line = line_of(e);
	if (r->key == NULL)
		return report(r->report, line_of(e), "Out of memory.");
	for (unsigned i = (unsigned)parent + 1; i < r->outline->count; i++) {
		const struct outline_node *n = &r->outline->nodes[i];

		if (n->parent == parent && n->key != NULL && strcmp(n->key, r->key) == 0)
			return report(r->report, line_of(e),
				      "The key \"%s\" is there twice; the first one is on line %u.",
				      report_quote(r->key, strlen(r->key), quoted), n->line);
	}
	return 0;
}

/* Appends a node that takes over the key that was read before it. */
static int add_node(struct reader *r, enum outline_kind kind, const yaml_event_t *e)
{
	struct outline *o = r->outline;
	struct outline_node *n;

	if (o->count == OUTLINE_NODES_MAX)
		return report(r->report, line_of(e), "The file holds more than %d keys and values.",
			      OUTLINE_NODES_MAX);
	n = &o->nodes[o->count++];
	n->kind = kind;
	n->parent = r->depth > 0 ? r->parents[r->depth - 1] : OUTLINE_NONE;
	n->line = r->key != NULL ? r->key_line : line_of(e);
	n->key = r->key;
	r->key = NULL;
	return 0;
}

static int take_scalar(struct reader *r, const yaml_event_t *e)
{
	const char *text = (const char *)e->data.scalar.value;
	char quoted[REPORT_QUOTE_MAX];
	struct outline_node *n;

	if (has_control_character(text, e->data.scalar.length))
		return report(r->report, line_of(e), "\"%s\" holds a control character.",
			      report_quote(text, e->data.scalar.length, quoted));
	if (wants_key(r))
		return take_key(r, e);
	if (add_node(r, OUTLINE_SCALAR, e) < 0)
		return -1;
	n = &r->outline->nodes[r->outline->count - 1];
	n->text = copy_text(e);
	n->text_len = e->data.scalar.length;
	n->null = is_null(e);
	return n->text != NULL ? 0 : report(r->report, line_of(e), "Out of memory.");
}

static int open_node(struct reader *r, enum outline_kind kind, const yaml_event_t *e)
{
	if (wants_key(r))
		return take_key(r, e);
	if (r->depth == OUTLINE_DEPTH_MAX)
		return report(r->report, line_of(e), "Mappings and lists are nested too deeply.");
	if (add_node(r, kind, e) < 0)
		return -1;
	r->parents[r->depth++] = (int)r->outline->count - 1;
	return 0;
}

static int refuse_anchor_and_tag(struct reader *r, const yaml_event_t *e, const yaml_char_t *anchor,
				 const yaml_char_t *tag)
{
	if (anchor != NULL)
		return report(r->report, line_of(e), "Anchors (&) are not supported; write the value out.");
	if (tag != NULL)
		return report(r->report, line_of(e), "Tags (!) are not supported; write the value alone.");
	return 0;
}

static int take_event(struct reader *r, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (r->documents++ > 0)
			return report(r->report, line_of(e),
				      "A second document (---) begins here; the file must hold one.");
		return 0;
	case YAML_ALIAS_EVENT:
		return report(r->report, line_of(e), "Aliases (*) are not supported; write the value out.");
	case YAML_SCALAR_EVENT:
		if (refuse_anchor_and_tag(r, e, e->data.scalar.anchor, e->data.scalar.tag) < 0)
			return -1;
		return take_scalar(r, e);
	case YAML_MAPPING_START_EVENT:
		if (refuse_anchor_and_tag(r, e, e->data.mapping_start.anchor, e->data.mapping_start.tag) < 0)
			return -1;
		return open_node(r, OUTLINE_MAPPING, e);
	case YAML_SEQUENCE_START_EVENT:
		if (refuse_anchor_and_tag(r, e, e->data.sequence_start.anchor, e->data.sequence_start.tag) <
		    0)
			return -1;
		return open_node(r, OUTLINE_LIST, e);
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		r->depth--;
		return 0;
	default:
		return 0;
	}
}

/* libyaml tells a place for errors of syntax, but only an offset for bytes that are not UTF-8. */
static int report_syntax(struct report *r, const yaml_parser_t *p, const char *text, size_t len)
{
	unsigned line = (unsigned)p->problem_mark.line + 1;

	if (p->error == YAML_READER_ERROR) {
		line = 1;
		for (size_t i = 0; i < p->problem_offset && i < len; i++)
			line += text[i] == '\n';
		return report(r, line, "The text is not UTF-8 (%s).", p->problem);
	}
	return report(r, line, "This is not YAML: %s%s%s.", p->context != NULL ? p->context : "",
		      p->context != NULL ? ", " : "", p->problem != NULL ? p->problem : "out of memory");
}

int outline_read(struct outline *o, const char *text, size_t len, struct report *report_to)
{
	struct reader r = {.outline = o, .report = report_to};
	yaml_parser_t parser;
	yaml_event_t event;
	bool end = false;
	int result = 0;

	memset(o, 0, sizeof(*o));
	if (memchr(text, 0, len) != NULL)
		return report(report_to, 0, "The file holds NUL bytes; it must be YAML in UTF-8.");
	o->nodes = calloc(OUTLINE_NODES_MAX, sizeof(*o->nodes));
	if (o->nodes == NULL || !yaml_parser_initialize(&parser))
		return report(report_to, 0, "Out of memory.");
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	while (result == 0 && !end) {
		if (!yaml_parser_parse(&parser, &event)) {
			result = report_syntax(report_to, &parser, text, len);
			break;
		}
		end = event.type == YAML_STREAM_END_EVENT;
		result = take_event(&r, &event);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	free(r.key);
	return result;
}

void outline_fini(struct outline *o)
{
	for (unsigned i = 0; i < o->count; i++) {
		free(o->nodes[i].key);
		free(o->nodes[i].text);
	}
	free(o->nodes);
	memset(o, 0, sizeof(*o));
}
