/* How libcrypto asks a revocation list that was read from a file: whether a key has signed it, and whether it
 * names a certificate. Which list of a CA counts, when, and for whom stays libcrypto's to decide, anew at
 * each handshake (RFC 5280 6.3.3). What takes the longer the longer the list is happens once:
 *
 *   - a list is sorted when it is read
 *   - its signature is verified once for each key: what came out holds as long as the list does, whose bytes
 *     nobody changes. X509_CRL_verify() is asked as before, by whomever
 */
#ifndef CONTROLPLANE_LIST_METHOD_H
#define CONTROLPLANE_LIST_METHOD_H

#include <stdbool.h>

#include <openssl/x509.h>

enum { LIST_KEYS_MAX = 8 }; /* of one list; the one kept longest goes first */

/* Once per process, while no other thread reads lists: from now on they are asked so. The lists themselves:
 * any thread. False when out of memory. */
bool list_method_install(void) __attribute__((warn_unused_result));

/* RFC 5280 5.3.1: is this a delta list's word for a certificate that is off hold? */
bool list_entry_is_back(const X509_REVOKED *entry);

#endif
