"""The events of Nexmark: persons, auctions and bids of an auction house, the same for the same seed.

    python topologies/nexmark/events.py bids --events 100000 > bids.ndjson

Source of every proportion, ratio and range: the generator of github.com/nexmark/nexmark (GeneratorConfig,
PersonGenerator, AuctionGenerator, BidGenerator with the defaults of NexmarkConfiguration), itself that of Apache Beam.
Of 50 events the first is a person, the next three are auctions, 46 are bids. Ids count up; half of the bids go to the
hot auction, three quarters come from the hot bidder, three quarters of the auctions from the hot seller, and what is
hot changes with every 100 auctions or persons. Bids and auctions may name auctions and persons that come a little
later.

Differences: random numbers are those of Python, so values are others than Java's; 1,000 is added to a bidder's id once,
as in Beam, not twice; times are epoch milliseconds.
"""

import argparse
import math
import random
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

#: Topic to the field that it is keyed by.
TOPICS = {"nexmark.persons": "id", "nexmark.auctions": "id", "nexmark.bids": "auction"}
#: 2015-07-15, where Beam begins.
START_MS = 1_436_918_400_000
RATE_PER_S = 10_000

_PERSONS, _AUCTIONS, _BIDS = 1, 3, 46
_TOTAL = _PERSONS + _AUCTIONS + _BIDS
_FIRST_ID, _FIRST_CATEGORY, _CATEGORIES = 1_000, 10, 5
#: What is hot changes with so many ids; one of `ratio` is not hot.
_HOT_IDS = 100
_HOT_AUCTION_RATIO, _HOT_BIDDER_RATIO, _HOT_SELLER_RATIO = 2, 4, 4
_IN_FLIGHT_AUCTIONS, _ACTIVE_PERSONS, _LEAD = 100, 1_000, 10
_PERSON_BYTES, _AUCTION_BYTES, _BID_BYTES = 200, 500, 100
_CHANNELS = 10_000
_HOT_CHANNELS = ("Google", "Facebook", "Baidu", "Apple")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_STATES = ("AZ", "CA", "ID", "OR", "WA", "WY")
_CITIES = (
    "Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne",
)  # fmt: skip
_FIRST_NAMES = ("Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter")
_LAST_NAMES = ("Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris")

Event = dict[str, Any]


def events(
    count: int, seed: int = 1, rate_per_s: int = RATE_PER_S, disorder_count: int = 1
) -> Iterator[tuple[str, Event]]:
    """(topic, event) of `count` events, `rate_per_s` of them per second of event time.

    disorder_count: events come shuffled within groups of so many, so that they are up to `disorder_count / rate_per_s`
    seconds late; 1 is in order. No multiple of 953, the step of the shuffle.
    """
    source = _Source(seed, rate_per_s)
    for number in range(count):
        shuffled = number - number % disorder_count + number * 953 % disorder_count
        yield source.event(shuffled)


def last_person(number: int) -> int:
    """Number of the newest person at an event, from 0."""
    return number // _TOTAL


def last_auction(number: int) -> int:
    """Number of the newest auction at an event, from 0; -1 before the first."""
    epoch, place = divmod(number, _TOTAL)
    if place < _PERSONS:
        return epoch * _AUCTIONS - 1
    return epoch * _AUCTIONS + min(place - _PERSONS, _AUCTIONS - 1)


class _Source:
    def __init__(self, seed: int, rate_per_s: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - test data
        self._random, self._choice = chance.random, chance.choice
        self._rate_per_s = rate_per_s
        self._letters, self._channels, self._hot_urls = _texts(seed)

    def event(self, number: int) -> tuple[str, Event]:
        place = number % _TOTAL
        time_ms = self._time_ms(number)
        if place < _PERSONS:
            return "nexmark.persons", self._person(number, time_ms)
        if place < _PERSONS + _AUCTIONS:
            return "nexmark.auctions", self._auction(number, time_ms)
        return "nexmark.bids", self._bid(number, time_ms)

    def _time_ms(self, number: int) -> int:
        return START_MS + number * 1_000 // self._rate_per_s

    def _person(self, number: int, time_ms: int) -> Event:
        name = f"{self._choice(_FIRST_NAMES)} {self._choice(_LAST_NAMES)}"
        email = f"{self._text(7)}@{self._text(5)}.com"
        card = " ".join(f"{self._below(10_000):04d}" for _ in range(4))
        city, state = self._choice(_CITIES), self._choice(_STATES)
        extra = self._extra(8 + len(name) + len(email) + len(card) + len(city) + len(state), _PERSON_BYTES)
        return {
            "id": _FIRST_ID + last_person(number), "name": name, "emailAddress": email, "creditCard": card,
            "city": city, "state": state, "dateTime": time_ms, "extra": extra,
        }  # fmt: skip

    def _auction(self, number: int, time_ms: int) -> Event:
        hot = self._below(_HOT_SELLER_RATIO) > 0
        seller = last_person(number) // _HOT_IDS * _HOT_IDS if hot else self._some_person(number)
        category = _FIRST_CATEGORY + self._below(_CATEGORIES)
        first = self._price()
        horizon_ms = self._time_ms(number + _IN_FLIGHT_AUCTIONS * _TOTAL // _AUCTIONS) - time_ms
        expires = time_ms + 1 + self._below(max(2 * horizon_ms, 1))
        name, description = self._text(20), self._text(100)
        return {
            "id": _FIRST_ID + last_auction(number), "itemName": name, "description": description, "initialBid": first,
            "reserve": first + self._price(), "dateTime": time_ms, "expires": expires, "seller": _FIRST_ID + seller,
            "category": category, "extra": self._extra(48 + len(name) + len(description), _AUCTION_BYTES),
        }  # fmt: skip

    def _bid(self, number: int, time_ms: int) -> Event:
        if self._below(_HOT_AUCTION_RATIO) > 0:
            auction = last_auction(number) // _HOT_IDS * _HOT_IDS
        else:
            last = last_auction(number)
            first = max(last - _IN_FLIGHT_AUCTIONS, 0)
            auction = first + self._below(last - first + 1 + _LEAD)
        hot = self._below(_HOT_BIDDER_RATIO) > 0
        bidder = last_person(number) // _HOT_IDS * _HOT_IDS + 1 if hot else self._some_person(number)
        price = self._price()
        if self._below(2) > 0:
            which = self._below(len(_HOT_CHANNELS))
            channel, url = _HOT_CHANNELS[which], self._hot_urls[which]
        else:
            channel, url = self._channels[self._below(_CHANNELS)]
        return {
            "auction": _FIRST_ID + auction, "bidder": _FIRST_ID + bidder, "price": price, "channel": channel,
            "url": url, "dateTime": time_ms, "extra": self._extra(32, _BID_BYTES),
        }  # fmt: skip

    def _below(self, limit: int) -> int:
        return int(self._random() * limit)

    def _some_person(self, number: int) -> int:
        persons = last_person(number) + 1
        active = min(persons, _ACTIVE_PERSONS)
        return persons - active + self._below(active + _LEAD)

    def _price(self) -> int:
        """In cents, a dollar to a million, small ones oftener."""
        return round(math.pow(10.0, self._random() * 6.0) * 100.0)

    def _text(self, length: int) -> str:
        return _text(self._random, length, " ")

    def _extra(self, size: int, wanted: int) -> str:
        """Letters that fill an event up to 80 to 120 % of its usual size."""
        room = wanted - size
        if room < 0:
            return ""
        delta = round(room * 0.2)
        length = room - delta + (self._below(2 * delta) if delta else 0)
        start = self._below(len(self._letters) - length)
        return self._letters[start : start + length]


def _text(chance: Any, length: int, special: str) -> str:
    """3 to `length` - 1 characters, one of 13 special."""
    found = []
    for _ in range(3 + int(chance() * (length - 3))):
        found.append(special if chance() < 1 / 13 else _LETTERS[int(chance() * 26)])
    return "".join(found).strip()


@lru_cache(maxsize=4)
def _texts(seed: int) -> tuple[str, list[tuple[str, str]], list[str]]:
    """Letters to cut from, (channel, url) of all channels, urls of the hot ones."""
    chance = random.Random(seed).random  # noqa: S311 - test data
    letters = "".join(_LETTERS[int(chance() * 26)] for _ in range(1 << 16))
    channels = []
    for number in range(_CHANNELS):
        url = _url(chance)
        if chance() >= 0.1:
            url += f"&channel_id={abs(_reversed_bits(number))}"
        channels.append((f"channel-{number}", url))
    return letters, channels, [_url(chance) for _ in _HOT_CHANNELS]


def _url(chance: Any) -> str:
    parts = "/".join(_text(chance, 5, "_") for _ in range(3))
    return f"https://www.nexmark.com/{parts}/item.htm?query=1"


def _reversed_bits(number: int) -> int:
    """As Java's Integer.reverse: 32 bits, signed."""
    found = int(f"{number:032b}"[::-1], 2)
    return found - (1 << 32) if found >= 1 << 31 else found


def main() -> None:
    """Print the events of one topic as JSON lines."""
    options = argparse.ArgumentParser(description="Nexmark events as JSON lines")
    options.add_argument("topic", choices=[name.removeprefix("nexmark.") for name in TOPICS])
    options.add_argument("--events", type=int, default=100_000, help="of all three topics together")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--rate", type=int, default=RATE_PER_S, help="events per second of event time")
    options.add_argument("--disorder", type=int, default=1, help="events come shuffled within groups of so many")
    given = options.parse_args()
    for topic, event in events(given.events, given.seed, given.rate, given.disorder):
        if topic == f"nexmark.{given.topic}":
            sys.stdout.buffer.write(orjson.dumps(event) + b"\n")


if __name__ == "__main__":
    main()
