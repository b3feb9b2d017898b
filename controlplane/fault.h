/* Reading from a mapped file that somebody cuts, overwrites or takes away ends a process: SIGBUS for a page
 * that is gone, SIGSEGV where damaged offsets lead outside. Here it ends one call instead. Only for code that
 * writes nothing but its own stack and what the caller gives up afterwards: what it had taken is lost.
 *
 * Any thread, one guard at a time in each.
 */
#ifndef CONTROLPLANE_FAULT_H
#define CONTROLPLANE_FAULT_H

/* Takes over SIGBUS and SIGSEGV; outside of a guard they do what they did before. Once per process, more
 * often is fine. Main thread. 0 or -errno. */
int fault_init(void);

/* What body(context) returns; -EFAULT when it was cut short. */
int fault_guard(int (*body)(void *context), void *context);

/* Inside of a guard: ends body. Otherwise it returns. */
void fault_cut_short(void);

#endif
