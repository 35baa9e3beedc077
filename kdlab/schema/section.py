"""A section of the config: exact fields, of which those that train the network make a run's identity.

What kdlab only constructs (model, data set, optimizer, schedule, term) is a ``_target_`` spec, checked against the
signature of its target. A field annotated ``NOT_IDENTITY`` does not change what trains the network, so it stays out of
a run's identity; every other field is in it.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

NOT_IDENTITY = "not identity"
Spec = dict[str, Any]


class Section(BaseModel):
    """A part of the config: exact types, no unknown key, no change after it was read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def gathered(data: Any, *, own: tuple[str, ...]) -> Any:
    """Move what the section does not interpret into ``spec``: the loader's own keywords."""
    if not isinstance(data, Mapping) or "spec" in data:
        return data
    kept = {name: value for name, value in data.items() if name in own}
    return {**kept, "spec": {name: value for name, value in data.items() if name not in own}}


def identity_view(section: BaseModel) -> dict[str, Any]:
    """The fields of a section that train the network, by name (sections inside it likewise)."""
    view: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        if NOT_IDENTITY in field.metadata:
            continue
        value = getattr(section, name)
        view[name] = identity_view(value) if isinstance(value, BaseModel) else value
    return view
