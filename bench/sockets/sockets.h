/* The job of a worker, done by what a user would take instead: one thread, recvmmsg() of 64 datagrams, the
 * session found by its address, the record opened by a TLS library, the cleartext handed on.
 *
 *   main.c      options, rounds, the tables
 *   server.c    one such server with its sessions, and the process that sends to it
 *   receive_path.c   what the kernel does before, which the servers' figures leave out
 *   openssl.c, wolfssl.c, mbedtls.c   a session in each library
 */
#ifndef BENCH_SOCKETS_SOCKETS_H
#define BENCH_SOCKETS_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/unit/peer.h"

enum { PSK_LEN = 16, PAYLOAD_MAX = 1024, RECVMMSG_BATCH = 64, QUEUE_MAX = 8192 };

#define PSK_IDENTITY "urn:dev:ops:32473-1"
extern const uint8_t socket_psk[PSK_LEN];

/* Where the libraries read from and write to. One thread serves one session at a time, so that one is enough
 * for all; nothing is copied on the way in but by the library itself.
 */
struct wire {
	const uint8_t *in; /* the datagram not yet read, or NULL */
	size_t in_len;
	struct peer_queue out;
};
extern struct wire wire;

enum shake_state { SHAKE_FAILED = -1, SHAKE_GOES_ON, SHAKE_DONE };

/* TLS_PSK_WITH_AES_128_CCM_8 over DTLS 1.2, as the library's manual has it, with what makes it fastest. */
struct socket_library {
	const char *name;
	const char *(*version)(void);
	bool (*init)(void); /* once, before all else */
	void (*fini)(void);
	void *(*session_new)(void); /* NULL: no memory */
	void (*session_free)(void *session);
	/* The handshake goes on with wire.in. */
	enum shake_state (*shake)(void *session);
	/* Opens the record in wire.in: bytes of cleartext, 0 when it does not authenticate. */
	size_t (*open)(void *session, uint8_t *room, size_t len);
};

extern const struct socket_library library_openssl, library_wolfssl, library_mbedtls;

struct socket_server;

/* A server with so many established sessions, and a process on another CPU that holds their clients and lets
 * up to `queue` datagrams wait in the server's socket. Without a library: datagrams are received and no more.
 * NULL after a message.
 */
struct socket_server *socket_server_new(const struct socket_library *library, uint32_t sessions,
					uint32_t payload, uint32_t queue);
void socket_server_free(struct socket_server *s);

/* Lets the other process send a chunk of records of random sessions, waits for its end, and then takes them
 * all. Returns the CPU time of this thread, the kernel's share included, in nanoseconds per record; negative
 * after a message when a record was lost or did not open.
 */
double socket_server_chunk(struct socket_server *s);

/* The average number of datagrams that a recvmmsg() returned. */
double socket_server_batch(const struct socket_server *s);

/* CPU time per datagram of that UDP payload, the least of several chunks. */
struct receive_path {
	double whole_ns;   /* write() to a TAP, up to the socket */
	double foreign_ns; /* the same, thrown away where IP begins */
};

/* False without root or /dev/net/tun. */
bool receive_path_measure(size_t payload, struct receive_path *out);

#endif
