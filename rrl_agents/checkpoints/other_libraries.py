"""Models that other libraries save, told by the ending of their names; none of them is opened.

They are pickles or hold some: reading one as its library does would run what is in it.
"""

from __future__ import annotations

from pathlib import Path

_FORMATS = {
    ".zip": "an archive as Stable-Baselines3 saves its models",
    ".pt": "a PyTorch file",
    ".pth": "a PyTorch file",
    ".cleanrl_model": "a model as CleanRL saves it",
}

_ADVICE = (
    "it may hold pickles, which are never run here. Export the policy's network to ONNX in its own "
    "library (e.g. torch.onnx.export) and give the .onnx file, or give a Python policy that loads "
    "it as module:factory"
)


def what_other_library_saved(path: Path) -> str | None:
    """What a file is by its name, and what to do instead of giving it; None for any other file."""
    found = _FORMATS.get(path.suffix.lower())
    return None if found is None else f"this is {found}; {_ADVICE}"
