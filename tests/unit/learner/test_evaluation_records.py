from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl_agents.checkpoints.sealed_json import seal, unseal
from services.learner.evaluation_records import (
    STAGES,
    EvaluationRecord,
    append_record,
    count_lines,
    current_records,
    decode_record,
    encode_record,
    read_records,
)
from services.shared.errors import UserError

RECORD = EvaluationRecord(
    player="student",
    weights_version=3,
    stage="online",
    teacher_steps=20_000,
    offline_updates=1_000,
    online_updates=500,
    actor_steps=2_000,
    weaning_weight=0.25,
    episode_returns=(-20.0, -18.5),
    episode_steps=(900, 1_100),
    epsilon=0.001,
    seconds_since_start=61.5,
    final=False,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics" / "evaluations.jsonl"


def record_at(**changes: Any) -> EvaluationRecord:
    return dataclasses.replace(RECORD, **changes)


counts = st.integers(min_value=0, max_value=2**53)
shares = st.floats(min_value=0.0, max_value=1.0)
episodes = st.lists(
    st.tuples(
        st.floats(allow_nan=False, allow_infinity=False), st.integers(min_value=1, max_value=2**40)
    ),
    min_size=1,
    max_size=5,
)


@given(counts, shares, episodes, st.sampled_from(STAGES), st.booleans())
def test_a_decoded_record_equals_the_encoded_one(
    count: int, share: float, played: list[tuple[float, int]], stage: str, final: bool
) -> None:
    record = record_at(
        stage=stage,
        actor_steps=count,
        weaning_weight=share,
        epsilon=share,
        episode_returns=tuple(value for value, _ in played),
        episode_steps=tuple(steps for _, steps in played),
        final=final,
    )
    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("player", "nobody"),
        ("stage", "lunch"),
        ("actor_steps", -1),
        ("actor_steps", 1.5),
        ("actor_steps", True),
        ("final", 1),
        ("weaning_weight", 1.1),
        ("epsilon", -0.1),
        ("episode_returns", []),
        ("episode_returns", [1.0]),
        ("episode_returns", [1.0, "2"]),
        ("episode_returns", 3.0),
        ("episode_steps", [0, 5]),
        ("seconds_since_start", None),
    ],
)
def test_a_line_with_a_bad_field_is_refused(field: str, value: object) -> None:
    fields = unseal(encode_record(RECORD))
    with pytest.raises(ValueError, match=r"known are|must be|use a number|give |at least 1 step"):
        decode_record(seal({**fields, field: value}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "not valid JSON") for text in ("NaN", "Infinity", "1e999")),
        ("-10.0", "changed since it was written"),
    ],
)
def test_a_return_that_is_not_the_one_written_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_record(encode_record(RECORD).replace("-20.0", text))


def test_missing_and_unknown_fields_are_named() -> None:
    fields = unseal(encode_record(RECORD))
    del fields["epsilon"]
    with pytest.raises(ValueError, match="field epsilon is missing"):
        decode_record(seal(fields))
    with pytest.raises(ValueError, match="unknown field epsilom; did you mean epsilon"):
        decode_record(seal({**fields, "epsilom": 0.1}))


def test_appended_records_come_back_in_order(path: Path) -> None:
    assert read_records(path) == () and count_lines(path) == 0
    second = record_at(actor_steps=4_000)
    append_record(path, RECORD)
    append_record(path, second)
    assert read_records(path) == (RECORD, second)


@pytest.mark.parametrize("lost", [1, 40])
def test_a_line_cut_off_by_a_kill_is_no_record_and_the_next_append_removes_it(
    path: Path, lost: int
) -> None:
    append_record(path, RECORD)
    append_record(path, record_at(actor_steps=4_000))
    path.write_bytes(path.read_bytes()[:-lost])
    assert read_records(path) == (RECORD,)
    third = record_at(actor_steps=6_000)
    append_record(path, third)
    assert read_records(path) == (RECORD, third)


def test_a_first_line_longer_than_a_block_can_be_torn_too(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"x" * 10_000)
    append_record(path, RECORD)
    assert read_records(path) == (RECORD,)


def test_garbage_before_the_last_line_is_an_error_with_its_line_number(path: Path) -> None:
    append_record(path, RECORD)
    with path.open("ab") as file:
        file.write(b"\xff\xfe{{\na begin that was cut off")
    assert count_lines(path) == 2
    append_record(path, RECORD)
    assert count_lines(path) == 3
    with pytest.raises(UserError, match="line 2 is not an evaluation record"):
        read_records(path)


def test_records_of_a_stretch_that_was_lost_and_played_again_do_not_count_twice() -> None:
    teacher = record_at(player="teacher", offline_updates=0, online_updates=0, actor_steps=0)
    first, lost = record_at(actor_steps=2_000), record_at(online_updates=900, actor_steps=4_000)
    # The run went back to a checkpoint before `lost` and evaluated a little earlier.
    again = record_at(online_updates=800, actor_steps=3_600)
    assert current_records([teacher, first, lost, again]) == (teacher, first, again)


@pytest.mark.parametrize("steps", [3_990, 4_000, 4_010])
def test_weights_that_were_reached_twice_count_once_however_many_steps_it_took(steps: int) -> None:
    first, again = record_at(actor_steps=4_000), record_at(actor_steps=steps, epsilon=0.5)
    assert current_records([first, again]) == (again,)


def test_the_final_evaluation_keeps_the_one_before_it_of_the_same_weights() -> None:
    final = record_at(final=True, stage="final_evaluation")
    assert current_records([RECORD, final]) == (RECORD, final)
