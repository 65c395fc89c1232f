"""What a gin name stands for: either generation's names, with or without modules before them."""

from __future__ import annotations

from collections.abc import Mapping

from services.cli.gin.dopamine_names import DOPAMINE, DOPAMINE_EPSILONS, DOPAMINE_NETWORKS
from services.cli.gin.parameters import Configurable, Parameter
from services.cli.gin.parsing import Binding, Reference
from services.cli.gin.released_names import (
    OLDER_NAMES,
    OLDER_PARAMETERS,
    RELEASED,
    RELEASED_EPSILONS,
    RELEASED_NETWORKS,
)
from services.launcher.settings import nearest
from services.shared.errors import UserError

CONFIGURABLES: Mapping[str, Configurable] = {**DOPAMINE, **RELEASED}

PARAMETERS: Mapping[str, Parameter] = {
    f"{name}.{parameter}": how
    for name, configurable in CONFIGURABLES.items()
    for parameter, how in configurable.parameters.items()
}
"""Every parameter, as "Name.parameter"."""

_REFERENCES: Mapping[str, tuple[str, ...]] = {
    name: tuple({place for table in tables for place in table.get(name, ())})
    for tables in [(DOPAMINE_NETWORKS, RELEASED_NETWORKS, DOPAMINE_EPSILONS, RELEASED_EPSILONS)]
    for name in {name for table in tables for name in table}
}


def parameter_name(binding: Binding) -> str:
    """The parameter that a binding is about, as `PARAMETERS` names it.

    Raises:
        UserError: there is no such parameter; names the nearest ones.
    """
    *modules, given = binding.selector.split(".")
    name = OLDER_NAMES.get(given, given)
    parameter = OLDER_PARAMETERS.get(binding.parameter, binding.parameter)
    known = CONFIGURABLES.get(name)
    if known is None or not _lies_in(".".join(modules), known.modules):
        raise UserError(_unknown(binding))
    if parameter not in known.parameters:
        raise UserError(_unknown(binding))
    return f"{name}.{parameter}"


def reference_name(reference: Reference, where: str) -> str:
    """What a reference names, in the present generation's name.

    Raises:
        UserError: there is no such network or schedule; names the nearest ones.
    """
    *modules, given = reference.name.split(".")
    name = OLDER_NAMES.get(given, given)
    if reference.called:
        raise UserError(
            f"{where}: @{reference.name}() is what the call gives; leave out the parentheses"
        )
    if name in _REFERENCES and _lies_in(".".join(modules), _REFERENCES[name]):
        return name
    like = nearest(given, _REFERENCES)
    near = f"; near it are {', '.join(f'@{one}' for one in like)}" if like else ""
    raise UserError(f"{where}: rrl knows no @{reference.name} of the released code{near}")


def _lies_in(module: str, modules: tuple[str, ...]) -> bool:
    """Whether a module, perhaps without what stands before it, is one of several."""
    return not module or any(one == module or one.endswith(f".{module}") for one in modules)


def _unknown(binding: Binding) -> str:
    name = f"{binding.selector}.{binding.parameter}"
    other = {older: newer for older, newer in OLDER_NAMES.items() if newer in CONFIGURABLES}
    older = {
        f"{given}.{parameter}": None
        for given, newer in other.items()
        for parameter in CONFIGURABLES[newer].parameters
    }
    like = nearest(name, {**PARAMETERS, **older})
    near = f"; did you mean {' or '.join(like)}?" if like else ""
    return f"{binding.where}: the released code has no {name}{near}"
