/* sluicectl store: the store itself. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controlplane/ctl.h"

enum { CHANGES_AT_ONCE = 256, FOLLOW_US = 250000 };

int ctl_store_init(const struct ctl_command *command, const struct ctl_arguments *a)
{
	struct backend b;

	if (!ctl_open_store(a, true, true, &b))
		return CTL_FAILED;
	backend_close(&b);
	return CTL_OK;
}

int ctl_store_key(const struct ctl_command *command, const struct ctl_arguments *a)
{
	int err = wrap_create_key(a->operand);

	return err < 0 ? ctl_fail("%s cannot be made: %s.", a->operand, strerror(-err)) : CTL_OK;
}

int ctl_store_info(const struct ctl_command *command, const struct ctl_arguments *a)
{
	uint64_t rows, last = 0;
	struct backend b;
	int err;

	if (!ctl_open_store(a, false, false, &b))
		return CTL_FAILED;
	err = b.ops->counts(b.store, &rows, &last);
	if (err < 0)
		ctl_fail("The store cannot be read: %s.", backend_fault(&b, err));
	backend_close(&b);
	if (err < 0)
		return CTL_FAILED;
	printf("rows         %llu\nlast change  %llu\n", (unsigned long long)rows, (unsigned long long)last);
	return CTL_OK;
}

/* ---- check */

struct check {
	uint64_t good, bad;
};

static int check_row(const struct credential *c, int err, void *context)
{
	struct check *check = context;
	char name[ENTRY_NAME_MAX];

	if (err == 0) {
		check->good++;
		return 0;
	}
	check->bad++;
	printf("damaged: tenant \"%s\", \"%s\"\n", c->id.tenant, entry_name(&c->id, name));
	return 0;
}

static int check_all(const struct ctl_arguments *a)
{
	struct check check = {0};
	struct backend b;
	int err;

	if (!ctl_open_store(a, false, false, &b))
		return CTL_FAILED;
	err = b.ops->walk(b.store, NULL, check_row, &check);
	printf("%llu rows are sound, %llu are damaged\n", (unsigned long long)check.good,
	       (unsigned long long)check.bad);
	if (err < 0)
		ctl_fail("The store cannot be read to its end: %s.", backend_fault(&b, err));
	backend_close(&b);
	return err < 0 || check.bad > 0 ? CTL_FAILED : CTL_OK;
}

/* In a process of its own: pages of a damaged file can end it by a signal. */
int ctl_store_check(const struct ctl_command *command, const struct ctl_arguments *a)
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		int result = check_all(a);

		_exit(fflush(stdout) == 0 ? result : CTL_FAILED);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return ctl_fail("The check cannot be run: %s.", strerror(errno));
	if (WIFSIGNALED(status))
		return ctl_fail("The file of the store is damaged: reading it ended in \"%s\".",
				strsignal(WTERMSIG(status)));
	return WEXITSTATUS(status);
}

/* ---- changes */

static void print_change(const struct credential_change *change)
{
	char name[ENTRY_NAME_MAX];

	printf("%llu\t%s\t%s\t%s\n", (unsigned long long)change->number,
	       change->removed ? "removed" : "replaced", change->id.tenant[0] != 0 ? change->id.tenant : "-",
	       entry_name(&change->id, name));
}

static bool take_number(const char *text, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	return errno == 0 && *text >= '0' && *text <= '9' && *end == 0;
}

int ctl_store_changes(const struct ctl_command *command, const struct ctl_arguments *a)
{
	const bool follow = a->options[CTL_FOLLOW] != NULL;
	struct credential_change *changes;
	uint64_t number = follow ? UINT64_MAX : 0;
	struct backend b;
	int count;

	if (a->options[CTL_SINCE] != NULL && !take_number(a->options[CTL_SINCE], &number))
		return ctl_fail("--since must be a number.");
	if (!ctl_open_store(a, false, false, &b))
		return CTL_FAILED;
	changes = calloc(CHANGES_AT_ONCE, sizeof(*changes));
	for (;;) {
		count = changes != NULL ? b.ops->changes(b.store, &number, changes, CHANGES_AT_ONCE)
					: -ENOMEM;
		if (count == -ESTALE)
			printf("-\tforgotten: changes before this are no longer known\n");
		for (int i = 0; i < count; i++)
			print_change(&changes[i]);
		if ((count < 0 && count != -ESTALE) || (count <= 0 && !follow) || fflush(stdout) != 0)
			break;
		if (count <= 0)
			usleep(FOLLOW_US);
	}
	if (count < 0 && count != -ESTALE)
		ctl_fail("The store cannot be read: %s.", backend_fault(&b, count));
	free(changes);
	backend_close(&b);
	return count < 0 && count != -ESTALE ? CTL_FAILED : CTL_OK;
}
