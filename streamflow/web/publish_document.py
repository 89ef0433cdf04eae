"""The publish endpoint in the OpenAPI document: bodies and answers, with examples made from the topology's schemas."""

from typing import Any

import orjson

from streamflow.model.schema import FieldType, Schema
from streamflow.web.problems import PROBLEM, problem_body

_VALUES: dict[FieldType, Any] = {
    FieldType.STR: "text",
    FieldType.INT: 1,
    FieldType.FLOAT: 1.5,
    FieldType.BOOL: True,
    FieldType.TIMESTAMP: "2013-01-01T12:00:00Z",
    FieldType.JSON: {},
}


def example_event(schema: Schema) -> dict[str, Any]:
    """An event that the schema takes."""
    return {field.name: field.choices[0] if field.choices else _VALUES[field.type] for field in schema.fields}


def request_body(topics: dict[str, Schema], *, one: bool = False, lines: bool = True) -> dict[str, Any]:
    """The body: per source topic one event, several, and lines; or one only, or no lines."""
    events = {topic: example_event(schema) for topic, schema in topics.items()}
    content: dict[str, Any]
    examples: dict[str, Any] = {f"one event for {topic}": {"value": event} for topic, event in events.items()}
    if one:
        content = {"application/json": {"schema": {"type": "object"}, "examples": examples}}
        return {"requestBody": {"required": True, "content": content}}
    examples |= {f"several for {topic}": {"value": [event, event]} for topic, event in events.items()}
    one_or_more = {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}
    content = {"application/json": {"schema": one_or_more, "examples": examples}}
    if lines:
        shown = {topic: {"value": (orjson.dumps(event) + b"\n").decode() * 2} for topic, event in events.items()}
        content["application/x-ndjson"] = {"schema": {"type": "string"}, "examples": shown}
    return {"requestBody": {"required": True, "content": content}}


def _problem(description: str, status: int, title: str, detail: str, **headers: str) -> dict[str, Any]:
    body = problem_body(status, title, detail)
    answer: dict[str, Any] = {
        "description": description,
        "content": {"application/problem+json": {"example": body}},
    }
    if headers:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        answer["headers"] = {name: {"description": text, "schema": {"type": "integer"}} for name, text in named.items()}
    return answer


_REJECTED = {"index": 1, "reason": "decode", "message": "Expected `int`, got `str` - at `$.amount`"}
_RETRY = "seconds to wait"

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events were appended; rejected ones are named by their place in the request.",
        "content": {"application/json": {"example": {"accepted": 1, "rejected": [_REJECTED], "token": "eyJ0Ijo…"}}},
    },
    202: {
        "description": "It is appended, and not yet judged: ask at the Location.",
        "content": {"application/json": {}},
    },
    404: _problem("No such source topic.", 404, "unknown_topic", "there is no source topic 'sale'"),
    408: _problem("The body did not arrive.", 408, "slow", "the body did not arrive within 10 s"),
    412: _problem("Somebody wrote first.", 412, "version_conflict", "the newest version of 'a' is 7: look at it"),
    413: _problem("Too large.", 413, "too_many", "a request may have 1000 events, this has 5000: send it in parts"),
    415: _problem("Not JSON.", 415, "media_type", "'text/csv' is not taken: send application/json"),
    422: {
        "description": "Nothing was appended: the body is no JSON, or every event was rejected.",
        "content": {
            "application/json": {"example": {"accepted": 0, "rejected": [_REJECTED], "token": None}},
            **PROBLEM["content"],
        },
    },
    429: _problem(
        "The topic takes no more now.", 429, "too_fast", "a topic takes 200000 events/s here", Retry_After=_RETRY
    ),
    503: _problem("Come back later.", 503, "busy", "too many publishes are on their way", Retry_After=_RETRY),
}
