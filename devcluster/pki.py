"""Certificates and kubeconfigs of a development cluster: one authority, one certificate each.

They live as long as the cluster's folder and are good for nothing else. Elliptic keys, because
drawing eight RSA keys takes longer than starting the API server.
"""

import base64
import datetime as dt
import ipaddress
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = dt.timedelta(days=365)
NODE_NAME = "devcluster"


@dataclass(frozen=True)
class Identity:
    """Who a certificate speaks for: the API server reads user and group from its subject."""

    file: str
    user: str
    group: str = ""


ADMIN = Identity("admin", "devcluster-admin", "system:masters")
CLIENTS = (
    ADMIN,
    Identity("kube-controller-manager", "system:kube-controller-manager"),
    Identity("kube-scheduler", "system:kube-scheduler"),
    Identity("kube-proxy", "system:kube-proxy"),
    Identity("kubelet", f"system:node:{NODE_NAME}", "system:nodes"),
)
SERVER = Identity("server", "devcluster")
SERVICE_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


def write_pki(folder: Path, addresses: Sequence[str], now: dt.datetime) -> None:
    """Writes `ca`, `server` and every client's `.crt` and `.key`, and `service-account.{key,pub}`.

    Args:
        folder: Receives the files; readable by the owner only.
        addresses: IP addresses the servers are reached under.
        now: Start of validity, with time zone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority = _Authority(now)
    _write(folder / "ca.crt", authority.certificate.public_bytes(serialization.Encoding.PEM))
    _write_key(folder / "ca.key", authority.key)
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in ("localhost", *SERVICE_NAMES)]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    authority.issue(folder, SERVER, names)
    for client in CLIENTS:
        authority.issue(folder, client, [])
    account_key = ec.generate_private_key(ec.SECP256R1())
    _write_key(folder / "service-account.key", account_key)
    _write(folder / "service-account.pub", _public_pem(account_key))


def write_kubeconfig(path: Path, server: str, pki: Path, identity: Identity) -> None:
    """Writes a kubeconfig (JSON, which is YAML) that stands alone: nothing in it is a path."""
    config = render_kubeconfig(
        server,
        authority=(pki / "ca.crt").read_text(),
        certificate=(pki / f"{identity.file}.crt").read_text(),
        key=(pki / f"{identity.file}.key").read_text(),
    )
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    _write(aside, json.dumps(config, indent=2).encode())
    aside.rename(path)


def render_kubeconfig(
    server: str, *, authority: str, certificate: str, key: str
) -> dict[str, object]:
    """A kubeconfig from PEM texts."""
    cluster = {"server": server, "certificate-authority-data": _base64(authority)}
    user = {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)}
    context = {"cluster": NODE_NAME, "user": NODE_NAME}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NODE_NAME, "cluster": cluster}],
        "users": [{"name": NODE_NAME, "user": user}],
        "contexts": [{"name": NODE_NAME, "context": context}],
        "current-context": NODE_NAME,
    }


class _Authority:
    def __init__(self, now: dt.datetime) -> None:
        self._from = now - dt.timedelta(minutes=5)  # clocks of containers may lag
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(Identity("ca", "devcluster-ca"))
        self.certificate = (
            self._builder(subject, subject, self.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    def issue(self, folder: Path, identity: Identity, names: list[x509.GeneralName]) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = self._builder(_subject(identity), self.certificate.subject, key)
        if names:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False).sign(
            self.key, hashes.SHA256()
        )
        _write_key(folder / f"{identity.file}.key", key)
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        _write(folder / f"{identity.file}.crt", pem)

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._from)
            .not_valid_after(self._from + LIFETIME)
        )


def _subject(identity: Identity) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, identity.user)]
    if identity.group:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, identity.group))
    return x509.Name(parts)


def _public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    _write(path, pem)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
