/* The Unix sockets that the gateway listens on: their permissions say who may connect (pure). Main thread, at
 * start.
 */
#ifndef RING_LISTEN_H
#define RING_LISTEN_H

/* The listening socket, not blocking, of that type (SOCK_STREAM, SOCK_SEQPACKET). path is unlinked first when
 * it is a socket of that type that nobody listens on; mode and group are set before anybody can connect
 * (group NULL: unchanged). Returns the fd or -errno (-EADDRINUSE: another program listens there; -EEXIST:
 * path is not a socket; -EINVAL: unknown group; -ENAMETOOLONG). */
int listen_local(const char *path, int type, unsigned mode, const char *group);

/* What a negative result of listen_local() means, in the operator's words. Any thread. */
const char *listen_fault(int err);

#endif
