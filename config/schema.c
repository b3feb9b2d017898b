#include "config/schema.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/check.h"

/* NOLINTBEGIN(bugprone-macro-parentheses): members cannot be put into parentheses */
#define SECTION(member, text)                                                                                \
	{                                                                                                    \
		.name = #member, .help = (text), .offset = offsetof(struct config, member),                  \
		.size = sizeof(((struct config *)NULL)->member)                                              \
	}

/* An option is named as its member. */
#define IN(s, member)    .section = #s, .name = #member, .offset = offsetof(struct config_##s, member)
#define TOP(member)      .section = NULL, .name = #member, .offset = offsetof(struct config, member)
#define COUNT(s, member) .count_offset = offsetof(struct config_##s, member)
/* The same in each entry of the list of tenants. */
#define IN_TENANTS(member)                                                                                   \
	.section = "tenants", .name = #member, .offset = offsetof(struct config_tenant, member)
#define COUNT_TENANTS(member) .count_offset = offsetof(struct config_tenant, member)
/* NOLINTEND(bugprone-macro-parentheses) */
#define NUMBER(low, high, of, value)                                                                         \
	.type = OPTION_NUMBER, .min = (low), .max = (high), .unit = (of), .fallback = (value)
#define BOOL(value)          .type = OPTION_BOOL, .choices = bools, .fallback = (value)
#define CHOICE(names, value) .type = OPTION_CHOICE, .choices = (names), .fallback = (value)
#define NAME(names, value)   .type = OPTION_NAME, .choices = (names), .fallback = (value)
#define TEXT(longest, value) .type = OPTION_TEXT, .min = 1, .max = (longest), .fallback = (value)
#define LIST(most)           .type = OPTION_LIST, .min = 0, .max = (most)

/* Even positions are true: what may stand for a bool. */
static const char *const bools[] = {"true", "false", "yes", "no", "on", "off", NULL};
static const char *const idles[] = {"sleep", "poll", NULL};                       /* enum config_idle */
static const char *const expired_crls[] = {"refuse", "use", NULL};                /* its enum */
static const char *const ocsp_clients[] = {"none", "optional", "required", NULL}; /* its enum */
static const char *const registrees[] = {"optional", "required", NULL};           /* its enum */
static const char *const client_certificates[] = {"none", "optional", "required", NULL}; /* its enum */
static const char *const unknown_server_names[] = {"default", "refuse", NULL};           /* its enum */
static const char *const credential_removals[] = {"drop", "keep", "rehandshake", NULL};  /* its enum */
static const char *const engines[] = {"vaes", "ipsec-mb", "reference", NULL};
static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};

static const struct config_section sections[] = {
	SECTION(workers, "The threads that carry records: each owns its sessions and one queue of the port."),
	SECTION(port, "The DPDK port and the address of the gateway on it."),
	SECTION(sessions, "Established sessions. Their memory is taken at start."),
	SECTION(handshakes, "Admission and timing of handshakes."),
	SECTION(tls, "What the gateway negotiates, and its certificate."),
	SECTION(credentials, "What devices prove their identity with."),
	SECTION(ring, "Shared memory between the gateway and the application."),
	SECTION(admin, "The operator's socket: sluicectl, health, metrics for Prometheus, look-ups."),
};

static const struct config_list lists[] = {
	{
		.name = "tenants",
		.help = "Tenants beside the default one, chosen by the server name that a device asks for "
			"(SNI, RFC "
			"6066). Each has credentials of its own, and takes every option of tls but "
			"unknown_server_name; what is left out has its default, nothing is taken over from "
			"tls.",
		.section = "tls",
		.example = "suites: [TLS_PSK_WITH_AES_128_CCM_8]",
		.section_offset = offsetof(struct config_tenant, tls),
		.size = sizeof(struct config_tenant),
		.offset = offsetof(struct config, tenants),
		.count_offset = offsetof(struct config, tenants_count),
		.max = CONFIG_TENANTS_MAX,
	},
};

/* clang-format off: one option, one block */
static const struct config_option options[] = {
	{IN(workers, count), NUMBER(1, 64, "threads", "1"),
	 .help = "Number of workers. The control thread comes on top of them."},
	{IN(workers, idle), CHOICE(idles, "sleep"),
	 .help = "What a worker without packets does: sleep for short whiles, or poll and use its core fully "
		 "for the lowest latency."},
	{IN(workers, idle_us), NUMBER(10, 10000, "microseconds", "500"),
	 .help = "Longest sleep of an idle worker; bounds the latency of the first packet after a silence."},
	{IN(workers, cores), TEXT(255, NULL), .check = check_cores, .example = "0@1,1@2",
	 .help = "Which cores the threads run on, as --lcores of DPDK. Without it they are chosen from the "
		 "count."},

	{IN(port, eal), COUNT(port, eal_count), LIST(64), .check = check_eal, .shown = true,
	 .example = "[\"--no-huge\", \"-m\", \"256\", \"--no-pci\", \"--vdev\", \"net_tap0,iface=sluice0\"]",
	 .help = "Arguments for the environment layer of DPDK, which choose the port; one argument per "
		 "entry. The "
		 "example makes a TAP interface and needs neither hugepages nor a network card. Without it "
		 "DPDK "
		 "takes the first card bound to it."},
	{IN(port, ipv4), TEXT(18, NULL), .check = check_ipv4, .shown = true, .example = "10.77.0.1/24",
	 .help = "IPv4 address of the gateway with the length of its prefix. At least one of ipv4 and ipv6 "
		 "is needed."},
	{IN(port, ipv6), TEXT(49, NULL), .check = check_ipv6, .example = "2001:db8::1/64",
	 .help = "IPv6 address of the gateway with the length of its prefix."},
	{IN(port, vlan), NUMBER(0, 4094, "VLAN identifier", "0"),
	 .help = "VLAN that the gateway's packets carry. 0: untagged."},
	{IN(port, udp_port), NUMBER(1, 65535, "UDP port", "5684"),
	 .help = "Where devices speak DTLS to. 5684 is that of CoAP over DTLS."},
	{IN(port, mtu), NUMBER(576, 9000, "bytes", "1500"),
	 .help = "Largest IP packet. A record that would be larger is refused to the application."},
	{IN(port, rx_descriptors), NUMBER(64, 32768, "packets", "1024"), .check = check_power_of_two,
	 .help = "Depth of each receive queue; the port may round it. A power of two."},
	{IN(port, tx_descriptors), NUMBER(64, 32768, "packets", "1024"), .check = check_power_of_two,
	 .help = "Depth of each transmit queue; the port may round it. A power of two."},
	{IN(port, mbufs), NUMBER(1024, 4194304, "packets", "8191"),
	 .help = "Packet buffers of each worker, about 2.3 KiB each. More than both queues hold; 2^n - 1 "
		 "wastes least."},

	{IN(sessions, max), NUMBER(1, 16000000, "sessions", "100000"),
	 .help = "Sessions that each worker can hold. When it is full the least recently used one goes."},
	{IN(sessions, idle_timeout_s), NUMBER(1, 31536000, "seconds", "86400"),
	 .help = "A session without an authentic record for so long is closed."},
	{IN(sessions, failed_tags_max), NUMBER(1, 2147483647, "records", "65536"),
	 .help = "A session ends after so many records that failed authentication: RFC 9147 4.5.3 tells why. "
		 "A "
		 "lower limit leaves a forger less, but lets whoever can write its address end a session "
		 "sooner."},
	{IN(sessions, cid), BOOL("true"),
	 .help = "Connection identifiers (RFC 9146) for clients that offer them: sessions then survive a new "
		 "address."},

	{IN(handshakes, max), NUMBER(1, 65536, "handshakes", "2000"),
	 .help = "Handshakes in flight, of all workers together; each takes up to 25 KiB while it lasts."},
	{IN(handshakes, timeout_s), NUMBER(1, 300, "seconds", "30"),
	 .help = "A handshake that is not done by then is given up."},
	{IN(handshakes, retransmit_ms), NUMBER(100, 60000, "milliseconds", "1000"),
	 .help = "First retransmission of a flight; the wait doubles each time (RFC 6347 4.2.4.1)."},
	{IN(handshakes, rate), NUMBER(1, 1000000, "handshakes per second", "5000"),
	 .help = "New handshakes admitted, in total. Established sessions are never slowed by it."},
	{IN(handshakes, rate_prefix), NUMBER(1, 1000000, "handshakes per second", "1000"),
	 .help = "New handshakes admitted from one /24 (IPv4) or one /56 (IPv6)."},
	{IN(handshakes, mtu), NUMBER(296, 9000, "bytes", "1280"),
	 .help = "Largest IP packet that a flight of a handshake is cut into; not above port.mtu."},
	{IN(handshakes, cookie_rotation_s), NUMBER(1, 3600, "seconds", "60"),
	 .help = "Age at which the secret behind the cookies is replaced; the one before stays valid for as "
		 "long."},
	{IN(handshakes, ticket_lifetime_s), NUMBER(10, 604800, "seconds", "86400"),
	 .help = "How long a session ticket is good for, where tls.tickets gives devices such. It is the "
		 "longest "
		 "time, too, that the keys of resumed sessions rest on one key exchange."},
	{IN(handshakes, ticket_keys), TEXT(4095, NULL), .check = check_secret_file,
	 .example = "/etc/sluice/ticket-keys",
	 .help = "File with one to four secrets of 64 hexadecimal digits, one per line, that session tickets "
		 "are "
		 "sealed with: the first seals, all open. Closed to other users; read again when it changes. "
		 "Gateways with the same file take each other's tickets, also after a restart. Without it "
		 "the "
		 "secret is random and gone with the process."},

	{IN(tls, suites), COUNT(tls, suites_count), LIST(32), .check = check_suite,
	 .example = "[TLS_PSK_WITH_AES_128_CCM_8, TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8]",
	 .help = "Cipher suites by IANA name, preferred ones first. Without it: those of oneM2M and LwM2M, "
		 "and GCM."},
	{IN(tls, certificate), TEXT(4095, NULL), .check = check_certificates,
	 .example = "/etc/sluice/certificate.pem",
	 .help = "PEM file: the gateway's certificate, then those that lead to its root. Without it and "
		 "without raw_key no suite with certificates is offered. When this file, key, raw_key or "
		 "trust_anchors changes it is read anew within two seconds, or at once on SIGHUP; what "
		 "cannot "
		 "be used leaves all of the tenant's as they were."},
	{IN(tls, key), TEXT(4095, NULL), .check = check_private_key, .example = "/etc/sluice/key.pem",
	 .help = "PEM file: the private key of the certificate, closed to other users. It may be replaced "
		 "before or after the certificate: a key that does not belong to it is waited for."},
	{IN(tls, raw_key), TEXT(4095, NULL), .check = check_private_key, .example = "/etc/sluice/raw-key.pem",
	 .help = "PEM file: a private key whose public key is shown as it is (RFC 7250) to devices that take "
		 "raw public keys, closed to other users. Devices know it by its name of RFC 6920, which the "
		 "log "
		 "has."},
	{IN(tls, trust_anchors), TEXT(4095, NULL), .check = check_certificates,
	 .example = "/etc/sluice/roots.pem",
	 .help = "PEM file: roots that certificates of devices must lead to. One that is taken away is "
		 "refused from then on; what becomes of live sessions that came in under it is "
		 "credential_removed."},
	{IN(tls, crls), COUNT(tls, crls_count), LIST(64), .check = check_readable,
	 .example = "[/etc/sluice/root.crl]",
	 .help = "Files with revocation lists, PEM or DER. They are looked at every second; one that becomes "
		 "unusable leaves in force what it said before. A CA without a list is not asked about. Live "
		 "sessions whose certificate a list names, or a CA above it, go by credential_removed."},
	{IN(tls, expired_crl), CHOICE(expired_crls, "refuse"),
	 .help = "What a revocation list past its time is worth: refuse turns away everybody that it speaks "
		 "about, use goes by it all the same. Live sessions end only when it names them."},
	{IN(tls, ocsp_stapling), BOOL("false"),
	 .help = "Staple the status of the gateway's certificate to handshakes of devices that ask for it. "
		 "It is "
		 "fetched from the OCSP responder that the certificate names, at times that keep no device "
		 "waiting."},
	{IN(tls, ocsp_clients), CHOICE(ocsp_clients, "none"),
	 .help = "Whether an OCSP responder is asked about a device's certificate. A revoked one is refused "
		 "either way; with optional, one that nobody answers about is let in."},
	{IN(tls, ocsp_responder), TEXT(1023, NULL), .check = check_http_url,
	 .example = "http://ocsp.example.org/",
	 .help = "The responder for devices, and for the gateway's own certificate if that names none. "
		 "Without "
		 "it: the one that each certificate names."},
	{IN(tls, client_certificate), CHOICE(client_certificates, "none"),
	 .help = "Whether devices that use a certificate suite are asked for theirs. One that offers both, a "
		 "raw "
		 "public key and an X.509 certificate of its own, is asked for the certificate."},
	{IN(tls, registrees), CHOICE(registrees, "optional"),
	 .help = "Whether a certificate of a device must have a registree in the credential store, under one "
		 "of "
		 "its names and under the very root that it leads to; otherwise one without stands for "
		 "itself, "
		 "under the first of its names."},
	{IN(tls, require_ems), BOOL("true"),
	 .help = "Refuse clients without the extended master secret (RFC 7627)."},
	{IN(tls, tickets), BOOL("false"),
	 .help = "Give devices that ask for it a ticket (RFC 5077), with which they are back after two "
		 "flights and "
		 "without a signature. It is worth nothing once the credential is gone or replaced. Sessions "
		 "with "
		 "X.509 certificates get none."},
	{IN(tls, exporters), COUNT(tls, exporters_count), LIST(8), .check = check_exporter_label,
	 .example = "[EXPORTER-oneM2M-Connection]",
	 .help = "Labels of keying material (RFC 5705) that the application is given with each new session, "
		 "48 bytes "
		 "each. Those of oneM2M are EXPORTER-oneM2M-Bootstrap, EXPORTER-oneM2M-Connection and "
		 "EXPORTER-oneM2M-ESCertKE."},
	{IN(tls, reveal_unknown_psk), BOOL("false"),
	 .help = "Tell a device whose PSK identity is unknown so, with the alert unknown_psk_identity. "
		 "Otherwise it "
		 "sees what a wrong key looks like, and nobody can try identities out."},
	{IN(tls, credential_removed), CHOICE(credential_removals, "drop"),
	 .help = "What becomes of live sessions whose credential is removed from the store or replaced in "
		 "it, or whose certificate is revoked or its trust anchor taken away, within "
		 "a second: drop closes them at once; keep lets them live; rehandshake lets them go on and "
		 "closes one "
		 "after the other within rehandshake_s, so that the devices do not all come again in the "
		 "same second. "
		 "Closing is a close_notify to the device and an event to the application."},
	{IN(tls, rehandshake_s), NUMBER(1, 86400, "seconds", "60"),
	 .help = "Time over which credential_removed: rehandshake spreads the ends of sessions."},
	{IN(tls, handshake_rate), NUMBER(0, 1000000, "handshakes per second", "0"),
	 .help = "New handshakes that this tenant is admitted, within handshakes.rate. 0: no limit of its "
		 "own."},
	{IN(tls, sessions_max), NUMBER(0, 1000000000, "sessions", "0"),
	 .help = "Sessions that this tenant can have, within those of the workers; a new one takes the place "
		 "of its "
		 "oldest. 0: no limit of its own."},
	{IN(tls, unknown_server_name), CHOICE(unknown_server_names, "default"), .single = true,
	 .help = "What becomes of a device that asks for a server name of no tenant: it is one of the "
		 "default "
		 "tenant, or it is refused with the alert unrecognized_name. Without a server name it is "
		 "always one "
		 "of the default tenant."},

	{IN_TENANTS(name), TEXT(63, NULL), .check = check_tenant_name, .example = "utility",
	 .help = "Name of the tenant; sluicectl and the application know it by that."},
	{IN_TENANTS(server_names), COUNT_TENANTS(server_names_count), LIST(64), .check = check_server_name,
	 .example = "[iot.utility.example, \"*.meters.utility.example\"]",
	 .help = "Server names that choose this tenant; with *. in front every name below. An exact name "
		 "goes before "
		 "a longer one with *., and that before a shorter one."},

	{IN(credentials, psk_file), TEXT(4095, NULL), .check = check_secret_file, .shown = true,
	 .example = "/etc/sluice/psk.txt",
	 .help = "Pre-shared keys of the default tenant, one \"identity:hexkey\" per line; closed to other "
		 "users. When it changes it is read anew within two seconds, or at once on SIGHUP; what "
		 "cannot be "
		 "used leaves all keys as they were. Where no credentials are configured no suite with "
		 "pre-shared "
		 "keys "
		 "is offered."},
	{IN(credentials, store), TEXT(4000, NULL), .check = check_store,
	 .example = "/var/lib/sluice/credentials",
	 .help = "Directory of the credential store (LMDB), which sluicectl makes and changes while the "
		 "gateway "
		 "runs. With a psk_file, too, that is asked first."},
	{IN(credentials, store_key), TEXT(4095, NULL), .check = check_secret_file,
	 .example = "/etc/sluice/store.key",
	 .help = "File with the key that wraps the secrets in the store or in Redis; closed to other users. "
		 "It is "
		 "read when the store is opened, for Redis at start: another key is another store."},
	{IN(credentials, redis), TEXT(159, NULL), .check = check_redis,
	 .example = "unix:/run/redis/redis.sock",
	 .help = "Redis or Valkey server that holds the credentials instead of a store, for several "
		 "gateways: "
		 "host:port, [IPv6]:port or unix:/path. The connection is not encrypted: over a network it "
		 "needs a tunnel (stunnel). A name is resolved once, at start."},
	{IN(credentials, redis_password_file), TEXT(4095, NULL), .check = check_secret_file,
	 .example = "/etc/sluice/redis.password",
	 .help = "File with the password of that server, one line; closed to other users. It is read anew "
		 "before "
		 "each connection when it has changed."},
	{IN(credentials, redis_timeout_ms), NUMBER(10, 10000, "ms", "500"),
	 .help = "A look-up without an answer by then fails, and its handshake is refused."},
	{IN(credentials, redis_cache_s), NUMBER(1, 3600, "s", "5"),
	 .help = "How long answers are remembered, those about unknown credentials too; less when the store "
		 "changes."},

	{IN(ring, socket), TEXT(107, "/run/sluice/ring.sock"), .check = check_socket,
	 .help = "Unix socket where the application attaches and is given the rings."},
	{IN(ring, mode), TEXT(4, "0660"), .check = check_mode,
	 .help = "File mode of that socket, octal. Who may connect sees every session in clear."},
	{IN(ring, group), TEXT(255, NULL), .check = check_group, .example = "sluice",
	 .help = "Group of that socket. Without it: the group that the gateway runs as."},
	{IN(ring, uplink_kib), NUMBER(256, 1048576, "KiB", "4096"), .check = check_power_of_two,
	 .help = "Ring from each worker to the application. A power of two. What does not fit is dropped and "
		 "counted."},
	{IN(ring, downlink_kib), NUMBER(256, 1048576, "KiB", "4096"), .check = check_power_of_two,
	 .help = "Ring from the application to each worker. A power of two."},

	{IN(admin, socket), TEXT(107, "/run/sluice/admin.sock"), .check = check_socket,
	 .help = "Unix socket for sluicectl, and for whoever scrapes metrics; it speaks HTTP."},
	{IN(admin, mode), TEXT(4, "0660"), .check = check_mode,
	 .help = "File mode of that socket, octal. Who may connect sees who is connected, and may close "
		 "sessions."},
	{IN(admin, group), TEXT(255, NULL), .check = check_group, .example = "sluice",
	 .help = "Group of that socket. Without it: the group that the gateway runs as."},
	{IN(admin, history), NUMBER(1, 65536, "handshakes", "4096"),
	 .help = "Handshakes remembered for \"sluicectl why\", 16 of one device at most; about 1.2 KiB "
		 "each."},

	{TOP(crypto_engine), NAME(engines, NULL), .example = "ipsec-mb",
	 .help = "Implementation of the record protection. Without it: the fastest that runs here."},
	{TOP(log_level), NAME(log_levels, "info"),
	 .help = "The least important messages that are still logged."},
};
/* clang-format on */

static_assert(sizeof(options) / sizeof(options[0]) <= OPTIONS_MAX, "arrays elsewhere are of this size");

const struct config_section *schema_sections(unsigned *count)
{
	*count = sizeof(sections) / sizeof(sections[0]);
	return sections;
}

const struct config_list *schema_lists(unsigned *count)
{
	*count = sizeof(lists) / sizeof(lists[0]);
	return lists;
}

const struct config_option *schema_options(unsigned *count)
{
	*count = sizeof(options) / sizeof(options[0]);
	return options;
}

bool option_belongs(const struct config_option *o, const char *section)
{
	if (o->section == NULL || section == NULL)
		return o->section == section;
	if (strcmp(o->section, section) == 0)
		return true;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		if (strcmp(lists[i].name, section) == 0)
			return strcmp(lists[i].section, o->section) == 0 && !o->single;
	return false;
}

const struct config_option *schema_find(const char *section, const char *name)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (option_belongs(&options[i], section) && strcmp(options[i].name, name) == 0)
			return &options[i];
	return NULL;
}

const char *option_key(const struct config_option *o, char *out, size_t out_len)
{
	snprintf(out, out_len, "%s%s%s", o->section != NULL ? o->section : "", o->section != NULL ? "." : "",
		 o->name);
	return out;
}

static const char *list_choices(const struct config_option *o, char *out, size_t out_len)
{
	size_t used = 0;

	out[0] = 0;
	for (unsigned i = 0; o->choices[i] != NULL; i++) {
		bool last = o->choices[i + 1] == NULL;

		snprintf(out + used, out_len - used, "%s%s",
			 i == 0 ? ""
			 : last ? " or "
				: ", ",
			 o->choices[i]);
		used = strlen(out);
	}
	return out;
}

const char *option_allowed(const struct config_option *o, char *out, size_t out_len)
{
	switch (o->type) {
	case OPTION_NUMBER:
		snprintf(out, out_len, "a whole number from %u to %u (%s)", o->min, o->max, o->unit);
		return out;
	case OPTION_BOOL:
		snprintf(out, out_len, "true or false");
		return out;
	case OPTION_CHOICE:
	case OPTION_NAME:
		return list_choices(o, out, out_len);
	case OPTION_TEXT:
		snprintf(out, out_len, "a text of %u to %u bytes", o->min, o->max);
		return out;
	case OPTION_LIST:
		snprintf(out, out_len, "a list of at most %u texts", o->max);
		return out;
	}
	return out;
}

/* Stricter than libcyaml, which takes "1 5" for 1, 010 for eight and a missing number for an error. */
static bool parse_number(const char *text, size_t len, uint32_t *value)
{
	uint64_t sum = 0;

	if (len == 0 || len > 10 || (text[0] == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		sum = sum * 10 + (uint64_t)(text[i] - '0');
	}
	*value = (uint32_t)sum;
	return sum <= UINT32_MAX;
}

static int find_choice(const struct config_option *o, const char *text)
{
	for (int i = 0; o->choices[i] != NULL; i++)
		if (strcmp(o->choices[i], text) == 0)
			return i;
	return -1;
}

bool option_accepts(const struct config_option *o, const char *text, size_t text_len)
{
	uint32_t number;

	switch (o->type) {
	case OPTION_NUMBER:
		return parse_number(text, text_len, &number) && number >= o->min && number <= o->max;
	case OPTION_BOOL:
	case OPTION_CHOICE:
	case OPTION_NAME:
		return find_choice(o, text) >= 0;
	case OPTION_TEXT:
		return text_len >= o->min && text_len <= o->max;
	case OPTION_LIST:
		return text_len > 0 && text_len <= 4095;
	}
	return false;
}

static bool append(const struct config_option *o, const char *text, void *base)
{
	unsigned *count = (unsigned *)(void *)((char *)base + o->count_offset);
	char ***list = (char ***)(void *)((char *)base + o->offset);
	char **grown = realloc((void *)*list, (*count + 1) * sizeof(*grown));

	if (grown == NULL)
		return false;
	*list = grown;
	grown[*count] = strdup(text);
	return grown[*count] != NULL && ++*count > 0;
}

bool option_store(const struct config_option *o, const char *text, void *base)
{
	char *at = (char *)base + o->offset;
	uint32_t number = 0;
	char *copy;

	switch (o->type) {
	case OPTION_NUMBER:
		(void)parse_number(text, strlen(text), &number);
		memcpy(at, &number, sizeof(number));
		return true;
	case OPTION_BOOL:
		*(bool *)(void *)at = find_choice(o, text) % 2 == 0;
		return true;
	case OPTION_CHOICE:
		number = (uint32_t)find_choice(o, text);
		memcpy(at, &number, sizeof(number));
		return true;
	case OPTION_NAME:
	case OPTION_TEXT:
		copy = strdup(text);
		memcpy(at, &copy, sizeof(copy));
		return copy != NULL;
	case OPTION_LIST:
		return append(o, text, base);
	}
	return false;
}
