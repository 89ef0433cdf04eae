"""Email over SMTP: STARTTLS (RFC 3207) before anything is said, then AUTH, then the message.

smtplib works in a thread, at most one per notifier, bounded by its own time-out. The `Message-ID` is the same in every
attempt, so mail programs show a message that came twice once.
"""

import asyncio
import smtplib
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from streamflow.alerts.message import Message
from streamflow.alerts.notifiers.notifier import Notifier, NotifierCaller, Secret
from streamflow.calls.addresses import AddressGuard, AddressRefused, host_allowed
from streamflow.calls.caller import Origin, Outside
from streamflow.errors import CallFailed, ErrorClass

_ADDRESS = r"^[^\s@<>,;]{1,64}@[^\s@<>,;]{1,255}$"


class Email(Notifier):
    """Options of a mail server and those it writes to."""

    kind: Literal["email"]
    host: str = Field(min_length=1, max_length=253, description="SMTP server")
    port: int = Field(587, ge=1, le=65_535)
    sender: str = Field(pattern=_ADDRESS)
    to: list[str] = Field(min_length=1, max_length=50, description="addresses")
    starttls: bool = Field(True, description="off: only to servers of networks that the worker lists")
    ca_file: Path | None = Field(None, strict=False, description="authorities (PEM); the system's when left out")
    username: str = ""
    password: Secret = Field("", description="${secret:name}; needs starttls")

    @field_validator("to")
    @classmethod
    def _check_to(cls, found: list[str]) -> list[str]:
        if any(not _is_address(each) for each in found):
            raise ValueError("write addresses such as ops@example.com")
        return found

    def make(self, name: str, outside: Outside) -> "EmailCaller":
        """See Notifier."""
        return EmailCaller(self, name, outside)


class EmailCaller(NotifierCaller):
    """Sends a message as a mail."""

    def __init__(self, options: Email, name: str, outside: Outside) -> None:
        super().__init__(name, outside)
        self._options, self._password = options, ""
        self._context: ssl.SSLContext | None = None
        #: One thread of its own: a server that never ends its lines holds no other up.
        self._thread = ThreadPoolExecutor(1, f"notifier-{name}")
        self._socket: socket.socket | None = None

    async def close(self) -> None:
        """Let the thread end."""
        self._cut()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def open(self) -> None:
        """Read the password and the authorities."""
        options = self._options
        self._password = self.secret(options.password, "password")
        if options.starttls:
            self._context = ssl.create_default_context(cafile=options.ca_file)

    async def call(self, row: Message, origin: Origin) -> bool:
        """Send; the connection is cut when the call is given up, and the thread ends with it."""
        if not host_allowed(self._options.host, self._outside.hosts):
            message = f"{self._options.host!r} is no host that this worker may call"
            raise CallFailed("host", message, ErrorClass.USER)
        made = mail(self._options, row)
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._send, made)
        except asyncio.CancelledError:
            self._cut()
            raise
        return True

    def _cut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it may have ended meanwhile
                self._socket.shutdown(socket.SHUT_RDWR)

    def _opened(self, made: socket.socket) -> None:
        self._socket = made.dup()  # the connection below TLS, whichever object has it

    def _send(self, made: EmailMessage) -> None:
        try:
            self._deliver(made)
        finally:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _deliver(self, made: EmailMessage) -> None:
        options = self._options
        guard = AddressGuard(self._outside.networks, only_listed=not options.starttls)
        try:
            with _GuardedSmtp(guard, self._opened, options) as server:
                if self._context is not None:
                    server.starttls(context=self._context)
                if options.username:
                    server.login(options.username, self._password)
                server.send_message(made)
        except AddressRefused as error:
            raise CallFailed("address", str(error), ErrorClass.PERMANENT) from error
        except ssl.SSLError as error:
            raise CallFailed("certificate", str(error), ErrorClass.PERMANENT) from error
        except smtplib.SMTPNotSupportedError as error:  # a server without STARTTLS or AUTH
            raise CallFailed("smtp", str(error), ErrorClass.PERMANENT) from error
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise CallFailed("smtp", f"no recipient was taken: {error.recipients}", _class_of(min(codes))) from error
        except smtplib.SMTPResponseException as error:
            raise CallFailed("smtp", f"{error.smtp_code} {error.smtp_error!r}", _class_of(error.smtp_code)) from error
        except smtplib.SMTPException as error:
            raise CallFailed("smtp", f"{type(error).__name__}: {error}", ErrorClass.TRANSIENT) from error


class _GuardedSmtp(smtplib.SMTP):
    """Connects to nothing that nodes must not reach: the address is judged where the socket is made."""

    def __init__(self, guard: AddressGuard, opened: Callable[[socket.socket], None], options: Email) -> None:
        self._guard, self._opened = guard, opened
        super().__init__(options.host, options.port, timeout=options.timeout / 1_000)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        failed: OSError | None = None
        for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            made = self._guard.make_socket(info)
            try:
                made.settimeout(timeout)
                made.connect(info[4])
            except OSError as error:
                made.close()
                failed = error
            else:
                self._opened(made)
                return made
        raise failed or OSError(f"{host} has no address")


def mail(options: Email, message: Message) -> EmailMessage:
    """The mail of a message."""
    made = EmailMessage()
    made["Subject"] = message.title
    made["From"] = options.sender
    made["To"] = ", ".join(options.to)
    made["Date"] = formatdate()
    made["Message-ID"] = f"<{message.id}@{options.sender.partition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"
    made.set_content("\n".join(message.lines) + "\n")
    return made


def _is_address(text: str) -> bool:
    return text.count("@") == 1 and text.isprintable() and not any(each in text for each in " <>,;")


def _class_of(code: int) -> ErrorClass:
    """4yz may be otherwise later (RFC 5321, section 4.2.1)."""
    return ErrorClass.TRANSIENT if 400 <= code < 500 else ErrorClass.PERMANENT
