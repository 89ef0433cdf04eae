"""The door of obstore: opens a store by its URL, and translates its errors.

Credentials come from the environment, as the store's own tools take them (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, a
role of the pod, …): a URL that has some is refused. The only module that imports obstore.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from streamflow.errors import ObjectsRefused, ObjectsUnreachable, SettingsError

if TYPE_CHECKING:
    from obstore.store import ObjectStore as ObjectStore  # for those who hold one

REMOTE = ("s3", "gs", "az", "abfs", "abfss")
#: A request, and a request with all of its repetitions.
_REQUEST_S, _ALL_S = 60, 90


def check_url(url: str, setting: str, schemes: tuple[str, ...] = REMOTE) -> None:
    """Raises SettingsError for a URL that `open_store` cannot open, or that shows credentials."""
    parts = urlsplit(url)
    place = parts.path.strip("/") if parts.scheme == "file" and not parts.netloc else parts.netloc
    if parts.scheme not in schemes or not place or (parts.scheme == "file" and parts.netloc):
        known = ", ".join(f"{each}://" for each in schemes)
        raise SettingsError(f"{setting} {_plain(url)!r} is no place of an object store: begin it with {known}")
    if parts.username or parts.password or parts.query:
        raise SettingsError(f"{setting} has credentials in it: put them into the store's own variables")


def _plain(url: str) -> str:
    """Without what may be a secret."""
    return url.partition("?")[0].rpartition("@")[2]


def open_store(url: str, setting: str, repetitions: int) -> "ObjectStore":
    """A client, that asks for nothing yet. repetitions: of a request that fails in passing.

    Raises SettingsError for a missing package, ObjectsUnreachable for a folder that is not there.
    """
    try:
        from obstore.store import from_url
    except ImportError as error:
        message = f"obstore is not installed, which {setting} needs: pip install 'streamflow[objects]'"
        raise SettingsError(message) from error
    with translated(url, "open"):
        if url.startswith("file:"):
            return from_url(url)
        return from_url(
            url,
            client_options={
                "timeout": timedelta(seconds=_REQUEST_S),
                "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true",  # else these options hide it
            },
            retry_config={"max_retries": repetitions, "retry_timeout": timedelta(seconds=_ALL_S)},
        )


@contextmanager
def translated(url: str, what: str) -> Iterator[None]:
    """What the store raises as ObjectsRefused or ObjectsUnreachable; FileNotFoundError for what is not there."""
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except FileNotFoundError:
        raise
    except (PermissionDeniedError, UnauthenticatedError) as error:
        message = f"{url} refuses to {what}: {_line(error)}; mind the credentials in the environment"
        raise ObjectsRefused(message) from error
    except (BaseError, OSError) as error:
        raise ObjectsUnreachable(f"{url} does not {what}: {_line(error)}") from error


def _line(error: Exception) -> str:
    """Behind its first line an error has the client's whole structure."""
    return str(error).partition("\n")[0]
