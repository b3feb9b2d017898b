/* The ways a frame and a record can end (pure). Every frame ends in exactly one frame verdict, every record
 * in exactly one record verdict, each verdict is a counter: frames in = sum of frame verdicts, records in =
 * sum of record verdicts.
 */
#ifndef DATAPLANE_VERDICT_H
#define DATAPLANE_VERDICT_H

#include <stdint.h>

#define FRAME_VERDICTS(X)                                                                                    \
	X(RECORDS, "DTLS datagram, its records judged one by one")                                           \
	X(NEIGHBOUR, "ARP or neighbour discovery, answered or noted")                                        \
	X(ECHO, "ICMP echo request, answered")                                                               \
	X(STEERED, "given to the worker that owns its session")                                              \
	X(DROP_NOT_OURS, "other protocol, address, port or VLAN")                                            \
	X(DROP_TRUNCATED, "frame shorter than its headers say")                                              \
	X(DROP_CHECKSUM, "IP or UDP checksum wrong")                                                         \
	X(DROP_FRAGMENT, "IP fragment")                                                                      \
	X(DROP_SOURCE, "source address or port that nobody can have")                                        \
	X(DROP_EMPTY, "datagram without a byte in it")                                                       \
	X(DROP_STEER_FULL, "owner's queue full")

#define RECORD_VERDICTS(X)                                                                                   \
	X(APP, "opened, given to the application")                                                           \
	X(CLOSED, "authentic close_notify or fatal alert, session ended")                                    \
	X(ALERT, "authentic warning alert, noted")                                                           \
	X(CONTROL, "handshake, given to control")                                                            \
	X(FINISHED_AGAIN, "authentic duplicate Finished, last flight sent again")                            \
	X(HELLO_VERIFY, "ClientHello without a valid cookie, answered statelessly")                          \
	X(DROP_TRUNCATED, "record empty, or longer than the datagram")                                       \
	X(DROP_VERSION, "version in the record header is not DTLS 1.2's")                                    \
	X(DROP_TYPE, "content type unknown")                                                                 \
	X(DROP_TOO_LONG, "longer than 2^14 + 2048 bytes")                                                    \
	X(DROP_EPOCH, "epoch is not the session's")                                                          \
	X(DROP_PLAINTEXT, "epoch 0 after the handshake, or no handshake in flight")                          \
	X(DROP_HELLO, "ClientHello malformed, fragmented before its cookie, or not first in its datagram")   \
	X(DROP_HELLO_RATE, "ClientHello above the admission limits")                                         \
	X(DROP_HANDSHAKE_LONG, "of a handshake that has had more records than one needs")                    \
	X(DROP_NO_SESSION, "no session for this CID or address")                                             \
	X(DROP_NO_CID, "record without the negotiated CID: RFC 9146 3")                                      \
	X(DROP_REPLAY, "seen before, or left of the window")                                                 \
	X(DROP_AUTH, "tag or MAC does not verify")                                                           \
	X(DROP_UNEXPECTED, "authentic, but of a type that has no place here")                                \
	X(DROP_CONTROL_FULL, "control thread's mailbox full")                                                \
	X(DROP_RING_FULL, "application's ring full")                                                         \
	X(DROP_NO_CONSUMER, "no application attached")

enum frame_verdict {
#define X(name, text) FRAME_##name,
	FRAME_VERDICTS(X)
#undef X
		FRAME_VERDICTS_COUNT,
};

enum record_verdict {
#define X(name, text) RECORD_##name,
	RECORD_VERDICTS(X)
#undef X
		RECORD_VERDICTS_COUNT,
};

#endif
