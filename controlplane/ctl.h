/* sluicectl: what its commands share. A command is a row in a table; arguments, help and the manual's
 * synopsis come from there.
 */
#ifndef CONTROLPLANE_CTL_H
#define CONTROLPLANE_CTL_H

#include "controlplane/backend.h"
#include "controlplane/entry.h"

/* Every option of every command; what it means does not depend on the command. */
enum ctl_option {
	CTL_STORE,
	CTL_REDIS,
	CTL_PASSWORD_FILE,
	CTL_KEY_FILE,
	CTL_TENANT,
	CTL_KIND,
	CTL_ID,
	CTL_IDENTITY_HEX,
	CTL_CERTIFICATE_NAME,
	CTL_ROOT,
	CTL_ROOT_FILE,
	CTL_PUBLIC_KEY,
	CTL_PUBLIC_KEY_FILE,
	CTL_GENERATE,
	CTL_REPLACE,
	CTL_WITH_KEYS,
	CTL_FORMAT,
	CTL_OUTPUT,
	CTL_DRY_RUN,
	CTL_QUIET,
	CTL_JSON,
	CTL_SINCE,
	CTL_FOLLOW,
	CTL_SOCKET,
	CTL_IDENTITY,
	CTL_ADDRESS,
	CTL_WORKER,
	CTL_LIMIT,
	CTL_ALL,
	CTL_DOOR,
	CTL_HELP,
	CTL_OPTIONS
};

enum ctl_exit { CTL_OK = 0, CTL_FAILED = 1, CTL_USAGE = 2 };

struct ctl_arguments {
	const char *options[CTL_OPTIONS]; /* NULL: not given; "" for those without a value */
	const char *ids[IDENTITIES_MAX];
	unsigned ids_count;
	const char *operand; /* NULL: none */
};

struct ctl_command {
	const char *group, *verb; /* verb "": the group is the whole command */
	const char *operand;      /* "IDENTITY"; "[FILE]" when it may be missing; NULL: none */
	uint32_t options;         /* bit per enum ctl_option; --help and the store's are always there */
	const char *summary;
	const char *help;
	int (*run)(const struct ctl_command *command, const struct ctl_arguments *a); /* enum ctl_exit */
};

extern const struct ctl_command ctl_commands[];
extern const unsigned ctl_commands_count;

/* "sluicectl: ..." on standard error. Returns CTL_FAILED. */
int ctl_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The store that the arguments or the environment name. False when it was said why not. */
bool ctl_open_store(const struct ctl_arguments *a, bool write, bool create, struct backend *b);

/* The SHA-256 of the first PEM block of a file, in hexadecimal: a certificate, or a public key. False when it
 * was said why not. */
bool ctl_pem_fingerprint(const char *path, const char *label, char out[2 * CREDENTIAL_DIGEST_MAX + 1]);

/* The credential that options and operand name. False when it was said why not. */
bool ctl_take_entry(const struct ctl_command *command, const struct ctl_arguments *a, struct entry *e,
		    char fingerprint[2 * CREDENTIAL_DIGEST_MAX + 1]);

int ctl_add(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_del(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_show(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_list(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_import(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_export(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_store_init(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_store_key(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_store_info(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_store_check(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_store_changes(const struct ctl_command *command, const struct ctl_arguments *a);

/* ctl_sessions.c: what a running gateway is asked for. */
int ctl_status(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_counters(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_sessions_list(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_sessions_show(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_sessions_close(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_identity(const struct ctl_command *command, const struct ctl_arguments *a);
int ctl_why(const struct ctl_command *command, const struct ctl_arguments *a);

#endif
