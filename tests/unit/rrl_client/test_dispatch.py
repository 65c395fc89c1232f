"""The bookkeeping of queries over streams, with hand-set times and hand-made frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrl_client import (
    TeacherError,
    TeacherFailed,
    TeacherOverloaded,
    TeacherRejected,
    TeacherTimeout,
    TeacherUnauthenticated,
    TeacherUnavailable,
    codec,
)
from rrl_client.dispatch import FRAME_BYTES, OFFLINE_GRACE_SECONDS, Dispatcher, StreamQuery
from rrl_client.requests import RefusalCode
from rrl_client.v1 import teacher_pb2

CREDIT = 8


class Wire:
    """A dispatcher between its caller and its replicas; everything happens at time 0 by default."""

    def __init__(self, replicas: int = 1, credit: int = CREDIT) -> None:
        addresses = [f"replica-{i}:1" for i in range(replicas)]
        self.dispatcher = Dispatcher(addresses, "the replicas")
        self.asked: dict[int, StreamQuery] = {}
        for i in range(replicas):
            self.hear(i, credit_rows=credit)

    def ask(
        self, rows: int = 1, *, deadline: float = 100.0, size: int = 6, now: float = 0.0
    ) -> StreamQuery:
        """Submit a query of `rows` observations of `size` bytes."""
        observations = np.full((rows, size), rows, np.uint8)
        query = StreamQuery(observations, codec.encode_query(observations), deadline)
        self.dispatcher.submit(query, now)
        self.asked[query.tag] = query
        return query

    def frame(self, i: int = 0, now: float = 0.0) -> teacher_pb2.QueryFrame:
        """What goes to a replica next; empty if nothing does."""
        frame = self.dispatcher.take_frame(self.dispatcher.replicas[i], now)
        assert frame is None or frame.ByteSize()
        return frame or teacher_pb2.QueryFrame()

    def sent(self, i: int = 0, now: float = 0.0) -> list[StreamQuery]:
        """The queries of that frame."""
        return [self.asked[each.tag] for each in self.frame(i, now).queries]

    def requests(self) -> list[teacher_pb2.EvaluateRequest]:
        """The messages of that frame to the first replica."""
        return [each.request for each in self.frame().queries]

    def hear(self, i: int = 0, now: float = 0.0, **fields: Any) -> None:
        """A replica says something."""
        frame = teacher_pb2.AnswerFrame(**fields)
        self.dispatcher.arrived(self.dispatcher.replicas[i], frame, now)

    def answer(self, *queries: StreamQuery, i: int = 0, now: float = 0.0) -> None:
        response = teacher_pb2.EvaluateResponse(batch_rows=1)
        answers = [teacher_pb2.Answer(tag=each.tag, response=response) for each in queries]
        self.hear(i, now, answers=answers, credit_rows=sum(each.rows for each in queries))

    def refuse(
        self, query: StreamQuery, code: RefusalCode, after_ms: int = 0, i: int = 0, now: float = 1.0
    ) -> None:
        failure = teacher_pb2.Failure(code=code, message="no", retry_after_ms=after_ms)
        answer = teacher_pb2.Answer(tag=query.tag, failure=failure)
        self.hear(i, now, answers=[answer], credit_rows=query.rows)

    def break_stream(self, i: int = 0, now: float = 0.0, error: TeacherError | None = None) -> None:
        error = error or TeacherUnavailable(f"replica-{i}:1 is gone")
        self.dispatcher.broken(self.dispatcher.replicas[i], error, now)

    def settled(self) -> list[StreamQuery]:
        return self.dispatcher.take_settled()


def test_queries_that_wait_together_travel_in_one_frame() -> None:
    wire = Wire()
    asked = [wire.ask() for _ in range(3)]
    assert wire.sent() == asked
    assert wire.sent() == []


def test_a_frame_stays_within_its_bytes_unless_one_query_is_larger() -> None:
    wire = Wire()
    asked = [wire.ask(size=n) for n in (2 * FRAME_BYTES, FRAME_BYTES // 2, FRAME_BYTES // 2, 1)]
    # 2 alone; 1/2 + 1/2 fill a frame; one byte more starts the next.
    assert [wire.sent() for _ in range(3)] == [asked[:1], asked[1:3], asked[3:]]


def test_a_frame_says_how_much_time_is_left() -> None:
    wire = Wire()
    for deadline in (10.0, 3.0, 1e12):
        wire.ask(deadline=deadline)
    # 10 s - 7.5 s; past, which must not become 0 (no limit); beyond what the field holds.
    assert [each.timeout_ms for each in wire.frame(now=7.5).queries] == [2500, 1, 2**32 - 1]


def test_no_more_rows_are_sent_than_the_credit_covers() -> None:
    wire = Wire(credit=0)
    first, second, third = (wire.ask(rows) for rows in (5, 3, 1))
    assert wire.sent() == []
    wire.hear(credit_rows=8)
    # 5 + 3 = 8.
    assert wire.sent() == [first, second]
    assert wire.dispatcher.waiting_rows == 1
    wire.answer(second)
    assert wire.sent() == [third]
    assert wire.dispatcher.waiting_rows == 0


def test_a_query_beyond_all_credit_is_sent_alone_for_the_server_to_refuse() -> None:
    wire = Wire()
    small, huge = wire.ask(1), wire.ask(CREDIT + 1)
    assert wire.sent() == [small]
    wire.answer(small)
    assert wire.sent() == [huge]


def test_replicas_with_nothing_to_do_are_asked_in_turn() -> None:
    wire = Wire(2)
    wire.dispatcher.add_replica("replica-2:1")
    wire.hear(2, credit_rows=CREDIT)
    turns = []
    for _ in range(6):
        query = wire.ask()
        (i,) = (i for i in range(3) if wire.sent(i))
        wire.answer(query, i=i)
        turns.append(i)
    assert turns == [0, 1, 2, 0, 1, 2]


def test_the_replica_with_the_fewest_rows_under_way_is_asked() -> None:
    wire = Wire(2)
    asked = [wire.ask(rows) for rows in (4, 1, 1, 1)]
    # 4 against 0, 1, 2: all small ones go to the second.
    assert wire.sent(0) == asked[:1]
    assert wire.sent(1) == asked[1:]


def test_a_broken_stream_hands_its_queries_in_order_to_the_other_replica() -> None:
    wire = Wire(2)
    asked = [wire.ask(2) for _ in range(4)]
    lost, kept = wire.sent(0), wire.sent(1)
    assert len(lost) == len(kept) == 2
    wire.break_stream()
    assert wire.sent(1) == lost
    wire.answer(*asked, i=1)
    assert len(wire.settled()) == 4


def test_a_lone_teachers_queries_wait_for_its_return_until_their_deadline() -> None:
    wire = Wire()
    patient, hasty = wire.ask(deadline=50.0), wire.ask(deadline=5.0)
    wire.sent()
    wire.break_stream(now=1.0)
    wire.dispatcher.tick(6.0)
    assert wire.settled() == [hasty]
    assert isinstance(hasty.outcome, TeacherUnavailable)
    wire.hear(now=7.0, credit_rows=CREDIT)
    assert wire.sent() == [patient]


def test_new_queries_fail_at_once_when_the_teacher_has_been_away_for_a_while() -> None:
    wire = Wire()
    wire.break_stream(now=1.0)
    # An attempt to reach it that fails, too, does not begin the time again.
    wire.break_stream(now=1.5)
    wire.ask(now=1.0 + OFFLINE_GRACE_SECONDS / 2)
    assert wire.settled() == []
    late = wire.ask(now=1.0 + OFFLINE_GRACE_SECONDS)
    assert wire.settled() == [late]
    assert isinstance(late.outcome, TeacherUnavailable) and "away for 2 s" in str(late.outcome)
    wire.hear(now=9.0, credit_rows=CREDIT)
    wire.ask(now=9.0)
    assert wire.settled() == []


def test_where_no_teacher_was_ever_seen_queries_fail_at_once() -> None:
    wire = Wire(2, credit=0)
    asked = wire.ask()
    wire.break_stream(0)
    assert asked.outcome is None, "the second one may still be there"
    wire.break_stream(1)
    assert isinstance(asked.outcome, TeacherUnavailable)
    assert isinstance(wire.ask().outcome, TeacherUnavailable)
    wire.hear(1, credit_rows=CREDIT)
    found = wire.ask()
    assert wire.sent(1) == [found]


def test_an_error_that_will_last_fails_all_queries_when_no_other_replica_is_there() -> None:
    wire = Wire(credit=0)
    asked = wire.ask()
    wire.break_stream(error=TeacherUnauthenticated("no token"))
    assert wire.settled() == [asked]
    assert isinstance(asked.outcome, TeacherUnauthenticated)


def test_a_message_too_large_for_the_server_fails_alone() -> None:
    wire = Wire()
    small, large = wire.ask(size=10), wire.ask(size=1000)
    wire.sent()
    wire.break_stream(error=TeacherRejected("larger than max"))
    assert wire.settled() == [large]
    wire.hear(credit_rows=CREDIT)
    assert wire.sent() == [small]


def test_a_query_that_breaks_every_stream_is_given_up() -> None:
    wire = Wire()
    asked = wire.ask()
    for attempt in range(5):
        assert asked.outcome is None, f"given up after {attempt} attempts"
        assert wire.sent() == [asked]
        wire.break_stream()
        wire.hear(credit_rows=CREDIT)
    assert isinstance(asked.outcome, TeacherUnavailable)


def test_a_draining_replica_gets_nothing_new_and_still_answers() -> None:
    wire = Wire(2)
    sent = wire.ask()
    assert wire.sent(0) == [sent]
    unsent = {wire.ask() for _ in range(3)}
    wire.hear(0, draining=True)
    assert wire.sent(0) == []
    assert set(wire.sent(1)) == unsent
    wire.answer(sent)
    assert wire.settled() == [sent]


@pytest.mark.parametrize("code", [RefusalCode.RESOURCE_EXHAUSTED, RefusalCode.UNAVAILABLE])
def test_a_passing_refusal_is_repeated_when_the_teacher_says(code: RefusalCode) -> None:
    wire = Wire()
    asked = wire.ask()
    wire.sent()
    wire.refuse(asked, code, after_ms=300)
    wire.dispatcher.tick(1.25)
    assert wire.sent() == []
    wire.dispatcher.tick(1.35)
    assert wire.sent() == [asked]
    assert wire.settled() == []


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        # It would be repeated after the deadline.
        (RefusalCode.RESOURCE_EXHAUSTED, TeacherOverloaded),
        # It would not help.
        (RefusalCode.INVALID_ARGUMENT, TeacherRejected),
    ],
)
def test_a_refusal_that_cannot_be_repeated_is_the_outcome(
    code: RefusalCode, outcome: type[TeacherError]
) -> None:
    wire = Wire()
    asked = wire.ask(deadline=2.0)
    wire.sent()
    wire.refuse(asked, code, after_ms=1500)
    assert isinstance(asked.outcome, outcome)
    assert getattr(asked.outcome, "retry_after_seconds", 1.5) == 1.5


def test_a_query_without_an_answer_times_out_and_is_cancelled_at_the_server() -> None:
    wire = Wire()
    asked = wire.ask(CREDIT, deadline=1.0)
    wire.sent()
    wire.dispatcher.tick(1.0)
    assert isinstance(asked.outcome, TeacherTimeout)
    assert wire.settled() == [asked]
    assert list(wire.frame().cancelled_tags) == [asked.tag]
    # Its credit comes back with the server's own word on it, which changes nothing else.
    waiting = wire.ask()
    assert wire.sent() == []
    wire.answer(asked)
    assert wire.settled() == []
    assert wire.sent() == [waiting]


def test_a_query_that_found_no_credit_in_time_met_an_overloaded_teacher() -> None:
    wire = Wire(credit=1)
    wire.ask()
    waiting = wire.ask(deadline=1.0)
    wire.dispatcher.tick(1.0)
    assert isinstance(waiting.outcome, TeacherOverloaded) and "no credit" in str(waiting.outcome)


def test_a_query_cancelled_before_it_is_sent_is_never_sent() -> None:
    wire = Wire(credit=1)
    asked, other = wire.ask(), wire.ask()
    for _ in range(2):
        wire.dispatcher.cancel(asked)
    assert wire.settled() == [asked]
    assert isinstance(asked.outcome, TeacherFailed)
    # The credit it had taken is the next one's.
    assert wire.sent() == [other]


def test_closing_settles_everything() -> None:
    wire = Wire(credit=1)
    first, second = wire.ask(), wire.ask()
    wire.dispatcher.close()
    assert wire.settled() == [second, first]
    assert {type(first.outcome), type(second.outcome)} == {TeacherFailed}
    assert not wire.dispatcher.unsettled()


def sharing(*, accepted: bool) -> Wire:
    """One replica that has been offered memory of 4 rows of 6 bytes."""
    wire = Wire()
    wire.dispatcher.share_memory(6, 4)
    assert wire.dispatcher.replicas[0].has_something_to_send
    assert wire.frame().memory.size_bytes >= 6 * 4
    wire.hear(memory_accepted=accepted)
    return wire


def places(wire: Wire) -> list[int | str | None]:
    """Where the observations of the next queries lie: an offset in memory, or in the message."""
    found: list[int | str | None] = []
    for request in wire.requests():
        in_memory = request.WhichOneof("elements") == "memory_offset"
        assert in_memory or request.observations
        found.append(request.memory_offset if in_memory else "message")
    return found


def test_memory_is_offered_once_on_a_stream_and_used_after_the_server_accepts() -> None:
    wire = Wire()
    wire.dispatcher.share_memory(6, 4)
    wire.ask()
    first = wire.frame()
    assert first.HasField("memory")
    assert first.queries[0].request.observations == bytes([1] * 6)
    wire.hear(memory_accepted=True)
    wire.ask(2)
    second = wire.frame()
    assert not second.HasField("memory")
    assert second.queries[0].request.WhichOneof("elements") == "memory_offset"
    assert second.queries[0].request.memory_offset == 0


def test_a_server_that_declines_gets_observations_in_messages() -> None:
    wire = sharing(accepted=False)
    wire.ask()
    assert places(wire) == ["message"]


def test_what_does_not_fit_into_memory_travels_in_the_message_until_rows_are_free() -> None:
    wire = sharing(accepted=True)
    asked = [wire.ask(rows) for rows in (3, 2, 1)]
    # Rows 0 to 2, no two rows left, row 3.
    assert places(wire) == [0, "message", 3 * 6]
    wire.answer(*asked)
    wire.ask(4)
    assert places(wire) == [0]


def test_rows_of_a_query_given_up_stay_taken_until_the_server_has_settled_it() -> None:
    wire = sharing(accepted=True)
    given_up = wire.ask(4)
    assert wire.sent() == [given_up]
    wire.dispatcher.cancel(given_up)
    wire.ask(1)
    # The server may still read them.
    assert places(wire) == ["message"]
    wire.refuse(given_up, RefusalCode.CANCELLED)
    wire.ask(4)
    assert places(wire) == [0]


def test_a_new_stream_is_offered_the_memory_again_with_all_rows_free() -> None:
    wire = sharing(accepted=True)
    wire.ask(4)
    assert places(wire) == [0]
    wire.break_stream()
    wire.hear(credit_rows=CREDIT)
    frame = wire.frame()
    assert frame.HasField("memory")
    # Not accepted yet: the query that is sent again carries its observations.
    assert frame.queries[0].request.observations == bytes([4] * 24)
    wire.hear(memory_accepted=True)
    wire.ask(4)
    assert places(wire) == [0]


def test_answers_to_unknown_tags_are_ignored() -> None:
    wire = Wire()
    query = wire.ask()
    query.tag = 77
    wire.answer(query)
    assert wire.settled() == []


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["submit", "send", "answer", "refuse", "break", "open", "cancel", "tick"]),
        st.integers(0, 1),
        st.integers(1, 6),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(_EVENTS)
def test_whatever_happens_every_query_is_settled_once_and_credit_is_kept(
    events: list[tuple[str, int, int]],
) -> None:
    wire = Wire(2, credit=0)
    dispatcher = wire.dispatcher
    settled: list[StreamQuery] = []
    # What a server would count, for each replica: rows it granted less rows it was sent.
    balance = [0, 0]
    sent: list[list[StreamQuery]] = [[], []]
    now = 0.0
    for event, i, number in events:
        now += 0.01
        if event == "submit":
            wire.ask(number, deadline=now + number, now=now)
        elif event == "open" and dispatcher.replicas[i].granted == 0:
            wire.hear(i, now, credit_rows=8)
            balance[i], sent[i] = 8, []
        elif event == "send":
            for query in wire.sent(i, now):
                assert query not in sent[i], "a tag is under way twice"
                sent[i].append(query)
                balance[i] -= query.rows
            assert balance[i] >= 0, "more was sent than the credit covers"
        elif event in ("answer", "refuse") and sent[i]:
            query = sent[i].pop(0)
            balance[i] += query.rows
            if event == "answer":
                wire.answer(query, i=i, now=now)
            else:
                wire.refuse(query, RefusalCode.RESOURCE_EXHAUSTED, number, i, now)
        elif event == "break":
            error = TeacherUnavailable("gone") if number > 2 else None
            dispatcher.broken(dispatcher.replicas[i], error, now)
            balance[i], sent[i] = 0, []
        elif event == "cancel" and wire.asked:
            dispatcher.cancel([*wire.asked.values()][number % len(wire.asked)])
        elif event == "tick":
            now += number
            dispatcher.tick(now)
        settled += wire.settled()
    dispatcher.tick(1e9)
    settled += wire.settled()
    assert sorted(each.tag for each in settled) == [*wire.asked]
    assert all(each.outcome is not None for each in settled)
