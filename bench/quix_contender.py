"""Workload A in Quix Streams, exactly once, RocksDB, final results. As its documentation shows it.

python -m bench.quix_contender BOOTSTRAP INPUT OUTPUT FOLDER
"""

import sys
from datetime import timedelta

from quixstreams import Application
from quixstreams.dataframe.windows.aggregations import Count, Max, Min, Sum

bootstrap, source, sink, folder = sys.argv[1:5]

app = Application(
    broker_address=bootstrap, consumer_group=f"bench-quix-{sink}", auto_offset_reset="earliest", state_dir=folder,
    processing_guarantee="exactly-once", commit_interval=0.1, use_changelog_topics=True, loglevel="WARNING",
)  # fmt: skip
readings = app.topic(source, value_deserializer="json", timestamp_extractor=lambda value, *_: value["ts"])
results = app.topic(sink, value_serializer="json")
frame = app.dataframe(readings)
frame = frame[frame["value"] > 10]
frame = frame.tumbling_window(timedelta(seconds=10), grace_ms=timedelta(seconds=5)).agg(
    n=Count(), total=Sum("value"), low=Min("value"), high=Max("value")
).final(closing_strategy="partition")  # fmt: skip
frame = frame.apply(
    lambda value, key, *_: {"sensor": key.decode() if isinstance(key, bytes) else key, **value}, metadata=True
)
frame.to_topic(results)
app.run()
