/* For tests that something neither allocates nor calls the kernel. Linking quiet.c puts a counter in front of
 * the allocator.
 */
#ifndef TESTS_UNIT_QUIET_H
#define TESTS_UNIT_QUIET_H

/* Calls of malloc, calloc, realloc, aligned_alloc and free since the start. */
extern volatile unsigned allocator_calls;

/* From here on this process may do nothing but exit: any other system call kills it (SIGSYS). Exits with 77
 * where the kernel knows no seccomp. */
void forbid_system_calls(void);

#endif
