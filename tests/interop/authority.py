"""Certificates of every kind for registrees, right and wrong; revocation lists and an OCSP responder."""

import datetime
import os
import socket
import subprocess
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

import pki

DAY = pki.DAY
HARDWARE_MODULE_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4")


def usage(**wanted):
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: wanted.get(name, False) for name in names})


def issue(common_name, issuer=None, ca=False, names=(), start=-DAY, days=30, curve=None, hash=None, path_length=None,
          key_usage=None, extended=ExtendedKeyUsageOID.CLIENT_AUTH, constraints=None, ocsp=None, key=None):
    """(certificate, key); issuer: such a pair, None signs itself; ocsp: URL of the responder."""
    key = key or ec.generate_private_key(curve or ec.SECP256R1())
    issuer_name, issuer_key = (issuer[0].subject, issuer[1]) if issuer else (pki.name_of(common_name), key)
    now = datetime.datetime.utcnow()
    extensions = [(x509.BasicConstraints(ca, path_length), True),
                  (key_usage or usage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca), True)]
    if extended and not ca:
        extensions.append((x509.ExtendedKeyUsage([extended]), False))
    if names:
        extensions.append((x509.SubjectAlternativeName(list(names)), False))
    if constraints:
        extensions.append((constraints, True))
    if ocsp:
        description = x509.AccessDescription(x509.AuthorityInformationAccessOID.OCSP,
                                             x509.UniformResourceIdentifier(ocsp))
        extensions.append((x509.AuthorityInformationAccess([description]), False))
    builder = (x509.CertificateBuilder().subject_name(pki.name_of(common_name)).issuer_name(issuer_name)
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(now + start).not_valid_after(now + start + days * DAY))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hash or hashes.SHA256()), key


def hardware_module(oid_der, serial):
    """RFC 4108 5."""
    parts = oid_der + bytes([4, len(serial)]) + serial
    return x509.OtherName(HARDWARE_MODULE_NAME, bytes([0x30, len(parts)]) + parts)


def crl(issuer, revoked=(), days=7, start=-DAY, signer=None):
    """A revocation list of the issuer about these certificates; signer: another key than its own."""
    now = datetime.datetime.utcnow()
    builder = (x509.CertificateRevocationListBuilder().issuer_name(issuer[0].subject).last_update(now + start)
               .next_update(now + start + days * DAY))
    for certificate in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            .revocation_date(now + start).build())
    return builder.sign(signer or issuer[1], hashes.SHA256())


def pem(thing):
    return thing.public_bytes(serialization.Encoding.PEM)


class Folder:
    """Keeps certificates, chains and keys as files."""

    def __init__(self, path):
        self.path = path
        os.makedirs(path, exist_ok=True)

    def __call__(self, name):
        return os.path.join(self.path, name)

    def write(self, name, data):
        """In one step: who reads sees the old file or the new one."""
        with open(os.open(self(name) + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        os.replace(self(name) + ".new", self(name))
        return self(name)

    def keep(self, name, pair, chain=()):
        """NAME.pem with the chain behind it, NAME.key and NAME.pub."""
        self.write(name + ".pem", pem(pair[0]) + b"".join(pem(c) for c, _ in chain))
        self.write(name + ".pub", pair[1].public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
        self.write(name + ".key", pki.key_pem(pair[1]))
        return pair


def version_1(folder, name, issuer_name):
    """What `openssl x509 -req` makes without an extension file."""
    run = lambda *c: subprocess.run(c, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder.write(name + ".key", pki.key_pem(ec.generate_private_key(ec.SECP256R1())))
    run("openssl", "req", "-new", "-key", folder(name + ".key"), "-subj", "/CN=" + name, "-out", folder(name + ".csr"))
    run("openssl", "x509", "-req", "-in", folder(name + ".csr"), "-CA", folder(issuer_name + ".pem"), "-CAkey",
        folder(issuer_name + ".key"), "-set_serial", "77", "-days", "9", "-out", folder(name + ".pem"))


class Responder:
    """`openssl ocsp`; statuses: certificate -> True (good) or False (revoked); others are unknown to it."""

    def __init__(self, folder, ca_name, statuses, port, signer=None, minutes=5):
        index = b""
        for certificate, good in statuses.items():
            expiry = certificate.not_valid_after.strftime("%y%m%d%H%M%SZ")
            line = "V\t{}\t\t{:X}\tunknown\t/CN=x\n" if good else "R\t{}\t230101000000Z\t{:X}\tunknown\t/CN=x\n"
            serial = f"{certificate.serial_number:X}"
            serial = "0" * (len(serial) % 2) + serial
            index += line.replace("{:X}", serial).format(expiry).encode()
        folder.write("index.txt", index)
        folder.write("index.txt.attr", b"unique_subject = no\n")
        signer = signer or ca_name
        command = ["openssl", "ocsp", "-index", folder("index.txt"), "-port", str(port), "-CA",
                   folder(ca_name + ".pem"), "-rsigner", folder(signer + ".pem"), "-rkey", folder(signer + ".key"),
                   "-nmin", str(minutes)]
        self.log = open(folder("ocsp.log"), "ab")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.port = port
        end = time.monotonic() + 10
        while not self.listens():
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError("the OCSP responder does not start")
            time.sleep(0.02)

    def listens(self):
        """Without a connection, which the responder would take for a request and wait for its end."""
        with open("/proc/net/tcp") as v4, open("/proc/net/tcp6") as v6:
            wanted = f":{self.port:04X}"
            return any(line.split()[1].endswith(wanted) and line.split()[3] == "0A"
                       for file in (v4, v6) for line in list(file)[1:])

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


class Silent:
    """A responder that takes connections and says nothing."""

    def __init__(self, port):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", port))
        self.socket.listen(64)
        self.socket.setblocking(False)
        self.connections = []

    def asked(self):
        """Whether somebody has connected."""
        try:
            self.connections.append(self.socket.accept()[0])
        except BlockingIOError:
            pass
        return bool(self.connections)

    def stop(self):
        for connection in self.connections:
            connection.close()
        self.socket.close()
