"""The events are those of the specification: proportions, ids, what is hot, disorder."""

from collections import Counter
from itertools import islice

from topologies.nexmark.events import START_MS, TOPICS, events


def test_a_seed_always_gives_the_same_and_another_one_does_not() -> None:
    first = list(events(2_000, seed=7))
    assert first == list(events(2_000, seed=7))
    assert first[:500] == list(islice(events(1_000_000, seed=7), 500))
    assert first != list(events(2_000, seed=8))


def test_one_person_three_auctions_and_46_bids_in_50_events() -> None:
    made = list(events(10_000))
    assert Counter(topic for topic, _ in made) == {
        "nexmark.persons": 200,
        "nexmark.auctions": 600,
        "nexmark.bids": 9_200,
    }
    for topic in ("nexmark.persons", "nexmark.auctions"):
        ids = [event["id"] for name, event in made if name == topic]
        assert ids == list(range(1_000, 1_000 + len(ids))), "ids count up"
    times = [event["dateTime"] for _, event in made]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (START_MS, START_MS + 999)


def test_what_is_hot_and_what_may_be_named() -> None:
    persons = auctions = 0
    hot: Counter[str] = Counter()
    bids = sold = 0
    for topic, event in events(100_000):
        newest_person, newest_auction = 999 + persons, 999 + auctions
        if topic == "nexmark.persons":
            persons += 1
        elif topic == "nexmark.auctions":
            auctions += 1
            sold += 1
            hot["seller"] += event["seller"] == 1_000 + (persons - 1) // 100 * 100
            assert event["seller"] <= newest_person + 10
            assert 10 <= event["category"] < 15
            assert event["dateTime"] < event["expires"] <= event["dateTime"] + 2 * 167 + 1
            assert 100 <= event["initialBid"] < event["reserve"]
        else:
            bids += 1
            hot["auction"] += event["auction"] == 1_000 + (auctions - 1) // 100 * 100
            hot["bidder"] += event["bidder"] == 1_001 + (persons - 1) // 100 * 100
            assert newest_auction - 100 <= event["auction"] <= newest_auction + 10
            assert event["bidder"] <= newest_person + 10
            assert 100 <= event["price"] <= 100_000_000
    assert 0.49 < hot["auction"] / bids < 0.53
    assert 0.74 < hot["bidder"] / bids < 0.77
    assert 0.72 < hot["seller"] / sold < 0.78


def test_disorder_shuffles_within_groups_and_changes_only_the_order() -> None:
    made = [event["dateTime"] for _, event in events(5_000, disorder_count=1_000)]
    assert made != sorted(made)
    for start in range(0, 5_000, 1_000):
        assert sorted(made[start : start + 1_000]) == [START_MS + (start + n) // 10 for n in range(1_000)]


def test_every_event_has_the_field_it_is_keyed_by() -> None:
    assert all(isinstance(event[TOPICS[topic]], int) for topic, event in events(500))
