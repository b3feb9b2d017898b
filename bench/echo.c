/* An application for benchmarks: sends every payload back, as fast as it can. bench_echo RING-SOCKET
 * Ends when the gateway does.
 */
#include <stdio.h>

#include "ring/sluice.h"

enum { BATCH = 64 };

int main(int argc, char **argv)
{
	struct sluice *s = argc == 2 ? sluice_attach(argv[1]) : NULL;
	struct sluice_message m[BATCH];
	int n = 0;

	if (!s) {
		perror("bench_echo RING-SOCKET");
		return 1;
	}
	while (n >= 0 && sluice_wait(s, -1) >= 0) {
		while ((n = sluice_receive(s, m, BATCH)) > 0) {
			for (int i = 0; i < n; i++)
				if (m[i].type ==
				    SLUICE_DATA) /* what finds no room is lost, as on a network */
					(void)sluice_send(s, m[i].data->ref, m[i].data + 1,
							  m[i].data->payload_len, 0);
			sluice_flush(s);
		}
	}
	sluice_detach(s);
	return 0;
}
