"""Aggregates of a window: init, add, merge and result, one module per family.

basic            count sum average min max                                         numbers in cells, inlined
spread           variance stddev, of a sample or of a population                   numbers in cells, inlined
timed            first last, by event time                                         a value and a time, inlined
collected        collect                                                           an object, bounded
distinct         distinct_count                                                    a set, then a sketch
quantiles        percentile median                                                 an array, then a sketch
heavy_hitters    top_k                                                             counts, then a sketch
own              what a person writes in Python                                    plain data in an object

`aggregate` says what all of them have in common, `catalogue` finds one by its name.
"""

from streamflow.windows.aggregates.aggregate import Aggregate, AggregateKind, Parameter
from streamflow.windows.aggregates.catalogue import BUILT_IN, find, hint, register
from streamflow.windows.aggregates.own import OwnAggregate

__all__ = ["BUILT_IN", "Aggregate", "AggregateKind", "OwnAggregate", "Parameter", "find", "hint", "register"]
