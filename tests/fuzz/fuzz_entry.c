/* Any line as CSV and as JSON: what is taken for a credential can be written down and read back as the same,
 * and stored and read back as the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const struct credential *c)
{
	char line[ENTRY_LINE_MAX] = "", why[ENTRY_WHY_MAX];
	FILE *f = fmemopen(line, sizeof(line), "w");
	struct credential again;
	struct entry e;

	if (f == NULL)
		abort();
	entry_print_json(f, c, true);
	fclose(f);
	line[strcspn(line, "\n")] = 0;
	if (!entry_from_json(line, &e, why) || !entry_to_credential(&e, &again, why) ||
	    memcmp(c, &again, sizeof(again)) != 0)
		abort();
}

static void check_row(const struct credential *c)
{
	uint8_t key[ROW_KEY_MAX], row[ROW_MAX];
	size_t key_len = row_key_encode(&c->id, key);
	int len = row_encode(c, NULL, row);
	struct psk_credential out;
	struct credential_id id;

	if (len <= 0 || row_key_decode(key, key_len, &id) < 0 || memcmp(&id, &c->id, sizeof(id)) != 0 ||
	    row_decode(key, key_len, row, (size_t)len, NULL, &out) < 0 || out.key_len != c->psk.key_len ||
	    memcmp(out.key, c->psk.key, out.key_len) != 0)
		abort();
}

static void check(const struct entry *e)
{
	char why[ENTRY_WHY_MAX];
	struct credential c;

	if (!entry_to_credential(e, &c, why))
		return;
	check_text(&c);
	check_row(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char header[] = "identity,identity_hex,key,certificate_name,root,public_key,tenant,kind,ids";
	char why[ENTRY_WHY_MAX], *line = malloc(size + 1);
	struct entry_columns columns;
	struct entry e;

	if (line == NULL || !entry_from_header(header, &columns, why))
		abort();
	memcpy(line, data, size);
	line[size] = 0;
	if (entry_from_json(line, &e, why))
		check(&e);
	memcpy(line, data, size);
	line[size] = 0;
	if (entry_from_csv(line, &columns, &e, why))
		check(&e);
	memcpy(line, data, size);
	line[size] = 0;
	(void)entry_from_header(line, &columns, why);
	free(line);
	return 0;
}
