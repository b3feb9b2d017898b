/* Pre-shared keys from one text file, read whole, and never changed then: psk_live.h reads it again. They are
 * those of the default tenant.
 *
 *   # a comment, an empty line
 *   identity:hexkey        the key is behind the last colon; the identity is its name for the application too
 */
#ifndef CONTROLPLANE_PSK_FILE_H
#define CONTROLPLANE_PSK_FILE_H

#include "controlplane/credential.h"

struct psk_file;

/* Any thread; may take a second for a million keys. Refuses a file that others may read. NULL on failure with
 * a readable sentence in error: the file, the line, what is wrong with it; never a key. */
struct psk_file *psk_file_open(const char *path, char *error, size_t error_len);
/* Wipes every key. NULL is fine. */
void psk_file_close(struct psk_file *f);

/* As find_psk() of struct credential_store. The version of a registree is one of identity and key. */
int psk_file_find(const struct psk_file *f, const char *tenant, const uint8_t *identity, size_t identity_len,
		  struct psk_credential *out);

uint32_t psk_file_count(const struct psk_file *f);
/* How many of them are shorter than PSK_KEY_STRONG. */
uint32_t psk_file_weak(const struct psk_file *f);

#endif
