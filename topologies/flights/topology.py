"""The flights topology in Python, with the same meaning as topology.yaml beside it."""

from streamflow.topology.builder import Builder

flights = Builder("flights", description="Departure delays per carrier and hour")
flights.schema(
    "Departure", time="timestamp", carrier="str", origin="str", dest="str", dep_delay="float?", distance="int"
)
departures = flights.source(
    "departures",
    topic="flights.departures",
    schema="Departure",
    event_time="time",
    watermark_delay="2h",
    key="origin",
    partitions=4,
    idle_after="3s",
)
flown = departures.filter("flown", where="dep_delay is not None")
by_carrier = flown.key_by("by_carrier", key="carrier")
hourly = by_carrier.window(
    "hourly",
    window={"type": "tumbling", "size": "1h"},
    aggregate={"departures": "count()", "mean_delay": "average(dep_delay)", "worst": "max(dep_delay)"},
    table="hourly_delays",
    retention="400d",
)
hourly.sink("out", topic="flights.hourly_delays")

topology = flights.build()
