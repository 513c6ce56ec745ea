"""Who is who in a cluster: its authorities, certificates, tokens and kubeconfigs."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.cluster.addresses import API_PORT, API_SERVER, DOMAIN, NODE
from tests.cluster.github import HOSTS
from tests.cluster.kube import write_kubeconfig
from tests.cluster.place import Place

_LIFE = timedelta(days=7)
# As kind calls the only node of a cluster `postrider`.
NODE_NAME = "postrider-control-plane"
GITHUB_AUTHORITY = "github-ca"
# Who shows a token, and the groups that they are in.
_USERS = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{NODE_NAME}", "system:nodes"),
}


class Authority:
    """Signs certificates; its own lies in `NAME.crt`."""

    def __init__(self, place: Place, name: str) -> None:
        self._place, self._name = place, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"postrider rehearsal {name}")])
        signed = (
            self._builder(self._subject, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    @property
    def certificate(self) -> Path:
        """Its own."""
        return self._place.file("pki", f"{self._name}.crt")

    def issue(self, name: str, hosts: Sequence[str] = ()) -> tuple[Path, Path]:
        """The files of a certificate for `name` at these hosts, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = self._builder(subject, key.public_key()).add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_named(one) for one in hosts]), critical=False)
        files = self._place.file("pki", f"{name}.crt"), self._place.file("pki", f"{name}.key")
        files[0].write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(_private(key))
        return files

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + _LIFE)
        )


def make_identities(place: Place) -> None:
    """Everything that the programs of a control plane show each other."""
    authority = Authority(place, "ca")
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{DOMAIN}")
    authority.issue("apiserver", ["localhost", *service, NODE, API_SERVER, "127.0.0.1"])
    Authority(place, "front-proxy-ca").issue("front-proxy-client")
    make_github_identity(place)
    accounts = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    place.file("pki", "accounts.key").write_bytes(_private(accounts))
    lines = []
    for name, (user, group) in _USERS.items():
        token = secrets.token_hex(24)
        lines.append(f"{token},{user},{user},{group}\n")
        kubeconfig_of(place, name, token)
    tokens = place.file("pki", "tokens.csv")
    tokens.touch(0o600)
    tokens.write_text("".join(lines))


def make_github_identity(place: Place) -> None:
    """That of GitHub. Whoever trusts it reads it once, so it is the same for as long as there is the cluster."""
    Authority(place, GITHUB_AUTHORITY).issue("github", HOSTS)


def kubeconfig_of(place: Place, name: str, token: str) -> Path:
    """The file by which whoever has this token speaks to the API server."""
    return write_kubeconfig(place.kubeconfig(name), f"https://{NODE}:{API_PORT}", token, place.file("pki", "ca.crt"))


def _named(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
