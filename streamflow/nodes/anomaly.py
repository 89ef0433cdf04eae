"""anomaly: finds values that are far from what their key has shown before."""

from typing import Literal

from pydantic import Field as Option

from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes.kind import Category, FieldName, Lowered, Lowering, NodeConfig, NodeKind, TableName
from streamflow.nodes.running import Ewma, RobustZ, lowered


class AnomalyConfig(NodeConfig):
    """Configuration of an anomaly."""

    field: str = Option(description="numeric field to watch")
    method: Literal["robust_z", "ewma"] = Option(
        "robust_z",
        description="by median and MAD of the last values, or by exponentially weighted moments",
    )
    threshold: float = Option(3.5, gt=0, allow_inf_nan=False, description="score beyond which a value is an anomaly")
    warm_up: int = Option(10, ge=2, le=1_000, description="values of a key before the first is judged")
    history: int = Option(50, ge=2, le=1_000, description="last values of a key that are compared with, for robust_z")
    alpha: float = Option(0.1, gt=0, lt=1, description="weight of the newest value, for ewma")
    mode: Literal["flag", "filter"] = Option("flag", description="mark every row, or pass anomalies only")
    score: FieldName = Option("score", description="field for the score, null while there is none")
    flag: FieldName = Option("anomaly", description="field for the mark, in mode flag")
    table: TableName | None = Option(None, description="name of the table of statistics; the node's when left out")


class Anomaly(NodeKind):
    """Judges each value by those of its key before it, in the order of their arrival; anomalies teach as well.

    robust_z: 0.6745 |x - median| / MAD, which up to half of the history being anomalies does not move far. ewma:
    |x - mean| / deviation, exponentially weighted: cheap, follows drift. Where all values before were equal, any
    other is an anomaly, with a score of null.
    """

    kind = "anomaly"
    display_name = "Anomaly"
    description = "Marks or passes values that are far from what their key has shown before."
    category = Category.MONITORING
    tags = ("stateful", "statistics")
    config_type = AnomalyConfig
    example = {"field": "value", "method": "robust_z", "threshold": 2.0, "history": 20}
    stateful = True

    def lower(self, config: AnomalyConfig, lowering: Lowering) -> Lowered | None:
        """Add score and mark to the schema."""
        before = lowering.input.schema
        added = [Field(config.score, FieldType.FLOAT, True)]
        if config.mode == "flag":
            added.append(Field(config.flag, FieldType.BOOL))
        for option, name in (("score", config.score), ("flag", config.flag)):
            if name in before.names:
                lowering.problem(f"the input has a field {name!r} already", "choose another name", option)
        if config.score == config.flag:
            lowering.problem(f"{config.score!r} is named twice", "choose another name", "flag")
        if config.method == "robust_z" and config.warm_up > config.history:
            lowering.problem("warm_up is more than history", "lower it, or raise history", "warm_up")
        if not lowering.numeric_of_key(config.field):
            return None
        output = Schema(f"{before.name}Scored", (*before.fields, *added))
        options = config.model_dump(include={"threshold", "warm_up", "history", "alpha", "mode", "score", "flag"})
        target = RobustZ if config.method == "robust_z" else Ewma
        return lowered(target, config.field, output, options, config.table or lowering.name, lowering)
