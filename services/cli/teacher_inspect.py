"""`rrl teacher inspect`: the parameters are the flags."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from rrl_agents.checkpoints.dopamine_agents.hints import Hints
from rrl_agents.checkpoints.inspect_checkpoint import Inspection, inspect_checkpoint
from services.cli.inspection_view import print_inspection
from services.cli.onnx_inspection import inspect_onnx_file
from services.library.catalogue import locate
from services.shared.errors import UserError, user_errors
from services.teacher.policies.kinds import Kind, kind_of

PLAIN_WIDTH = 160
"""Columns where there is no terminal: wide enough that few cells are folded."""


def inspect(
    path: Annotated[str, Positional, arg(metavar="PATH")],
    *,
    checkpoint_number: int | None = None,
    hints: Annotated[Hints, arg(name="")] = Hints(),  # noqa: B008 - frozen
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Tell what a piece of prior work is, and what is wrong with a broken one.

    Nothing in it is executed. Exit code 2 says that something is wrong; what could be read is
    printed all the same.

    Args:
        path: Name of the catalogue, teacher directory, Dopamine agent (its directory, a ckpt.N file
            or a tf_ckpt-N prefix), directory of a replay buffer, or ONNX file.
        checkpoint_number: Which checkpoint of a Dopamine agent; the newest by default.
        hints: What a Dopamine checkpoint does not say, where its shapes leave doubt.
        as_json: Print one JSON object in place of text.
    """
    found = _inspect(path, checkpoint_number, hints)
    if as_json:
        print(_encode(found))
    else:
        is_terminal = sys.stdout.isatty()
        print_inspection(found, Console() if is_terminal else Console(width=PLAIN_WIDTH))
    if not found.is_sound:
        sys.stdout.flush()
        count = len(found.problems)
        raise UserError(f"{path}: {count} problem{'s' if count > 1 else ''}, told above")


def _inspect(name_or_path: str, number: int | None, hints: Hints) -> Inspection:
    located = locate(name_or_path)
    with user_errors():
        kind = kind_of(located)
        if kind is Kind.PYTHON:
            raise UserError(
                f"{name_or_path} names a Python policy, which tells what it is when it runs; "
                "inspect looks at files only. Give a path, or serve it"
            )
        if kind is Kind.NETWORK:
            return inspect_checkpoint(Path(located), number, hints)
        if number is not None:
            raise UserError(f"{name_or_path} is an ONNX file; leave out --checkpoint-number")
        return inspect_onnx_file(Path(located))


def _encode(found: Inspection) -> str:
    layers = [{**dataclasses.asdict(layer), "count": layer.count} for layer in found.layers]
    fields = {**dataclasses.asdict(found), "layers": layers, "is_sound": found.is_sound}
    return json.dumps(fields, indent=2)
