/* The Internet checksum, RFC 1071 (pure): one's complement sums of 16-bit words as they lie in memory, which
 * come out right in either byte order (RFC 1071 2(B)).
 */
#ifndef DATAPLANE_CHECKSUM_H
#define DATAPLANE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Adds len bytes to sum; an odd last byte is padded with zero, so only the last piece may have an odd length.
 * Holds for 2^32 words of 32 bits: no overflow in any packet. */
static inline uint64_t checksum_add(uint64_t sum, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint32_t word;

	for (; len >= 4; len -= 4, at += 4) {
		memcpy(&word, at, 4);
		sum += word;
	}
	if (len > 0) {
		word = 0;
		memcpy(&word, at, len);
		sum += word;
	}
	return sum;
}

/* One 16-bit word; value in network byte order. */
static inline uint64_t checksum_add16(uint64_t sum, uint16_t value)
{
	return sum + value;
}

/* Folds to 16 bits, not complemented. Of data that contains its own checksum: 0xffff when it is right. */
static inline uint16_t checksum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

#endif
