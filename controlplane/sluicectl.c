/* sluicectl: the operator's command line. This file finds the command and its arguments, and prints help. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/ctl.h"

static const char default_store[] = "/var/lib/sluice/credentials";

/* In the order of enum ctl_option. */
static const struct {
	const char *name;
	const char *value; /* NULL: it has none */
	const char *help;
} options[CTL_OPTIONS] = {
	[CTL_STORE] = {"store", "DIRECTORY",
		       "the credential store (SLUICE_STORE, /var/lib/sluice/credentials)"},
	[CTL_REDIS] = {"redis", "ADDRESS",
		       "a store in Redis instead: host:port, [IPv6]:port, unix:/path (SLUICE_REDIS)"},
	[CTL_PASSWORD_FILE] = {"password-file", "FILE",
			       "the password of the Redis server (SLUICE_REDIS_PASSWORD_FILE, none)"},
	[CTL_KEY_FILE] = {"key-file", "FILE",
			  "what the keys in the store are wrapped with (SLUICE_STORE_KEY, none)"},
	[CTL_TENANT] =
		{"tenant", "TENANT",
		 "of this tenant; without it a credential is of the one without a name, lists are of all"},
	[CTL_KIND] = {"kind", "KIND",
		      "of the identity: cse-id, ae-id, lwm2m-endpoint, credential (the last)"},
	[CTL_ID] = {"id", "ID", "the identity that the credential proves; several AE-IDs: once for each"},
	[CTL_IDENTITY_HEX] = {"identity-hex", "HEX", "the PSK identity, where it is not text"},
	[CTL_CERTIFICATE_NAME] = {"certificate-name", "NAME", "the name in the certificate"},
	[CTL_ROOT] = {"root", "HEX", "SHA-256 fingerprint of the root that the certificate must lead to"},
	[CTL_ROOT_FILE] = {"root-file", "FILE", "the root itself, in PEM"},
	[CTL_PUBLIC_KEY] = {"public-key", "NI",
			    "the raw public key: ni:///sha-256;... (RFC 6920) or 64 digits"},
	[CTL_PUBLIC_KEY_FILE] = {"public-key-file", "FILE", "the raw public key itself, in PEM"},
	[CTL_GENERATE] = {"generate", NULL, "make a random key of 16 bytes and print it"},
	[CTL_REPLACE] = {"replace", NULL, "replace a credential that is already there"},
	[CTL_WITH_KEYS] = {"with-keys", NULL, "print keys, too"},
	[CTL_FORMAT] = {"format", "FORMAT", "csv or jsonl (as the file's name says)"},
	[CTL_OUTPUT] = {"output", "FILE", "write there, closed to others (standard output)"},
	[CTL_DRY_RUN] = {"dry-run", NULL, "check everything, change nothing"},
	[CTL_QUIET] = {"quiet", NULL, "no progress bar"},
	[CTL_JSON] = {"json", NULL, "one JSON object per line"},
	[CTL_SINCE] = {"since", "NUMBER", "what came after this change (0: all that is remembered)"},
	[CTL_FOLLOW] = {"follow", NULL, "wait for more until interrupted"},
	[CTL_SOCKET] = {"socket", "PATH",
			"the gateway's admin socket (SLUICE_SOCKET, /run/sluice/admin.sock)"},
	[CTL_IDENTITY] = {"identity", "ID", "sessions of this identity, or of this credential's name"},
	[CTL_ADDRESS] = {"address", "ADDRESS", "sessions of this address, with or without :PORT"},
	[CTL_WORKER] = {"worker", "NUMBER", "sessions of this worker"},
	[CTL_LIMIT] = {"limit", "NUMBER", "no more than so many"},
	[CTL_ALL] = {"all", NULL, "those that are 0, too"},
	[CTL_DOOR] = {"door", "PATH",
		      "ask sluice-forward's door instead: the address is one of those it gives"},
	[CTL_HELP] = {"help", NULL, "print this"},
};

enum {
	STORE_OPTIONS = 1U << CTL_STORE | 1U << CTL_REDIS | 1U << CTL_PASSWORD_FILE | 1U << CTL_KEY_FILE,
	REGISTREE_OPTIONS = 1U << CTL_KIND | 1U << CTL_ID,
	PSK_NAME = 1U << CTL_TENANT | 1U << CTL_IDENTITY_HEX,
	OTHER_NAME = 1U << CTL_TENANT | 1U << CTL_CERTIFICATE_NAME | 1U << CTL_ROOT | 1U << CTL_ROOT_FILE |
		     1U << CTL_PUBLIC_KEY | 1U << CTL_PUBLIC_KEY_FILE,
	IMPORT_OPTIONS = 1U << CTL_FORMAT | 1U << CTL_REPLACE | 1U << CTL_DRY_RUN | 1U << CTL_QUIET,
	GATEWAY_OPTIONS = 1U << CTL_SOCKET | 1U << CTL_JSON,
	SESSION_OPTIONS = 1U << CTL_IDENTITY | 1U << CTL_ADDRESS | 1U << CTL_TENANT | 1U << CTL_WORKER,
	EXPORT_OPTIONS = 1U << CTL_TENANT | 1U << CTL_FORMAT | 1U << CTL_OUTPUT,
};

#define IMPORT_HELP                                                                                          \
	"All rows are imported or none. A row that is there already with the same content is left alone; "   \
	"with another "                                                                                      \
	"content it is an error, unless --replace is given. CSV: the first line names the columns, out of "  \
	"identity, identity_hex, key, certificate_name, root, public_key, tenant, kind, ids. JSON Lines: "   \
	"one object "                                                                                        \
	"per line with members of these names. Several AE-IDs are separated by spaces in CSV, and an array " \
	"in JSON. "                                                                                          \
	"FILE - is standard input."

const struct ctl_command ctl_commands[] = {
	{"status", "", NULL, GATEWAY_OPTIONS, "show how the gateway is",
	 "Exit status 1 when it is not ready to serve devices, or not running.", ctl_status},
	{"sessions", "list", NULL, GATEWAY_OPTIONS | SESSION_OPTIONS | 1U << CTL_LIMIT, "list live sessions",
	 "All of them, or those of an identity, an address, a tenant or a worker. Large tables are read page "
	 "by "
	 "page: sessions that come or go meanwhile may be missing.",
	 ctl_sessions_list},
	{"sessions", "show", "SESSION", GATEWAY_OPTIONS, "show one session",
	 "SESSION as the list shows it. Exit status 1 when it is gone.", ctl_sessions_show},
	{"sessions", "close", "[SESSION]", 1U << CTL_SOCKET | SESSION_OPTIONS, "close sessions",
	 "One by its name, or all of an identity or address, in every tenant unless one is given. The device "
	 "is told close_notify, the "
	 "application that "
	 "the operator did it. Nothing keeps the device from a new handshake: 'psk del' and 'registree del' "
	 "do.",
	 ctl_sessions_close},
	{"why", "", "DEVICE", GATEWAY_OPTIONS | 1U << CTL_TENANT | 1U << CTL_LIMIT,
	 "show a device's last handshakes, and why each failed",
	 "DEVICE is an address, with or without :PORT, or an identity or the name of a credential. The "
	 "newest comes "
	 "first; the gateway remembers a few of each device. Exit status 1 when it remembers none.",
	 ctl_why},
	{"identity", "", "ADDRESS", GATEWAY_OPTIONS | 1U << CTL_DOOR, "show who is behind an address",
	 "The device's own address, with its port or without; with --door the source address that a server "
	 "behind "
	 "sluice-forward sees. Exit status 1 when no session has it.",
	 ctl_identity},
	{"counters", "", NULL, GATEWAY_OPTIONS | 1U << CTL_ALL, "show what the gateway counts",
	 "Summed over all workers; those that are 0 are left out. --json tells each worker's. Prometheus "
	 "reads the "
	 "same from /metrics on the socket.",
	 ctl_counters},
	{"psk", "add", "[IDENTITY]",
	 STORE_OPTIONS | PSK_NAME | REGISTREE_OPTIONS | 1U << CTL_GENERATE | 1U << CTL_REPLACE,
	 "add a pre-shared key",
	 "The key is read from standard input, in hexadecimal: it never shows in a list of processes. Live "
	 "sessions of a "
	 "key that was replaced end as the gateway's policy says.",
	 ctl_add},
	{"psk", "del", "[IDENTITY]", STORE_OPTIONS | PSK_NAME, "remove a pre-shared key",
	 "A gateway that uses the store notices within a second. Exit status 1 when there is no such key.",
	 ctl_del},
	{"psk", "show", "[IDENTITY]", STORE_OPTIONS | PSK_NAME | 1U << CTL_WITH_KEYS | 1U << CTL_JSON,
	 "show one pre-shared key", "Exit status 1 when there is none.", ctl_show},
	{"psk", "list", NULL, STORE_OPTIONS | 1U << CTL_TENANT, "list pre-shared keys",
	 "One line each: tenant, PSK identity, kind, identities.", ctl_list},
	{"psk", "import", "FILE", STORE_OPTIONS | IMPORT_OPTIONS,
	 "import pre-shared keys from CSV or JSON Lines", IMPORT_HELP, ctl_import},
	{"psk", "export", NULL, STORE_OPTIONS | EXPORT_OPTIONS | 1U << CTL_WITH_KEYS,
	 "export pre-shared keys", "In a form that import reads, if --with-keys is given.", ctl_export},
	{"registree", "add", NULL, STORE_OPTIONS | OTHER_NAME | REGISTREE_OPTIONS | 1U << CTL_REPLACE,
	 "add a registree with a certificate or a raw public key",
	 "A certificate is named by the name in it and by its root: the registree is whoever proves both.",
	 ctl_add},
	{"registree", "del", NULL, STORE_OPTIONS | OTHER_NAME, "remove a registree",
	 "A gateway that uses the store notices within a second. Exit status 1 when there is no such "
	 "registree.",
	 ctl_del},
	{"registree", "show", NULL, STORE_OPTIONS | OTHER_NAME | 1U << CTL_JSON, "show one registree",
	 "Exit status 1 when there is none.", ctl_show},
	{"registree", "list", NULL, STORE_OPTIONS | 1U << CTL_TENANT, "list registrees",
	 "One line each: tenant, name in the certificate or name of the public key, kind, identities.",
	 ctl_list},
	{"registree", "import", "FILE", STORE_OPTIONS | IMPORT_OPTIONS,
	 "import registrees from CSV or JSON Lines", IMPORT_HELP, ctl_import},
	{"registree", "export", NULL, STORE_OPTIONS | EXPORT_OPTIONS, "export registrees",
	 "In a form that import reads.", ctl_export},
	{"store", "init", NULL, STORE_OPTIONS, "make an empty credential store",
	 "With --key-file the keys in it are wrapped. Adding or importing makes a store, too, when there is "
	 "none.",
	 ctl_store_init},
	{"store", "new-key", "FILE", 0, "make a key file",
	 "A random key to wrap the keys of a store with. Whoever loses it has lost them all.", ctl_store_key},
	{"store", "info", NULL, STORE_OPTIONS, "show how large the store is",
	 "Rows, and the number of the last change.", ctl_store_info},
	{"store", "check", NULL, STORE_OPTIONS, "check every row of the store",
	 "Names each row that is damaged. Exit status 1 when there is one.", ctl_store_check},
	{"store", "changes", NULL, STORE_OPTIONS | 1U << CTL_SINCE | 1U << CTL_FOLLOW,
	 "show what was removed or replaced", "One line each: number, what happened, tenant, credential.",
	 ctl_store_changes},
};
const unsigned ctl_commands_count = sizeof(ctl_commands) / sizeof(ctl_commands[0]);

int ctl_fail(const char *format, ...)
{
	va_list args;

	fputs("sluicectl: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return CTL_FAILED;
}

/* ---- help */

/* group: of these alone; NULL: all. */
static void print_commands(FILE *out, const char *group)
{
	fputs("usage: sluicectl COMMAND [ARGUMENTS]\n", out);
	for (unsigned i = 0; i < ctl_commands_count; i++) {
		const struct ctl_command *c = &ctl_commands[i];
		const bool begins =
			i == 0 || (strcmp(c->group, c[-1].group) != 0 && (*c->verb != 0 || *c[-1].verb != 0));

		if (group != NULL && strcmp(c->group, group) != 0)
			continue;
		if (begins)
			fputc('\n', out);
		fprintf(out, "  %-9s %-8s %-11s %s\n", c->group, c->verb,
			c->operand != NULL ? c->operand : "", c->summary);
	}
	fputs("\nsluicectl COMMAND --help tells the options of one command; sluicectl --version, the "
	      "version.\n"
	      "Exit status: 0 done; 1 failed, or there is no such thing; 2 wrong arguments.\n",
	      out);
}

/* Breaks lines at column 88. */
static void print_wrapped(FILE *out, const char *text)
{
	size_t left = strlen(text);

	while (left > 0) {
		size_t len = left;

		if (len > 88)
			for (len = 88; len > 1 && text[len] != ' '; len--)
				;
		fprintf(out, "%.*s\n", (int)len, text);
		text += len;
		left -= len;
		if (left > 0 && *text == ' ') {
			text++;
			left--;
		}
	}
}

static void print_help(FILE *out, const struct ctl_command *c)
{
	fprintf(out, "usage: sluicectl %s%s%s%s%s [OPTIONS]\n\n", c->group, *c->verb != 0 ? " " : "", c->verb,
		c->operand != NULL ? " " : "", c->operand != NULL ? c->operand : "");
	print_wrapped(out, c->help);
	fputc('\n', out);
	for (unsigned i = 0; i < CTL_OPTIONS; i++) {
		char left[40];

		if ((c->options & 1U << i) == 0 && i != CTL_HELP)
			continue;
		snprintf(left, sizeof(left), "--%s%s%s", options[i].name, options[i].value != NULL ? " " : "",
			 options[i].value != NULL ? options[i].value : "");
		fprintf(out, "  %-24s %s\n", left, options[i].help);
	}
}

/* ---- arguments */

static int wrong_use(const struct ctl_command *c, const char *reason)
{
	fprintf(stderr, "sluicectl %s%s%s: %s (--help tells more)\n", c->group, *c->verb != 0 ? " " : "",
		c->verb, reason);
	return CTL_USAGE;
}

static int wrong_option(const struct ctl_command *c, const char *option, bool lacks_value)
{
	char reason[200];

	snprintf(reason, sizeof(reason), lacks_value ? "%s lacks its value" : "it has no option %s", option);
	return wrong_use(c, reason);
}

static int missing_operand(const struct ctl_command *c)
{
	char reason[80];

	snprintf(reason, sizeof(reason), "%s is missing", c->operand);
	return wrong_use(c, reason);
}

/* The getopt table of one command: an option that it does not have is unknown. */
static void make_longs(const struct ctl_command *c, struct option longs[CTL_OPTIONS + 1])
{
	unsigned count = 0;

	for (int i = 0; i < CTL_OPTIONS; i++)
		if ((c->options & 1U << i) != 0 || i == CTL_HELP)
			longs[count++] = (struct option){
				options[i].name, options[i].value != NULL ? required_argument : no_argument,
				NULL, 256 + i};
	longs[count] = (struct option){0};
}

static int take_option(const struct ctl_command *c, struct ctl_arguments *a, int option, const char *value)
{
	if (option == CTL_ID && a->ids_count == IDENTITIES_MAX)
		return wrong_use(c, "more than 16 identities");
	if (option == CTL_ID)
		a->ids[a->ids_count++] = value;
	else if (a->options[option] != NULL)
		return wrong_use(c, "an option is given twice");
	a->options[option] = value != NULL ? value : "";
	return CTL_OK;
}

static int parse(const struct ctl_command *c, int argc, char **argv, struct ctl_arguments *a)
{
	struct option longs[CTL_OPTIONS + 1];
	int option, result = CTL_OK;

	make_longs(c, longs);
	opterr = 0;
	while (result == CTL_OK && (option = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
		if (option == 'h')
			option = 256 + CTL_HELP;
		if (option == '?' || option == ':')
			return wrong_option(c, argv[optind - 1], option == ':');
		result = take_option(c, a, option - 256, optarg);
	}
	if (result != CTL_OK || a->options[CTL_HELP] != NULL)
		return result;
	if (optind < argc)
		a->operand = argv[optind++];
	if (optind < argc || (a->operand != NULL && c->operand == NULL))
		return wrong_use(c, "too many arguments");
	if (a->operand == NULL && c->operand != NULL && c->operand[0] != '[')
		return missing_operand(c);
	return CTL_OK;
}

/* By both words, or by the first alone when it is the whole command. */
static const struct ctl_command *find_command(const char *group, const char *verb)
{
	if (verb == NULL)
		verb = "";
	for (unsigned i = 0; i < ctl_commands_count; i++)
		if (strcmp(ctl_commands[i].group, group) == 0 && strcmp(ctl_commands[i].verb, verb) == 0)
			return &ctl_commands[i];
	return NULL;
}

/* ---- what commands share */

/* What the option says, or else the environment; NULL: neither. */
static const char *option_or(const struct ctl_arguments *a, enum ctl_option option, const char *variable)
{
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): nobody changes the environment */
	const char *value = a->options[option] != NULL ? a->options[option] : getenv(variable);

	return value != NULL && *value != 0 ? value : NULL;
}

bool ctl_open_store(const struct ctl_arguments *a, bool write, bool create, struct backend *b)
{
	struct backend_options o = {
		.store = option_or(a, CTL_STORE, "SLUICE_STORE"),
		.redis = a->options[CTL_STORE] == NULL ? option_or(a, CTL_REDIS, "SLUICE_REDIS")
						       : a->options[CTL_REDIS],
		.password_file = option_or(a, CTL_PASSWORD_FILE, "SLUICE_REDIS_PASSWORD_FILE"),
		.key_file = option_or(a, CTL_KEY_FILE, "SLUICE_STORE_KEY"),
		.write = write,
		.create = create,
	};
	char error[1024] = "--store and --redis are two different stores: one of them.";
	bool opened;

	if (o.store == NULL)
		o.store = default_store;
	opened = !(a->options[CTL_STORE] != NULL && o.redis != NULL) &&
		 backend_open(b, &o, error, sizeof(error));
	if (!opened)
		ctl_fail("%s", error);
	return opened;
}

static bool is_one_of(const char *text, const char *a, const char *b, const char *c)
{
	return strcmp(text, a) == 0 || strcmp(text, b) == 0 || strcmp(text, c) == 0;
}

static bool is_group(const char *text)
{
	for (unsigned i = 0; i < ctl_commands_count; i++)
		if (strcmp(ctl_commands[i].group, text) == 0)
			return true;
	return false;
}

/* What is wrong first, then what there is. */
static int no_command(int argc, char **argv)
{
	const bool group = argc >= 2 && is_group(argv[1]);
	const bool help = group && argc == 3 && is_one_of(argv[2], "--help", "-h", "help");

	if (argc >= 2 && argv[1][0] == '-')
		ctl_fail("The options of a command stand behind it, and there is no command before %s.",
			 argv[1]);
	else if (group && !help)
		ctl_fail(argc >= 3 ? "There is no command \"%s %s\"." : "\"%s\" is no whole command.",
			 argv[1], argc >= 3 ? argv[2] : "");
	else if (argc >= 2 && !help)
		ctl_fail("There is no command \"%s\".", argv[1]);
	print_commands(help ? stdout : stderr, group ? argv[1] : NULL);
	return help ? CTL_OK : CTL_USAGE;
}

int main(int argc, char **argv)
{
	const struct ctl_command *command = argc >= 2 ? find_command(argv[1], NULL) : NULL;
	struct ctl_arguments a = {0};
	int words = command != NULL ? 1 : 2;
	int result;

	if (command == NULL && argc >= 3)
		command = find_command(argv[1], argv[2]);
	if (command == NULL && argc >= 2 && is_one_of(argv[1], "--help", "-h", "help")) {
		print_commands(stdout, argc >= 3 && is_group(argv[2]) ? argv[2] : NULL);
		return CTL_OK;
	}
	if (command == NULL && argc == 2 && is_one_of(argv[1], "--version", "-V", "version")) {
		puts("sluicectl " SLUICECTL_VERSION);
		return CTL_OK;
	}
	if (command == NULL)
		return no_command(argc, argv);
	result = parse(command, argc - words, argv + words, &a);
	if (result != CTL_OK)
		return result;
	if (a.options[CTL_HELP] != NULL)
		print_help(stdout, command);
	else
		result = command->run(command, &a);
	if (fflush(stdout) != 0 || ferror(stdout))
		return ctl_fail("The output cannot be written: %s.", strerror(errno));
	return result;
}
