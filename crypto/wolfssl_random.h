/* Forced into wolfSSL's own build (-include) so that all its randomness comes from crypto/random.c: the start
 * of its DRBG is most of what a handshake object costs. It stands alone, as wolfSSL's sources see no other
 * header of ours.
 */
#ifndef CRYPTO_WOLFSSL_RANDOM_H
#define CRYPTO_WOLFSSL_RANDOM_H

#ifndef __ASSEMBLER__
/* Fills output with size random bytes; 0, or -1 when the kernel gives none. Any thread. */
int random_block(unsigned char *output, unsigned int size);
#endif

#endif
