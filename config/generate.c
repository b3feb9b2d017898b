/* Prints the commented example for the repository: generate > config/sluice.yaml */
#include <stdio.h>

#include "config/config.h"

int main(void)
{
	config_print_schema(stdout);
	return fflush(stdout) == 0 ? 0 : 1;
}
