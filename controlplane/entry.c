#include "controlplane/entry.h"

#include <string.h>

#include "controlplane/ni.h"
#include "crypto/secret.h"

const char *const entry_field_names[ENTRY_FIELDS] = {
	"identity", "identity_hex", "key", "certificate_name", "root", "public_key", "tenant", "kind", "ids",
};

static const char *const kind_names[] = {
	[SLUICE_IDENTITY_CREDENTIAL] = "credential",
	[SLUICE_IDENTITY_CSE_ID] = "cse-id",
	[SLUICE_IDENTITY_AE_ID] = "ae-id",
	[SLUICE_IDENTITY_LWM2M_ENDPOINT] = "lwm2m-endpoint",
};

static bool refuse(char *why, const char *reason)
{
	snprintf(why, ENTRY_WHY_MAX, "%s", reason);
	return false;
}

const char *entry_kind_text(unsigned identity_kind)
{
	return identity_kind >= 1 && identity_kind < sizeof(kind_names) / sizeof(kind_names[0])
		       ? kind_names[identity_kind]
		       : "unknown";
}

static int find_field(const char *name)
{
	for (int i = 0; i < ENTRY_FIELDS; i++)
		if (strcmp(name, entry_field_names[i]) == 0)
			return i;
	return -1;
}

/* ---- CSV: RFC 4180, one line per row */

/* Takes the next cell off *line, which becomes NULL behind the last one. NULL: a quote is missing. */
static char *take_cell(char **line)
{
	char *cell = *line, *in = cell, *out = cell;

	if (*in != '"') {
		*line = strchr(cell, ',');
		if (*line != NULL)
			*(*line)++ = 0;
		return cell;
	}
	for (in++; *in != 0; in++) {
		if (*in == '"' && in[1] != '"')
			break;
		in += *in == '"'; /* "" stands for one */
		*out++ = *in;
	}
	if (*in != '"' || (in[1] != ',' && in[1] != 0))
		return NULL;
	*line = in[1] == ',' ? in + 2 : NULL;
	*out = 0;
	return cell;
}

bool entry_from_header(char *line, struct entry_columns *columns, char *why)
{
	columns->count = 0;
	while (line != NULL) {
		char *cell = take_cell(&line);
		int field = cell != NULL ? find_field(cell) : -1;

		if (field < 0) {
			/* Not the cell itself: where the line is missing, it may be somebody's key. */
			snprintf(why, ENTRY_WHY_MAX,
				 "the first line must name the columns, and number %u of it is none of: "
				 "identity, identity_hex, key, certificate_name, root, public_key, tenant, "
				 "kind, ids",
				 columns->count + 1);
			return false;
		}
		for (unsigned i = 0; i < columns->count; i++)
			if (columns->fields[i] == (enum entry_field)field)
				return refuse(why, "a column is named twice");
		columns->fields[columns->count++] = (enum entry_field)field;
	}
	return true;
}

/* Several identities in one text; only AE-IDs may be several. */
static bool split_ids(struct entry *e, char *text, char *why)
{
	char *rest = text;

	if (e->fields[ENTRY_KIND] == NULL || strcmp(e->fields[ENTRY_KIND], "ae-id") != 0) {
		e->ids[e->ids_count++] = text;
		return true;
	}
	while (rest != NULL) {
		char *id = strsep(&rest, " ");

		if (*id == 0)
			continue;
		if (e->ids_count == IDENTITIES_MAX)
			return refuse(why, "there are more than 16 identities");
		e->ids[e->ids_count++] = id;
	}
	return true;
}

bool entry_from_csv(char *line, const struct entry_columns *columns, struct entry *e, char *why)
{
	char *ids = NULL;

	memset(e, 0, sizeof(*e));
	for (unsigned i = 0; i < columns->count; i++) {
		char *cell;

		if (line == NULL)
			return refuse(why, "there are fewer columns than in the first line");
		cell = take_cell(&line);
		if (cell == NULL)
			return refuse(why, "a quotation mark is missing or out of place");
		if (*cell == 0)
			continue;
		if (columns->fields[i] == ENTRY_IDS)
			ids = cell;
		else
			e->fields[columns->fields[i]] = cell;
	}
	if (line != NULL)
		return refuse(why, "there are more columns than in the first line");
	return ids == NULL || split_ids(e, ids, why);
}

/* ---- from texts to a credential */

/* Hexadecimal with or without colons, as openssl prints fingerprints. */
static bool decode_fingerprint(const char *text, uint8_t digest[CREDENTIAL_DIGEST_MAX])
{
	char plain[2 * CREDENTIAL_DIGEST_MAX + 1];
	size_t len = 0;

	for (; *text != 0; text++) {
		if (*text == ':')
			continue;
		if (len == sizeof(plain) - 1)
			return false;
		plain[len++] = *text;
	}
	return hex_decode(plain, len, digest, CREDENTIAL_DIGEST_MAX);
}

static bool psk_id(const struct entry *e, struct credential_id *id, char *why)
{
	const char *text = e->fields[ENTRY_IDENTITY], *hex = e->fields[ENTRY_IDENTITY_HEX];
	size_t len = text != NULL ? strlen(text) : strlen(hex) / 2;

	id->kind = SLUICE_CREDENTIAL_PSK;
	if (text != NULL && hex != NULL)
		return refuse(why, "identity and identity_hex exclude each other");
	if (len == 0 || len > PSK_IDENTITY_MAX)
		return refuse(why, "the PSK identity must be 1 to 128 bytes");
	id->name_len = (uint8_t)len;
	if (text == NULL)
		return hex_decode(hex, strlen(hex), id->name, len) ||
		       refuse(why, "identity_hex must be hexadecimal digits, two for each byte");
	memcpy(id->name, text, len);
	return text_is_clean(text, len) || refuse(why, "the PSK identity must be UTF-8 without control "
						       "characters; give others as identity_hex");
}

static bool certificate_id(const struct entry *e, struct credential_id *id, char *why)
{
	const char *name = e->fields[ENTRY_CERTIFICATE_NAME], *root = e->fields[ENTRY_ROOT];

	id->kind = SLUICE_CREDENTIAL_X509;
	if (name == NULL || root == NULL)
		return refuse(why, "a certificate needs both its name and its root");
	if (*name == 0 || strlen(name) > CREDENTIAL_NAME_MAX)
		return refuse(why, "the name in the certificate must be 1 to 255 bytes");
	id->name_len = (uint8_t)strlen(name);
	memcpy(id->name, name, id->name_len);
	id->digest_len = CREDENTIAL_DIGEST_MAX;
	return decode_fingerprint(root, id->digest) ||
	       refuse(why, "the root must be the 64 hexadecimal digits of its SHA-256 fingerprint");
}

static bool public_key_id(const struct entry *e, struct credential_id *id, char *why)
{
	const char *text = e->fields[ENTRY_PUBLIC_KEY];
	int len = ni_parse(text, id->digest);

	id->kind = SLUICE_CREDENTIAL_RPK;
	if (len < 0 && decode_fingerprint(text, id->digest))
		len = CREDENTIAL_DIGEST_MAX;
	id->digest_len = len > 0 ? (uint8_t)len : 0;
	return len > 0 || refuse(why, "the public key must be ni:///sha-256;..., ni:///sha-256-128;... or "
				      "ni:///sha-256-120;... (RFC 6920), or 64 hexadecimal digits");
}

bool entry_to_id(const struct entry *e, struct credential_id *id, char *why)
{
	bool psk = e->fields[ENTRY_IDENTITY] != NULL || e->fields[ENTRY_IDENTITY_HEX] != NULL;
	bool certificate = e->fields[ENTRY_CERTIFICATE_NAME] != NULL || e->fields[ENTRY_ROOT] != NULL;
	bool public_key = e->fields[ENTRY_PUBLIC_KEY] != NULL;
	const char *tenant = e->fields[ENTRY_TENANT];

	memset(id, 0, sizeof(*id));
	if (psk + certificate + public_key != 1)
		return refuse(
			why,
			"there must be one credential: identity, certificate_name with root, or public_key");
	if (tenant != NULL && strlen(tenant) > TENANT_MAX)
		return refuse(why, "the tenant is longer than 63 bytes");
	if (tenant != NULL)
		memcpy(id->tenant, tenant, strlen(tenant));
	return psk           ? psk_id(e, id, why)
	       : certificate ? certificate_id(e, id, why)
			     : public_key_id(e, id, why);
}

static bool take_registree(const struct entry *e, struct registree *r, char *why)
{
	const char *kind = e->fields[ENTRY_KIND];

	r->kind = SLUICE_IDENTITY_CREDENTIAL;
	if (kind == NULL && e->ids_count > 0)
		return refuse(why, "the identity needs its kind: cse-id, ae-id or lwm2m-endpoint");
	if (kind != NULL) {
		for (r->kind = SLUICE_IDENTITY_LWM2M_ENDPOINT; r->kind > 0; r->kind--)
			if (strcmp(kind, kind_names[r->kind] != NULL ? kind_names[r->kind] : "") == 0)
				break;
		if (r->kind == 0)
			return refuse(why, "the kind must be cse-id, ae-id, lwm2m-endpoint or credential");
	}
	r->identities_count = (uint8_t)e->ids_count;
	for (unsigned i = 0; i < e->ids_count; i++) {
		if (strlen(e->ids[i]) > IDENTITY_MAX)
			return refuse(why, "an identity is longer than 255 bytes");
		if (r->kind == SLUICE_IDENTITY_AE_ID && strchr(e->ids[i], ' ') != NULL)
			return refuse(why, "an AE-ID has no spaces");
		memcpy(r->identities[i], e->ids[i], strlen(e->ids[i]) + 1);
	}
	return true;
}

bool entry_to_credential(const struct entry *e, struct credential *c, char *why)
{
	const char *key = e->fields[ENTRY_KEY], *fault;
	size_t len = key != NULL ? strlen(key) : 0;

	memset(c, 0, sizeof(*c));
	if (!entry_to_id(e, &c->id, why) || !take_registree(e, &c->psk.registree, why))
		return false;
	if (len > 2 * PSK_KEY_MAX || (len > 0 && !hex_decode(key, len, c->psk.key, len / 2))) {
		secret_wipe(c, sizeof(*c));
		return refuse(why, "the key must be hexadecimal digits, two for each of at most 64 bytes");
	}
	c->psk.key_len = (uint8_t)(len / 2);
	fault = credential_fault(c);
	return fault == NULL || refuse(why, fault);
}

/* ---- to texts */

const char *entry_name(const struct credential_id *id, char out[ENTRY_NAME_MAX])
{
	char digest[NI_TEXT_MAX + 8], hex[2 * CREDENTIAL_NAME_MAX + 1];

	if (id->kind == SLUICE_CREDENTIAL_RPK) {
		snprintf(out, ENTRY_NAME_MAX, "%s", ni_text(id->digest, id->digest_len, digest));
	} else if (text_is_clean(id->name, id->name_len)) {
		snprintf(out, ENTRY_NAME_MAX, "%.*s", (int)id->name_len, (const char *)id->name);
	} else {
		hex_encode(id->name, id->name_len, hex);
		snprintf(out, ENTRY_NAME_MAX, "hex:%s", hex);
	}
	return out;
}

/* What the fields of a credential are in text; NULL: it has no such field. buffer lives as long as the entry.
 */
struct texts {
	char name[CREDENTIAL_NAME_MAX + 1], hex[2 * CREDENTIAL_NAME_MAX + 1], key[2 * PSK_KEY_MAX + 1];
	char digest[NI_TEXT_MAX + 8];
	struct entry entry;
};

static void write_texts(const struct credential *c, bool with_key, struct texts *t)
{
	const struct credential_id *id = &c->id;
	const char **fields = t->entry.fields;

	memset(t, 0, sizeof(*t));
	memcpy(t->name, id->name, id->name_len);
	if (id->kind == SLUICE_CREDENTIAL_PSK && text_is_clean(id->name, id->name_len))
		fields[ENTRY_IDENTITY] = t->name;
	else if (id->kind == SLUICE_CREDENTIAL_PSK)
		fields[ENTRY_IDENTITY_HEX] = t->hex;
	hex_encode(id->name, id->name_len, t->hex);
	if (id->kind == SLUICE_CREDENTIAL_X509) {
		hex_encode(id->digest, id->digest_len, t->digest);
		fields[ENTRY_CERTIFICATE_NAME] = t->name;
		fields[ENTRY_ROOT] = t->digest;
	} else if (id->kind == SLUICE_CREDENTIAL_RPK) {
		fields[ENTRY_PUBLIC_KEY] = ni_text(id->digest, id->digest_len, t->digest);
	}
	if (with_key && c->psk.key_len > 0) {
		hex_encode(c->psk.key, c->psk.key_len, t->key);
		fields[ENTRY_KEY] = t->key;
	}
	fields[ENTRY_TENANT] = id->tenant;
	fields[ENTRY_KIND] = entry_kind_text(c->psk.registree.kind);
}

/* The columns of one kind of credential, in order. */
static unsigned columns_of(enum sluice_credential kind, bool with_key, enum entry_field out[ENTRY_FIELDS])
{
	unsigned count = 0;

	if (kind == SLUICE_CREDENTIAL_PSK) {
		out[count++] = ENTRY_IDENTITY;
		out[count++] = ENTRY_IDENTITY_HEX;
		if (with_key)
			out[count++] = ENTRY_KEY;
	} else {
		out[count++] = ENTRY_CERTIFICATE_NAME;
		out[count++] = ENTRY_ROOT;
		out[count++] = ENTRY_PUBLIC_KEY;
	}
	out[count++] = ENTRY_TENANT;
	out[count++] = ENTRY_KIND;
	out[count++] = ENTRY_IDS;
	return count;
}

void entry_print_header(FILE *out, enum sluice_credential kind, bool with_key)
{
	enum entry_field columns[ENTRY_FIELDS];
	unsigned count = columns_of(kind, with_key, columns);

	for (unsigned i = 0; i < count; i++)
		fprintf(out, "%s%s", i > 0 ? "," : "", entry_field_names[columns[i]]);
	fputc('\n', out);
}

static void print_cell(FILE *out, const char *text)
{
	if (strpbrk(text, ",\"") == NULL) {
		fputs(text, out);
		return;
	}
	fputc('"', out);
	for (; *text != 0; text++) {
		if (*text == '"')
			fputc('"', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

static void print_ids_cell(FILE *out, const struct registree *r)
{
	char text[IDENTITIES_MAX * (IDENTITY_MAX + 1)];
	size_t used = 0;

	text[0] = 0;
	for (unsigned i = 0; i < r->identities_count; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i > 0 ? " " : "",
					 r->identities[i]);
	print_cell(out, text);
}

void entry_print_csv(FILE *out, const struct credential *c, bool with_key)
{
	enum entry_field columns[ENTRY_FIELDS];
	unsigned count = columns_of(c->id.kind, with_key, columns);
	struct texts t;

	write_texts(c, with_key, &t);
	for (unsigned i = 0; i < count; i++) {
		if (i > 0)
			fputc(',', out);
		if (columns[i] == ENTRY_IDS)
			print_ids_cell(out, &c->psk.registree);
		else if (t.entry.fields[columns[i]] != NULL)
			print_cell(out, t.entry.fields[columns[i]]);
	}
	fputc('\n', out);
	secret_wipe(&t, sizeof(t));
}

/* Everything that is stored is UTF-8 without control characters. */
static void print_json_text(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text != 0; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

void entry_print_json(FILE *out, const struct credential *c, bool with_key)
{
	const struct registree *r = &c->psk.registree;
	const char *separator = "{";
	struct texts t;

	write_texts(c, with_key, &t);
	for (unsigned i = 0; i < ENTRY_FIELDS; i++) {
		if (t.entry.fields[i] == NULL || *t.entry.fields[i] == 0)
			continue;
		fprintf(out, "%s\"%s\":", separator, entry_field_names[i]);
		print_json_text(out, t.entry.fields[i]);
		separator = ",";
	}
	if (r->identities_count > 0)
		fputs(",\"ids\":[", out);
	for (unsigned i = 0; i < r->identities_count; i++) {
		if (i > 0)
			fputc(',', out);
		print_json_text(out, r->identities[i]);
	}
	fputs(r->identities_count > 0 ? "]}\n" : "}\n", out);
	secret_wipe(&t, sizeof(t));
}
