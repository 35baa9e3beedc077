"""A mistake that pydantic found, as one line: key, value, what is allowed, nearest names."""

from typing import Any, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from kdlab.errors import nearest
from kdlab.schema.config import RunConfig


def message(detail: ErrorDetails) -> str:
    """One pydantic error as key, value and what is allowed."""
    path = [str(part) for part in detail["loc"]]
    if path[-1] in ("constrained-int", "literal['auto']"):  # a branch of "a number or auto": both are told at once
        return f"{'.'.join(path[:-1])} = {_short(detail['input'])}: must be auto, or a whole number from 1 up"
    key = ".".join(path)
    if detail["type"] == "extra_forbidden":
        near = nearest(path[-1], _fields_at(path[:-1]))
        return f"unknown key {key} = {_short(detail['input'])}" + (f"; {near}" if near else "")
    if detail["type"] == "missing":
        return f"missing key {key}"
    if detail["type"] == "literal_error":
        allowed = str(detail["ctx"]["expected"])
        return f"{key} = {_short(detail['input'])}: allowed are {allowed}"
    text = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{key} = {_short(detail['input'])}: {text.replace('input should', 'must')}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(path: list[str]) -> list[str]:
    """The keys allowed under a dotted path of the schema."""
    section: Any = RunConfig
    parts = iter(path)
    for part in parts:
        field = section.model_fields.get(part) if hasattr(section, "model_fields") else None
        if field is None:
            return []
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        section = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if get_origin(field.annotation) is dict:
            next(parts, None)  # a name that the user gave
    if section is None:
        return []
    return [name for name in section.model_fields if name not in ("spec", "plain")]
