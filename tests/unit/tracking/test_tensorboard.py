"""The files are read by TensorBoard's own reader."""

from __future__ import annotations

import contextlib
import io
import math
import subprocess
import sys
import textwrap
from pathlib import Path

from PIL import Image

from services.tracking.tensorboard import TensorBoard
from services.tracking.tracker import TrackedRun
from tests.support.event_files import read_events


def read_scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read_events(folder).Scalars(tag)]


def opened(folder: Path, resumed_step: int | None = None) -> TensorBoard:
    return TensorBoard(TrackedRun(folder=folder, resumed_step=resumed_step))


def test_scalars_come_back_with_their_steps(tmp_path: Path) -> None:
    with contextlib.closing(opened(tmp_path)) as writer:
        writer.scalars(0, {"loss/td": 0.5, "loss/distill": 2.0})
        writer.scalars(100, {"loss/td": 0.25, "loss/distill": math.nan})
    assert read_scalars(tmp_path, "loss/td") == [(0, 0.5), (100, 0.25)]
    first, (step, value) = read_scalars(tmp_path, "loss/distill")
    # A value that is not a number is shown rather than hidden.
    assert first == (0, 2.0) and step == 100 and math.isnan(value)


def test_scalars_are_on_disk_without_closing(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    writer.scalars(7, {"rate": 3.0})
    assert read_scalars(tmp_path, "rate") == [(7, 3.0)]
    writer.close()
    writer.close()


def test_a_resumed_run_adds_a_file_and_hides_the_stretch_it_plays_again(tmp_path: Path) -> None:
    with contextlib.closing(opened(tmp_path)) as writer:
        for step in (10, 20, 30, 40):
            writer.scalars(step, {"loss": float(step)})
    before = {path: path.read_bytes() for path in (tmp_path / "metrics").iterdir()}
    # The checkpoint was written at 20; 30 and 40 were lost.
    with contextlib.closing(opened(tmp_path, resumed_step=20)) as writer:
        writer.scalars(30, {"loss": -1.0})
    assert len(list((tmp_path / "metrics").iterdir())) == 2
    assert all(path.read_bytes() == content for path, content in before.items())
    assert read_scalars(tmp_path, "loss") == [(10, 10.0), (20, 20.0), (30, -1.0)]


def test_a_file_cut_off_by_a_kill_does_not_hide_the_next(tmp_path: Path) -> None:
    with contextlib.closing(opened(tmp_path)) as writer:
        writer.scalars(10, {"loss": 1.0})
        writer.scalars(20, {"loss": 2.0})
    [torn] = (tmp_path / "metrics").iterdir()
    torn.write_bytes(torn.read_bytes()[:-5])
    with contextlib.closing(opened(tmp_path, resumed_step=10)) as writer:
        writer.scalars(20, {"loss": 3.0})
    assert read_scalars(tmp_path, "loss") == [(10, 1.0), (20, 3.0)]


def test_files_made_in_the_same_second_sort_in_the_order_they_were_made(tmp_path: Path) -> None:
    made: list[Path] = []
    for _ in range(3):
        opened(tmp_path).close()
        made.append(*(set((tmp_path / "metrics").iterdir()) - set(made)))
    assert made == sorted(made)


def test_a_video_is_an_image_that_tensorboard_shows_as_it_is(tmp_path: Path) -> None:
    video = tmp_path / "student.gif"
    frames = [Image.new("L", (6, 4), level) for level in (0, 255)]
    frames[0].save(video, save_all=True, append_images=frames[1:])
    with contextlib.closing(opened(tmp_path)) as writer:
        writer.file(video, 30)
    (image,) = read_events(tmp_path).Images("student.gif")
    assert (image.step, image.width, image.height) == (30, 6, 4)
    assert Image.open(io.BytesIO(image.encoded_image_string)).n_frames == 2


def test_writing_loads_no_tensorflow(tmp_path: Path) -> None:
    program = f"""
        import sys
        from pathlib import Path
        from services.tracking.tensorboard import TensorBoard
        from services.tracking.tracker import TrackedRun
        TensorBoard(TrackedRun(folder=Path({str(tmp_path)!r}))).scalars(1, {{"loss": 1.0}})
        sys.exit("tensorflow" in sys.modules)
    """
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, cwd=root)
