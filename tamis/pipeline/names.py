"""Looking up the names in a pipeline: are the families known, and their options valid? No index and no model is opened."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any

from tamis.errors import UsageError
from tamis.families import Address, family, parse_options
from tamis.pipeline.expressions import Model, Pipeline

_OPERATOR = re.compile(r"[%*+>\x00-\x1f]")  # a control character: what ``%1000`` after an option's value unescapes to


def check(pipeline: Pipeline) -> None:
    """Check every model address in `pipeline` for a known family and valid options.

    Raises:
        UnknownNameError: an unknown family, or option of one; the nearest names are suggested.
        UsageError: an option's value is not valid.
    """
    for node in pipeline.walk():
        if isinstance(node, Model):
            _check_model(node)


def split_depth(text: str) -> tuple[Address, int | None]:
    """Split ``?depth=`` off an address: it says how far a model re-scores, and belongs to the pipeline, not to the model.

    Raises:
        UsageError: the depth is not a whole number of at least 1.
    """
    address = Address.parse(text)
    depth = dict(address.options).get("depth")
    if depth is None:
        return address, None
    if not re.fullmatch(r"0*[1-9]\d{0,17}", depth):
        raise UsageError(
            f"{text}: depth={depth!r} must be a whole number of at least 1, how many candidates to re-score"
        )
    return replace(address, options=tuple(o for o in address.options if o[0] != "depth")), int(depth)


def with_option(pipeline: Pipeline, name: str, value: str) -> Pipeline:
    """Give an option to every model of a pipeline that knows it and does not say otherwise.

    Raises:
        UsageError: no model of the pipeline knows it.
    """
    known = [
        node
        for node in pipeline.walk()
        if isinstance(node, Model) and name in family(Address.parse(node.address).family).Options.__dataclass_fields__
    ]
    if not known:
        raise UsageError(f"no model of {str(pipeline)!r} has an option {name!r}: leave it out")

    def change(node: Any) -> Any:
        if isinstance(node, tuple):
            return tuple(map(change, node))
        if isinstance(node, Model):
            address = Address.parse(node.address)
            if node not in known or name in dict(address.options):
                return node
            return Model(str(replace(address, options=tuple(sorted((*address.options, (name, value)))))))
        if not isinstance(node, Pipeline) or not node.children():
            return node
        return replace(node, **{f.name: change(getattr(node, f.name)) for f in fields(node)})  # type: ignore[type-var, arg-type]

    changed: Pipeline = change(pipeline)
    return changed


def _check_model(model: Model) -> None:
    try:
        address, _ = split_depth(model.address)
        parse_options(family(address.family).Options, address.options, of=address.family)
    except UsageError as error:
        if _OPERATOR.search(model.address):
            hint = f"If {model.address!r} was meant as several terms, put spaces around the operators, as in 'bm25 % 1000'."
            error.args = (f"{error}. {hint}",)
        raise
