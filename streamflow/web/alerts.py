"""/v1/alerts: what is and was wrong, who has seen it, who does not want to hear of it, and the rules.

Reads are the status table, made from the bus; writes are events on it, and answer when the table shows them.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from streamflow.alerts.message import shown
from streamflow.alerts.rules import BUILT_IN, LOOK_BACK_MAX_MS, given_rule, parse_rules, plain_rule
from streamflow.bus.alert_events import ALERTS_KEY
from streamflow.bus.alert_table import Alert, AlertTable
from streamflow.bus.control import ACTOR_MAX_CHARS
from streamflow.bus.event_types import EventType
from streamflow.bus.masking import masked
from streamflow.errors import BrokerUnavailable, TopicError
from streamflow.model.severity import AlertSeverity
from streamflow.nodes.kind import DurationMs
from streamflow.web.access import ANONYMOUS
from streamflow.web.control import LINE
from streamflow.web.event_status import FollowedStatus
from streamflow.web.events import feed_of
from streamflow.web.guard import caller_of
from streamflow.web.keyed_publishing import REPLAYED, IdempotencyKey
from streamflow.web.ports import Service
from streamflow.web.problems import JsonResponse, Refusal, broker_unavailable, json_answer
from streamflow.web.routes import Routes

if TYPE_CHECKING:
    from streamflow.alerts.config import AlertsConfig

#: How long a write waits until the table shows it, 5 s; then it is answered 202.
_LOOKS, _LOOK_S = 250, 0.02
_LATER: dict[int | str, dict[str, Any]] = {202: json_answer("It is said, and will take effect.")}
_Label = Annotated[str, Field(max_length=200, pattern=LINE)]
AlertId = Path(max_length=200, description="id of the alert")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    actor: str = Field(
        "", max_length=ACTOR_MAX_CHARS, pattern=LINE, description="who says it, where nobody has to say who they are"
    )
    comment: str = Field("", max_length=2_000, pattern=LINE)


class AcknowledgeBody(_Body):
    """Who has seen an alert."""


class ClearBody(_Body):
    """Who ends an alert, and why."""


class SilenceBody(_Body):
    """What is not to be told, and for how long."""

    rule: str = Field("*", max_length=200, pattern=LINE, description="pattern of rules and alert nodes")
    labels: dict[_Label, _Label] = Field(
        default_factory=dict, max_length=20, description="labels that an alert must have"
    )
    for_: DurationMs = Field(alias="for", ge=1, le=30 * LOOK_BACK_MAX_MS, description="how long from now")


class RulesBody(_Body):
    """Rules by name, instead of all that were given over HTTP before."""

    rules: dict[str, Any]


class AlertDesk:
    """Reads and writes of one worker."""

    def __init__(self, service: Service, status: FollowedStatus) -> None:
        self._service, self._status = service, status

    async def table(self) -> AlertTable:
        """The alerts as the bus has them."""
        feed = feed_of(self._service)
        try:
            return (await self._status.table(feed)).alerts
        except (BrokerUnavailable, TopicError) as error:
            raise broker_unavailable(error) from error

    def config(self) -> "AlertsConfig":
        """The file, where rules are judged."""
        found = self._service.alerts_config
        if found is None:
            raise Refusal(404, "alerts_off", "no rules are judged here: set STREAMFLOW_ALERTS=true on the workers")
        return found

    async def alert(self, name: str) -> Alert:
        """An alert."""
        found = (await self.table()).find(name)
        if found is None:
            raise Refusal(404, "unknown_alert", f"no alert {name!r}; list those that are open, or were lately")
        return found

    async def say(
        self, request: Request, kind: EventType, data: Mapping[str, Any], body: _Body, done: Callable[[], bool]
    ) -> bool:
        """Say it on the bus; whether the table shows it by now."""
        caller = caller_of(request)
        actor = body.actor if caller is ANONYMOUS else caller.name  # who has a name has no other
        subject = self._service.plan.topology
        if not self._service.events.emit(kind, subject, data, actor=actor, key=ALERTS_KEY):
            raise Refusal(503, "busy", "too many events wait for Kafka", retry_after_s=2)
        for _ in range(_LOOKS):
            if done():
                return True
            await asyncio.sleep(_LOOK_S)
        return False


def alert_routes(service: Service, status: FollowedStatus) -> Routes:
    """Routes of alerts, silences and rules. Those with a fixed path come before that of an id."""
    router = Routes(tags=["alerts"])
    desk = AlertDesk(service, status)
    _add_rules(router, desk)
    _add_silences(router, desk)
    _add_alerts(router, desk)
    return router


def _add_alerts(router: Routes, desk: AlertDesk) -> None:
    @router.get("/v1/alerts", operation_id="list_alerts")
    async def list_alerts(
        state: Literal["open", "cleared", "all"] = Query("open", description="which"),
        severity: AlertSeverity | None = Query(None, description="only of this severity"),
        topology: str | None = Query(None, max_length=64),
        rule: str | None = Query(None, max_length=200, description="rule or alert node"),
        limit: int = Query(50, ge=1, le=1_000, description="newest first"),
    ) -> Response:
        """Alerts of rules and of alert nodes, the newest first."""
        table, now_ms = await desk.table(), int(time.time() * 1_000)
        groups = {"open": [table.open], "cleared": [table.cleared], "all": [table.open, table.cleared]}[state]
        found = [
            alert
            for group in groups
            for alert in group.values()
            if severity in (None, alert.severity) and topology in (None, alert.topology) and rule in (None, alert.rule)
        ]
        found.sort(key=lambda each: (each.raised, each.alert), reverse=True)
        alerts = [{**shown(each), "silenced": table.is_silenced(each, now_ms)} for each in found[:limit]]
        return JsonResponse({"alerts": alerts, "total": len(found)})

    @router.get("/v1/alerts/{alert}", operation_id="show_alert")
    async def show_alert(alert: str = AlertId) -> Response:
        """One alert, with the states it went through and who was told of which."""
        return JsonResponse((await desk.alert(alert)).plain())

    @router.post("/v1/alerts/{alert}/acknowledge", operation_id="acknowledge_alert", responses=_LATER)
    async def acknowledge_alert(
        request: Request, body: AcknowledgeBody | None = None, alert: str = AlertId
    ) -> Response:
        """Say that somebody takes care: nobody else is told of it. Twice does no harm; 409 when it is over."""
        found, given = await desk.alert(alert), body or AcknowledgeBody()
        if not found.is_open:
            raise Refusal(409, "alert_over", f"{alert} was cleared already")
        data = {"alert": alert, "comment": given.comment}

        def is_settled() -> bool:
            return found.acknowledged is not None or not found.is_open

        is_done = is_settled() or await desk.say(request, EventType.ALERT_ACKNOWLEDGED, data, given, is_settled)
        if found.acknowledged is None and not found.is_open:
            raise Refusal(409, "alert_over", f"{alert} was cleared meanwhile")
        return JsonResponse(found.plain(), status_code=200 if is_done else 202)

    @router.post("/v1/alerts/{alert}/clear", operation_id="clear_alert", responses=_LATER)
    async def clear_alert(request: Request, body: ClearBody | None = None, alert: str = AlertId) -> Response:
        """End an alert by hand, such as one of a topology that is gone. Twice does no harm. A rule that still holds
        raises another after its cool-down, an alert node at the next breach."""
        found, given = await desk.alert(alert), body or ClearBody()
        data = {"alert": alert, "rule": found.rule, "labels": found.labels, "reason": f"by hand: {given.comment}"[:500]}
        is_done = not found.is_open or await desk.say(
            request, EventType.ALERT_CLEARED, data, given, lambda: not found.is_open
        )
        return JsonResponse(found.plain(), status_code=200 if is_done else 202)


def _add_silences(router: Routes, desk: AlertDesk) -> None:
    @router.get("/v1/alerts/silences", operation_id="list_silences")
    async def list_silences() -> Response:
        """Silences that hold."""
        table, now_ms = await desk.table(), int(time.time() * 1_000)
        return JsonResponse({"silences": [asdict(each) for each in table.silences.values() if each.until > now_ms]})

    @router.post("/v1/alerts/silences", operation_id="silence_alerts", responses=_LATER)
    async def silence_alerts(request: Request, body: SilenceBody, idempotency_key: IdempotencyKey = None) -> Response:
        """Tell nobody of alerts that match, for a time. They are raised and shown as ever. With an Idempotency-Key the
        same request is one silence, however often it comes while the table has it (the last 1,000)."""
        hidden = [name for name, value in masked(body.labels).items() if value != body.labels[name]]
        if hidden:  # it would be a silence of all that have such a label
            detail = f"the bus masks labels that are called like a secret, as {hidden[0]!r}: silence by another one"
            raise Refusal(422, "bad_parameter", detail)
        table, silence = await desk.table(), secrets.token_hex(8)
        if idempotency_key is not None:
            silence = blake2b(idempotency_key.encode(), digest_size=8).hexdigest()
            known = table.silences.get(silence)
            if known is not None:
                if (known.rule, known.labels, known.comment) != (body.rule, body.labels, body.comment):
                    detail = "another silence was made under this key: use a new key for a new request"
                    raise Refusal(422, "idempotency_key_reused", detail)
                return JsonResponse({"silence": silence, "until": known.until}, headers={REPLAYED: "true"})
        until = int(time.time() * 1_000) + body.for_
        data = {"silence": silence, "rule": body.rule, "labels": body.labels, "until": until, "comment": body.comment}
        done = await desk.say(request, EventType.ALERT_SILENCED, data, body, lambda: silence in table.silences)
        return JsonResponse({"silence": silence, "until": until}, status_code=200 if done else 202)

    @router.delete("/v1/alerts/silences/{silence}", operation_id="lift_silence", responses=_LATER)
    async def lift_silence(request: Request, silence: str = Path(max_length=64)) -> Response:
        """Take a silence back."""
        table = await desk.table()
        found = table.silences.get(silence)
        if found is None:
            raise Refusal(404, "unknown_silence", f"no silence {silence!r}")
        data = {"silence": silence, "rule": found.rule, "labels": found.labels, "until": 0, "comment": found.comment}

        def is_lifted() -> bool:
            now = table.silences.get(silence)  # others may have taken its place in the table
            return now is None or now.until == 0

        done = await desk.say(request, EventType.ALERT_SILENCED, data, _Body(), is_lifted)
        return JsonResponse({"silence": silence}, status_code=200 if done else 202)


def _add_rules(router: Routes, desk: AlertDesk) -> None:
    @router.get("/v1/alerts/rules", operation_id="show_alert_rules")
    async def show_alert_rules() -> Response:
        """Rules in force by name, each with where it comes from: `built_in`, `file` or `http`. Times in ms."""
        return JsonResponse(_rules_view(desk.config(), (await desk.table()).rules))

    @router.put("/v1/alerts/rules", operation_id="set_alert_rules", responses=_LATER)
    async def set_alert_rules(request: Request, body: RulesBody) -> Response:
        """Give rules: they stand before those of the file of the same names, and replace all that were given before.
        422 with everything that is wrong. Notifiers and routes are in the file alone."""
        config, table = desk.config(), await desk.table()
        rules, problems = parse_rules(body.rules)
        said = [f"{each.place}: {each.message}" + (f" ({each.remedy})" if each.remedy else "") for each in problems]
        known = {"default", *config.routes}
        said += [f"rules.{n}.route: no route {r.route!r}" for n, r in rules.items() if r.route not in known]
        said += [
            f"rules.{n}: the bus masks what is called like a secret (call it otherwise)" for n in _masked(body.rules)
        ]
        if said:
            raise Refusal(422, "bad_rules", "; ".join(said), problems=said)
        data = {"rules": {name: given_rule(rule) for name, rule in rules.items()}}
        done = await desk.say(request, EventType.ALERT_RULES_CHANGED, data, body, lambda: table.rules == data["rules"])
        return JsonResponse(_rules_view(config, data["rules"]), status_code=200 if done else 202)


def _masked(rules: Mapping[str, Any]) -> list[str]:
    """Rules that would not come back from the bus as they were said."""
    return [name for name, given in rules.items() if masked({name: given}) != {name: given}]


def _rules_view(config: "AlertsConfig", given: Mapping[str, Any]) -> dict[str, Any]:
    def origin(name: str) -> str:
        return "http" if name in given else "file" if name in config.of_file or name not in BUILT_IN else "built_in"

    rules = config.with_rules(given)
    return {"rules": {name: {"origin": origin(name), **plain_rule(rule)} for name, rule in sorted(rules.items())}}
