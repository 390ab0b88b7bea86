"""Certificates and kubeconfigs of a cluster."""

import base64
import datetime as dt
import ipaddress
import json

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from devcluster import pki

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("cluster") / "pki"
    pki.write_pki(made, ["127.0.0.1", "10.244.0.1"], NOW)
    return made


def certificate(folder, name):
    return x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())


@pytest.mark.parametrize("name", ["server", *(client.file for client in pki.CLIENTS)])
def test_every_certificate_is_signed_by_the_authority(folder, name):
    certificate(folder, name).verify_directly_issued_by(certificate(folder, "ca"))


def test_the_server_is_known_under_its_addresses_and_service_names(folder):
    names = certificate(folder, "server").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    addresses = names.value.get_values_for_type(x509.IPAddress)
    assert addresses == [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("10.244.0.1")]
    assert "kubernetes.default.svc" in names.value.get_values_for_type(x509.DNSName)


def test_the_administrator_is_of_the_group_that_may_do_everything(folder):
    subject = certificate(folder, "admin").subject
    (group,) = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert group.value == "system:masters"


def test_certificates_hold_for_clocks_that_lag_a_little_and_not_for_ever(folder):
    made = certificate(folder, "server")
    assert made.not_valid_before_utc < NOW < made.not_valid_after_utc
    assert made.not_valid_after_utc - NOW <= pki.LIFETIME


def test_keys_are_readable_by_their_owner_only(folder):
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


def test_a_kubeconfig_stands_alone(folder, tmp_path):
    path = tmp_path / "kubeconfig"
    for _ in range(2):  # written over what is there
        pki.write_kubeconfig(path, "https://127.0.0.1:1", folder, pki.ADMIN)
    config = json.loads(path.read_text())
    (user,) = (entry["user"] for entry in config["users"])
    assert base64.b64decode(user["client-key-data"]) == (folder / "admin.key").read_bytes()
    assert str(folder) not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
