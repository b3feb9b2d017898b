"""The real clients: libcoap on OpenSSL and on GnuTLS, openssl s_client and gnutls-cli.

Each function talks once to a CoAP server through the gateway and returns a Result. The last two clients know
no CoAP: they are given a ready message on standard input, made so that both can carry it (gnutls-cli sends a
line, so there is no zero byte and no newline inside, and a newline at the end).
"""

import os
import select
import subprocess
import time

PAYLOAD = b"volume=1234.5m3"
PSK, ECDHE_ECDSA = "TLS_PSK_WITH_AES_128_CCM_8", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"
OPENSSL_SUITES = {PSK: "PSK-AES128-CCM8", ECDHE_ECDSA: "ECDHE-ECDSA-AES128-CCM8"}
GNUTLS_PRIORITIES = {
    PSK: "NONE:+VERS-DTLS1.2:+PSK:+AES-128-CCM-8:+AEAD:+COMP-NULL:+SIGN-ALL:+GROUP-ALL:+CTYPE-X.509",
    ECDHE_ECDSA: "NONE:+VERS-DTLS1.2:+ECDHE-ECDSA:+AES-128-CCM-8:+AEAD:+COMP-NULL:+SIGN-ALL:+GROUP-ALL:+CTYPE-X.509",
}


class Result:
    """sent and received: bytes of application data; seconds: how long the client ran."""

    def __init__(self, command, payload, answered, seconds, output):
        self.command, self.ok, self.seconds, self.output = command, answered, seconds, output
        self.sent, self.received = len(payload), len(payload) if answered else 0

    def __str__(self):
        return f"{' '.join(map(str, self.command))}\n{self.output.decode(errors='replace')}"


class Credential:
    """psk: (identity, key) as bytes, or certificate: (PEM file, key file); ca: file to check the gateway by."""

    def __init__(self, psk=None, certificate=None, ca=None):
        self.psk, self.certificate, self.ca = psk, certificate, ca
        self.suite = PSK if psk else ECDHE_ECDSA


def coap_put(payload, message_id=b"\x7d\x34"):
    """A confirmable PUT to /example_data with a two-byte token; the payload's last byte becomes a newline."""
    return b"\x42\x03" + message_id + b"tk\xbcexample_data\xff" + payload[:-1] + b"\n"


def coap_client(flavour, server, credential, payload=PAYLOAD, seconds=30, options=()):
    """coap-client-openssl or coap-client-gnutls."""
    host = f"[{server[0]}]" if ":" in server[0] else server[0]
    command = ["coap-client-" + flavour, "-v", "5", "-B", str(seconds), "-m", "put", "-e", payload.decode(), *options]
    if credential.psk:
        command += ["-u", credential.psk[0].decode(), "-k", credential.psk[1].decode()]
    else:
        if credential.certificate:
            command += ["-c", credential.certificate[0], "-j", credential.certificate[1]]
        command += ["-R", credential.ca]
    command.append(f"coaps://{host}:{server[1]}/example_data")
    start = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=seconds + 20)
    return Result(command, payload, payload in done.stdout, time.monotonic() - start, done.stdout + done.stderr)


def piped(command, payload, seconds):
    """Starts the client, sends a message through its standard input and waits for the echo in its output."""
    start = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        client.stdin.write(coap_put(payload))
        client.stdin.flush()
        # 2.01 the first time, 2.04 later; piggybacked, with our message and token.
        output, answers = b"", [code + b"\x7d\x34tk\xff" + payload[:-1] for code in (b"bA", b"bD")]
        while not any(answer in output for answer in answers) and (left := start + seconds - time.monotonic()) > 0:
            if not select.select([client.stdout], [], [], left)[0]:
                break
            chunk = os.read(client.stdout.fileno(), 65536)
            if not chunk:
                break
            output += chunk
        took = time.monotonic() - start
        try:
            client.stdin.close()  # a client that got its end of input says close_notify
            client.wait(1)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            client.terminate()
    return Result(command, payload, any(answer in output for answer in answers), took, output)


def openssl_client(server, credential, payload=PAYLOAD, seconds=30, options=()):
    host = f"[{server[0]}]" if ":" in server[0] else server[0]
    command = ["openssl", "s_client", "-dtls1_2", "-connect", f"{host}:{server[1]}", "-quiet", "-no_ign_eof",
               "-cipher", OPENSSL_SUITES[credential.suite] + ":@SECLEVEL=0", *options]
    if credential.psk:
        command += ["-psk_identity", credential.psk[0].decode(), "-psk", credential.psk[1].hex()]
    else:
        command += ["-CAfile", credential.ca, "-verify_return_error"]
        if credential.certificate:
            command += ["-cert", credential.certificate[0], "-key", credential.certificate[1]]
    return piped(command, payload, seconds)


def gnutls_client(server, credential, payload=PAYLOAD, seconds=30, options=()):
    command = ["gnutls-cli", "--udp", "--port", str(server[1]), "--priority", GNUTLS_PRIORITIES[credential.suite],
               *options]
    if credential.psk:
        command += ["--pskusername", credential.psk[0].decode(), "--pskkey", credential.psk[1].hex()]
    else:
        command += ["--x509cafile", credential.ca, "--verify-hostname", "gateway.example"]
        if credential.certificate:
            command += ["--x509certfile", credential.certificate[0], "--x509keyfile", credential.certificate[1]]
    return piped(command + [server[0]], payload, seconds)


def coap_client_openssl(*arguments, **options):
    return coap_client("openssl", *arguments, **options)


def coap_client_gnutls(*arguments, **options):
    return coap_client("gnutls", *arguments, **options)


ALL = {
    "coap-client-openssl": coap_client_openssl,
    "coap-client-gnutls": coap_client_gnutls,
    "openssl s_client": openssl_client,
    "gnutls-cli": gnutls_client,
}
