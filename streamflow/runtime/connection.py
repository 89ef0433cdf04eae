"""How every client of ours connects to Kafka: addresses, TLS, and who we are there.

A client that cannot connect says no more than that it could not; `reason` tries once more, by hand, and says why.
"""

import functools
import ssl
from collections.abc import Iterator
from typing import Any

from aiokafka import errors
from aiokafka.conn import create_conn, get_ip_port_afi
from aiokafka.protocol.metadata import MetadataRequest

from streamflow.errors import BrokerUnavailable, KafkaRefusal, SettingsError, StreamflowError
from streamflow.runtime.hooks import last_word
from streamflow.runtime.oauth import TokenSource
from streamflow.settings.settings import Settings

#: How long the attempt to find a reason may take per broker.
REASON_MS = 5_000
#: Kafka does not take who we are; another attempt ends the same way.
_REFUSALS = (
    errors.AuthenticationFailedError,
    errors.AuthenticationMethodNotSupported,
    errors.SaslAuthenticationFailed,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
)
#: Kafka knows who we are, and does not allow what we do.
_DENIALS = (
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
)


@functools.lru_cache(maxsize=16)
def connection(settings: Settings) -> dict[str, Any]:
    """Arguments of every client of aiokafka. Raises SettingsError with everything that does not fit together."""
    problems = list(_problems(settings))
    if problems:
        raise SettingsError("; ".join(problems))
    has_sasl = settings.kafka_sasl != "none"
    found: dict[str, Any] = {"bootstrap_servers": settings.brokers.split(",")}
    if settings.kafka_tls:
        last_word.install()
        found["ssl_context"] = _tls(settings)
    if settings.kafka_tls or has_sasl:
        found["security_protocol"] = ("SASL_" if has_sasl else "") + ("SSL" if settings.kafka_tls else "PLAINTEXT")
    if has_sasl:
        found["sasl_mechanism"] = settings.kafka_sasl.upper()
    if settings.kafka_sasl == "oauthbearer":
        found["sasl_oauth_token_provider"] = TokenSource(settings)
    elif has_sasl:
        found["sasl_plain_username"] = settings.kafka_username
        found["sasl_plain_password"] = settings.kafka_password.get_secret_value()
    return found


def _problems(settings: Settings) -> list[str]:
    found = []
    if settings.kafka_sasl != "none" and not (settings.kafka_tls or settings.kafka_sasl_plaintext):
        found.append(
            "STREAMFLOW_KAFKA_SASL without STREAMFLOW_KAFKA_TLS shows credentials to whoever listens: set it, or "
            "STREAMFLOW_KAFKA_SASL_PLAINTEXT=true if that is meant"
        )
    if settings.kafka_sasl in ("plain", "scram-sha-256", "scram-sha-512"):
        if not settings.kafka_username:
            found.append("STREAMFLOW_KAFKA_USERNAME is missing")
        if not settings.kafka_password.get_secret_value():
            found.append("STREAMFLOW_KAFKA_PASSWORD (or …_FILE) is missing")
    if settings.kafka_sasl == "oauthbearer":
        if (settings.kafka_token_file is None) == (not settings.kafka_token_url):
            found.append("oauthbearer needs either STREAMFLOW_KAFKA_TOKEN_FILE or STREAMFLOW_KAFKA_TOKEN_URL")
        if settings.kafka_token_url and not settings.kafka_client_secret.get_secret_value():
            found.append("STREAMFLOW_KAFKA_TOKEN_URL needs STREAMFLOW_KAFKA_CLIENT_ID and …_CLIENT_SECRET (or …_FILE)")
    if (settings.kafka_cert_file is None) != (settings.kafka_key_file is None):
        found.append("STREAMFLOW_KAFKA_CERT_FILE and STREAMFLOW_KAFKA_KEY_FILE go together: set both")
    files = (settings.kafka_ca_file, settings.kafka_cert_file, settings.kafka_key_file)
    if not settings.kafka_tls and any(files):
        found.append("certificates are given, but STREAMFLOW_KAFKA_TLS=true is not")
    return found


def _tls(settings: Settings) -> ssl.SSLContext:
    """TLS 1.2 or newer; the name of the broker is checked. Raises SettingsError."""
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca_file)
    except OSError as error:
        message = f"STREAMFLOW_KAFKA_CA_FILE: {settings.kafka_ca_file} has no certificates of authorities: {error}"
        raise SettingsError(message) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.kafka_cert_file is not None:
        password = settings.kafka_key_password.get_secret_value()
        try:
            context.load_cert_chain(settings.kafka_cert_file, settings.kafka_key_file, lambda: password)
        except OSError as error:
            files = f"{settings.kafka_cert_file} and {settings.kafka_key_file}"
            message = f"STREAMFLOW_KAFKA_CERT_FILE and …_KEY_FILE: {files} cannot be used: {error}"
            raise SettingsError(message) from error
    return context


def denied(error: BaseException) -> KafkaRefusal | None:
    """What it means when Kafka does not allow something; None when that is not why."""
    for each in _causes(error):
        if isinstance(each, KafkaRefusal):
            return each
        if isinstance(each, _DENIALS):
            remedy = "`streamflow deploy acls` says what is needed"
            return KafkaRefusal(f"Kafka does not allow it ({_line(each)}): {remedy}")
    return None


async def unavailable(settings: Settings, error: Exception) -> StreamflowError:
    """What it means that a client failed by this: KafkaRefusal when another attempt would not help."""
    if (not_allowed := denied(error)) is not None:
        return not_allowed
    found, refused, last = connection(settings), None, error
    for server in found["bootstrap_servers"] if isinstance(error, errors.KafkaConnectionError) else ():
        why = await _failure(server, {name: given for name, given in found.items() if name != "bootstrap_servers"})
        if why is None:
            refused = None
            break  # one that takes us is enough
        text, last = _refusal(why), why
        if text:
            refused = KafkaRefusal(f"Kafka at {server} does not take this program: {text} ({_line(why)})")
    return refused or BrokerUnavailable(f"Kafka at {settings.brokers} does not answer: {_line(last)}")


async def _failure(server: str, given: dict[str, Any]) -> Exception | None:
    """Why a broker cannot be asked for anything; None when it can."""
    host, port, _ = get_ip_port_afi(server)
    try:
        made = await create_conn(host, port, request_timeout_ms=REASON_MS, **given)
        try:
            await made.send(MetadataRequest([]))
        finally:
            made.close()
    except Exception as why:
        return why
    return None


def _refusal(why: Exception) -> str:
    """Why Kafka refuses us for good, and what to do; empty when it does not."""
    for each in _causes(why):
        if isinstance(each, KafkaRefusal):
            return str(each)
        if isinstance(each, ssl.SSLCertVerificationError):
            return f"its certificate is not to be trusted, {each.verify_message}: look at STREAMFLOW_KAFKA_CA_FILE"
        if isinstance(each, _REFUSALS):
            return "it refuses who we are: look at STREAMFLOW_KAFKA_SASL, and at user and password, or the token"
        if isinstance(each, ssl.SSLError):
            # With TLS 1.3 the broker's word on our certificate comes after the handshake.
            if "CERTIFICATE" in str(each.reason):
                return "it refuses our certificate: look at STREAMFLOW_KAFKA_CERT_FILE"
            return "it does not speak TLS with us: look at STREAMFLOW_KAFKA_TLS, and at the port"
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _line(why: BaseException) -> str:
    return f"{type(why).__name__}: {why}".replace("\n", " ")
