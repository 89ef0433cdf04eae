"""API keys: a file of digests with grants and expiry, made by `streamflow keys`, read again when it changes.

A key is `sfk_<id>_<secret>`: the id (48 random bits) finds the entry, the secret has 256 random bits. The file has its
SHA-256: a slow hash protects what people think up, nobody guesses 256 bits at any speed, and each request would pay.
"""

import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from streamflow.errors import SettingsError, UserError
from streamflow.web.access import Caller, caller, parse_grant

log = logging.getLogger(__name__)

PREFIX = "sfk_"
_KEY = re.compile(r"sfk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
#: Between looks whether the file has changed.
LOOK_S = 1.0
FILE_MAX_BYTES = 4 << 20
_NOBODY = hashlib.sha256(b"").hexdigest()


class ApiKey(BaseModel):
    """An entry of the file. Nothing in it is secret, and nothing in it opens anything."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(pattern=r"^[A-Za-z0-9._@ -]{1,100}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    grants: tuple[str, ...] = Field(min_length=1)
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None

    @field_validator("grants")
    @classmethod
    def _known(cls, grants: tuple[str, ...]) -> tuple[str, ...]:
        for each in grants:
            try:
                parse_grant(each)
            except UserError as error:
                raise ValueError(str(error)) from error
        return grants

    def state(self, now: datetime) -> str:
        """`valid`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"


class KeyFile(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid")

    keys: list[ApiKey] = []


def new_key(name: str, grants: tuple[str, ...], expires: datetime | None) -> tuple[str, ApiKey]:
    """A key, to be shown once, and its entry. Raises UserError."""
    secret, number = secrets.token_urlsafe(32), secrets.token_hex(6)
    text = f"{PREFIX}{number}_{secret}"
    try:
        entry = ApiKey(
            id=number, name=name, sha256=_digest(text), grants=grants, created=datetime.now(UTC), expires=expires
        )
    except ValidationError as error:
        said = (each["msg"].removeprefix("Value error, ") for each in error.errors(include_url=False))
        raise UserError("; ".join(said)) from error
    return text, entry


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_keys(path: Path) -> KeyFile:
    """The file's keys. Raises SettingsError, naming what is wrong."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_MAX_BYTES + 1)
        if len(text) > FILE_MAX_BYTES:
            raise SettingsError(f"{path} is larger than {FILE_MAX_BYTES} bytes: take out what has expired")
        return KeyFile.model_validate_json(text)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}): make it by `streamflow keys new`") from error
    except ValidationError as error:
        places = {".".join(map(str, each["loc"])) + ": " + each["msg"] for each in error.errors(include_url=False)}
        raise SettingsError(f"{path} is no file of keys: {'; '.join(sorted(places))}") from error


@contextmanager
def changing(path: Path) -> Iterator[KeyFile]:
    """The keys, to be changed; written as a whole afterwards. One at a time: a lost revocation would stay unnoticed."""
    with path.with_name(path.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = read_keys(path) if path.exists() else KeyFile()
        yield keys
        fresh = path.with_name(path.name + ".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(keys.model_dump_json(indent=2).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)


class KeyRing:
    """The keys of a file as it is now. A change shows within a second; a file that got broken changes nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys = {each.id: each for each in read_keys(path).keys}
        self._stamp, self._looked_at = self._look(), time.monotonic()

    def find(self, text: str) -> Caller | None:
        """Who has this key; None when nobody has it, or it is over. Takes as long whether or not the id is known."""
        if time.monotonic() - self._looked_at >= LOOK_S:
            self._reload()
        parts = _KEY.fullmatch(text)
        entry = self._keys.get(parts[1]) if parts else None
        equal = hmac.compare_digest(_digest(text), entry.sha256 if entry else _NOBODY)
        if entry is None or not equal or entry.state(datetime.now(UTC)) != "valid":
            return None
        return caller(f"key:{entry.id}", entry.grants)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _reload(self) -> None:
        self._looked_at = time.monotonic()
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = {each.id: each for each in read_keys(self._path).keys}
            log.info("read %s API keys", len(self._keys))
        except SettingsError as error:
            log.error("the API keys stay as they were: %s", error)
