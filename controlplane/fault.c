/* See fault.h. */
#include "controlplane/fault.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>

enum { SIGNALS = 2 };

static const int signals[SIGNALS] = {SIGBUS, SIGSEGV};
static struct sigaction before[SIGNALS];
static _Thread_local sigjmp_buf *way_out; /* NULL: no guard in this thread */

void fault_cut_short(void)
{
	if (way_out)
		siglongjmp(*way_out, 1);
}

/* The instruction that faulted runs again when we return: then under the handler that was there before. */
static void on_fault(int number, siginfo_t *info, void *context)
{
	fault_cut_short();
	for (unsigned i = 0; i < SIGNALS; i++) {
		if (signals[i] == number)
			(void)sigaction(number, &before[i], NULL);
	}
}

int fault_init(void)
{
	/* Not masked while the handler runs: it may be left by a jump that restores no mask. */
	struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};

	for (unsigned i = 0; i < SIGNALS; i++) {
		struct sigaction there;

		if (sigaction(signals[i], NULL, &there))
			return -errno;
		if ((there.sa_flags & SA_SIGINFO) && there.sa_sigaction == on_fault)
			continue;
		before[i] = there;
		if (sigaction(signals[i], &ours, NULL))
			return -errno;
	}
	return 0;
}

int fault_guard(int (*body)(void *context), void *context)
{
	sigjmp_buf here;
	int ret;

	if (sigsetjmp(here, 0)) {
		way_out = NULL;
		return -EFAULT;
	}
	way_out = &here;
	ret = body(context);
	way_out = NULL;
	return ret;
}
