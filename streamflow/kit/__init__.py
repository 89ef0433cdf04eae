"""What a person needs to write a node in Python, and to try it without the engine. See docs/nodes-python.md."""

from streamflow.kit.indicators import Counter, Gauge
from streamflow.kit.process import Process
from streamflow.kit.rows import Row, Time
from streamflow.kit.states import List, Map, Value
from streamflow.kit.timers import Timer
from streamflow.kit.trial import Trial

__all__ = ["Counter", "Gauge", "List", "Map", "Process", "Row", "Time", "Timer", "Trial", "Value"]
