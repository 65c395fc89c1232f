"""The bookkeeping of queries over streams, with hand-set times and hand-made frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrl_client import (
    TeacherFailed,
    TeacherOverloaded,
    TeacherRejected,
    TeacherTimeout,
    TeacherUnauthenticated,
    TeacherUnavailable,
    codec,
)
from rrl_client.dispatch import (
    FRAME_BYTES,
    OFFLINE_GRACE_SECONDS,
    Dispatcher,
    Replica,
    StreamQuery,
)
from rrl_client.requests import RefusalCode
from rrl_client.v1 import teacher_pb2

CREDIT = 8


def query(rows: int = 1, deadline: float = 100.0, size: int = 6) -> StreamQuery:
    """A query of `rows` observations of `size` bytes."""
    observations = np.full((rows, size), rows, np.uint8)
    return StreamQuery(observations, codec.encode_query(observations), deadline)


def opened(count: int = 1, credit: int = CREDIT) -> Dispatcher:
    """A dispatcher whose replicas have all granted credit."""
    made = Dispatcher([f"replica-{i}:1" for i in range(count)], "the replicas")
    for replica in made.replicas:
        made.arrived(replica, teacher_pb2.AnswerFrame(credit_rows=credit), 0.0)
    return made


def answer(*queries: StreamQuery) -> teacher_pb2.AnswerFrame:
    response = teacher_pb2.EvaluateResponse(batch_rows=1)
    return teacher_pb2.AnswerFrame(
        answers=[teacher_pb2.Answer(tag=each.tag, response=response) for each in queries],
        credit_rows=sum(each.rows for each in queries),
    )


def refusal(refused: StreamQuery, code: RefusalCode, after_ms: int = 0) -> teacher_pb2.AnswerFrame:
    failure = teacher_pb2.Failure(code=code, message="no", retry_after_ms=after_ms)
    return teacher_pb2.AnswerFrame(
        answers=[teacher_pb2.Answer(tag=refused.tag, failure=failure)], credit_rows=refused.rows
    )


def send(dispatcher: Dispatcher, replica: Replica, now: float = 0.0) -> list[int]:
    """Take a frame and give its tags."""
    frame = dispatcher.take_frame(replica, now)
    return [] if frame is None else [each.tag for each in frame.queries]


def gone(address: str = "replica-0:1") -> TeacherUnavailable:
    return TeacherUnavailable(f"{address} is gone")


def test_queries_that_wait_together_travel_in_one_frame() -> None:
    dispatcher = opened()
    (replica,) = dispatcher.replicas
    asked = [query() for _ in range(3)]
    for each in asked:
        dispatcher.submit(each, 0.0)
    assert send(dispatcher, replica) == [each.tag for each in asked]
    assert dispatcher.take_frame(replica, 0.0) is None


def test_a_frame_stays_within_its_bytes_unless_one_query_is_larger() -> None:
    dispatcher = opened()
    (replica,) = dispatcher.replicas
    sizes = (2 * FRAME_BYTES, FRAME_BYTES // 2, FRAME_BYTES // 2, 1)
    tags = []
    for size in sizes:
        each = query(size=size)
        dispatcher.submit(each, 0.0)
        tags.append(each.tag)
    # 2 alone; 1/2 + 1/2 fill a frame; one byte more starts the next.
    assert send(dispatcher, replica) == tags[:1]
    assert send(dispatcher, replica) == tags[1:3]
    assert send(dispatcher, replica) == tags[3:]


def test_a_frame_says_how_much_time_is_left() -> None:
    dispatcher = opened()
    (replica,) = dispatcher.replicas
    for deadline in (10.0, 3.0, 1e12):
        dispatcher.submit(query(deadline=deadline), 0.0)
    frame = dispatcher.take_frame(replica, 7.5)
    assert frame is not None
    # 10 s - 7.5 s; past, which must not become 0 (no limit); beyond what the field holds.
    assert [each.timeout_ms for each in frame.queries] == [2500, 1, 2**32 - 1]


def test_no_more_rows_are_sent_than_the_credit_covers() -> None:
    dispatcher = opened(credit=8)
    (replica,) = dispatcher.replicas
    first, second, third = query(5), query(3), query(1)
    for each in (first, second, third):
        dispatcher.submit(each, 0.0)
    # 5 + 3 = 8.
    assert send(dispatcher, replica) == [first.tag, second.tag]
    assert dispatcher.waiting_rows == 1
    dispatcher.arrived(replica, answer(second), 0.0)
    assert send(dispatcher, replica) == [third.tag]
    assert dispatcher.waiting_rows == 0


def test_nothing_is_sent_before_the_first_credit() -> None:
    dispatcher = Dispatcher(["replica-0:1"], "the replicas")
    (replica,) = dispatcher.replicas
    dispatcher.submit(query(), 0.0)
    assert dispatcher.take_frame(replica, 0.0) is None
    dispatcher.arrived(replica, teacher_pb2.AnswerFrame(credit_rows=1), 0.0)
    assert len(send(dispatcher, replica)) == 1


def test_a_query_beyond_all_credit_is_sent_alone_for_the_server_to_refuse() -> None:
    dispatcher = opened(credit=8)
    (replica,) = dispatcher.replicas
    small, huge = query(1), query(9)
    dispatcher.submit(small, 0.0)
    dispatcher.submit(huge, 0.0)
    assert send(dispatcher, replica) == [small.tag]
    dispatcher.arrived(replica, answer(small), 0.0)
    assert send(dispatcher, replica) == [huge.tag]


def test_replicas_with_nothing_to_do_are_asked_in_turn() -> None:
    dispatcher = opened(2)
    dispatcher.arrived(
        dispatcher.add_replica("replica-2:1"), teacher_pb2.AnswerFrame(credit_rows=CREDIT), 0.0
    )
    asked = []
    for _ in range(6):
        one = query()
        dispatcher.submit(one, 0.0)
        (replica,) = (each for each in dispatcher.replicas if send(dispatcher, each))
        dispatcher.arrived(replica, answer(one), 0.0)
        asked.append(replica.address)
    assert asked == [f"replica-{i}:1" for i in (0, 1, 2, 0, 1, 2)]


def test_the_replica_with_the_fewest_rows_under_way_is_asked() -> None:
    dispatcher = opened(2)
    first, second = dispatcher.replicas
    asked = [query(4), query(1), query(1), query(1)]
    for each in asked:
        dispatcher.submit(each, 0.0)
    # 4 against 0, 1, 2: all small ones go to the second.
    assert send(dispatcher, first) == [asked[0].tag]
    assert send(dispatcher, second) == [each.tag for each in asked[1:]]


def test_a_broken_stream_hands_its_queries_in_order_to_the_other_replica() -> None:
    dispatcher = opened(2)
    first, second = dispatcher.replicas
    asked = [query(2), query(2), query(2), query(2)]
    for each in asked:
        dispatcher.submit(each, 0.0)
    lost = send(dispatcher, first)
    kept = send(dispatcher, second)
    assert len(lost) == len(kept) == 2
    dispatcher.broken(first, gone(), 1.0)
    assert send(dispatcher, second) == lost
    dispatcher.arrived(second, answer(*asked), 1.0)
    assert len(dispatcher.take_settled()) == 4


def test_a_lone_teachers_queries_wait_for_its_return_until_their_deadline() -> None:
    dispatcher = opened()
    (replica,) = dispatcher.replicas
    patient, hasty = query(deadline=50.0), query(deadline=5.0)
    for each in (patient, hasty):
        dispatcher.submit(each, 0.0)
    send(dispatcher, replica)
    dispatcher.broken(replica, gone(), 1.0)
    dispatcher.tick(6.0)
    assert dispatcher.take_settled() == [hasty]
    assert isinstance(hasty.outcome, TeacherUnavailable)
    dispatcher.arrived(replica, teacher_pb2.AnswerFrame(credit_rows=CREDIT), 7.0)
    assert send(dispatcher, replica) == [patient.tag]


def test_new_queries_fail_at_once_when_the_teacher_has_been_away_for_a_while() -> None:
    dispatcher = opened()
    (replica,) = dispatcher.replicas
    dispatcher.broken(replica, gone(), 1.0)
    soon, late = query(), query()
    dispatcher.submit(soon, 1.0 + OFFLINE_GRACE_SECONDS / 2)
    assert dispatcher.take_settled() == []
    dispatcher.submit(late, 1.0 + OFFLINE_GRACE_SECONDS)
    assert dispatcher.take_settled() == [late]
    assert isinstance(late.outcome, TeacherUnavailable)
    assert "away for 2 s" in str(late.outcome)
    dispatcher.arrived(replica, teacher_pb2.AnswerFrame(credit_rows=CREDIT), 9.0)
    dispatcher.submit(query(), 9.0)
    assert dispatcher.take_settled() == []


def test_where_no_teacher_was_ever_seen_queries_fail_at_once() -> None:
    dispatcher = Dispatcher(["replica-0:1", "replica-1:1"], "the replicas")
    first, second = dispatcher.replicas
    asked, late = query(), query()
    dispatcher.submit(asked, 0.0)
    dispatcher.broken(first, gone(), 0.1)
    assert asked.outcome is None, "the second one may still be there"
    dispatcher.broken(second, gone(), 0.1)
    assert isinstance(asked.outcome, TeacherUnavailable)
    dispatcher.submit(late, 0.2)
    assert isinstance(late.outcome, TeacherUnavailable)
    dispatcher.arrived(second, teacher_pb2.AnswerFrame(credit_rows=CREDIT), 0.3)
    dispatcher.take_settled()
    dispatcher.submit(query(), 0.4)
    assert len(send(dispatcher, second)) == 1


def test_an_error_that_will_last_fails_all_queries_when_no_other_replica_is_there() -> None:
    dispatcher = Dispatcher(["replica-0:1"], "the replicas")
    (replica,) = dispatcher.replicas
    asked = query()
    dispatcher.submit(asked, 0.0)
    dispatcher.broken(replica, TeacherUnauthenticated("no token"), 0.1)
    assert dispatcher.take_settled() == [asked]
    assert isinstance(asked.outcome, TeacherUnauthenticated)


def test_a_message_too_large_for_the_server_fails_alone() -> None:
    dispatcher = opened()
    (replica,) = dispatcher.replicas
    small, large = query(size=10), query(size=1000)
    for each in (small, large):
        dispatcher.submit(each, 0.0)
    send(dispatcher, replica)
    dispatcher.broken(replica, TeacherRejected("larger than max"), 1.0)
    assert dispatcher.take_settled() == [large]
    dispatcher.arrived(replica, teacher_pb2.AnswerFrame(credit_rows=CREDIT), 2.0)
    assert send(dispatcher, replica) == [small.tag]


def test_a_query_that_breaks_every_stream_is_given_up() -> None:
    dispatcher = opened()
    (replica,) = dispatcher.replicas
    asked = query()
    dispatcher.submit(asked, 0.0)
    for attempt in range(5):
        assert asked.outcome is None, f"given up after {attempt} attempts"
        assert send(dispatcher, replica) == [asked.tag]
        dispatcher.broken(replica, gone(), 0.0)
        dispatcher.arrived(replica, teacher_pb2.AnswerFrame(credit_rows=CREDIT), 0.0)
    assert isinstance(asked.outcome, TeacherUnavailable)


def test_a_draining_replica_gets_nothing_new_and_still_answers() -> None:
    dispatcher = opened(2)
    first, second = dispatcher.replicas
    sent = query()
    dispatcher.submit(sent, 0.0)
    assert send(dispatcher, first) == [sent.tag]
    unsent = [query(), query(), query()]
    for each in unsent:
        dispatcher.submit(each, 0.0)
    dispatcher.arrived(first, teacher_pb2.AnswerFrame(draining=True), 0.0)
    assert dispatcher.take_frame(first, 0.0) is None
    assert sorted(send(dispatcher, second)) == [each.tag for each in unsent]
    dispatcher.arrived(first, answer(sent), 0.0)
    assert dispatcher.take_settled() == [sent]


@pytest.mark.parametrize("code", [RefusalCode.RESOURCE_EXHAUSTED, RefusalCode.UNAVAILABLE])
def test_a_passing_refusal_is_repeated_when_the_teacher_says(code: RefusalCode) -> None:
    dispatcher = opened()
    (replica,) = dispatcher.replicas
    asked = query()
    dispatcher.submit(asked, 0.0)
    send(dispatcher, replica)
    dispatcher.arrived(replica, refusal(asked, code, after_ms=300), 1.0)
    dispatcher.tick(1.25)
    assert send(dispatcher, replica) == []
    dispatcher.tick(1.35)
    assert send(dispatcher, replica) == [asked.tag]
    assert dispatcher.take_settled() == []


def test_a_refusal_that_would_be_repeated_too_late_is_the_outcome() -> None:
    dispatcher = opened()
    (replica,) = dispatcher.replicas
    asked = query(deadline=2.0)
    dispatcher.submit(asked, 0.0)
    send(dispatcher, replica)
    dispatcher.arrived(replica, refusal(asked, RefusalCode.RESOURCE_EXHAUSTED, after_ms=1500), 1.0)
    assert isinstance(asked.outcome, TeacherOverloaded)
    assert asked.outcome.retry_after_seconds == 1.5


def test_a_lasting_refusal_is_not_repeated() -> None:
    dispatcher = opened()
    (replica,) = dispatcher.replicas
    asked = query()
    dispatcher.submit(asked, 0.0)
    send(dispatcher, replica)
    dispatcher.arrived(replica, refusal(asked, RefusalCode.INVALID_ARGUMENT), 1.0)
    assert isinstance(asked.outcome, TeacherRejected)


def test_a_query_without_an_answer_times_out_and_is_cancelled_at_the_server() -> None:
    dispatcher = opened()
    (replica,) = dispatcher.replicas
    asked = query(8, deadline=1.0)
    dispatcher.submit(asked, 0.0)
    send(dispatcher, replica)
    dispatcher.tick(1.0)
    assert isinstance(asked.outcome, TeacherTimeout)
    frame = dispatcher.take_frame(replica, 1.0)
    assert frame is not None
    assert list(frame.cancelled_tags) == [asked.tag]
    # Its credit comes back with the server's own word on it, which changes nothing else.
    waiting = query()
    dispatcher.submit(waiting, 1.0)
    assert send(dispatcher, replica) == []
    dispatcher.take_settled()
    dispatcher.arrived(replica, answer(asked), 1.1)
    assert dispatcher.take_settled() == []
    assert send(dispatcher, replica, 1.1) == [waiting.tag]


def test_a_query_that_found_no_credit_in_time_met_an_overloaded_teacher() -> None:
    dispatcher = opened(credit=1)
    held, waiting = query(), query(deadline=1.0)
    for each in (held, waiting):
        dispatcher.submit(each, 0.0)
    dispatcher.tick(1.0)
    assert isinstance(waiting.outcome, TeacherOverloaded)
    assert "no credit" in str(waiting.outcome)


def test_a_query_cancelled_before_it_is_sent_is_never_sent() -> None:
    dispatcher = opened(credit=1)
    (replica,) = dispatcher.replicas
    asked, other = query(), query()
    dispatcher.submit(asked, 0.0)
    dispatcher.submit(other, 0.0)
    dispatcher.cancel(asked)
    assert isinstance(asked.outcome, TeacherFailed)
    # The credit it had taken is the next one's.
    assert send(dispatcher, replica) == [other.tag]


def test_closing_settles_everything() -> None:
    dispatcher = opened(credit=1)
    asked = [query(), query()]
    for each in asked:
        dispatcher.submit(each, 0.0)
    dispatcher.close()
    assert dispatcher.take_settled() == asked[1:] + asked[:1]
    assert all(isinstance(each.outcome, TeacherFailed) for each in asked)
    assert not dispatcher.unsettled()


def accepted(credit: int = CREDIT, row_bytes: int = 6, rows: int = 4) -> Dispatcher:
    """A dispatcher with one replica, which has accepted memory of `rows` rows."""
    dispatcher = opened(credit=credit)
    (replica,) = dispatcher.replicas
    dispatcher.share_memory(row_bytes, rows)
    offer = dispatcher.take_frame(replica, 0.0)
    assert offer is not None and offer.memory.size_bytes >= row_bytes * rows
    dispatcher.arrived(replica, teacher_pb2.AnswerFrame(memory_accepted=True), 0.0)
    return dispatcher


def sent_queries(dispatcher: Dispatcher) -> list[teacher_pb2.EvaluateRequest]:
    frame = dispatcher.take_frame(dispatcher.replicas[0], 0.0)
    return [] if frame is None else [each.request for each in frame.queries]


def test_memory_is_offered_once_on_a_stream_and_used_after_the_server_accepts() -> None:
    dispatcher = opened()
    (replica,) = dispatcher.replicas
    dispatcher.share_memory(6, 4)
    assert replica.has_something_to_send
    dispatcher.submit(query(), 0.0)
    first = dispatcher.take_frame(replica, 0.0)
    assert first is not None and first.HasField("memory")
    assert first.queries[0].request.observations == bytes([1] * 6)
    dispatcher.arrived(replica, teacher_pb2.AnswerFrame(memory_accepted=True), 0.0)
    dispatcher.submit(query(2), 0.0)
    second = dispatcher.take_frame(replica, 0.0)
    assert second is not None and not second.HasField("memory")
    assert second.queries[0].request.memory_offset == 0
    assert second.queries[0].request.observations == b""


def test_a_server_that_declines_gets_observations_in_messages() -> None:
    dispatcher = opened()
    (replica,) = dispatcher.replicas
    dispatcher.share_memory(6, 4)
    dispatcher.take_frame(replica, 0.0)
    dispatcher.arrived(replica, teacher_pb2.AnswerFrame(memory_accepted=False), 0.0)
    dispatcher.submit(query(), 0.0)
    (request,) = sent_queries(dispatcher)
    assert request.WhichOneof("elements") == "observations"


def test_what_does_not_fit_into_memory_travels_in_the_message_until_rows_are_free() -> None:
    dispatcher = accepted(rows=4)
    (replica,) = dispatcher.replicas
    asked = [query(3), query(2), query(1)]
    for each in asked:
        dispatcher.submit(each, 0.0)
    places = [request.WhichOneof("elements") for request in sent_queries(dispatcher)]
    # Rows 0 to 2, no two rows left, row 3.
    assert places == ["memory_offset", "observations", "memory_offset"]
    dispatcher.arrived(replica, answer(*asked), 0.0)
    dispatcher.submit(query(4), 0.0)
    (request,) = sent_queries(dispatcher)
    assert (request.WhichOneof("elements"), request.memory_offset) == ("memory_offset", 0)


def test_rows_of_a_query_given_up_stay_taken_until_the_server_has_settled_it() -> None:
    dispatcher = accepted(rows=4)
    (replica,) = dispatcher.replicas
    given_up, next_one = query(4), query(1)
    dispatcher.submit(given_up, 0.0)
    assert send(dispatcher, replica) == [given_up.tag]
    dispatcher.cancel(given_up)
    dispatcher.submit(next_one, 0.0)
    (request,) = sent_queries(dispatcher)
    # The server may still read them.
    assert request.WhichOneof("elements") == "observations"
    dispatcher.arrived(replica, refusal(given_up, RefusalCode.CANCELLED), 0.0)
    dispatcher.submit(query(4), 0.0)
    (request,) = sent_queries(dispatcher)
    assert request.memory_offset == 0


def test_a_new_stream_is_offered_the_memory_again_with_all_rows_free() -> None:
    dispatcher = accepted(rows=4)
    (replica,) = dispatcher.replicas
    asked = query(4)
    dispatcher.submit(asked, 0.0)
    send(dispatcher, replica)
    dispatcher.broken(replica, gone(), 0.0)
    dispatcher.arrived(replica, teacher_pb2.AnswerFrame(credit_rows=CREDIT), 0.1)
    frame = dispatcher.take_frame(replica, 0.1)
    assert frame is not None and frame.HasField("memory")
    # Not accepted yet: the query that is sent again carries its observations.
    assert frame.queries[0].request.observations == bytes([4] * 24)
    dispatcher.arrived(replica, teacher_pb2.AnswerFrame(memory_accepted=True), 0.1)
    dispatcher.submit(query(4), 0.1)
    (request,) = sent_queries(dispatcher)
    assert request.memory_offset == 0


def test_answers_to_unknown_tags_are_ignored() -> None:
    dispatcher = opened()
    (replica,) = dispatcher.replicas
    stranger = query()
    stranger.tag = 77
    dispatcher.arrived(replica, answer(stranger), 0.0)
    assert dispatcher.take_settled() == []


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
    dispatcher = Dispatcher(["replica-0:1", "replica-1:1"], "the replicas")
    asked: list[StreamQuery] = []
    settled: list[StreamQuery] = []
    # What a server would count, for each replica: rows it granted less rows it was sent.
    balance = [0, 0]
    sent: list[dict[int, StreamQuery]] = [{}, {}]
    now = 0.0
    for event, i, number in events:
        replica = dispatcher.replicas[i]
        now += 0.01
        if event == "submit":
            asked.append(query(number, deadline=now + number))
            dispatcher.submit(asked[-1], now)
        elif event == "open" and replica.granted == 0:
            dispatcher.arrived(replica, teacher_pb2.AnswerFrame(credit_rows=8), now)
            balance[i], sent[i] = 8, {}
        elif event == "send":
            for tag in send(dispatcher, replica, now):
                (found,) = [each for each in asked if each.tag == tag]
                assert tag not in sent[i], "a tag is under way twice"
                sent[i][tag] = found
                balance[i] -= found.rows
            assert balance[i] >= 0, "more was sent than the credit covers"
        elif event in ("answer", "refuse") and sent[i]:
            tag = next(iter(sent[i]))
            found = sent[i].pop(tag)
            balance[i] += found.rows
            refused = refusal(found, RefusalCode.RESOURCE_EXHAUSTED, number)
            dispatcher.arrived(replica, answer(found) if event == "answer" else refused, now)
        elif event == "break":
            dispatcher.broken(replica, gone() if number > 2 else None, now)
            balance[i], sent[i] = 0, {}
        elif event == "cancel" and asked:
            dispatcher.cancel(asked[number % len(asked)])
        elif event == "tick":
            now += number
            dispatcher.tick(now)
        settled += dispatcher.take_settled()
    dispatcher.tick(1e9)
    settled += dispatcher.take_settled()
    assert sorted(each.tag for each in settled) == [each.tag for each in asked]
    assert all(each.outcome is not None for each in asked)
