"""Embeddings for a DyVo model's table of entities: of those in a vocabulary that the table lacks yet.

Three sources, as in the paper's comparison: ``tokens``, the mean of the model's own input embeddings over the tokens of the
title, special tokens included; a dense encoder's vector of title and description, as with LaQue or BLINK; or a matrix that
somebody made (Wikipedia2Vec …), a safetensors file whose tensor ``embeddings`` has a row for each line of NAME.txt beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.encoders.sparse_entities import FOLDER, TENSOR, Entities
from tamis.entities.vocabulary import Entity, EntityVocabulary
from tamis.errors import DataError, MissingResourceError, UsageError

if TYPE_CHECKING:
    import torch

TOKENS = "tokens"


def embed_entities(vocabulary: EntityVocabulary, model: Path | str, source: str = TOKENS) -> int:
    """Give every entity of a vocabulary that a DyVo checkpoint lacks an embedding there; return how many came.

    Entities that the matrix of a file lacks stay out.

    Args:
        vocabulary: of the entities.
        model: folder of the checkpoint.
        source: ``tokens``, an address such as ``dense:minilm``, or the path of a .safetensors file.

    Raises:
        MissingResourceError: there is no such checkpoint or file.
        DataError: the embeddings have another width than the table's.
    """
    folder = Path(model)
    if not (folder / FOLDER).is_dir():
        raise MissingResourceError(f"{folder} is no folder of a DyVo checkpoint: it has no {FOLDER}/")
    known = set(Entities.load(folder).ids)
    lacking = [vocabulary[number] for number in range(len(vocabulary)) if vocabulary.id(number) not in known]
    if not lacking:
        return 0
    ids = [entity.id for entity in lacking]
    if source == TOKENS:
        embeddings = _of_tokens(folder, lacking)
    elif source.endswith(".safetensors"):
        ids, embeddings = _of_file(Path(source), ids)
    elif ":" in source:
        embeddings = _of_encoder(source, lacking)
    else:
        raise UsageError(f"embeddings from {source!r}: tokens, an address such as dense:minilm, or a .safetensors file")
    if ids:
        Entities.append(folder, ids, embeddings)
    return len(ids)


def _of_tokens(folder: Path, entities: Sequence[Entity]) -> torch.Tensor:
    import torch

    from tamis.encoders.registry import open_encoder

    encoder: Any = open_encoder(f"dyvo:{folder}?device=cpu")
    table = encoder.document.model.get_input_embeddings().weight.detach().float()
    width = encoder.entities.width
    if table.shape[1] != width:
        raise DataError(
            f"input embeddings are {table.shape[1]} wide, and the table of {folder} {width}: name another source"
        )
    encodings = encoder.formats[0].tokenizer.raw.encode_batch([entity.title for entity in entities])
    return torch.stack([table[torch.tensor(encoding.ids)].mean(0) for encoding in encodings])


def _of_encoder(address: str, entities: Sequence[Entity]) -> torch.Tensor:
    import torch

    from tamis.encoders.base import Passage
    from tamis.encoders.registry import open_encoder

    encoder = open_encoder(address)
    vectors = encoder.encode_passages([Passage(entity.title, entity.description) for entity in entities]).vectors
    return torch.from_numpy(vectors)


def _of_file(path: Path, wanted: Sequence[str]) -> tuple[list[str], torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    names = path.with_suffix(".txt")
    if not path.is_file() or not names.is_file():
        raise MissingResourceError(f"{path} and {names} are wanted: embeddings, and the id of each row, one a line")
    try:
        matrix = load_file(path)[TENSOR]
    except (SafetensorError, KeyError) as error:
        raise DataError(f"{path}: no tensor {TENSOR!r} can be read from it ({error})") from error
    ids = names.read_text("utf-8").split("\n")
    ids = ids[:-1] if ids[-1] == "" else ids
    if len(ids) != len(matrix):
        raise DataError(f"{names} has {len(ids)} ids for the {len(matrix)} rows of {path}")
    places = {name: place for place, name in enumerate(ids)}
    kept = [name for name in wanted if name in places]
    return kept, matrix[[places[name] for name in kept]]
