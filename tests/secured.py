"""A Kafka with every kind of listener that asks who one is, certificates of its own authority, and users."""

import base64
import json
import os
import subprocess
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streamflow.runtime.embedded.broker import EmbeddedBroker, _java_command
from streamflow.runtime.embedded.jars import kafka_jars
from tests.ports import free_ports

PASSWORDS = {"alice": "alice-secret-of-tests", "carol": "carol-secret-of-tests"}
_LISTENERS = {
    "PLAINTEXT": "PLAINTEXT",
    "TLS": "SSL",
    "EXPIRED": "SSL",
    "SASL": "SASL_SSL",
    "OAUTH": "SASL_SSL",
    "OPEN": "SASL_PLAINTEXT",
}
_MODULES = "org.apache.kafka.common.security"


class Authority:
    """An authority and the certificates that it gives, as PEM files of a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = folder / f"{name}.pem"
        made = self._sign(self._name, self._key, timedelta(days=1), True)
        self.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def give(self, name: str, ends: timedelta = timedelta(days=1), password: bytes = b"") -> tuple[Path, Path]:
        """Files of a certificate for 127.0.0.1 and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._sign(subject, key, ends, False)
        certificate, file = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        secret = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
        return certificate, file

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, ends: timedelta, is_authority: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256())


class SecuredKafka:
    """`ports` by name of a listener. alice (SCRAM), carol (PLAIN), CN=worker (TLS) and whoever a token names are users;
    only carol needs permissions."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.ports = dict(zip(_LISTENERS, free_ports(len(_LISTENERS)), strict=True))
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items())
        map_ = ",".join(f"{name}:{protocol}" for name, protocol in _LISTENERS.items())
        users = " ".join(f'user_{name}="{password}"' for name, password in PASSWORDS.items())
        properties = {
            "listeners": listeners,
            "advertised.listeners": listeners,
            "listener.security.protocol.map": f"{map_},CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS;User:alice;User:CN=worker;User:token",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.certificate),
            "listener.name.tls.ssl.client.auth": "required",
            "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            "listener.name.sasl.plain.sasl.jaas.config": f"{_MODULES}.plain.PlainLoginModule required {users};",
            "listener.name.open.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.open.plain.sasl.jaas.config": f"{_MODULES}.plain.PlainLoginModule required {users};",
            "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.oauth.oauthbearer.sasl.jaas.config": f"{_MODULES}.oauthbearer.OAuthBearerLoginModule required;",
        }
        for mechanism in ("256", "512"):
            name = f"listener.name.sasl.scram-sha-{mechanism}.sasl.jaas.config"
            properties[name] = f"{_MODULES}.scram.ScramLoginModule required;"
        for listener, name, ends in (("", "broker", 1), ("listener.name.expired.", "expired", -1)):
            certificate, key = self.authority.give(name, timedelta(days=ends))
            store = folder / f"{name}.store.pem"
            store.write_text(key.read_text() + certificate.read_text())
            properties |= {f"{listener}ssl.keystore.type": "PEM", f"{listener}ssl.keystore.location": str(store)}
        data, self._folder = folder / "data", folder
        data.mkdir()
        file = EmbeddedBroker(data, self.ports["PLAINTEXT"], properties)._write_properties()
        scram = [f"SCRAM-SHA-{mode}=[name=alice,password={PASSWORDS['alice']}]" for mode in ("256", "512")]
        added = [part for each in scram for part in ("--add-scram", each)]
        self._java("kafka.tools.StorageTool", "format", "--cluster-id=5L6g3nShT-eMCtK--X86sw", "-c", str(file), *added)
        self._broker = EmbeddedBroker.start(data, self.ports["PLAINTEXT"], properties=properties)

    @property
    def bootstrap(self) -> str:
        """Address where everybody may do everything."""
        return self._broker.bootstrap

    def address(self, listener: str) -> str:
        """Address of a listener."""
        return f"127.0.0.1:{self.ports[listener]}"

    def _java(self, *arguments: str) -> str:
        command = [*_java_command(os.pathsep.join(map(str, kafka_jars(lambda _: None))), self._folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self) -> None:
        """Stop it."""
        self._broker.stop()


def token(subject: str = "token", lasts_s: int = 600) -> str:
    """A token as Kafka takes it where nobody checks signatures."""
    now = int(time.time())
    parts = ({"alg": "none"}, {"sub": subject, "iat": now - 900, "exp": now + lasts_s})
    return ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts) + "."
