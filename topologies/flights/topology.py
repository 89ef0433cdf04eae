"""The flights topology in Python, with the same meaning as topology.yaml beside it."""

from streamflow.topology.builder import Builder

flights = Builder(
    "flights",
    version=3,
    description="Departure delays per carrier and hour and by weather, traffic per destination, and airlines' days",
)
flights.schema(
    "Departure", time="timestamp", carrier="str", origin="str", dest="str", dep_delay="float?", distance="int"
)
flights.schema("Carrier", carrier="str", name="str")
flights.schema("Airport", faa="str", name="str", zone="str?")
flights.schema(
    "Weather", origin="str", reported="timestamp", temp="float?", wind_speed="float?", precip="float?", visib="float?"
)
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
    partitions=2,
    idle_after="1m",
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
    aggregate={
        "departures": "count()",
        "mean_delay": "average(dep_delay)",
        "worst": "max(dep_delay)",
        "p90": "percentile(dep_delay, 90)",
    },
    table="airline_days",
    retention="400d",
)
days.sink("days_out", topic="flights.airline_days")
reports = flights.source(
    "reports",
    topic="flights.weather",
    schema="Weather",
    event_time="reported",
    watermark_delay="1h",
    key="origin",
    partitions=2,
    idle_after="1m",
)
weather = reports.node("weather", "table", versions=10_000)
weathered = flights.node("weathered", "table_join", flown, weather, type="left")
# Older than two hours is no weather. One sensor reported 1,048 miles an hour.
sky = weathered.map(
    "sky",
    keep=["dep_delay"],
    set={
        "weather": "'unknown' if reported is None or precip is None or visib is None or time - reported >= 7200000 "
        "else ('snow' if temp is not None and temp < 34 else 'rain') if precip > 0 "
        "else 'fog' if visib < 5 "
        "else 'wind' if wind_speed is not None and 20 <= wind_speed < 100 "
        "else 'fair'"
    },
)
by_weather = sky.key_by("by_weather", key="weather")
by_weather.window(
    "daily",
    window={"type": "calendar", "unit": "day", "zone": "America/New_York"},
    aggregate={"departures": "count()", "mean_delay": "average(dep_delay)", "worst": "max(dep_delay)"},
    table="weather_delays",
    retention="400d",
)

topology = flights.build()
