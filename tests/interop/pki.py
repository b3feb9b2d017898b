"""A small P-256 PKI with the certificates that a gateway must take, and those that it must refuse."""

import datetime
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


def key_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def name_of(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def issue(common_name, issuer=None, ca=False, usage=None, start=-DAY, days=30, curve=None, names=()):
    """Returns (certificate, key). issuer: such a pair; None signs itself."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    issuer_name, issuer_key = (issuer[0].subject, issuer[1]) if issuer else (name_of(common_name), key)
    now = datetime.datetime.utcnow()
    builder = (x509.CertificateBuilder().subject_name(name_of(common_name)).issuer_name(issuer_name)
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(now + start).not_valid_after(now + start + days * DAY)
               .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
               .add_extension(x509.KeyUsage(digital_signature=not ca, content_commitment=False,
                                            key_encipherment=False, data_encipherment=False, key_agreement=False,
                                            key_cert_sign=ca, crl_sign=ca, encipher_only=False,
                                            decipher_only=False), critical=True))
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    return builder.sign(issuer_key, hashes.SHA256()), key


def make(folder):
    """Writes NAME.pem and NAME.key for every certificate; returns file name -> path."""
    client, server = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
    ca, other_ca = issue("Sluice demo CA", ca=True), issue("Another CA", ca=True)
    pairs = {
        "ca": ca,
        "other-ca": other_ca,
        "server": issue("gateway.example", ca, usage=server, names=[x509.DNSName("gateway.example")]),
        "device": issue("device-1.example", ca, usage=client, names=[x509.DNSName("device-1.example")]),
        "untrusted": issue("device-1.example", other_ca, usage=client),
        "self-signed": issue("device-1.example", usage=client),
        "expired": issue("device-1.example", ca, usage=client, start=-40 * DAY),
        "not-yet": issue("device-1.example", ca, usage=client, start=2 * DAY),
        "wrong-usage": issue("device-1.example", ca, usage=server),
        "by-a-device": issue("device-2.example", issue("not a CA", ca, usage=client), usage=client),
    }
    os.makedirs(folder, exist_ok=True)
    paths = {}
    for name, (certificate, key) in pairs.items():
        for suffix, data in ((".pem", certificate.public_bytes(serialization.Encoding.PEM)), (".key", key_pem(key))):
            paths[name + suffix] = os.path.join(folder, name + suffix)
            with open(os.open(paths[name + suffix], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
    return paths


def pair(paths, name):
    """(PEM certificate, PEM key) as bytes."""
    out = []
    for suffix in (".pem", ".key"):
        with open(paths[name + suffix], "rb") as file:
            out.append(file.read())
    return tuple(out)
