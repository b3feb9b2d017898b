/* Prints what is made from the schema: generate yaml > config/sluice.yaml; generate man > sluice.yaml.5 */
#include <stdio.h>
#include <string.h>

#include "config/config.h"

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "yaml") == 0) {
		config_print_schema(stdout);
	} else if (argc == 2 && strcmp(argv[1], "man") == 0) {
		config_print_manual(stdout);
	} else {
		fputs("usage: generate yaml|man\n", stderr);
		return 2;
	}
	return fflush(stdout) == 0 ? 0 : 1;
}
