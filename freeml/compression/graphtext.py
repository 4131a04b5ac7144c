"""Nets and what was found out about them as JSON text, for checkpoints and for the database of a study.

Only frozen dataclasses of freeml itself, arrays and plain values: reading runs no code that the text brings along.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from freeml.errors import FreemlError

PACKAGE = "freeml."


def to_text(value: object) -> str:
    """Any nesting of dataclasses of freeml, tuples, mappings, arrays, numbers, strings and None."""
    return json.dumps(_plain(value))


def from_text(text: str) -> Any:  # noqa: ANN401 - whatever was stored
    """The same again, arrays read-only and with their own element types. Raises FreemlError for any other text."""
    try:
        return _rebuilt(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise FreemlError(f"expected what freeml stored, found something else ({error}); delete it") from error


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        name = f"{type(value).__module__}:{type(value).__qualname__}"
        return {"class": name, "fields": {f.name: _plain(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        data = base64.b64encode(array.tobytes()).decode("ascii")
        return {"array": data, "dtype": array.dtype.str, "shape": value.shape}
    if isinstance(value, Mapping):
        return {"map": [[_plain(key), _plain(item)] for key, item in value.items()]}
    if isinstance(value, (tuple, frozenset)):
        items = value if isinstance(value, tuple) else sorted(value)
        return {"tuple" if isinstance(value, tuple) else "set": [_plain(item) for item in items]}
    if isinstance(value, np.generic):
        return {"array": base64.b64encode(value.tobytes()).decode("ascii"), "dtype": value.dtype.str, "shape": None}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} cannot be stored")


def _rebuilt(data: Any) -> Any:  # noqa: ANN401 - JSON
    if not isinstance(data, dict):
        return data
    if "class" in data:
        kind = _class(data["class"])
        return kind(**{name: _rebuilt(item) for name, item in data["fields"].items()})
    if "array" in data:
        flat = np.frombuffer(base64.b64decode(data["array"], validate=True), dtype=np.dtype(data["dtype"]))
        return flat[0] if data["shape"] is None else flat.reshape(data["shape"])
    if "map" in data:
        return {_rebuilt(key): _rebuilt(item) for key, item in data["map"]}
    if "set" in data:
        return frozenset(_rebuilt(item) for item in data["set"])
    return tuple(_rebuilt(item) for item in data["tuple"])


def _class(name: str) -> type:
    """A dataclass of freeml in a module that is loaded: every module that made such an object is."""
    module, _, qualified = name.partition(":")
    found = getattr(sys.modules.get(module), qualified, None) if module.startswith(PACKAGE) else None
    if not isinstance(found, type) or not is_dataclass(found):
        raise ValueError(f"{name} is no dataclass of freeml")
    return found
