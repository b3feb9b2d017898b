/* Any bytes as a configuration: accepted, or refused with a sentence; never a crash, a leak or a hang. What
 * is accepted keeps the bounds of the schema.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "config/schema.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file that configurations of the corpus can name as their secret: /proc/self/fd/900 */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int fd = memfd_create("psk", MFD_CLOEXEC);

	if (fd < 0 || fchmod(fd, 0600) < 0 || dup2(fd, 900) < 0)
		abort();
	close(fd);
	return 0;
}

static void check_section(const void *base, const char *section)
{
	const struct config_option *options;
	unsigned count;

	options = schema_options(&count);
	for (unsigned i = 0; i < count; i++) {
		uint32_t value;

		if (options[i].section == NULL || strcmp(options[i].section, section) != 0)
			continue;
		memcpy(&value, (const char *)base + options[i].offset, sizeof(value));
		if (options[i].type == OPTION_NUMBER && (value < options[i].min || value > options[i].max))
			abort();
	}
}

static void check_bounds(const struct config *c)
{
	const struct config_section *sections;
	unsigned count;

	sections = schema_sections(&count);
	for (unsigned i = 0; i < count; i++)
		check_section((const char *)c + sections[i].offset, sections[i].name);
	if (c->tenants_count > CONFIG_TENANTS_MAX)
		abort();
	for (unsigned i = 0; i < c->tenants_count; i++) {
		if (c->tenants[i].name == NULL || c->tenants[i].server_names_count == 0)
			abort();
		check_section(&c->tenants[i].tls, "tls");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[2048];
	struct config *c = config_load_text((const char *)data, size, "fuzz", error, sizeof(error));

	if (c != NULL)
		check_bounds(c);
	else if (error[0] == 0 || strchr(".?", error[strlen(error) - 1]) == NULL)
		abort();
	config_free(c);
	return 0;
}
