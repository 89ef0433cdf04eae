"""Notifiers against real servers: HTTP that misbehaves on demand, SMTP with STARTTLS and AUTH."""

import asyncio
import base64
import hmac
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from streamflow.alerts.message import Message, message_of
from streamflow.alerts.notifiers import NOTIFIERS
from streamflow.alerts.telling import Telling
from streamflow.bus.alert_table import Alert
from streamflow.calls.caller import Outside
from streamflow.errors import TopologyError
from tests.calls.server import Server, serving
from tests.ports import free_port
from tests.secured import Authority

_SECRETS = {"STREAMFLOW_SECRET_KEY": "k3y", "STREAMFLOW_SECRET_PASSWORD": "p4ss"}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def _alert(name: str = "lag-1", **more: Any) -> Alert:
    given: dict[str, Any] = {
        "alert": name, "rule": "lag", "topology": "t", "node": "", "labels": {"stage": "s"}, "severity": "critical",
        "value": 16.0, "threshold": 10.0, "summary": "behind <far>", "route": "default", "since": 0, "raised": 1_000,
    }  # fmt: skip
    return Alert(**{**given, **more})


def _message(*alerts: Alert, state: str = "raised") -> Message:
    return message_of(state, [(each, [f"{state}:critical" if state == "raised" else state]) for each in alerts])


def _outside(*networks: str) -> Outside:
    return Outside(("*",), tuple(ip_network(each) for each in networks), None, _SECRETS)


async def _tell(
    options: dict[str, Any], message: Message, outside: Outside, until: Callable[[Telling], bool] | None = None
) -> tuple[Telling, list[dict[str, Any]]]:
    """Tell it again until it is taken or refused (or `until` holds)."""
    options = {"attempts": 2, "open_for": 100, **options}
    telling = Telling({"n": NOTIFIERS[options["kind"]].model_validate(options)}, outside, "ns")
    await telling.open()
    moves: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(60):
            while not moves and not (until is not None and until(telling)):
                telling.begin({"n": message})
                await asyncio.sleep(0.01)
                moves = [move.data for move in telling.take()]
    finally:
        await telling.close()
    return telling, moves


def _told(options: dict[str, Any], message: Message) -> list[dict[str, Any]]:
    return asyncio.run(_tell(options, message, _outside("127.0.0.0/8")))[1]


def test_a_webhook_is_signed_and_tells_each_alert_apart(server: Server) -> None:
    message = _message(_alert(), _alert("lag-2"))
    options = {"kind": "webhook", "url": f"{server.url}/ok/1", "secret": "${secret:key}"}
    (told,) = _told(options, message)
    assert told["outcome"] == "sent"
    assert told["alerts"] == [("lag-1", "raised:critical"), ("lag-2", "raised:critical")]
    headers, body = server.headers[0], server.bodies[0]
    assert [(each["alert"], each["state"]) for each in body["alerts"]] == told["alerts"]  # type: ignore[attr-defined]
    assert headers["webhook-id"] == body["id"] == _message(_alert("lag-2"), _alert()).id
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + orjson.dumps(body)
    digest = hmac.new(b"k3y", signed, sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 3_600


def test_a_server_that_is_down_is_told_when_it_is_back(server: Server) -> None:
    server.down = True
    options = {"kind": "webhook", "url": f"{server.url}/ok/1", "secret": "${secret:key}"}

    async def story() -> None:
        network = _outside("127.0.0.0/8")
        telling, moves = await _tell(options, _message(_alert()), network, lambda each: each.counts["failed"] > 3)
        assert (moves, telling.counts["sent"]) == ([], 0)
        assert telling.view()["n"]["circuits"]["n"] == "open"
        server.down = False
        _, moves = await _tell(options, _message(_alert()), network)
        assert moves[0]["outcome"] == "sent"

    asyncio.run(story())
    assert len({headers["webhook-id"] for headers in server.headers}) == 1


def test_a_refusal_is_said_once_and_not_repeated(server: Server) -> None:
    options = {"kind": "webhook", "url": f"{server.url}/fail/400/9/1", "secret": "${secret:key}"}
    (told,) = _told(options, _message(_alert()))
    assert told["outcome"] == "refused"
    assert "400" in told["message"]
    assert len(server.headers) == 1


def test_an_inner_address_is_not_reached(server: Server) -> None:
    options = {"kind": "webhook", "url": f"{server.url}/ok/1", "secret": "${secret:key}"}
    _, (told,) = asyncio.run(_tell(options, _message(_alert()), _outside()))
    assert told["outcome"] == "refused"
    assert "must not reach" in told["message"]
    mail = {"kind": "email", "host": "127.0.0.1", "port": 9, "sender": "a@b.de", "to": ["c@d.de"]}
    _, (told,) = asyncio.run(_tell(mail, _message(_alert()), _outside()))
    assert "must not reach" in told["message"]
    assert not server.headers


def test_slack_gets_a_text_with_a_colour(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_SECRETS, "STREAMFLOW_SECRET_SLACK", f"{server.url}/ok/slack")
    _told({"kind": "slack", "url": "${secret:slack}"}, _message(_alert()))
    _told({"kind": "slack", "url": "${secret:slack}"}, _message(_alert(), state="cleared"))
    first, second = server.bodies
    line = "t lag {stage=s}: 16 (limit 10) - behind &lt;far&gt; since 1970-01-01T00:00:00Z"
    assert first == {
        "text": "[critical raised] lag",
        "attachments": [{"color": "danger", "fallback": "[critical raised] lag", "text": line}],
    }
    assert second["attachments"][0]["color"] == "good"  # type: ignore[index]


def test_pagerduty_gets_an_event_per_alert_and_state(server: Server) -> None:
    options = {"kind": "pagerduty", "url": f"{server.url}/ok/pd", "routing_key": "${secret:key}"}
    for state in ("raised", "acknowledged", "cleared"):
        _told(options, _message(_alert(), _alert("lag-2"), state=state))
    found = [(each["event_action"], each["dedup_key"], each["routing_key"]) for each in server.bodies]
    actions = ("trigger", "acknowledge", "resolve")
    assert found == [(action, name, "k3y") for action in actions for name in ("lag-1", "lag-2")]
    payload = server.bodies[0]["payload"]
    assert payload == {
        "summary": "t lag {stage=s}: 16 (limit 10) - behind <far> since 1970-01-01T00:00:00Z", "source": "t",
        "severity": "critical", "timestamp": "1970-01-01T00:00:01Z", "component": "lag", "class": "lag",
        "custom_details": {"value": 16.0, "threshold": 10.0, "stage": "s"},
    }  # fmt: skip


def test_a_url_that_is_a_secret_is_in_no_message(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        _SECRETS, "STREAMFLOW_SECRET_SLACK", f"{server.url}/status/404/T0SECRET/B0%20SECRET?key=K0SECRET"
    )
    (told,) = _told({"kind": "slack", "url": "${secret:slack}"}, _message(_alert()))
    assert (told["outcome"], "404" in told["message"], "SECRET" in told["message"]) == ("refused", True, False)
    for wrong in ("hooks/T0SECRET", "ftp://hooks/T0SECRET", "https://[T0SECRET/", "https://hooks:T0SECRET/"):
        monkeypatch.setitem(_SECRETS, "STREAMFLOW_SECRET_SLACK", wrong)
        with pytest.raises(TopologyError) as refused:
            _told({"kind": "slack", "url": "${secret:slack}"}, _message(_alert()))
        assert "SECRET" not in str(refused.value)


def test_another_attempt_tells_pagerduty_what_the_one_before_did_not(server: Server) -> None:
    server.down_between = range(3, 4)
    options = {"kind": "pagerduty", "url": f"{server.url}/ok/pd", "routing_key": "${secret:key}"}
    _told(options, _message(*(_alert(f"lag-{number}") for number in range(1, 5))))
    assert [each["dedup_key"] for each in server.bodies] == ["lag-1", "lag-2", "lag-3", "lag-3", "lag-4"]


def test_keys_that_strangers_chose_stay_on_their_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_SECRETS, "STREAMFLOW_SECRET_SLACK", f"{server.url}/ok/slack")
    message = _message(_alert(labels={"shop": "a\n[critical raised] all\x1b[2J\u202e"}))
    _told({"kind": "slack", "url": "${secret:slack}"}, message)
    assert server.bodies[0]["attachments"][0]["text"].isprintable()  # type: ignore[index]


class Mailbox:
    """A mail server that asks for STARTTLS and a password; `codes`: what it answers first."""

    def __init__(self, folder: Path) -> None:
        self.mails: list[Any] = []
        self.codes: list[str] = []
        authority = Authority(folder)
        certificate, key = authority.give("localhost")
        self.authority = authority.certificate
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.port = free_port()
        self._controller = Controller(
            self, hostname="127.0.0.1", port=self.port, tls_context=context, require_starttls=True,
            auth_required=True, authenticator=self._may,
        )  # fmt: skip

    @staticmethod
    def _may(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        is_ours = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ops", b"p4ss")
        return AuthResult(success=is_ours, handled=False)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.codes:
            return self.codes.pop(0)
        self.mails.append(envelope)
        return "250 taken"

    def __enter__(self) -> "Mailbox":
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


def test_mail_goes_encrypted_with_a_password_and_again_after_a_passing_refusal(tmp_path: Path) -> None:
    with Mailbox(tmp_path) as box:
        options = {
            "kind": "email", "host": "127.0.0.1", "port": box.port, "sender": "ops@example.com",
            "to": ["a@example.com", "b@example.com"], "username": "ops", "password": "${secret:password}",
            "ca_file": str(box.authority),
        }  # fmt: skip
        box.codes = ["451 later"]
        message = _message(_alert(summary="läuft voll"))
        _, (told,) = asyncio.run(_tell(options, message, _outside("127.0.0.0/8")))
        assert told["outcome"] == "sent"
        (mail,) = box.mails
        assert mail.rcpt_tos == ["a@example.com", "b@example.com"]
        assert b"Subject: [critical raised] lag" in mail.content
        assert f"Message-ID: <{message.id}@example.com>".encode() in mail.content
        box.codes = ["554 never"]
        _, (told,) = asyncio.run(_tell(options, message, _outside("127.0.0.0/8")))
        assert (told["outcome"], "554" in told["message"]) == ("refused", True)
        _, (told,) = asyncio.run(_tell(options | {"password": "${secret:key}"}, message, _outside("127.0.0.0/8")))
        assert (told["outcome"], "535" in told["message"]) == ("refused", True)
        _, (told,) = asyncio.run(_tell(options | {"ca_file": None}, message, _outside("127.0.0.0/8")))
        assert (told["outcome"], "certificate" in told["message"].lower()) == ("refused", True)
        assert len(box.mails) == 1


def test_a_mail_server_that_never_comes_to_an_end_holds_one_thread_until_it_is_cut() -> None:
    begun: list[asyncio.StreamWriter] = []

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.append(writer)
        try:
            while True:
                writer.write(b"220-wait\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        except OSError:
            writer.close()

    def threads() -> list[str]:
        return [each.name for each in threading.enumerate() if each.name.startswith("notifier-n")]

    async def story() -> None:
        server = await asyncio.start_server(drip, "127.0.0.1", free_port())
        options = {
            "kind": "email", "host": "127.0.0.1", "port": server.sockets[0].getsockname()[1], "sender": "a@b.de",
            "to": ["c@d.de"], "timeout": 200,
        }  # fmt: skip
        seen: set[int] = set()

        def is_enough(telling: Telling) -> bool:
            seen.add(len(threads()))
            return telling.counts["failed"] > 1

        _, moves = await _tell(options, _message(_alert()), _outside("127.0.0.0/8"), is_enough)
        assert (moves, max(seen), bool(begun)) == ([], 1, True)
        given_up_s = time.monotonic() + 60
        while threads() and time.monotonic() < given_up_s:  # noqa: ASYNC110 - a thread sets no event
            await asyncio.sleep(0.02)
        server.close()
        assert threads() == []

    asyncio.run(story())
