"""The watch topology in Python, with the same meaning as topology.yaml beside it."""

from watch_nodes import Watch

from streamflow.topology.builder import Builder

watch = Builder(
    "watch", description="Tells when a device falls silent, speaks again, or jumps away from its last readings"
)
watch.schema("Reading", time="timestamp", device="str", id="int", celsius="float")
readings = watch.source(
    "readings",
    topic="watch.readings",
    schema="Reading",
    event_time="time",
    watermark_delay="1m",
    key="device",
    partitions=4,
)
once = readings.deduplicate("once", by=["id"], within="1h")
watched = once.process("watched", Watch, arguments={"silent_after_minutes": 10})
watched.sink("notices", topic="watch.notices")

topology = watch.build()
