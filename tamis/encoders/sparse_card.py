"""What a checkpoint that Tamis writes itself consists of: weights, and tamis.json with family and recipe of the model."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tamis.encoders.checkpoints import read_json
from tamis.errors import ModelError, UsageError
from tamis.files import write_json

if TYPE_CHECKING:
    from torch import nn

CARD = "tamis.json"
R = TypeVar("R")  # a frozen dataclass of JSON values and tuples of them


def write_card(folder: Path, family: str, recipe: Any) -> None:
    """Write the card of a checkpoint."""
    write_json(folder / CARD, {"family": family, **asdict(recipe)})


def read_card(folder: Path, family: str, cls: type[R]) -> R:
    """Return the recipe that a checkpoint's card holds.

    Args:
        folder: of the checkpoint.
        family: that the card is to name.
        cls: of the recipe; what the card leaves out has its default.

    Raises:
        ModelError: there is none, it is of another family, or what it says is not known or not possible.
    """
    card = read_json(folder / CARD)
    if not isinstance(card, dict) or card.get("family") != family:
        raise ModelError(f"{folder} is no checkpoint of {family}: its {CARD} does not name that family")
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in card.items()}
    del values["family"]
    if unknown := sorted(set(values) - known):
        raise ModelError(f"{folder / CARD}: {', '.join(unknown)} are not known here; was it written by a newer Tamis?")
    try:
        return cls(**values)
    except (UsageError, TypeError) as error:
        raise ModelError(f"{folder / CARD}: {error}") from error


def write_weights(module: nn.Module, path: Path) -> None:
    """Write a module's weights as safetensors; what is tied is written once."""
    from safetensors.torch import save_file

    state, places = dict[str, Any](), set[int]()
    for name, value in module.state_dict().items():
        if value.data_ptr() not in places:
            places.add(value.data_ptr())
            state[name] = value.detach().cpu().contiguous()
    save_file(state, path, {"format": "pt"})
