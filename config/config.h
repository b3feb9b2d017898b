/* The configuration (pure): one struct, filled from one YAML file through one schema (config.c), which holds
 * name, unit, bounds, default and one line of help of every option. Read-only after config_load(); any thread
 * may read it. It does not change while the gateway runs: of the files that it names, renewal.h, lists.h and
 * ticket.h say which are read anew.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CONFIG_FILE_MAX = 256 * 1024 /* bytes */, CONFIG_TENANTS_MAX = 256 };

enum config_idle { CONFIG_IDLE_SLEEP, CONFIG_IDLE_POLL };
enum config_unknown_server_name { CONFIG_UNKNOWN_SERVER_NAME_DEFAULT, CONFIG_UNKNOWN_SERVER_NAME_REFUSE };
/* What becomes of live sessions whose credential is removed or replaced. */
enum config_credential_removed {
	CONFIG_CREDENTIAL_REMOVED_DROP,
	CONFIG_CREDENTIAL_REMOVED_KEEP,
	CONFIG_CREDENTIAL_REMOVED_REHANDSHAKE
};
enum config_client_certificate {
	CONFIG_CLIENT_CERTIFICATE_NONE,
	CONFIG_CLIENT_CERTIFICATE_OPTIONAL,
	CONFIG_CLIENT_CERTIFICATE_REQUIRED
};
enum config_expired_crl { CONFIG_EXPIRED_CRL_REFUSE, CONFIG_EXPIRED_CRL_USE };
enum config_ocsp_clients {
	CONFIG_OCSP_CLIENTS_NONE,
	CONFIG_OCSP_CLIENTS_OPTIONAL,
	CONFIG_OCSP_CLIENTS_REQUIRED
};
enum config_registrees { CONFIG_REGISTREES_OPTIONAL, CONFIG_REGISTREES_REQUIRED };

struct config_workers {
	uint32_t count;        /* 1..64 */
	enum config_idle idle; /* sleep when there is nothing to do, or poll */
	uint32_t idle_us;      /* longest sleep of an idle worker, 10..10000 */
	char *cores;           /* EAL --lcores list; NULL: chosen from the count */
};

struct config_port {
	char **eal; /* arguments of the DPDK EAL, one per entry: "--no-huge", "-m", "256", "--vdev",
		       "net_tap0,iface=sluice0" */
	unsigned eal_count;
	char *ipv4; /* address/prefix of the gateway; NULL: no IPv4 */
	char *ipv6;
	uint32_t vlan; /* 0: untagged */
	uint32_t udp_port;
	uint32_t mtu; /* IP packet, 576..9000 */
	uint32_t rx_descriptors, tx_descriptors;
	uint32_t mbufs; /* per worker */
};

struct config_sessions {
	uint32_t max; /* per worker; memory is taken at start */
	uint32_t idle_timeout_s;
	uint32_t failed_tags_max; /* RFC 9147 4.5.3 */
	bool cid;                 /* take up RFC 9146 when the client offers it */
};

struct config_handshakes {
	uint32_t max;           /* in flight, all workers */
	uint32_t timeout_s;     /* a handshake not done by then is given up */
	uint32_t retransmit_ms; /* first retransmission: RFC 6347 4.2.4.1 */
	uint32_t rate;          /* new ones per second, total */
	uint32_t rate_prefix;   /* new ones per second of one /24 or /56 */
	uint32_t mtu;           /* of a handshake datagram, IP packet */
	uint32_t cookie_rotation_s;
	char *ticket_keys; /* file; NULL: random ones */
	uint32_t ticket_lifetime_s;
};

/* What is negotiated: of the default tenant in the section tls, of every other one in its entry of tenants.
 */
struct config_tls {
	char **suites; /* IANA names, in order of preference; NULL: the default list */
	unsigned suites_count;
	char *certificate;   /* PEM chain; NULL: no certificate suites */
	char *key;           /* PEM */
	char *raw_key;       /* PEM private key, shown as raw public key (RFC 7250); NULL: none */
	char *trust_anchors; /* PEM, for client certificates */
	char **crls;         /* files: PEM or DER */
	unsigned crls_count;
	enum config_expired_crl expired_crl;
	bool ocsp_stapling; /* of our own certificate: RFC 6066 8 */
	enum config_ocsp_clients ocsp_clients;
	char *ocsp_responder; /* URL; NULL: the one that a certificate names */
	enum config_client_certificate client_certificate;
	enum config_registrees registrees; /* must a certificate be that of a registree? */
	bool require_ems;                  /* RFC 7627 */
	bool reveal_unknown_psk;           /* RFC 4279 2 */
	enum config_credential_removed credential_removed;
	uint32_t rehandshake_s;  /* in which all of them are told to come again */
	uint32_t handshake_rate; /* of the tenant, per second; 0: no limit */
	uint32_t sessions_max;   /* of the tenant; 0: no limit */
	bool tickets;            /* resumption, RFC 5077 */
	char **exporters;        /* labels of RFC 5705 */
	unsigned exporters_count;
	enum config_unknown_server_name unknown_server_name; /* of the section tls only: whose is a hello */
};

/* Nothing is inherited from the section tls. */
struct config_tenant {
	char *name;
	char **server_names; /* RFC 6066: exact, or "*.example.org"; lower case or not */
	unsigned server_names_count;
	struct config_tls tls;
};

struct config_credentials {
	char *psk_file;            /* identity:hexkey per line; of the default tenant */
	char *store;               /* directory of the LMDB store; NULL: none */
	char *store_key;           /* wraps the keys in it, or in Redis; NULL: they are not wrapped */
	char *redis;               /* host:port, [IPv6]:port or unix:/path of a Redis server; NULL: none */
	char *redis_password_file; /* NULL: no password */
	uint32_t redis_timeout_ms; /* of one look-up */
	uint32_t redis_cache_s;    /* how long answers are remembered */
};

struct config_ring {
	char *socket;
	char *mode;  /* octal, of the socket */
	char *group; /* NULL: unchanged */
	uint32_t uplink_kib, downlink_kib;
};

struct config_admin {
	char *socket;     /* NULL: none */
	char *mode;       /* octal, of the socket */
	char *group;      /* NULL: unchanged */
	uint32_t history; /* handshakes remembered for `sluicectl why` */
};

struct config {
	struct config_workers workers;
	struct config_port port;
	struct config_sessions sessions;
	struct config_handshakes handshakes;
	struct config_tls tls;
	struct config_tenant *tenants; /* beside the default one, whose name is "" */
	unsigned tenants_count;
	struct config_credentials credentials;
	struct config_ring ring;
	struct config_admin admin;
	char *crypto_engine; /* NULL: the fastest */
	char *log_level;     /* "error", "warning", "info", "debug" */
};

/* Reads, fills in defaults and checks everything that can be checked without starting (bounds, names of
 * suites, addresses, files that must be readable). Main or control thread. Returns NULL on failure with a
 * complete sentence in error: the file, the line where there is one, the key, its value, what is allowed;
 * 2048 bytes hold every one. The caller owns the result. */
struct config *config_load(const char *path, char *error, size_t error_len);

/* The same from memory; name stands for the file in messages. */
struct config *config_load_text(const char *text, size_t len, const char *name, char *error,
				size_t error_len);
void config_free(struct config *c);

/* Prints every option as a commented YAML file with its default, unit, bounds and help: what
 * config/sluice.yaml holds. */
void config_print_schema(FILE *out);

/* Prints the manual page sluice.yaml(5) in man(7) form: the same, for `man`. */
void config_print_manual(FILE *out);

/* Takes port.ipv4 or port.ipv6 apart: "192.0.2.1/24". ip in network byte order, IPv4 as ::ffff:a.b.c.d with
 * prefix_len up to 32. False when it is neither. */
bool config_parse_prefix(const char *text, uint8_t ip[16], unsigned *prefix_len);

#endif
