/* sluicectl psk and registree: add, del, show, list, export. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/coding.h>
#include <wolfssl/wolfcrypt/hash.h>

#include "controlplane/ctl.h"
#include "crypto/secret.h"
#include "crypto/wolfssl_random.h"

enum { PEM_MAX = 64 * 1024, GENERATED_LEN = 16 };

static bool is_psk(const struct ctl_command *command)
{
	return strcmp(command->group, "psk") == 0;
}

/* ---- what names a credential */

/* The base64 between the lines of the first block, decoded in place. Its length, 0 when there is none. */
static word32 decode_pem(char *text, const char *label)
{
	char begin[64], end[64], *start, *stop;
	word32 len;

	snprintf(begin, sizeof(begin), "-----BEGIN %s-----", label);
	snprintf(end, sizeof(end), "-----END %s-----", label);
	start = strstr(text, begin);
	stop = start != NULL ? strstr(start, end) : NULL;
	if (stop == NULL)
		return 0;
	start += strlen(begin);
	len = (word32)(stop - start);
	if (Base64_Decode((const byte *)start, len, (byte *)text, &len) != 0)
		return 0;
	return len;
}

bool ctl_pem_fingerprint(const char *path, const char *label, char out[2 * CREDENTIAL_DIGEST_MAX + 1])
{
	uint8_t digest[CREDENTIAL_DIGEST_MAX];
	char *text = calloc(1, PEM_MAX);
	FILE *f = fopen(path, "re");
	word32 len = 0;

	if (f == NULL) {
		ctl_fail("%s cannot be read: %s.", path, strerror(errno));
	} else if (text != NULL && fread(text, 1, PEM_MAX - 1, f) > 0) {
		len = decode_pem(text, label);
	}
	if (f != NULL && len == 0)
		ctl_fail("%s holds no PEM block \"%s\".", path, label);
	if (len > 0 && wc_Sha256Hash((const byte *)text, len, digest) == 0)
		hex_encode(digest, sizeof(digest), out);
	else
		len = 0;
	if (f != NULL)
		fclose(f);
	free(text);
	return len > 0;
}

bool ctl_take_entry(const struct ctl_command *command, const struct ctl_arguments *a, struct entry *e,
		    char fingerprint[2 * CREDENTIAL_DIGEST_MAX + 1])
{
	const char *root_file = a->options[CTL_ROOT_FILE], *key_file = a->options[CTL_PUBLIC_KEY_FILE];

	memset(e, 0, sizeof(*e));
	e->fields[ENTRY_IDENTITY] = a->operand;
	e->fields[ENTRY_IDENTITY_HEX] = a->options[CTL_IDENTITY_HEX];
	e->fields[ENTRY_CERTIFICATE_NAME] = a->options[CTL_CERTIFICATE_NAME];
	e->fields[ENTRY_ROOT] = a->options[CTL_ROOT];
	e->fields[ENTRY_PUBLIC_KEY] = a->options[CTL_PUBLIC_KEY];
	e->fields[ENTRY_TENANT] = a->options[CTL_TENANT];
	e->fields[ENTRY_KIND] = a->options[CTL_KIND];
	e->ids_count = a->ids_count;
	memcpy(e->ids, a->ids, sizeof(e->ids));
	if ((root_file != NULL) + (key_file != NULL) + (e->fields[ENTRY_ROOT] != NULL) +
		    (e->fields[ENTRY_PUBLIC_KEY] != NULL) >
	    1) {
		ctl_fail("The root or the public key is given twice.");
		return false;
	}
	if (root_file != NULL) {
		e->fields[ENTRY_ROOT] = fingerprint;
		return ctl_pem_fingerprint(root_file, "CERTIFICATE", fingerprint);
	}
	if (key_file != NULL) {
		e->fields[ENTRY_PUBLIC_KEY] = fingerprint;
		return ctl_pem_fingerprint(key_file, "PUBLIC KEY", fingerprint);
	}
	return true;
}

static bool take_id(const struct ctl_command *command, const struct ctl_arguments *a,
		    struct credential_id *id)
{
	char fingerprint[2 * CREDENTIAL_DIGEST_MAX + 1], why[ENTRY_WHY_MAX];
	struct entry e;

	if (!ctl_take_entry(command, a, &e, fingerprint))
		return false;
	if (entry_to_id(&e, id, why))
		return true;
	ctl_fail("This names no credential: %s.", why);
	return false;
}

/* ---- add */

/* One line of standard input; on a terminal without showing it. */
static bool read_key(char *out, size_t out_len)
{
	const bool terminal = isatty(STDIN_FILENO) != 0;
	struct termios shown, hidden;
	char *got;

	if (terminal && tcgetattr(STDIN_FILENO, &shown) == 0) {
		hidden = shown;
		hidden.c_lflag &= ~(tcflag_t)ECHO;
		fputs("key (hexadecimal, not shown): ", stderr);
		(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
		got = fgets(out, (int)out_len, stdin);
		(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
		fputc('\n', stderr);
	} else {
		got = fgets(out, (int)out_len, stdin);
	}
	if (got != NULL)
		out[strcspn(out, "\r\n")] = 0;
	return got != NULL;
}

static bool take_key(const struct ctl_arguments *a, char *out, size_t out_len)
{
	uint8_t key[GENERATED_LEN];

	if (a->options[CTL_GENERATE] == NULL) {
		if (read_key(out, out_len))
			return true;
		ctl_fail("There is no key on standard input, where it is expected in hexadecimal; --generate "
			 "makes one.");
		return false;
	}
	if (random_block(key, sizeof(key)) != 0) {
		ctl_fail("The kernel gives no random bytes.");
		return false;
	}
	hex_encode(key, sizeof(key), out);
	secret_wipe(key, sizeof(key));
	return true;
}

struct addition {
	struct backend_row row;
	bool replace;
};

static int put_one(struct backend_writer *w, bool again, void *context)
{
	struct addition *addition = context;
	int err = backend_put(w, &addition->row, 1, addition->replace);

	return err == 0 && addition->row.result < 0 ? addition->row.result : err;
}

static int store_addition(const struct ctl_arguments *a, struct addition *addition)
{
	struct backend b;
	int err;

	if (!ctl_open_store(a, true, true, &b))
		return CTL_FAILED;
	err = b.ops->write(b.store, put_one, addition);
	if (err == -EEXIST)
		ctl_fail("It is there already, with another content; --replace replaces it.");
	else if (err < 0)
		ctl_fail("It was not added: %s.", backend_fault(&b, err));
	backend_close(&b);
	return err < 0 ? CTL_FAILED : CTL_OK;
}

int ctl_add(const struct ctl_command *command, const struct ctl_arguments *a)
{
	char fingerprint[2 * CREDENTIAL_DIGEST_MAX + 1], why[ENTRY_WHY_MAX], key[2 * PSK_KEY_MAX + 3] = "";
	struct addition addition = {.replace = a->options[CTL_REPLACE] != NULL};
	int result = CTL_FAILED;
	struct entry e;

	if (is_psk(command) && a->operand == NULL && a->options[CTL_IDENTITY_HEX] == NULL) {
		ctl_fail("Whose key it is was not said: IDENTITY or --identity-hex is missing.");
		return CTL_FAILED;
	}
	if (!ctl_take_entry(command, a, &e, fingerprint) ||
	    (is_psk(command) && !take_key(a, key, sizeof(key))))
		return CTL_FAILED;
	e.fields[ENTRY_KEY] = is_psk(command) ? key : NULL;
	if (entry_to_credential(&e, &addition.row.credential, why))
		result = store_addition(a, &addition);
	else
		ctl_fail("It was not added: %s.", why);
	if (result == CTL_OK && a->options[CTL_GENERATE] != NULL)
		puts(key);
	if (result == CTL_OK && is_psk(command) && addition.row.credential.psk.key_len < PSK_KEY_STRONG)
		fprintf(stderr, "sluicectl: warning: a key of fewer than %d bytes can be guessed.\n",
			PSK_KEY_STRONG);
	secret_wipe(key, sizeof(key));
	secret_wipe(&addition, sizeof(addition));
	return result;
}

/* ---- del */

static int delete_one(struct backend_writer *w, bool again, void *context)
{
	int result = w->ops->del(w->writer, context);

	return result == 1 ? 0 : result == 0 ? -ENOENT : result;
}

int ctl_del(const struct ctl_command *command, const struct ctl_arguments *a)
{
	struct credential_id id;
	struct backend b;
	int err;

	if (!take_id(command, a, &id) || !ctl_open_store(a, true, false, &b))
		return CTL_FAILED;
	err = b.ops->write(b.store, delete_one, &id);
	if (err == -ENOENT)
		ctl_fail("There is no such credential.");
	else if (err < 0)
		ctl_fail("It was not removed: %s.", backend_fault(&b, err));
	backend_close(&b);
	return err < 0 ? CTL_FAILED : CTL_OK;
}

/* ---- show and list */

static void print_readable(const struct credential *c, bool with_key)
{
	const struct registree *r = &c->psk.registree;
	char name[ENTRY_NAME_MAX], hex[2 * PSK_KEY_MAX + 1];

	printf("%-12s %s\n",
	       c->id.kind == SLUICE_CREDENTIAL_PSK    ? "psk"
	       : c->id.kind == SLUICE_CREDENTIAL_X509 ? "certificate"
						      : "public key",
	       entry_name(&c->id, name));
	if (c->id.kind == SLUICE_CREDENTIAL_X509) {
		hex_encode(c->id.digest, c->id.digest_len, hex);
		printf("%-12s %s\n", "root", hex);
	}
	printf("%-12s %s\n%-12s %s\n", "tenant", c->id.tenant[0] != 0 ? c->id.tenant : "-", "kind",
	       entry_kind_text(r->kind));
	for (unsigned i = 0; i < r->identities_count; i++)
		printf("%-12s %s\n", "identity", r->identities[i]);
	if (c->id.kind == SLUICE_CREDENTIAL_PSK && with_key) {
		hex_encode(c->psk.key, c->psk.key_len, hex);
		printf("%-12s %s\n", "key", hex);
		secret_wipe(hex, sizeof(hex));
	} else if (c->id.kind == SLUICE_CREDENTIAL_PSK) {
		printf("%-12s %u bytes\n", "key", c->psk.key_len);
	}
	printf("%-12s %llu\n", "version", (unsigned long long)r->version);
}

int ctl_show(const struct ctl_command *command, const struct ctl_arguments *a)
{
	const bool with_key = a->options[CTL_WITH_KEYS] != NULL;
	struct credential c;
	struct backend b;
	int found;

	if (!take_id(command, a, &c.id) || !ctl_open_store(a, false, false, &b))
		return CTL_FAILED;
	found = b.ops->find(b.store, &c.id, &c.psk);
	if (found == 0)
		ctl_fail("There is no such credential.");
	else if (found < 0)
		ctl_fail("It cannot be shown: %s.", backend_fault(&b, found));
	backend_close(&b);
	if (found <= 0)
		return CTL_FAILED;
	if (a->options[CTL_JSON] != NULL)
		entry_print_json(stdout, &c, with_key);
	else
		print_readable(&c, with_key);
	secret_wipe(&c, sizeof(c));
	return CTL_OK;
}

/* A walk over one group's credentials, to one place. */
struct listing {
	bool psk, json, with_keys;
	unsigned damaged;
	FILE *out;
	void (*print)(const struct listing *l, const struct credential *c);
};

static void print_line(const struct listing *l, const struct credential *c)
{
	const struct registree *r = &c->psk.registree;
	char name[ENTRY_NAME_MAX];

	fprintf(l->out, "%s\t%s\t%s\t", c->id.tenant[0] != 0 ? c->id.tenant : "-", entry_name(&c->id, name),
		entry_kind_text(r->kind));
	for (unsigned i = 0; i < r->identities_count; i++)
		fprintf(l->out, "%s%s", i > 0 ? " " : "", r->identities[i]);
	fputc('\n', l->out);
}

static void print_row(const struct listing *l, const struct credential *c)
{
	if (l->json)
		entry_print_json(l->out, c, l->with_keys);
	else
		entry_print_csv(l->out, c, l->with_keys);
}

static int visit(const struct credential *c, int err, void *context)
{
	struct listing *l = context;
	char name[ENTRY_NAME_MAX];

	if ((c->id.kind == SLUICE_CREDENTIAL_PSK) != l->psk)
		return 0;
	if (err == -ENOKEY || err == -EKEYREJECTED)
		return err;
	if (err != 0) {
		ctl_fail("The row of \"%s\" is damaged and left out.", entry_name(&c->id, name));
		l->damaged++;
		return 0;
	}
	l->print(l, c);
	return ferror(l->out) != 0 ? -EIO : 0;
}

static int walk(const struct ctl_arguments *a, struct listing *l)
{
	struct backend b;
	int err;

	if (!ctl_open_store(a, false, false, &b))
		return CTL_FAILED;
	err = b.ops->walk(b.store, a->options[CTL_TENANT], visit, l);
	if (err < 0)
		ctl_fail("The store cannot be read to its end: %s.", backend_fault(&b, err));
	backend_close(&b);
	return err < 0 || l->damaged > 0 ? CTL_FAILED : CTL_OK;
}

int ctl_list(const struct ctl_command *command, const struct ctl_arguments *a)
{
	struct listing l = {.psk = is_psk(command), .out = stdout, .print = print_line};

	return walk(a, &l);
}

/* ---- export */

int ctl_export(const struct ctl_command *command, const struct ctl_arguments *a)
{
	const char *format = a->options[CTL_FORMAT], *path = a->options[CTL_OUTPUT];
	struct listing l = {
		.psk = is_psk(command), .print = print_row, .with_keys = a->options[CTL_WITH_KEYS] != NULL};
	int fd, result;

	if (format == NULL)
		format = path != NULL && strstr(path, ".jsonl") != NULL ? "jsonl" : "csv";
	l.json = strcmp(format, "jsonl") == 0;
	if (!l.json && strcmp(format, "csv") != 0)
		return ctl_fail("The format must be csv or jsonl.");
	fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : dup(STDOUT_FILENO);
	l.out = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (l.out == NULL || (path != NULL && fchmod(fd, 0600) < 0))
		return ctl_fail("%s cannot be written: %s.", path != NULL ? path : "Standard output",
				strerror(errno));
	if (!l.json)
		entry_print_header(l.out, l.psk ? SLUICE_CREDENTIAL_PSK : SLUICE_CREDENTIAL_X509,
				   l.with_keys);
	result = walk(a, &l);
	if (fclose(l.out) != 0)
		return ctl_fail("The output cannot be written: %s.", strerror(errno));
	return result;
}
