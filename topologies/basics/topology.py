"""The basics topology in Python, with the same meaning as topology.yaml beside it."""

from streamflow.topology.builder import Builder

basics = Builder(
    "basics", description="Readings counted per sensor, converted, and split into normal and alarming ones"
)
basics.schema("Reading", time="timestamp", sensor="str", celsius="float?")
readings = basics.source(
    "readings", topic="basics.readings", schema="Reading", event_time="time", key="sensor", partitions=4
)
counted = readings.pass_through("arrived").echo("counted", field="number", table="readings_seen")
measured = counted.filter("measured", where="celsius is not None")
scaled = measured.multiply("scaled", field="celsius", factor=1.8, into="fahrenheit")
converted = scaled.map("converted", set={"fahrenheit": "round(fahrenheit + 32)"}, drop=["celsius"])
hot = converted.threshold("hot", field="fahrenheit", limit=100, when="at_least")
mild = converted.threshold("mild", field="fahrenheit", limit=100, when="below")
alarming = hot.map("alarming", set={"level": "'alarm'"})
normal = mild.map("normal", set={"level": "'normal'"})
basics.merge("judged", alarming, normal).sink("out", topic="basics.judged")
alarming.sink("alarms", topic="basics.alarms")

topology = basics.build()
