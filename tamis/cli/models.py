"""`tamis models`: what can be named in a pipeline or made a part of an index."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from tamis.cli.session import Session


def models(
    session: Session,
    family: Annotated[
        str | None, typer.Argument(metavar="FAMILY", help="Show this family's options.", show_default=False)
    ] = None,
) -> None:
    """List the families of models, and the options of each.

    Example: tamis models

    Example: tamis models dense
    """
    from tamis.cli.drawing import write_pairs
    from tamis.families import families
    from tamis.families import family as family_of

    names = [family] if family is not None else families()
    described = [_describe(name, family_of(name)) for name in names]
    session.results = described
    if family is None:
        write_pairs(session, [(one["family"], _summary(one)) for one in described])
        session.note("options of one: tamis models FAMILY")
        return
    (one,) = described
    pairs = [("family", one["family"]), ("what", _summary(one))]
    pairs += [(option["name"], _option(option)) for option in one["options"]]
    write_pairs(session, pairs)


def _describe(name: str, cls: Any) -> dict[str, Any]:
    options = [
        {
            "name": field.name,
            "default": field.default,
            "scope": field.metadata["scope"],
            "choices": list(field.metadata["choices"] or ()),
            "help": field.metadata["help"],
        }
        for field in dataclasses.fields(cls.Options)
    ]
    return {
        "family": name,
        "summary": cls.summary,
        "part_kind": cls.part_kind,
        "makes_a_part": hasattr(cls, "encoder"),
        "checkpoints": list(getattr(cls, "checkpoints", ())),
        "options": options,
    }


def _summary(one: dict[str, Any]) -> str:
    lines = [one["summary"]]
    if one["checkpoints"]:
        lines.append("e.g. " + ", ".join(f"{one['family']}:{name}" for name in one["checkpoints"]))
    return "\n".join(lines)


def _option(option: dict[str, Any]) -> str:
    choices = f" ({', '.join(option['choices'])})" if option["choices"] else ""
    default = "" if option["default"] is None else f"; default {option['default']}"
    return f"{option['help']}{choices}{default} [{option['scope']}]"
