/* A credential as people and their tools write it down: a line of CSV, a line of JSON, or the arguments of
 * sluicectl. Any thread, no state.
 *
 *   identity | identity_hex     of a pre-shared key; identity_hex where it is not text
 *   key                         hexadecimal
 *   certificate_name, root      the name in a certificate and the SHA-256 of its root, hexadecimal
 *   public_key                  ni:///sha-256;... (RFC 6920), or 64 hexadecimal digits
 *   tenant                      may be missing
 *   kind                        cse-id, ae-id, lwm2m-endpoint, or credential (which is meant when it is
 * missing) ids                         the identities; in CSV several AE-IDs are separated by spaces, in JSON
 * an array
 */
#ifndef CONTROLPLANE_ENTRY_H
#define CONTROLPLANE_ENTRY_H

#include <stdio.h>

#include "controlplane/row.h"

enum { ENTRY_WHY_MAX = 160, ENTRY_LINE_MAX = 16 * 1024 };

enum entry_field {
	ENTRY_IDENTITY,
	ENTRY_IDENTITY_HEX,
	ENTRY_KEY,
	ENTRY_CERTIFICATE_NAME,
	ENTRY_ROOT,
	ENTRY_PUBLIC_KEY,
	ENTRY_TENANT,
	ENTRY_KIND,
	ENTRY_IDS,
	ENTRY_FIELDS
};
extern const char *const entry_field_names[ENTRY_FIELDS];

/* Texts are borrowed and terminated; NULL: not given. */
struct entry {
	const char *fields[ENTRY_FIELDS]; /* ENTRY_IDS: unused, see ids */
	const char *ids[IDENTITIES_MAX];
	unsigned ids_count;
};

/* Which field each column of a CSV file holds. */
struct entry_columns {
	enum entry_field fields[ENTRY_FIELDS];
	unsigned count;
};

/* All of these return false with the reason, the end of a sentence, in why (ENTRY_WHY_MAX); it never holds a
 * key. A line is without its end, terminated, and written to. */
bool entry_from_header(char *line, struct entry_columns *columns, char *why);
bool entry_from_csv(char *line, const struct entry_columns *columns, struct entry *e, char *why);
bool entry_from_json(char *line, struct entry *e, char *why);

/* Checks everything that credential_fault() does. The caller wipes c. */
bool entry_to_credential(const struct entry *e, struct credential *c, char *why);

/* Only what names the credential. */
bool entry_to_id(const struct entry *e, struct credential_id *id, char *why);

/* A line that the functions above read back; without its key when with_key is false. */
void entry_print_header(FILE *out, enum sluice_credential kind, bool with_key);
void entry_print_csv(FILE *out, const struct credential *c, bool with_key);
void entry_print_json(FILE *out, const struct credential *c, bool with_key);

/* "psk", "certificate", "public key"; "cse-id" ... Never NULL. */
const char *entry_kind_text(unsigned identity_kind);

/* The credential's own name for people: what is not text in hexadecimal. Returns out. */
enum { ENTRY_NAME_MAX = 3 * 255 + 80 };
const char *entry_name(const struct credential_id *id, char out[ENTRY_NAME_MAX]);

#endif
