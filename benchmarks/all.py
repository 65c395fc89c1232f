"""Run all benchmarks that have a bar, one after the other, and print a table of bars and values.

Each benchmark explains its ratios. The bars are for an idle machine with two cores: other work
lowers most values. The table is in Markdown, for `docs/performance.md`.

Ratios: each that has a bar, by its benchmark and name.

    python -m benchmarks.all --quick --json
"""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.harness import parse_flags, print_ratios
from benchmarks.subprocesses import outcome


class Bar(NamedTuple):
    """What a ratio must reach.

    Attributes:
        ratio: Its name.
        value: The bar.
        is_most: Whether it is the most that the ratio may be, not the least.
    """

    ratio: str
    value: float
    is_most: bool = False


class Measured(NamedTuple):
    """A benchmark with bars.

    Attributes:
        name: Its module.
        arguments: Its flags.
        bars: Of its ratios.
    """

    name: str
    arguments: tuple[str, ...]
    bars: tuple[Bar, ...]


_STUDENTS = {"nature_32": 0.95, "impala_32": 0.95, "demo_32": 0.9}
_CASES = {name + source: value for name, value in _STUDENTS.items() for source in ("_kept", "")}
BARS = (
    Measured(
        "benchmarks.learner",
        ("--seconds", "4", "--cases", *_CASES),
        (
            *(Bar(name, value) for name, value in _CASES.items()),
            # Of the thread that trains, at ten updates a block.
            *(Bar(f"{name}_free", 0.5) for name in _CASES),
        ),
    ),
    Measured(
        "benchmarks.one_process",
        (),
        (Bar("updates_over_bare", 0.8), Bar("run_over_bare_parts", 1.5, is_most=True)),
    ),
    Measured("benchmarks.actors", (), (Bar("weaned_actor", 0.9),)),
    Measured(
        "benchmarks.start", (), (Bar("cold", 1.0, is_most=True), Bar("warm", 1.0, is_most=True))
    ),
    Measured("benchmarks.end_to_end", (), (Bar("training_useful", 0.85),)),
)
_SMALLEST = (
    Measured(
        "benchmarks.learner",
        ("--cases", "demo_32_kept"),
        (Bar("demo_32_kept", 0.9), Bar("demo_32_kept_free", 0.5)),
    ),
)


def main() -> None:
    """Measure and print."""
    flags = parse_flags(__doc__)
    ratios, bars, lines = dict[str, float](), dict[str, float](), list[str]()
    for measured in flags.pick(full=BARS, quick=BARS, smallest=_SMALLEST):
        found = outcome(measured.name, *measured.arguments, flags=flags)["ratios"]
        for ratio, value, is_most in measured.bars:
            name = f"{measured.name.removeprefix('benchmarks.')}.{ratio}"
            ratios[name], bars[name] = found[ratio], value
            is_met = found[ratio] <= value if is_most else found[ratio] >= value
            bar = f"{'at most' if is_most else 'at least'} {value:g}"
            outcome_of_bar = "met" if is_met else "missed"
            lines.append(f"| {name} | {bar} | {found[ratio]:.2f} | {outcome_of_bar} |")
    print("\n| Ratio | Bar | Measured | |\n|---|---|---|---|\n" + "\n".join(lines))
    print_ratios(ratios, flags, bars=bars)


if __name__ == "__main__":
    main()
