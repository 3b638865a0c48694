"""What every event store keeps, on each back end."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import msgspec
import numpy as np
import pytest
from admf.domain.errors import ConflictError, CorruptionError, NotFoundError, StoreError
from admf.domain.events import PhaseSkipped, SignalsEmitted, WorkflowCompleted
from admf.eventstore import memory, postgres, sqlite
from admf.eventstore.codec import encode
from admf.eventstore.location import locate
from admf.eventstore.record import Head, verify
from admf.eventstore.store import EventStore, open_store
from admf.eventstore.subscription import PAGE


def skipped(*reasons: str) -> list[PhaseSkipped]:
    return [PhaseSkipped(phase="search", reason=reason) for reason in reasons]


def signals(rows: int) -> SignalsEmitted:
    numbers = np.zeros(rows, np.int16)
    return SignalsEmitted(
        container=np.arange(rows, dtype=np.int32),
        strategy=numbers,
        symbol=numbers,
        bar=numbers.astype(np.int32),
        target=np.linspace(-1.0, 1.0, rows),
    )


def append(store: EventStore, head: Head, *events) -> Head:
    return store.append(head, events, correlation_id="run", causation_id=head.next_address)


def reasons(recorded) -> list[str]:
    return [each.event.reason for each in recorded]


def test_every_type_of_event_is_read_back_as_it_was_appended(store, every_event):
    head = append(store, Head("run/phase"), *every_event)
    assert [encode(each.event) for each in store.read("run/phase")] == [encode(each) for each in every_event]
    assert store.head("run/phase") == head
    assert head.version == len(every_event)


def test_events_encoded_elsewhere_are_appended_as_they_are(store):
    head = append(store, Head("run"), encode(signals(3)), *skipped("a"))
    assert (head.version, head.rows) == (2, 4)
    assert [each.topic for each in store.read("run")] == ["SignalsEmitted", "PhaseSkipped"]


def test_an_event_carries_its_place_its_cause_and_its_time(store):
    head = append(store, Head("other"), *skipped("a"))
    before = time.time_ns()
    append(store, append(store, Head("run/phase"), signals(3)), signals(2))
    after = time.time_ns()
    _, _, last = store.read_all()
    assert (last.stream, last.version, last.position) == ("run/phase", 2, 3)
    assert (last.first, last.rows, last.address) == (4, 2, "run/phase#4")
    assert (last.correlation_id, last.causation_id) == ("run", "run/phase#4")
    assert before <= last.recorded_at <= after
    assert last.statistics["target"] == (-1.0, 1.0)
    assert head.version == 1


def test_the_event_that_holds_a_row_is_found(store):
    sizes = [1, 5, 0, 3, 1, 1, 40, 2]
    append(store, append(store, Head("other"), signals(9)), *(signals(size) for size in sizes))
    append(store, Head("run"), *(signals(size) for size in sizes))
    holders = [version for version, size in enumerate(sizes, start=1) for _ in range(size)]
    assert [store.event_at("run", number).version for number in range(1, sum(sizes) + 1)] == holders
    assert store.event_at("run", 7).address == "run#7"
    for number in (0, -1, sum(sizes) + 1):
        with pytest.raises(NotFoundError, match=f"no event run#{number}; the stream has {sum(sizes)}"):
            store.event_at("run", number)
    with pytest.raises(NotFoundError, match="no event none#1; there is no such stream"):
        store.event_at("none", 1)


def test_an_event_is_found_without_reading_its_stream(store):
    append(store, Head("run"), *skipped(*map(str, range(1000))))
    select, read = store._recorder.select_events, []

    def counted(*arguments, **conditions):
        events = select(*arguments, **conditions)
        read.extend(events)
        return events

    store._recorder.select_events = counted
    assert store.event_at("run", 777).event.reason == "776"
    assert len(read) <= 11


def test_the_length_of_a_stream_is_known_without_reading_any_event(store):
    append(store, append(store, Head("run"), signals(3), *skipped("a")), *skipped("b"))
    store._recorder.select_events = None
    assert (store.length("run"), store.length("none")) == (3, 0)


def test_events_of_another_store_are_restored_as_they_were(store, every_event):
    with open_store("memory://") as other:
        head = append(other, append(other, Head("run"), *skipped("a")), *every_event)
        recorded = list(other.read("run"))
    begun = store.restore(Head("run"), recorded[:2])
    assert store.restore(begun, recorded[2:]) == head == store.head("run")
    assert list(store.read("run")) == recorded
    assert append(store, head, *skipped("b")).version == head.version + 1


def test_events_that_do_not_follow_are_not_restored(store):
    with open_store("memory://") as other:
        append(other, Head("run"), *skipped("a", "b", "c"))
        recorded = list(other.read("run"))
    changed = msgspec.structs.replace(recorded[1], payload=encode(skipped("x")[0]).payload)
    for wrong in (recorded[1:], recorded[::2], [recorded[0], changed]):
        with pytest.raises(CorruptionError):
            store.restore(Head("run"), wrong)
    assert store.last_position() == 0
    store.restore(Head("run"), recorded)
    with pytest.raises(ConflictError):
        store.restore(Head("run"), recorded)


def test_a_stream_that_does_not_exist_is_empty(store):
    assert store.head("none") == Head("none")
    assert list(store.read("none")) == []
    assert list(store.read_all()) == []
    assert store.last_position() == 0


def test_streams_with_any_name_are_kept_apart(store):
    names = ["run", "run/phase", "run/phase#2", "RUN", "größe 大", "'; DROP TABLE stored_events; --", "%"]
    for name in names:
        append(store, Head(name), *skipped(name))
    for name in names:
        assert reasons(store.read(name)) == [name]


def test_reads_go_on_after_a_place_and_pick_topics(store):
    numbers = [str(number) for number in range(2 * PAGE + 3)]
    head = append(store, Head("run"), *skipped(*numbers))
    append(store, head, signals(1), WorkflowCompleted())
    assert reasons(store.read("run", topics=["PhaseSkipped"])) == numbers
    assert reasons(store.read_all(topics=["PhaseSkipped"])) == numbers
    assert reasons(store.read("run", after=PAGE, topics=["PhaseSkipped"])) == numbers[PAGE:]
    picked = ("WorkflowCompleted", "SignalsEmitted")
    for reading in (store.read("run", topics=picked), store.read_all(topics=picked)):
        assert [each.topic for each in reading] == ["SignalsEmitted", "WorkflowCompleted"]
    assert len(list(store.read("run"))) == len(list(store.read_all())) == len(numbers) + 2
    assert [each.version - head.version for each in store.read("run", after=head.version)] == [1, 2]
    assert list(store.read_all(after=store.last_position())) == []


def test_the_whole_log_is_read_in_order_of_position(store):
    one, two = Head("one"), Head("two")
    for _ in range(PAGE):
        one, two = append(store, one, *skipped("a", "b")), append(store, two, *skipped("c"))
    recorded = list(store.read_all())
    positions = [each.position for each in recorded]
    assert positions == sorted(set(positions))
    assert positions[-1] == store.last_position()
    assert reasons(recorded) == ["a", "b", "c"] * PAGE


def test_the_hash_chain_of_what_is_stored_is_verified(store, every_event):
    append(store, append(store, Head("run"), *every_event), *every_event)
    head = Head("run")
    for recorded in store.read("run"):
        head = verify(head, recorded)
    assert head == store.head("run")


def test_the_content_hash_does_not_depend_on_how_events_are_divided_into_appends(store, every_event):
    together = append(store, Head("one"), *every_event)
    singly = Head("two")
    for event in every_event:
        singly = append(store, singly, event)
    assert together.content_hash == singly.content_hash
    assert together.record_hash != singly.record_hash


def test_appending_nothing_changes_nothing(store):
    head = append(store, Head("run"), *skipped("a"))
    assert append(store, head) == head
    with pytest.raises(ConflictError):
        append(store, Head("run"))


def test_an_append_after_another_place_is_a_conflict(store):
    first = append(store, Head("run"), *skipped("a"))
    second = append(store, first, *skipped("b"))
    for stale in (Head("run"), first, Head("run", version=3), Head("run", version=2, rows=2)):
        with pytest.raises(ConflictError, match=rf"must end with event {stale.version} .* found event 2 "):
            append(store, stale, *skipped("c"))
    assert reasons(store.read("run")) == ["a", "b"]
    assert store.head("run") == second


def test_an_append_is_stored_wholly_or_not_at_all(store):
    good = signals(3)
    bad = msgspec.structs.replace(good, target=np.zeros(2))
    with pytest.raises(StoreError, match="equal length"):
        append(store, Head("run"), good, bad)
    assert store.head("run") == Head("run")


def test_a_stale_writer_is_fenced_by_a_newer_one(shared_url):
    with open_store(shared_url) as stale, open_store(shared_url) as newer:
        head = append(stale, Head("run"), *skipped("a"))
        append(newer, newer.head("run"), *skipped("b"))
        with pytest.raises(ConflictError, match=r"must end with event 1 .* found event 2 .*resume the run"):
            append(stale, head, *skipped("c"))
        assert reasons(stale.read("run")) == ["a", "b"]
        append(stale, stale.head("run"), *skipped("d"))
        assert reasons(newer.read("run")) == ["a", "b", "d"]


WRITER = """
import sys
from admf.domain.errors import ConflictError
from admf.domain.events import PhaseSkipped
from admf.eventstore.record import Head
from admf.eventstore.store import open_store

url, name = sys.argv[1:]
with open_store(url) as store:
    head, won = Head("run"), 0
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(20):
        try:
            head = store.append(
                head, [PhaseSkipped(phase="search", reason=name)], correlation_id="", causation_id=""
            )
            won += 1
        except ConflictError:
            head = store.head("run")
    print(won, flush=True)
"""


def writer(url: str, name: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", WRITER, url, name], stdin=pipe, stdout=pipe, text=True)


def test_of_two_processes_at_one_stream_one_wins_each_version(shared_url):
    with ExitStack() as stack:
        writers = [stack.enter_context(writer(shared_url, name)) for name in ("a", "b")]
        for each in writers:
            assert each.stdout.readline() == "ready\n"
        for each in writers:
            each.stdin.write("\n")
            each.stdin.flush()
        won = [int(each.stdout.readline()) for each in writers]
    with open_store(shared_url) as store:
        head = Head("run")
        for recorded in store.read("run"):
            head = verify(head, recorded)
        found = reasons(store.read("run"))
    assert [found.count("a"), found.count("b")] == won
    assert head.version == sum(won) >= 20


def test_a_new_store_may_be_opened_by_many_at_once(shared_url):
    def open_and_append(number: int) -> int:
        start.wait()
        with open_store(shared_url) as store:
            return append(store, Head(f"run{number}"), *skipped("a")).version

    writers = 8
    start = threading.Barrier(writers)
    with ThreadPoolExecutor(writers) as threads:
        assert list(threads.map(open_and_append, range(writers))) == [1] * writers


class Forgetful:
    """Commits, never hears of it, and so sends the same events again."""

    def insert_events(self, stored_events, **kwargs):
        super().insert_events(stored_events, **kwargs)
        return super().insert_events(stored_events, **kwargs)


class ForgetfulMemoryRecorder(Forgetful, memory.ApplicationRecorder):
    pass


class ForgetfulMemory(memory.Factory):
    def application_recorder(self):
        return ForgetfulMemoryRecorder()


class ForgetfulSqliteRecorder(Forgetful, sqlite.ApplicationRecorder):
    pass


class ForgetfulSqlite(sqlite.Factory):
    application_recorder_class = ForgetfulSqliteRecorder


class ForgetfulPostgresRecorder(Forgetful, postgres.ApplicationRecorder):
    pass


class ForgetfulPostgres(postgres.Factory):
    application_recorder_class = ForgetfulPostgresRecorder


@pytest.mark.parametrize("factory", [ForgetfulMemory, ForgetfulSqlite, ForgetfulPostgres])
def test_a_commit_whose_answer_was_lost_is_recognized(factory, request, tmp_path):
    url = request.getfixturevalue("postgres_url") if factory is ForgetfulPostgres else tmp_path / "e.sqlite"
    with EventStore(factory(locate(url).environment), "the store") as store:
        head = append(store, Head("run"), *skipped("a", "b"))
        assert append(store, head, *skipped("c")) == store.head("run")
        assert reasons(store.read("run")) == ["a", "b", "c"]


def test_a_subscription_yields_what_is_there_and_then_what_comes(store):
    head = append(store, Head("run"), *skipped("a", "b"))
    with store.subscribe() as subscription:
        assert reasons([next(subscription), next(subscription)]) == ["a", "b"]
        later = threading.Timer(0.2, lambda: append(store, head, *skipped("c")))
        later.start()
        event = next(subscription)
        later.join()
    assert (event.position, event.event.reason) == (3, "c")


def test_a_subscription_starts_after_a_position_and_picks_topics(store):
    head = append(store, Head("run"), *skipped("a"), signals(1), *skipped("b"))
    append(store, head, *[signals(1)] * (2 * PAGE), *skipped("c"))
    with store.subscribe(after=1, topics=["PhaseSkipped"]) as subscription:
        assert reasons([next(subscription), next(subscription)]) == ["b", "c"]


def test_a_subscription_sees_what_another_connection_appends(shared_url):
    with (
        open_store(shared_url) as reader,
        open_store(shared_url) as writer,
        reader.subscribe() as subscription,
    ):
        append(writer, Head("run"), *skipped("a"))
        assert next(subscription).event == skipped("a")[0]


def test_a_waiting_subscription_stops_at_once(store):
    with store.subscribe() as subscription:
        threading.Timer(0.2, subscription.stop).start()
        started = time.monotonic()
        assert list(subscription) == []
        assert time.monotonic() - started < 2
    with store.subscribe() as subscription:
        pass
    assert list(subscription) == []
