/* Prints who sent what; --echo sends it back. cc print.c $(pkg-config --cflags --libs libsluice) */
#include <errno.h>
#include <sluice.h>
#include <stdio.h>
#include <string.h>

static char names[4][1 << 14][128]; /* by worker and session index; a larger application uses a map */

static char *name_of(struct sluice_ref ref)
{
	return names[ref.worker % 4][ref.index % (1 << 14)];
}

static void remember(const struct sluice_session_up *up)
{
	struct sluice_field field = {0};

	snprintf(name_of(up->ref), 128, "anonymous");
	while (sluice_field_next(up, &field))
		if (field.type == SLUICE_FIELD_IDENTITY)
			snprintf(name_of(up->ref), 128, "%.*s", field.len, (const char *)field.bytes);
}

static void print(const char *bytes, size_t len, char end)
{
	for (size_t i = 0; i < len; i++)
		putchar(bytes[i] >= ' ' && bytes[i] <= '~' ? bytes[i] : '.');
	putchar(end);
}

int main(int argc, char **argv)
{
	struct sluice *s = sluice_attach(argc > 1 ? argv[1] : "ring.sock");
	struct sluice_message m[32];

	for (int n = 0; s != NULL && n >= 0 && sluice_wait(s, -1) >= 0; sluice_flush(s), fflush(stdout)) {
		n = sluice_receive(s, m, 32);
		for (const struct sluice_message *p = m; n > 0 && p < m + n; p++) {
			if (p->type == SLUICE_SESSION_UP)
				remember(p->up);
			if (p->type != SLUICE_DATA)
				continue;
			print(name_of(p->data->ref), strlen(name_of(p->data->ref)), '\t');
			print((const char *)(p->data + 1), p->data->payload_len, '\n');
			if (argc > 2 &&
			    sluice_send(s, p->data->ref, p->data + 1, p->data->payload_len, 0) != 0)
				perror("echo dropped");
		}
	}
	return fprintf(stderr, "usage: print RING-SOCKET [--echo]: %s\n", strerror(errno)), 1;
}
