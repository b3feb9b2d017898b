/* How one credential lies in a store: the bytes that it is found by, and the row behind them. Any thread, but
 * a struct wrap one at a time; no allocation.
 *
 *   key:  | kind 1 | tenant length 1 | tenant | digest length 1 | digest | name to the end |
 *   row:  | format 1 | flags 1 | identity kind 1 | identities 1 | CRC-32C 4 | version 8 |
 *         | identities x { length 1, UTF-8 } | secret length 1 | secret, sealed when flag bit 0 is set |
 *
 * Integers are little-endian. The CRC covers key and row with its own field as zero; a sealed secret also
 * authenticates the key and everything before it. Nothing in a row is believed before it has been checked.
 */
#ifndef CONTROLPLANE_ROW_H
#define CONTROLPLANE_ROW_H

#include "controlplane/credential.h"
#include "controlplane/wrap.h"

enum {
	ROW_FORMAT = 1,
	ROW_KEY_MAX = 3 + TENANT_MAX + CREDENTIAL_DIGEST_MAX + CREDENTIAL_NAME_MAX,
	ROW_HEADER = 16,
	ROW_MAX = ROW_HEADER + IDENTITIES_MAX * (1 + IDENTITY_MAX) + 1 + PSK_KEY_MAX + WRAP_OVERHEAD,
};

/* A credential with all that is known of it. The secret is the pre-shared key; certificates and raw public
 * keys have none. The owner wipes it. */
struct credential {
	struct credential_id id;
	struct psk_credential psk;
};

/* The id of a pre-shared key. False for what no store has: an identity that is empty or longer than
 * PSK_IDENTITY_MAX, a tenant longer than TENANT_MAX. */
bool credential_id_psk(struct credential_id *id, const char *tenant, const uint8_t *identity,
		       size_t identity_len);

/* Bytes written to key (ROW_KEY_MAX). */
size_t row_key_encode(const struct credential_id *id, uint8_t *key);

/* 0, or -EBADMSG when the bytes are no key of ours. */
int row_key_decode(const uint8_t *key, size_t key_len, struct credential_id *id);

/* NULL when a credential can be stored, else what is wrong with it, as the end of a sentence: "the identity
 * is empty". */
const char *credential_fault(const struct credential *c);

/* Bytes written to row (ROW_MAX), or -EIO when it cannot be sealed. wrap: NULL to store the secret as it is.
 */
int row_encode(const struct credential *c, struct wrap *wrap, uint8_t *row);

/* 0; -EBADMSG: damaged; -EPROTO: a format of a later version; -ENOKEY: sealed, and there is no wrap;
 * -EKEYREJECTED: not sealed, and there is one. On failure nothing of the secret is left in out. */
int row_decode(const uint8_t *key, size_t key_len, const uint8_t *row, size_t row_len, struct wrap *wrap,
	       struct psk_credential *out);

/* A credential without a registree of its own stands for itself, where its name can be written down. */
void row_name_identity(const struct credential_id *id, struct registree *r);

/* The same key and the same registree, whatever their versions. Rows cannot be compared for it: sealed ones
 * differ in every nonce. */
bool credential_same(const struct psk_credential *a, const struct psk_credential *b);

/* UTF-8 of RFC 3629 without control characters: what a name or an identity may consist of. */
bool text_is_clean(const void *text, size_t len);

#endif
