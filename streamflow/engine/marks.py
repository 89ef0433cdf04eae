"""In-band watermarks that a task gives to the tasks behind its repartition topics."""

from collections.abc import Callable

import orjson

from streamflow.checkpoint.progress import END_OF_TIME, NO_TIME, ProducerMark
from streamflow.engine.held_back import behind
from streamflow.engine.outputs import Outputs
from streamflow.plan.held_back import held_back_ms
from streamflow.plan.plan import Stage


class Marks:
    """Of one task, which is a partition of a stage. `topics`: those that get marks."""

    def __init__(self, outputs: Outputs, stage: Stage, partition: int) -> None:
        self._outputs, self._partition = outputs, partition
        held_ms = held_back_ms(stage.nodes)
        #: Topics, and how far the rows there may be behind.
        self.topics = {topic: held_ms[node.name] for node in stage.nodes for topic in node.onward_topics}
        self._sent: ProducerMark | None = None

    def add(self, watermark_ms: int, idle: bool, data_end: Callable[[], int]) -> None:
        """Behind what is in the outputs, to every partition; nothing when it says what the last one said.

        data_end: how far data came, at the end of a bounded run, which is said with the end.
        """
        mark = ProducerMark(watermark_ms, idle)
        if not self.topics or mark == self._sent:
            return
        self._sent = mark
        data_ms = data_end() if watermark_ms >= END_OF_TIME else NO_TIME
        for topic, held_ms in self.topics.items():
            time = None if watermark_ms == NO_TIME else behind(watermark_ms, held_ms)
            body = {"producer": self._partition, "watermark": time, "idle": idle}
            value = orjson.dumps(body if data_ms == NO_TIME else body | {"data": behind(data_ms, held_ms)})
            for records in self._outputs.lists(topic):
                records.append((None, value, None))
