"""Ed25519 keys that seals are signed with. Keys are named by reference: `file:PATH` or `env:NAME`, PEM."""

import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from streamflow.errors import SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


class Signer:
    """Signs with a private key. `key_id`: the first 16 hexadecimal digits of the SHA-256 of its public key."""

    def __init__(self, private: "Ed25519PrivateKey") -> None:
        self._private = private
        self.public = Verifier(private.public_key())
        self.key_id = self.public.key_id

    @classmethod
    def load(cls, reference: str) -> "Signer":
        """The key that a reference names. Raises SettingsError."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            private = load_pem_private_key(_read(reference), None)
        except (ValueError, TypeError) as error:
            raise SettingsError(f"{reference} is no private key in PEM without a password: {error}") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise SettingsError(f"{reference} is no Ed25519 key: make one with `streamflow audit key`")
        return cls(private)

    @classmethod
    def new(cls) -> "Signer":
        """A new key."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    def sign(self, data: bytes) -> bytes:
        """64 bytes."""
        return self._private.sign(data)

    def private_pem(self) -> bytes:
        """The private key, for a file that only its owner reads."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Verifier:
    """Verifies with a public key."""

    def __init__(self, public: "Ed25519PublicKey") -> None:
        self._public = public
        self.key_id = sha256(public.public_bytes_raw()).hexdigest()[:16]

    @classmethod
    def load(cls, reference: str) -> "Verifier":
        """The public key that a reference names, or that of the private key it names. Raises SettingsError."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        pem = _read(reference)
        if b"PRIVATE KEY" in pem:
            return Signer.load(reference).public
        try:
            public = load_pem_public_key(pem)
        except ValueError as error:
            raise SettingsError(f"{reference} is no public key in PEM: {error}") from error
        if not isinstance(public, Ed25519PublicKey):
            raise SettingsError(f"{reference} is no Ed25519 key")
        return cls(public)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether the signature is of this data by this key."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._public.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def pem(self) -> bytes:
        """The public key, for whoever verifies."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self._public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _read(reference: str) -> bytes:
    kind, _, name = reference.partition(":")
    try:
        if kind == "file":
            return Path(name).read_bytes()
        if kind == "env":
            return os.environ[name].encode()
    except (OSError, KeyError) as error:
        raise SettingsError(f"the key {reference} cannot be read: {error}") from error
    raise SettingsError(f"a key is named by file:PATH or env:NAME, not by {kind}")
