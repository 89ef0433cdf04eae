"""Forms of node kinds: what a field may be for the values chosen so far, and what is wrong with all of them."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamflow.engine.global_table import GlobalTable
from streamflow.errors import UserError
from streamflow.nodes.dependent import FormAnswers
from streamflow.nodes.kind import NodeKind
from streamflow.query.request import Reason
from streamflow.topology.config_problems import problems_of
from streamflow.web.ports import Service
from streamflow.web.problems import Refusal


class ValuesBody(BaseModel):
    """A form as it stands."""

    model_config = ConfigDict(extra="forbid")

    values: dict[str, Any] = Field(description="what is chosen so far, by option")


class FieldBody(ValuesBody):
    """A form as it stands, and a field of it."""

    field: str = Field(description="the field asked about, one with `depends_on`")


class _Tables:
    """Global tables of the topology. Made on the loop, read in a thread: copies of dictionaries are whole."""

    def __init__(self, service: Service) -> None:
        self._tables: dict[str, GlobalTable] = {}
        for plan in service.plan.global_tables:
            found = service.global_table(plan.name)
            if found.ratio < 1:
                detail = f"global table {plan.name} is being read, {found.ratio:.0%} done"
                raise Refusal(503, Reason.RESTORING, detail, retry_after_s=1)
            self._tables[plan.name] = found.table

    @property
    def names(self) -> Sequence[str]:
        """All of them."""
        return sorted(self._tables)

    def fields(self, table: str) -> Sequence[str]:
        """Names of the fields of a table's rows."""
        return self._known(table).plan.schema.names

    def rows(self, table: str) -> Iterator[Mapping[str, Any]]:
        """Every row."""
        return map(msgspec.structs.asdict, self._known(table).rows.copy().values())

    def _known(self, table: str) -> GlobalTable:
        if table not in self._tables:
            raise UserError(f"there is no global table {table!r}; there are {', '.join(self.names) or 'none'}")
        return self._tables[table]


async def answer_field(service: Service, kind: NodeKind, body: FieldBody) -> dict[str, Any]:
    """What one field may be. Raises Refusal."""
    names = [each.name for each in kind.dependents]
    if body.field not in names:
        detail = (
            f"no field {body.field!r} of {kind.kind} depends on others; those that do: {', '.join(names) or 'none'}"
        )
        raise Refusal(404, "unknown_field", detail)
    answers = _answers(service, kind, _chosen(kind, body.values))
    found: dict[str, Any] = await _asked(answers.answer, body.field)
    return found


async def check_values(service: Service, kind: NodeKind, body: ValuesBody) -> dict[str, Any]:
    """Every problem of the values, the configuration with its defaults (null while there are problems), and the derived
    values. Raises Refusal."""
    problems, config = [], None
    try:
        config = kind.config_type.model_validate(body.values).model_dump(mode="json", by_alias=True)
    except ValidationError as error:
        problems = [(each.place, each.message, each.remedy) for each in problems_of(error, "", kind.config_type)]
    chosen = _chosen(kind, body.values)
    answers = _answers(service, kind, chosen)
    for name in await _asked(answers.unusable):
        problems.append((name, f"{chosen[name]!r} is none of its options", "ask for its options, and choose one"))
    derived = {
        each.name: (await _asked(answers.answer, each.name))["value"] for each in kind.dependents if each.derived
    }
    told = [{"field": place, "message": message, "remedy": remedy} for place, message, remedy in problems]
    return {"problems": told, "config": None if problems else config, "derived": derived}


def _chosen(kind: NodeKind, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values with the defaults of others; None for what is not of its option's type: functions count on it."""
    defaults = {
        info.alias or name: info.get_default(call_default_factory=True)
        for name, info in kind.config_type.model_fields.items()
        if not info.is_required()
    }
    wrong: set[Any] = set()
    try:
        kind.config_type.model_validate(values)
    except ValidationError as error:
        wrong = {each["loc"][0] for each in error.errors() if each["loc"]}
    return {**defaults, **{name: None if name in wrong else value for name, value in values.items()}}


def _answers(service: Service, kind: NodeKind, values: Mapping[str, Any]) -> FormAnswers:
    return FormAnswers(kind.dependents, values, _Tables(service))


async def _asked(ask: Any, *arguments: str) -> Any:
    """In a thread: a table may have 100,000 rows. Raises Refusal for what the kind refuses."""
    try:
        return await asyncio.to_thread(ask, *arguments)
    except UserError as error:
        raise Refusal(422, "not_usable", str(error)) from error
