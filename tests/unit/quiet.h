/* For tests that something neither allocates nor calls the kernel. Linking quiet.c puts a counter in front of
 * the allocator.
 */
#ifndef TESTS_UNIT_QUIET_H
#define TESTS_UNIT_QUIET_H

#include <stddef.h>

/* Calls since the start of malloc, calloc, realloc, reallocarray, aligned_alloc, memalign, posix_memalign and
 * free; with quiet_dpdk.c, linked with quiet_dpdk_link_args, also of rte_free() and the eight that allocate
 * for it, as far as they are made by what is linked statically. */
extern volatile unsigned allocator_calls;

/* quiet_dpdk.c: blocks that are taken from DPDK's heaps, by whomever. */
size_t dpdk_blocks(void);

/* From here on this process may do nothing but exit: any other system call kills it (SIGSYS). Exits with 77
 * where the kernel knows no seccomp. */
void forbid_system_calls(void);

#endif
