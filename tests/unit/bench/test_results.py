from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.bench.results import read_results, read_rows, write_rows
from services.shared.errors import UserError

RESULTS = Path(__file__).parents[3] / "docs" / "results"


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    count: int
    value: float
    maybe: float | None
    truth: bool


ROWS = st.builds(
    Row,
    name=st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    count=st.integers(),
    value=st.floats(allow_nan=False, allow_infinity=False),
    maybe=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    truth=st.booleans(),
)


@settings(max_examples=50)
@given(st.lists(ROWS, max_size=5))
def test_rows_are_read_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    write_rows(path, Row, rows)
    assert read_rows(path, Row) == tuple(rows)


def test_a_table_is_what_anybody_expects_of_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.csv"
    write_rows(path, Row, [Row("a, b", 3, 0.1, None, True)])
    assert path.read_text() == 'name,count,value,maybe,truth\n"a, b",3,0.1,,True\n'


@pytest.mark.parametrize(
    "folder", sorted(RESULTS.glob("*/results")), ids=lambda one: one.parent.name
)
def test_results_of_the_documentation_can_be_aggregated_again(folder: Path) -> None:
    assert read_results(folder).evaluations


HEADER = "name,count,value,maybe,truth\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,count\n", "its columns are"),
        ("", "its columns are"),
        (f"{HEADER}a,1,2.0\n", "line 2 has 3 cells, not 5"),
        (f"{HEADER}a,one,2.0,,True\n", "line 2: field count is 'one'; it must be a whole number"),
        (f"{HEADER}a,1,nan,,True\n", "field value is 'nan'; it must be a finite number"),
        (f"{HEADER}a,1,1e999,,True\n", "field value is inf"),
        (f"{HEADER}a,{'[' * 100_000},1.0,,True\n", "field count"),
        (f"{HEADER}a,1,1.0,inf,True\n", "field maybe is 'inf'"),
        (f"{HEADER}a,1,,,True\n", "line 2: field value is None"),
        (f"{HEADER}a,1,1.0,,yes\n", "field truth is 'yes'; it must be true or false"),
        (f'{HEADER}"a\n', "unexpected end of data"),
        (None, "cannot be read"),
    ],
)
def test_a_damaged_table_is_an_error_that_says_where(
    tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "rows.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_rows(path, Row)


def test_a_table_without_an_end_is_not_read() -> None:
    with pytest.raises(UserError, match="no regular file"):
        read_rows(Path("/dev/zero"), Row)
