/* What we want to know of the gateway's own certificate. Any thread, nothing kept. */
#ifndef CONTROLPLANE_CERTIFICATE_H
#define CONTROLPLANE_CERTIFICATE_H

/* The number (RFC 8422 5.1.1) of the curve that the key of the first certificate in a PEM file is on; 0: it
 * has another kind of key, or a curve below 256 bits. -errno when the file cannot be read. */
int certificate_file_curve(const char *path);

#endif
