"""What long work says while it runs: events, which the command line and the server render.

Nothing below `cli` prints or draws. Work that takes time takes a `Listener`, any callable of one `Event`; the default
listener ignores everything. Events are small frozen values, so a listener may keep, count or serialise them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True, slots=True)
class Started(Event):
    """A stage of work begins. `total` counts `unit`s (None: not known beforehand)."""

    stage: str
    total: int | None = None
    unit: str = "it"


@dataclass(frozen=True, slots=True)
class Advanced(Event):
    """`count` more units of a stage are done."""

    stage: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """A stage of work is done."""

    stage: str


@dataclass(frozen=True, slots=True)
class Warned(Event):
    """Something the user should know. `code` is stable and machine-readable; `message` is a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class CommitStep(Event):
    """A named instant of a commit has been passed (`tamis.indexer.commit` lists the names in order)."""

    step: str


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Ignore the event: the default listener."""


def track(
    items: Iterable[T], listener: Listener, stage: str, *, total: int | None = None, unit: str = "it"
) -> Iterator[T]:
    """Yield `items`, telling `listener` of the start, each step and the end."""
    listener(Started(stage, total, unit))
    for item in items:
        yield item
        listener(Advanced(stage))
    listener(Finished(stage))
