"""Imports Reverb without the whole of TensorFlow; other modules import both from here.

Reverb's client and server need TensorFlow's native library and a few of its Python modules. But
both packages import everything in their `__init__`, which takes 6 of 7 seconds of CPU time and
250 MB. So while Reverb's modules are imported, an empty package stands in for each of the two: the
import system finds submodules by a package's path, and imports only those that are requested.
Afterwards `import tensorflow` and `import reverb` import the whole packages, which do not have the
modules imported earlier as attributes: write `from reverb import errors`, not `reverb.errors`.

If this fails, as it may with other versions, the whole packages are imported at once.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

# What services/replay uses of Reverb: name here -> module, and name in it ("": the module itself).
_REVERB_PARTS = {
    "Client": ("reverb.client", "Client"),
    "Server": ("reverb.server", "Server"),
    "Table": ("reverb.server", "Table"),
    "checkpointers": ("reverb.platform.default.checkpointers", ""),
    "errors": ("reverb.errors", ""),
    "pybind": ("reverb.pybind", ""),
    "rate_limiters": ("reverb.rate_limiters", ""),
    "selectors": ("reverb.item_selectors", ""),
}
# The same for TensorFlow.
_TENSORFLOW_PARTS = {
    "CancellationManager": ("tensorflow.python.eager.cancellation", "CancellationManager"),
    "DatasetOptions": ("tensorflow.core.framework.dataset_options_pb2", "Options"),
    "EagerTensor": ("tensorflow.python.framework.ops", "EagerTensor"),
    "TensorSpec": ("tensorflow.python.framework.tensor_spec", "TensorSpec"),
    "as_dtype": ("tensorflow.python.framework.dtypes", "as_dtype"),
    "context": ("tensorflow.python.eager.context", "context"),
    "errors": ("tensorflow.python.framework.errors_impl", ""),
    "execute": ("tensorflow.python.eager.execute", ""),
    "load_library": ("tensorflow.python.client.pywrap_tf_session", "TF_LoadLibrary"),
}


def _import_parts() -> tuple[Any, Any]:
    """Import only what services/replay uses of TensorFlow and Reverb."""
    packages = _package("tensorflow"), _package("reverb")
    tensorflow, reverb = packages
    v1: Any = ModuleType("tensorflow.compat.v1")
    with _standing_in(tensorflow, ModuleType("tensorflow.compat"), v1, reverb):
        # This also loads TensorFlow's native library, which Reverb's library needs. Reverb shows
        # the version in one of its messages.
        versions = importlib.import_module("tensorflow.python.framework.versions")
        tensorflow.__version__ = versions.VERSION
        # Reverb's modules use these types for signatures and samples.
        specs = importlib.import_module("tensorflow.python.framework.tensor_spec")
        v1.Tensor = specs.tensor.Tensor
        v1.TensorSpec = tensorflow.TensorSpec = specs.TensorSpec
        return _parts(_TENSORFLOW_PARTS), _parts(_REVERB_PARTS)


def _parts(names: dict[str, tuple[str, str]]) -> Any:
    parts = {}
    for name, (module, attribute) in names.items():
        part = importlib.import_module(module)
        parts[name] = getattr(part, attribute) if attribute else part
    return SimpleNamespace(**parts)


def _package(name: str) -> Any:
    """An empty stand-in for an installed package."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    package: Any = ModuleType(name)
    package.__spec__, package.__path__ = spec, spec.submodule_search_locations or []
    return package


@contextlib.contextmanager
def _standing_in(*modules: ModuleType) -> Iterator[None]:
    """Make these modules importable by their names, which must not be imported yet."""
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
    # Reverb's modules require that both whole packages are imported first.
    importlib.import_module("tensorflow")
    importlib.import_module("reverb")
    return _parts(_TENSORFLOW_PARTS), _parts(_REVERB_PARTS)


tensorflow, reverb = _import()

__all__ = ["reverb", "tensorflow"]
