/* sluicectl import: a file of CSV or JSON Lines into the store, in one transaction: all of it, or nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "controlplane/ctl.h"
#include "crypto/secret.h"

enum { BAD_ROWS_SHOWN = 20, BAR_WIDTH = 30, ROW_OVERHEAD = 160 };

struct import {
	const char *name;
	FILE *file;
	uint64_t size; /* bytes */
	bool json, psk, replace, dry_run, bar;
	struct entry_columns columns;
	struct backend_row *batch; /* BACKEND_ROWS_MAX */
	unsigned batched;
	char *line;
	size_t line_size;
	/* of this attempt */
	uint64_t line_number, bytes, rows, first_change, results[STORE_UNCHANGED + 1];
	unsigned bad;
	double started;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void draw_bar(const struct import *m, bool last)
{
	const double share = m->size > 0 ? (double)m->bytes / (double)m->size : 1;
	const double seconds = now() - m->started;
	const int full = (int)(share * BAR_WIDTH);
	char bar[BAR_WIDTH + 1];

	if (!m->bar)
		return;
	for (int i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < full ? '#' : '.';
	bar[BAR_WIDTH] = 0;
	fprintf(stderr, "\r[%s] %3.0f %%  %llu rows  %.0f rows/s  %s%s", bar, 100 * share,
		(unsigned long long)m->rows, seconds > 0 ? (double)m->rows / seconds : 0,
		last ? "writing to disk" : "               ", last ? "\n" : "");
}

static void report_line(struct import *m, uint64_t line, const char *why)
{
	if (m->bad++ < BAD_ROWS_SHOWN)
		fprintf(stderr, "%s%s:%llu: %s.\n", m->bar ? "\n" : "", m->name, (unsigned long long)line,
			why);
}

static void report_row(struct import *m, const char *why)
{
	report_line(m, m->line_number, why);
}

/* The next line that holds something, terminated without its end. False at the end of the file. */
static bool next_line(struct import *m)
{
	ssize_t len;

	while ((len = getline(&m->line, &m->line_size, m->file)) >= 0) {
		m->line_number++;
		m->bytes += (uint64_t)len;
		while (len > 0 && (m->line[len - 1] == '\n' || m->line[len - 1] == '\r'))
			m->line[--len] = 0;
		if (len > ENTRY_LINE_MAX || strlen(m->line) != (size_t)len) {
			report_row(m, len > ENTRY_LINE_MAX ? "the line is longer than 16 KiB"
							   : "the line holds a NUL");
			continue;
		}
		if (len > 0)
			return true;
	}
	return false;
}

static void take_result(struct import *m, const struct backend_row *row)
{
	if ((row->result == -EEXIST || row->result == STORE_REPLACED) && row->earlier >= m->first_change)
		report_line(m, row->line, "the credential is in the file twice, with different contents");
	else if (row->result == -EEXIST)
		report_line(m, row->line,
			    "the credential is there already, with another content; --replace replaces it");
	else
		m->results[row->result]++;
}

static int put_batch(struct import *m, struct backend_writer *w)
{
	int err = m->batched > 0 ? backend_put(w, m->batch, m->batched, m->replace) : 0;

	for (unsigned i = 0; err == 0 && i < m->batched; i++)
		take_result(m, &m->batch[i]);
	m->batched = 0;
	return err;
}

/* What is wrong with the line; NULL: nothing, it is the next of the batch. */
static const char *take_line(struct import *m, char why[ENTRY_WHY_MAX])
{
	struct backend_row *row = &m->batch[m->batched];
	struct entry e;

	if (!(m->json ? entry_from_json(m->line, &e, why) : entry_from_csv(m->line, &m->columns, &e, why)) ||
	    !entry_to_credential(&e, &row->credential, why))
		return why;
	if ((row->credential.id.kind == SLUICE_CREDENTIAL_PSK) != m->psk)
		return m->psk ? "this is no pre-shared key; 'registree import' takes it"
			      : "this is a pre-shared key; 'psk import' takes it";
	row->line = m->line_number;
	m->batched++;
	return NULL;
}

/* 0, also when the row is bad; an error of the store otherwise. */
static int import_row(struct import *m, struct backend_writer *w)
{
	char why[ENTRY_WHY_MAX];
	const char *fault = take_line(m, why);
	int err = 0;

	if (fault != NULL || m->batched == BACKEND_ROWS_MAX)
		err = put_batch(m, w); /* first what is wrong with the lines before it */
	if (fault != NULL)
		report_row(m, fault);
	return err;
}

static bool take_header(struct import *m)
{
	static const char mark[] = "\xef\xbb\xbf"; /* some spreadsheets begin with it */
	char why[ENTRY_WHY_MAX] = "the file is empty";

	if (next_line(m)) {
		const size_t skip = strncmp(m->line, mark, 3) == 0 ? 3 : 0;

		if (entry_from_header(m->line + skip, &m->columns, why))
			return true;
	}
	report_row(m, why);
	return false;
}

/* One attempt, from the start of the file. */
static int import_all(struct backend_writer *w, bool again, void *context)
{
	struct import *m = context;
	int err = 0;

	rewind(m->file);
	m->line_number = m->bytes = m->rows = m->bad = m->batched = 0;
	memset(m->results, 0, sizeof(m->results));
	m->first_change = w->ops->next_change(w->writer);
	if (m->json || take_header(m))
		while (err == 0 && m->bad < BAD_ROWS_SHOWN && next_line(m)) {
			err = import_row(m, w);
			if (++m->rows % 8192 == 0)
				draw_bar(m, false);
		}
	if (err == 0)
		err = put_batch(m, w);
	if (err == 0 && ferror(m->file))
		err = -EIO;
	if (err == 0 && (m->bad > 0 || m->dry_run))
		return -ECANCELED;
	if (err == 0)
		draw_bar(m, true);
	return err;
}

/* ---- the file */

/* An import may have to be read twice; what cannot be rewound is copied into memory first. */
static FILE *make_seekable(FILE *f)
{
	int fd = memfd_create("import", MFD_CLOEXEC);
	FILE *copy = fd >= 0 ? fdopen(fd, "w+") : NULL;
	char buffer[65536];
	size_t got;

	while (copy != NULL && (got = fread(buffer, 1, sizeof(buffer), f)) > 0)
		if (fwrite(buffer, 1, got, copy) != got)
			break;
	secret_wipe(buffer, sizeof(buffer));
	if (copy != NULL && (ferror(f) || fflush(copy) != 0 || ferror(copy))) {
		fclose(copy);
		copy = NULL;
	}
	if (f != stdin)
		fclose(f);
	return copy;
}

static bool open_file(struct import *m)
{
	const bool standard = strcmp(m->name, "-") == 0;
	struct stat st = {0};

	m->file = standard ? stdin : fopen(m->name, "re");
	if (m->file != NULL && fstat(fileno(m->file), &st) == 0 && S_ISDIR(st.st_mode)) {
		fclose(m->file);
		m->file = NULL;
		errno = EISDIR;
	}
	if (m->file != NULL && m->psk && S_ISREG(st.st_mode) && (st.st_mode & S_IROTH) != 0)
		fprintf(stderr, "sluicectl: warning: %s holds keys, and everybody can read it.\n", m->name);
	if (m->file != NULL && fseeko(m->file, 0, SEEK_END) != 0)
		m->file = make_seekable(m->file);
	if (m->file == NULL || fseeko(m->file, 0, SEEK_END) != 0) {
		ctl_fail("%s cannot be read: %s.", m->name, strerror(errno));
		return false;
	}
	m->size = (uint64_t)ftello(m->file);
	return true;
}

static bool take_format(struct import *m, const char *format)
{
	const char *point = strrchr(m->name, '.');

	if (format == NULL && point != NULL &&
	    (strcmp(point, ".jsonl") == 0 || strcmp(point, ".ndjson") == 0))
		format = "jsonl";
	else if (format == NULL && point != NULL && strcmp(point, ".csv") == 0)
		format = "csv";
	if (format == NULL || (strcmp(format, "csv") != 0 && strcmp(format, "jsonl") != 0)) {
		ctl_fail("The format of %s is not known: --format csv or --format jsonl.", m->name);
		return false;
	}
	m->json = strcmp(format, "jsonl") == 0;
	return true;
}

static int report_result(const struct import *m, const struct backend *b, int err)
{
	const double seconds = now() - m->started;

	if (m->bad > 0)
		return ctl_fail("Nothing was imported: %s%u bad row%s.",
				m->bad >= BAD_ROWS_SHOWN ? "at least " : "", m->bad, m->bad == 1 ? "" : "s");
	if (err < 0 && !(err == -ECANCELED && m->dry_run))
		return ctl_fail("Nothing was imported: %s.", backend_fault(b, err));
	printf("%llu row%s in %.1f s: %llu added, %llu replaced, %llu unchanged%s\n",
	       (unsigned long long)m->rows, m->rows == 1 ? "" : "s", seconds,
	       (unsigned long long)m->results[STORE_ADDED], (unsigned long long)m->results[STORE_REPLACED],
	       (unsigned long long)m->results[STORE_UNCHANGED],
	       m->dry_run ? " (nothing was changed: --dry-run)" : "");
	return CTL_OK;
}

int ctl_import(const struct ctl_command *command, const struct ctl_arguments *a)
{
	struct import m = {
		.name = a->operand,
		.psk = strcmp(command->group, "psk") == 0,
		.replace = a->options[CTL_REPLACE] != NULL,
		.dry_run = a->options[CTL_DRY_RUN] != NULL,
		.bar = a->options[CTL_QUIET] == NULL && isatty(STDERR_FILENO) != 0,
		.started = now(),
	};
	int err = 0, result = CTL_FAILED;
	struct backend b;

	if (!take_format(&m, a->options[CTL_FORMAT]) || !open_file(&m))
		return CTL_FAILED;
	m.batch = calloc(BACKEND_ROWS_MAX, sizeof(*m.batch));
	if (m.batch == NULL) {
		ctl_fail("Out of memory.");
	} else if (ctl_open_store(a, true, true, &b)) {
		/* Rows lie about half as dense again in the tree as in the file; too little only costs time.
		 */
		if (b.ops->reserve != NULL)
			err = b.ops->reserve(b.store, m.size * 3 + ROW_OVERHEAD);
		if (err == 0)
			err = b.ops->write(b.store, import_all, &m);
		result = report_result(&m, &b, err);
		backend_close(&b);
	}
	if (m.batch != NULL)
		secret_wipe(m.batch, BACKEND_ROWS_MAX * sizeof(*m.batch));
	free(m.batch);
	if (m.line != NULL)
		secret_wipe(m.line, m.line_size);
	free(m.line);
	if (m.file != stdin)
		fclose(m.file);
	return result;
}
