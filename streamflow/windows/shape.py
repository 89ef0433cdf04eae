"""Shapes of windows, by how their state is kept.

shape                          state                                      closes
Tumbling Sliding Calendar      panes of fixed borders, each shared by     when the watermark passes an end
                               all keys (`PaneShape`)
Session                        sessions of each key                       when the watermark passes last event + gap
Counted                        the key's running panes                    at an event
Unbounded                      one accumulator per key                    never
"""

from streamflow.windows.calendar import Calendar
from streamflow.windows.count import Counted
from streamflow.windows.session import Session
from streamflow.windows.sliding import Sliding
from streamflow.windows.tumbling import Tumbling
from streamflow.windows.unbounded import Unbounded

PaneShape = Tumbling | Sliding | Calendar
WindowShape = PaneShape | Session | Counted | Unbounded
#: The same for `isinstance`.
PANE_SHAPES = (Tumbling, Sliding, Calendar)
