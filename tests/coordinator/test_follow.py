"""Finding events in the log by what they are about, and following it as it grows."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from admf import Coordinator
from admf.coordinator.streams.event_filter import EventFilter, moments
from admf.coordinator.streams.logical_events import LogicalEvent, follow_events, logical_events, select_events
from admf.domain.errors import ConfigurationError, NotFoundError, UnknownNameError
from admf.domain.events import BarsLoaded, Feed, PhaseSkipped, PhaseStarted, SignalsEmitted
from admf.eventstore import codec
from admf.eventstore.record import Head
from admf.eventstore.store import EventStore, open_store

ADMF = Path(sys.executable).with_name("admf")
STREAM = "run/training"
DAY = 86_400_000_000_000
FIRST = 946_857_600_000_000_000
"""2000-01-03, in nanoseconds."""


def signals(container: int, symbol: int, bars: range) -> SignalsEmitted:
    return SignalsEmitted(
        container=np.full(len(bars), container, np.int32),
        strategy=np.zeros(len(bars), np.int16),
        symbol=np.full(len(bars), symbol, np.int16),
        bar=np.array(bars, np.int32),
        target=np.ones(len(bars)),
    )


def append(store: EventStore, stream: str, *events: object) -> Head:
    return store.append(store.head(stream), events, correlation_id="run", causation_id="")  # type: ignore[arg-type]


@pytest.fixture
def store() -> Iterator[EventStore]:
    """Signals in two symbols, of which the second has its bars a year later, in batches of ten bars."""
    with Coordinator("memory://") as coordinator:
        store = coordinator.workspace.store
        feeds = []
        for number, symbol in enumerate(("OLD", "NEW")):
            append(store, f"bars-{symbol}", bars_of(number))
            feeds.append(Feed(symbol=symbol, timeframe="1d", stream=f"bars-{symbol}", rows=50))
        started = PhaseStarted(
            phase="training",
            type="backtest",
            configuration="{}",
            depends_on=(),
            feeds=tuple(feeds),
            strategies=("cross",),
            features=(),
            capital=1.0,
            metric_profile="admf",
            code={},
            planned=2,
        )
        batches = [
            signals(container, symbol, range(bar, bar + 10))
            for container, symbol in ((0, 0), (1, 1))
            for bar in range(0, 50, 10)
        ]
        append(store, STREAM, started, *batches, PhaseSkipped(phase="other", reason="none"))
        yield store


def bars_of(year: int) -> BarsLoaded:
    price = np.full(50, 100.0)
    time = FIRST + (365 * year + np.arange(50)) * DAY
    return BarsLoaded(time=time, open=price, high=price, low=price, close=price, volume=price)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Topics of the events that were decoded, in order."""
    topics: list[str] = []
    decode = codec.decode

    def counted(topic: str, schema_version: int, payload: bytes):  # type: ignore[no-untyped-def]
        topics.append(topic)
        return decode(topic, schema_version, payload)

    monkeypatch.setattr(codec, "decode", counted)
    return topics


def numbers(found: tuple[LogicalEvent, ...]) -> list[int]:
    return [int(event.address.rpartition("#")[2]) for event in found]


def between(since: str, until: str) -> EventFilter:
    return EventFilter(kind="SignalsEmitted", since=moments(since)[0], until=moments(until)[1])


def test_events_of_a_symbol(store: EventStore) -> None:
    found = select_events(store, STREAM, EventFilter(symbol="NEW"), limit=100)
    assert numbers(found.events) == list(range(52, 102))
    assert {event.fields["symbol"] for event in found.events} == {"NEW"}


def test_events_between_two_days_both_included(store: EventStore) -> None:
    found = select_events(store, STREAM, between("2000-01-10", "2000-01-15"), limit=100).events
    assert [event.time for event in found] == [f"2000-01-{day:02}" for day in range(10, 16)]


def test_the_time_of_an_event_is_that_of_the_bars_of_its_own_symbol(store: EventStore) -> None:
    found = select_events(store, STREAM, between("2001-01-01", "2002-01-01"), limit=100).events
    assert len(found) == 50
    assert {event.fields["symbol"] for event in found} == {"NEW"}


def test_an_event_without_a_bar_is_found_by_the_time_of_its_recording(store: EventStore) -> None:
    recent = EventFilter(since=time.time_ns() - 3600 * 10**9)
    found = select_events(store, STREAM, recent, limit=100).events
    assert [event.type for event in found] == ["PhaseStarted", "PhaseSkipped"]


def test_bars_are_found_by_their_time(store: EventStore) -> None:
    since = EventFilter(since=moments("2000-02-20")[0])
    assert numbers(select_events(store, "bars-OLD", since, limit=9).events) == [49, 50]


def test_every_filter_finds_what_looking_at_each_event_finds(store: EventStore) -> None:
    everything = list(logical_events(store, STREAM))
    for container in (None, 0, 1, 2):
        for symbol in ("", "OLD", "NEW"):
            for since, until in (("2000-01-13", "2000-01-14"), ("2000-01-01", "2003-01-01")):
                wanted = EventFilter(
                    kind="SignalsEmitted",
                    container=container,
                    symbol=symbol,
                    since=moments(since)[0],
                    until=moments(until)[1],
                )
                expected = tuple(
                    event
                    for event in everything
                    if event.type == "SignalsEmitted"
                    and container in (None, event.fields["container"])
                    and symbol in ("", event.fields["symbol"])
                    and since <= str(event.time) <= until
                )
                assert select_events(store, STREAM, wanted, limit=1000).events == expected
                first = select_events(store, STREAM, wanted, limit=3)
                assert (first.events, first.more) == (expected[:3], max(0, len(expected) - 3))


@pytest.mark.parametrize(
    ("wanted", "batches"),
    [
        (EventFilter(container=1), 5),
        (EventFilter(container=2), 0),
        (EventFilter(symbol="OLD"), 5),
        (between("2000-01-04", "2000-01-05"), 1),
        (between("2000-01-12", "2000-01-13"), 2),
        (between("1999-01-01", "1999-12-31"), 0),
        (EventFilter(container=0, since=moments("2001-01-01")[0]), 0),
    ],
)
def test_batches_that_cannot_match_are_not_decoded(
    store: EventStore, decoded: list[str], wanted: EventFilter, batches: int
) -> None:
    select_events(store, STREAM, wanted, limit=100)
    # Those that are shown are decoded a second time.
    assert decoded.count("SignalsEmitted") in (batches, 2 * batches)


def test_events_beyond_the_limit_are_not_decoded(store: EventStore, decoded: list[str]) -> None:
    assert select_events(store, STREAM, limit=3).more == 99
    assert decoded.count("SignalsEmitted") == 1


def test_what_is_wrong_with_a_filter_is_said(store: EventStore) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown symbol 'NEWW'. Did you mean NEW"):
        select_events(store, STREAM, EventFilter(symbol="NEWW"), limit=1)
    with pytest.raises(ConfigurationError, match=r"TrialsCompleted belong to no symbol; .* do\."):
        select_events(store, STREAM, EventFilter(kind="TrialsCompleted", symbol="NEW"), limit=1)
    with pytest.raises(ConfigurationError, match="PhaseStarted belong to no container"):
        select_events(store, STREAM, EventFilter(kind="PhaseStarted", container=1), limit=1)
    with pytest.raises(NotFoundError, match="there is no stream 'run/nothing'"):
        next(follow_events(store, "run/nothing", limit=1))


@pytest.mark.parametrize(
    ("text", "first", "span"),
    [
        ("2000-01-03", FIRST, DAY),
        ("2000-01-03T00:00:01", FIRST + 10**9, 10**9),
        ("2000-01-03 01:00:00+01:00", FIRST, 10**9),
        ("1969-12-31", -DAY, DAY),
    ],
)
def test_a_time_is_a_day_or_a_second_in_utc(text: str, first: int, span: int) -> None:
    assert moments(text) == (first, first + span - 1)


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"written as 2020-03-31 .*was 'yesterday'"):
        moments("yesterday")


@pytest.mark.parametrize("limit", [1, 9, 10, 11, 12, 25, 101, 102, 500])
def test_following_begins_with_the_last_events(store: EventStore, limit: int) -> None:
    everything = list(logical_events(store, STREAM))
    expected = everything[-limit:]
    assert list(islice(follow_events(store, STREAM, limit=limit), len(expected))) == expected


def test_following_goes_on_with_what_is_appended_to_the_stream(store: EventStore) -> None:
    wanted = EventFilter(container=1)
    following = follow_events(store, STREAM, wanted, limit=1)
    assert numbers((next(following),)) == [101]

    def go_on() -> None:
        append(store, "run/other", signals(1, 0, range(3)))
        append(store, STREAM, signals(0, 0, range(2)))
        append(store, STREAM, signals(1, 0, range(2)))

    later = threading.Timer(0.1, go_on)
    later.start()
    found = (next(following), next(following))
    later.join()
    assert numbers(found) == [105, 106]


def test_what_is_appended_between_the_last_events_and_the_following_is_shown_once(store: EventStore) -> None:
    read = store.read

    def appending(stream: str, *arguments: object, **more: object):  # type: ignore[no-untyped-def]
        if stream == STREAM and not more.get("topics"):
            append(store, STREAM, signals(5, 0, range(1)))
            store.read = read  # type: ignore[method-assign]
        return read(stream, *arguments, **more)  # type: ignore[arg-type]

    store.read = appending  # type: ignore[method-assign]
    following = follow_events(store, STREAM, limit=1)
    assert numbers((next(following),)) == [103]
    append(store, STREAM, signals(6, 0, range(1)))
    assert numbers((next(following),)) == [104]


def follow(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [ADMF, "events", "last/training", "--follow", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ADMF_STORE": ""},
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_follows_another_process_until_it_is_interrupted(
    folder: Path, train_and_test: dict[str, object], write_walk: Callable[..., Path], number: int
) -> None:
    with Coordinator() as coordinator:
        run = coordinator.execute_workflow(train_and_test).run
    with follow(folder, "--type", "PhaseOutputEvent", "--json", "--limit", "1") as process:
        assert process.stdout is not None
        shown = json.loads(process.stdout.readline())
        assert (shown["type"], shown["fields"]["phase"]) == ("PhaseOutputEvent", "training")
        with open_store(folder / ".admf" / "events.sqlite") as log:
            output = [r.event for r in log.read(f"{run}/training") if r.topic == "PhaseOutputEvent"]
            append(log, f"{run}/training", *output)
        assert json.loads(process.stdout.readline())["address"] != shown["address"]
        process.send_signal(number)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "", "")


def test_a_line_is_printed_for_each_event(folder: Path, train_and_test: dict[str, object]) -> None:
    with Coordinator() as coordinator:
        coordinator.execute_workflow(train_and_test)
    with follow(folder, "--limit", "2") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert [line.split()[2] for line in lines] == ["PhaseStageEntered", "PhaseOutputEvent"]
