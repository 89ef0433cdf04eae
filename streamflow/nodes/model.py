"""model: adds what a model of the registry gives for a row."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic import Field as Option

from streamflow.inference.answers import fields_of
from streamflow.inference.card import MODEL_NAME, REGISTRY_TOPIC, VERSION, Task
from streamflow.model.names import field_problem
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes.kind import Category, Flow, Lowered, Lowering, Mode, NodeConfig, NodeKind, TopicName
from streamflow.nodes.operators import Score

LATEST = "latest"
SHARES = 10_000


def _model_name(name: str) -> str:
    if not MODEL_NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a model: a small letter, then letters, digits, _ and -")
    return name


def _version(version: str) -> str:
    if version != LATEST and not VERSION.fullmatch(version):
        raise ValueError(f"{version!r} is no version; write latest, or a number such as 2 or 1.4.0, in quotes")
    return version


ModelName = Annotated[str, AfterValidator(_model_name)]
Version = Annotated[str, AfterValidator(_version)]
#: YAML reads 2 as a number; 1.10 must be quoted, since 1.1 is another version.
Versions = Annotated[
    Version | dict[Version, float],
    BeforeValidator(lambda given: str(given) if type(given) is int else given),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "number"}}]}),
]


class ModelConfig(NodeConfig):
    """Configuration of a model."""

    model: ModelName = Option(description="name of the model in the registry")
    task: Task = Option(strict=False, description="what the model gives; decides which fields are added")
    features: list[str] = Option(
        min_length=1, max_length=1_000, description="fields or expressions, in the order of the model's inputs"
    )
    version: Versions = Option(
        LATEST,
        description="a version, `latest`, or a split: percent of the keys per version, `{'3': 90, '4': 10}`",
    )
    shadow: Version | None = Option(None, description="version that is asked too, for comparison; its fields: shadow_…")
    prefix: str = Option("", description="goes before the name of every field that is added")
    top_k: int = Option(0, ge=0, le=100, description="classification: so many likeliest classes in the field `top`")
    min_confidence: float = Option(
        0.0, ge=0, le=1, description="classification: rows whose confidence is lower are left out"
    )
    missing: Literal["dead_letter", "nan"] = Option(
        "dead_letter", description="rows with a null input: put aside, or null is given to the model as not-a-number"
    )
    batch_rows: int = Option(1_024, ge=1, le=100_000, description="most rows of one call of the model")
    registry: TopicName = Option(REGISTRY_TOPIC, description="compacted topic of the model cards")


class Model(NodeKind):
    """Scores rows with a model; each carries the version that did."""

    kind = "model"
    display_name = "Model"
    description = "Adds what a model gives for a row: ONNX, scikit-learn or any other by an adapter."
    category = Category.AI_ML
    tags = ("stateless", "ml", "inference")
    modes = (Mode.BATCH,)
    config_type = ModelConfig
    parts_off = True
    example = {"model": "level", "task": "classification", "features": ["value", "value * 2"], "version": "latest"}

    def lower(self, config: ModelConfig, lowering: Lowering) -> Lowered | None:
        """Check features, versions and names. Whether the model takes them is checked when it is loaded."""
        inputs = []
        for number, source in enumerate(config.features):
            found = lowering.expression(source, f"features.{number}")
            if found is None:
                continue
            inputs.append(found)
            if found.type is FieldType.STR and found.nullable:
                lowering.problem(
                    f"{source} may be null, a text must be there", "use coalesce(…, '')", f"features.{number}"
                )
        shares = _shares(config, lowering)
        if config.task is not Task.CLASSIFICATION and (config.top_k or config.min_confidence):
            lowering.problem(f"{config.task} has no classes", "leave top_k and min_confidence out", "task")
        fields = fields_of(config.task, config.top_k, config.prefix)
        if config.shadow is not None:
            shadows = fields_of(config.task, config.top_k, f"{config.prefix}shadow_")
            fields += tuple(Field(each.name, each.type, nullable=True) for each in shadows)
        _check_names(fields, lowering)
        if lowering.failed:
            return None
        before = lowering.input
        schema = Schema(f"{lowering.name.title().replace('_', '')}Row", (*before.schema.fields, *fields))
        operator = Score(
            model=config.model,
            task=config.task,
            inputs=tuple(inputs),
            shares=shares,
            shadow=config.shadow,
            top_k=config.top_k,
            floor=config.min_confidence,
            nulls=config.missing == "nan",
            batch_rows=config.batch_rows,
            registry=config.registry,
        )
        return Lowered(operator, Flow(schema, before.key, before.key_name, before.repeats))


def _shares(config: ModelConfig, lowering: Lowering) -> tuple[tuple[str, int], ...]:
    """Upper bounds of the versions' shares of the keys."""
    if isinstance(config.version, str):
        return ((config.version, SHARES),)
    if lowering.input.key is None:
        lowering.problem(
            "rows have no key to be split by", "put a key_by before it, or declare the source's key", "version"
        )
    if round(sum(config.version.values()), 6) != 100 or min(config.version.values(), default=0) < 0:
        lowering.problem("the percentages of a split are at least 0 and add up to 100", key="version")
    bound, found = 0.0, []
    for version, percent in config.version.items():
        bound += percent
        found.append((version, round(bound * SHARES / 100)))
    return tuple(found)


def _check_names(fields: tuple[Field, ...], lowering: Lowering) -> None:
    for each in fields:
        problem = field_problem(each.name)
        if problem is not None:
            lowering.problem(problem, key="prefix")
        elif each.name in lowering.input.schema.names:
            lowering.problem(f"rows have a field {each.name!r} already", "use another prefix", "prefix")
