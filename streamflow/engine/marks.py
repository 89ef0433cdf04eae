"""In-band watermarks that a task gives to the tasks behind its repartition topics."""

import orjson

from streamflow.checkpoint.progress import NO_TIME, ProducerMark
from streamflow.engine.outputs import Outputs
from streamflow.plan.plan import Stage


class Marks:
    """Of one task, which is a partition of a stage. `topics`: those that get marks."""

    def __init__(self, outputs: Outputs, stage: Stage, partition: int) -> None:
        self._outputs, self._partition = outputs, partition
        self.topics = [node.repartition_topic for node in stage.nodes if node.repartition_topic]
        self._sent: ProducerMark | None = None

    def add(self, watermark_ms: int, idle: bool) -> None:
        """Behind what is in the outputs, to every partition; nothing when it says what the last one said."""
        mark = ProducerMark(watermark_ms, idle)
        if not self.topics or mark == self._sent:
            return
        self._sent = mark
        time = None if watermark_ms == NO_TIME else watermark_ms
        value = orjson.dumps({"producer": self._partition, "watermark": time, "idle": idle})
        for topic in self.topics:
            for records in self._outputs.lists(topic):
                records.append((None, value, None))
