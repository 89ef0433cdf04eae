"""The flights topology in Python, with the same meaning as topology.yaml beside it."""

from streamflow.topology.builder import Builder

flights = Builder(
    "flights",
    version=2,
    description="Departure delays per carrier and hour, traffic per destination, and airlines' days",
)
flights.schema(
    "Departure", time="timestamp", carrier="str", origin="str", dest="str", dep_delay="float?", distance="int"
)
flights.schema("Carrier", carrier="str", name="str")
flights.schema("Airport", faa="str", name="str", zone="str?")
carriers = flights.global_table(
    "carriers", topic="flights.carriers", schema="Carrier", key="carrier", max_bytes=1_000_000
)
airports = flights.global_table("airports", topic="flights.airports", schema="Airport", key="faa", max_bytes=1_000_000)
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
named = flown.lookup("named", table=carriers, key="carrier", take={"airline": "name"})
placed = named.lookup("placed", table=airports, key="dest", take={"destination": "name"})
called = placed.map(
    "called",
    keep=["dep_delay", "distance"],
    set={"airline": "coalesce(airline, carrier)", "destination": "coalesce(destination, dest)"},
)
by_destination = called.key_by("by_destination", key="destination")
by_destination.window(
    "traffic",
    window={"type": "sliding", "size": "1d", "slide": "12h"},
    aggregate={"departures": "count()", "mean_delay": "average(dep_delay)", "farthest": "max(distance)"},
    table="destination_traffic",
    retention="400d",
)
by_airline = called.key_by("by_airline", key="airline")
days = by_airline.window(
    "days",
    window={"type": "session", "gap": "3h"},
    aggregate={"departures": "count()", "mean_delay": "average(dep_delay)", "worst": "max(dep_delay)"},
    table="airline_days",
    retention="400d",
)
days.sink("days_out", topic="flights.airline_days")

topology = flights.build()
