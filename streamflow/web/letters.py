"""Dead letters over HTTP: look at them, edit, send again, discard. All of it needs the permission `operate`."""

import re
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Path, Query, Request, Response

from streamflow.errors import ExternalError, Fenced, UserError
from streamflow.model.letter import Decided, Letter, LetterFilter, LetterState
from streamflow.web.guard import caller_of
from streamflow.web.parked import ParkedKeys
from streamflow.web.ports import Service
from streamflow.web.problems import JsonResponse, Refusal, broker_unavailable
from streamflow.web.publish_document import request_body
from streamflow.web.publishing import body_of, targets_of, validated
from streamflow.web.routes import Routes
from streamflow.web.tables import moment_ms

#: Letters of one answer or decision; more come with the cursor.
LIMIT_DEFAULT, LIMIT_MAX = 100, 1_000
_PATH = "/v1/topologies/{topology}/dead-letters"
_CURSOR = re.compile(r"(\d{1,18})-(\d{1,18})")
_OFFSET_MAX = (1 << 63) - 1
Result = TypeVar("Result")

Number = Annotated[int, Path(ge=0, le=_OFFSET_MAX, description="id of the letter")]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="letters of this request")]
Comment = Annotated[str, Query(max_length=1_000, description="why; kept with the decision")]
All = Annotated[bool, Query(description="needed when nothing says which letters are meant")]
Cursor = Annotated[str | None, Query(description="from the answer before: what came later is not meant")]


def letter_filter(
    numbers: Annotated[list[int] | None, Query(alias="id", description="ids, as often as needed")] = None,
    node: str | None = None,
    reason: str | None = None,
    error_class: Annotated[str | None, Query(alias="class", description="transient, permanent, system, user")] = None,
    key: Annotated[str | None, Query(description="key of the record")] = None,
    topic: Annotated[str | None, Query(description="where the record is")] = None,
    partition: Annotated[int | None, Query(ge=0)] = None,
    offset: Annotated[int | None, Query(ge=0)] = None,
    start: Annotated[str | None, Query(alias="from", description="time of the letter, ms or ISO 8601")] = None,
    to: Annotated[str | None, Query(description="letters before this")] = None,
    state: Annotated[list[LetterState] | None, Query(description="waiting, edited, redriven, discarded")] = None,
) -> LetterFilter:
    """The filter of a request. Raises Refusal."""
    if numbers and (len(numbers) > LIMIT_MAX or not all(0 <= each <= _OFFSET_MAX for each in numbers)):
        raise Refusal(422, "bad_parameter", f"ids are offsets, at most {LIMIT_MAX} of them")
    try:
        times = moment_ms(start), moment_ms(to)
    except UserError as error:
        raise Refusal(422, "bad_parameter", str(error)) from error
    states = frozenset(state or ())
    which = frozenset(numbers or ())
    return LetterFilter(which, node, reason, error_class, key, topic, partition, offset, *times, states)


Wanted = Annotated[LetterFilter, Depends(letter_filter)]


def letter_routes(service: Service) -> Routes:
    """Routes of the topology's dead letters."""
    router = Routes(tags=["dead letters"], dependencies=[Depends(_known(service))])
    _reading(router, service)
    _deciding(router, service)
    return router


def _reading(router: Routes, service: Service) -> None:
    parked = ParkedKeys(service)

    @router.get(_PATH, operation_id="list_letters")
    async def list_letters(wanted: Wanted, limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None) -> Response:
        """Letters, oldest first, with how many events wait behind each. A `cursor` means there may be more, also behind
        a page with fewer than the limit."""
        page = await _asked(service.letters.page(wanted, *_places(cursor), limit))
        letters = await parked.views(page.letters)
        return JsonResponse({"letters": letters, "cursor": _cursor(page.next, page.end)})

    @router.get(_PATH + "/{number:int}", operation_id="show_letter")
    async def show_letter(number: Number) -> Response:
        """One letter with its event, as it came and as edited, its stack, and how many events wait behind it."""
        letter = _found(number, await _asked(service.letters.letter(number)))
        return JsonResponse((await parked.views([letter], whole=True))[0])


def _deciding(router: Routes, service: Service) -> None:
    @router.put(
        _PATH + "/{number:int}/value",
        operation_id="edit_letter",
        openapi_extra=request_body({topic: target.schema for topic, target in targets_of(service).items()}, one=True),
    )
    async def edit_letter(request: Request, number: Number, comment: Comment = "") -> Response:
        """Keep another event beside the original, for the next redrive. The source's schema must take it."""
        value = await body_of(request)
        letter = _found(number, await _asked(service.letters.letter(number)))
        _check_event(service, letter, value)
        edited = await _asked(service.letters.edit(number, value, caller_of(request).name, comment))
        return JsonResponse(_found(number, edited).view(whole=True))

    @router.post(_PATH + "/redrive", operation_id="redrive_letters")
    async def redrive_letters(
        request: Request,
        wanted: Wanted,
        everything: Annotated[All, Query(alias="all")] = False,
        limit: Limit = LIMIT_DEFAULT,
        per_s: Annotated[float, Query(ge=0.1, le=10_000, description="events per second at most")] = 100.0,
        cursor: Cursor = None,
    ) -> Response:
        """Send letters that wait to the topic and partition they came from, oldest first; each is sent once, however
        often this is asked. `execution` tells what became of it. Ask again with the cursor until there is none."""
        _check_meant(wanted, everything)
        start, end = _places(cursor)
        by = caller_of(request).name
        return _answer(wanted, await _asked(service.letters.redrive(wanted, start, end, limit, per_s, by)))

    @router.post(_PATH + "/discard", operation_id="discard_letters")
    async def discard_letters(
        request: Request,
        wanted: Wanted,
        everything: Annotated[All, Query(alias="all")] = False,
        limit: Limit = LIMIT_DEFAULT,
        comment: Comment = "",
        cursor: Cursor = None,
    ) -> Response:
        """Mark letters that wait as not needed. They stay, and may still be redriven with `state=discarded`."""
        _check_meant(wanted, everything)
        start, end = _places(cursor)
        by = caller_of(request).name
        return _answer(wanted, await _asked(service.letters.discard(wanted, start, end, limit, by, comment)))


def _known(service: Service) -> Any:
    def check(topology: str) -> None:
        if topology != service.plan.topology:
            detail = f"no topology {topology!r}; there is {service.plan.topology!r}"
            raise Refusal(404, "unknown_topology", detail)

    return check


async def _asked(answer: Awaitable[Result]) -> Result:
    try:
        return await answer
    except UserError as error:
        raise Refusal(409, "not_open", str(error)) from error
    except Fenced as error:
        detail = "somebody else decides about letters at this moment; what was done is done: ask again for the rest"
        raise Refusal(409, "busy", detail, retry_after_s=1) from error
    except ExternalError as error:
        raise broker_unavailable(error) from error


def _found(number: int, letter: Letter | None) -> Letter:
    if letter is None:
        raise Refusal(404, "unknown_letter", f"there is no dead letter {number}")
    return letter


def _check_event(service: Service, letter: Letter, value: bytes) -> None:
    target = targets_of(service).get(letter.source[0] if letter.source is not None else "")
    if target is None:
        detail = f"letter {letter.number} did not come from a source: only an event of one can be edited"
        raise Refusal(422, "no_source", detail)
    _, rejected = validated(target, [value], None if letter.record.key is None else "")
    if rejected:
        raise Refusal(422, rejected[0]["reason"], rejected[0]["message"])


def _check_meant(wanted: LetterFilter, everything: bool) -> None:
    if wanted == LetterFilter(states=wanted.states) and not everything:
        raise Refusal(422, "bad_parameter", "say which letters are meant, by id or a filter, or give all=true")


def _places(cursor: str | None) -> tuple[int, int | None]:
    if cursor is None:
        return 0, None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise Refusal(422, "bad_parameter", f"{cursor!r} is no cursor: pass it as the answer before gave it")
    return int(found[1]), int(found[2])


def _cursor(start: int | None, end: int) -> str | None:
    return None if start is None or start >= end else f"{start}-{end}"


def _answer(wanted: LetterFilter, done: Decided) -> Response:
    refused = [{"id": number, "reason": reason} for number, reason in done.refused]
    touched = {letter.number for letter in done.letters} | {number for number, _ in done.refused}
    body = {
        "count": len(done.letters),
        "letters": [letter.view() for letter in done.letters],
        "refused": refused,
        "cursor": _cursor(done.next, done.end),
    }
    if wanted.numbers and body["cursor"] is None:
        body["skipped"] = sorted(wanted.numbers - touched)
    return JsonResponse(body)
