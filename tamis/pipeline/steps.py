"""What a plan is made of: one step for each piece of work, numbered in an order in which they can run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tamis.pipeline.expressions import Pipeline


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """An opened stage under the name that events and messages use; equal only to itself."""

    name: str
    object: Any


@dataclass(frozen=True, slots=True)
class Step:
    """One piece of work; `inputs` are the numbers of the steps whose results it takes."""

    inputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Given(Step):
    """The queries as they came."""

    def __str__(self) -> str:
        return "the queries"


@dataclass(frozen=True, slots=True)
class Retrieve(Step):
    """Inputs: queries."""

    stage: Stage
    depth: int

    def __str__(self) -> str:
        return f"{self.stage.name} retrieves {self.depth} for [{self.inputs[0]}]"


@dataclass(frozen=True, slots=True)
class Rescore(Step):
    """Inputs: queries, ranking."""

    stage: Stage
    limit: int | None

    def __str__(self) -> str:
        return f"{self.stage.name} re-scores {f'the first {self.limit} of ' if self.limit else ''}[{self.inputs[1]}]"


@dataclass(frozen=True, slots=True)
class Rewrite(Step):
    """Inputs: queries, and a ranking if there is one."""

    stage: Stage

    def __str__(self) -> str:
        using = f" with [{self.inputs[1]}]" if len(self.inputs) > 1 else ""
        return f"{self.stage.name} rewrites [{self.inputs[0]}]{using}"


@dataclass(frozen=True, slots=True)
class Group(Step):
    """Inputs: ranking."""

    stage: Stage

    def __str__(self) -> str:
        return f"{self.stage.name} groups [{self.inputs[0]}]"


@dataclass(frozen=True, slots=True)
class Keep(Step):
    """Inputs: ranking."""

    k: int

    def __str__(self) -> str:
        return f"the first {self.k} of [{self.inputs[0]}]"


@dataclass(frozen=True, slots=True)
class Weigh(Step):
    """Inputs: ranking."""

    weight: float

    def __str__(self) -> str:
        return f"{self.weight:g} times [{self.inputs[0]}]"


@dataclass(frozen=True, slots=True)
class AddUp(Step):
    """Inputs: rankings."""

    weights: tuple[float, ...]
    norm: str
    missing: str

    def __str__(self) -> str:
        terms = " + ".join(f"{w:g}*[{i}]" for w, i in zip(self.weights, self.inputs, strict=True))
        return f"{terms}, norm {self.norm}, missing {self.missing}"


@dataclass(frozen=True, slots=True)
class FuseRanks(Step):
    """Inputs: rankings."""

    k: int

    def __str__(self) -> str:
        return f"rrf of {_refer(self.inputs)}, k={self.k}"


@dataclass(frozen=True, slots=True)
class RoundRobin(Step):
    """Inputs: rankings."""

    def __str__(self) -> str:
        return f"interleave {_refer(self.inputs)}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What will run, each piece of work once; `str()` shows it.

    Attributes:
        pipelines: the pipelines that were planned.
        k: results a query of each.
        steps: in an order in which they can run.
        outputs: for each pipeline, the step that holds its ranking.
    """

    pipelines: tuple[Pipeline, ...]
    k: int
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    def readers(self) -> list[int]:
        """Return for each step how many steps and pipelines read its result: above 1, it is shared."""
        counts = [0] * len(self.steps)
        for number in (*(i for step in self.steps for i in step.inputs), *self.outputs):
            counts[number] += 1
        return counts

    def __str__(self) -> str:
        readers = self.readers()
        lines = []
        for number, step in enumerate(self.steps):
            shared = not isinstance(step, Given) and readers[number] > 1
            lines.append(f"[{number}] {step}{f'  (shared by {readers[number]})' if shared else ''}")
        lines += [f"{pipeline}: [{output}]" for pipeline, output in zip(self.pipelines, self.outputs, strict=True)]
        return "\n".join(lines)


def _refer(inputs: tuple[int, ...]) -> str:
    return ", ".join(f"[{i}]" for i in inputs)
