/* The list of engines. A new engine is one file that defines a const struct record_engine, a line here and a
 * line in engines.c.
 */
#ifndef CRYPTO_ENGINES_H
#define CRYPTO_ENGINES_H

#include "crypto/aead.h"

extern const struct record_engine engine_reference; /* reference.c: every protection, everywhere */
extern const struct record_engine engine_ipsecmb;   /* ipsecmb.c: all but opening of CBC MAC-then-encrypt */

extern const struct record_engine engine_vaes;     /* vaes.c: CCM with VAES on 256-bit registers */
extern const struct record_engine engine_vaes512;  /* vaes512.c: the same on 512-bit registers */
extern const struct record_engine engine_aesni;    /* aesni.c: the same on 128-bit registers, without VAES */
extern const struct record_engine engine_vaes_gcm; /* vaes_gcm.c: GCM with VAES on 256-bit registers */
extern const struct record_engine engine_vaes512_gcm; /* vaes512_gcm.c: the same on 512-bit registers */
extern const struct record_engine engine_aesni_gcm;   /* aesni_gcm.c: the same on 128-bit registers */
extern const struct record_engine engine_cbc_ct;      /* cbc_ct.c: CBC, blind to the padding, with SHA-NI */

/* IPsec-MB held to one manager, and with a MAC-then-encrypt open that does not hide the length of the padding
 * (Lucky 13): yardsticks for tests and benches, never chosen for the wire.
 */
extern const struct record_engine engine_ipsecmb_naive; /* the manager that measures best, per algorithm */
extern const struct record_engine engine_ipsecmb_sse;
extern const struct record_engine engine_ipsecmb_avx2;
extern const struct record_engine engine_ipsecmb_avx512;

/* The engines that may be chosen, the fastest first. */
const struct record_engine *const *record_engines(unsigned *count);

/* These and the yardsticks, for tests and benches. */
const struct record_engine *const *record_engines_all(unsigned *count);

#endif
