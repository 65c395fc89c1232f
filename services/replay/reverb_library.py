"""Reverb, without the whole of TensorFlow: import it from here.

Reverb's client and server need TensorFlow's native library and a few of its Python modules. Both
packages import everything in their `__init__`, which takes 6 of 7 seconds of CPU and 250 MB. So a
package without contents stands in for either while Reverb's modules are imported: the import system
looks for submodules on a package's path, and imports those that are asked for. Afterwards
`import tensorflow` and `import reverb` import the whole, and find the modules that are there; so
does any use of what the stand-ins, `tensorflow` and `reverb` here, lack.

Where this fails, as it may with other versions, the whole is imported at once.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

# What this room uses of Reverb: name in `reverb` -> module, and name in the module ("": itself).
_PARTS = {
    "Client": ("reverb.client", "Client"),
    "Server": ("reverb.server", "Server"),
    "Table": ("reverb.server", "Table"),
    "checkpointers": ("reverb.platform.default.checkpointers", ""),
    "errors": ("reverb.errors", ""),
    "pybind": ("reverb.pybind", ""),
    "rate_limiters": ("reverb.rate_limiters", ""),
    "selectors": ("reverb.item_selectors", ""),
}


class _StandIn(ModuleType):
    """A module with a few attributes; any other is looked up in the whole one, imported then."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            raise AttributeError(f"{self.__name__} has no {name} while Reverb is imported")
        return getattr(import_whole(self.__name__), name)


def import_whole(name: str) -> ModuleType:
    """A module of TensorFlow or Reverb after the whole of its package, but for Keras.

    TensorFlow 2.15 imports Keras eagerly, and continues where that fails. Keras and the pandas that
    it imports take 2 to 4 s of CPU, and 50 MB; `tf.keras` imports it when it is first used.
    """
    if not {"tensorflow", "keras"} & sys.modules.keys():
        # The import system takes None for a module that is not there.
        sys.modules["keras.src"] = None  # type: ignore[assignment]
        try:
            importlib.import_module("tensorflow")
        finally:
            del sys.modules["keras.src"]
    whole = importlib.import_module(name)
    for module in list(sys.modules):
        # Python binds a submodule to its package when it loads it, which was for the stand-in.
        if module.rpartition(".")[0] == name and not hasattr(whole, module.rpartition(".")[2]):
            setattr(whole, module.rpartition(".")[2], sys.modules[module])
    return whole


def _import_parts() -> tuple[Any, Any]:
    """Stand-ins for TensorFlow and Reverb that have what this room uses."""
    tensorflow, reverb = _package("tensorflow"), _package("reverb")
    v1: Any = _StandIn("tensorflow.compat.v1")
    with _standing_in(tensorflow, ModuleType("tensorflow.compat"), v1, reverb):
        # This loads TensorFlow's native library, too, which Reverb's needs; the version is for one
        # of Reverb's messages.
        versions = importlib.import_module("tensorflow.python.framework.versions")
        tensorflow.__version__ = versions.VERSION
        # Types of signatures and samples.
        specs = importlib.import_module("tensorflow.python.framework.tensor_spec")
        v1.Tensor = specs.tensor.Tensor
        v1.TensorSpec = tensorflow.TensorSpec = specs.TensorSpec
        for name, (module, attribute) in _PARTS.items():
            part = importlib.import_module(module)
            setattr(reverb, name, getattr(part, attribute) if attribute else part)
    return tensorflow, reverb


def _package(name: str) -> Any:
    """A stand-in for an installed package."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    package: Any = _StandIn(name)
    package.__spec__, package.__path__ = spec, spec.submodule_search_locations or []
    return package


@contextlib.contextmanager
def _standing_in(*modules: ModuleType) -> Iterator[None]:
    """Have these be found under their names, which must not be imported yet."""
    sys.modules.update({module.__name__: module for module in modules})
    try:
        yield
    finally:
        for module in modules:
            del sys.modules[module.__name__]


def _import() -> tuple[Any, Any]:
    if not {"reverb", "tensorflow"} & sys.modules.keys():
        with contextlib.suppress(ImportError, AttributeError):
            return _import_parts()
    return import_whole("tensorflow"), import_whole("reverb")


tensorflow, reverb = _import()

__all__ = ["import_whole", "reverb", "tensorflow"]
