"""Effectiveness measures by name: what a measure string means, and its one canonical spelling.

The names are those of ir_measures (MacAvaney, Macdonald, Ounis: "Streamlining Evaluation with ir-measures", ECIR 2022):
``nDCG@10``, ``RR(rel=2)@10``, ``R@1000``, ``Judged@10`` … . trec_eval's own names are accepted too (``ndcg_cut_10``, ``map``,
``P_30``, ``recip_rank``), as is any name in another case (``ndcg@10``); what is echoed is always the canonical name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tamis.errors import UnknownNameError, UsageError

_FORM = re.compile(r"\s*([^\W\d]\w*)\s*(?:\((.*)\))?\s*(?:@\s*([^\s@()]+))?\s*", re.DOTALL)
_TREC_FORM = re.compile(r"([A-Za-z]\w*?)(?:[._](\d+(?:\.\d+)?(?:,\d+(?:\.\d+)?)*))?")
_HOW = "write NAME, NAME@cutoff or NAME(parameter=value)@cutoff, for example nDCG@10 or RR(rel=2)@10"

_CUTOFFS = (5, 10, 15, 20, 30, 100, 200, 500, 1000)
# trec_eval's name: the measure, the parameter that its suffix sets, and the values that the bare name stands for.
_TREC: dict[str, tuple[str, str | None, tuple[float, ...]]] = {
    "P": ("P", "cutoff", _CUTOFFS),
    "Rprec": ("Rprec", None, ()),
    "bpref": ("Bpref", None, ()),
    "infAP": ("infAP", None, ()),
    "iprec_at_recall": ("IPrec", "recall", tuple(step / 10 for step in range(11))),
    "map": ("AP", None, ()),
    "map_cut": ("AP", "cutoff", _CUTOFFS),
    "ndcg": ("nDCG", None, ()),
    "ndcg_cut": ("nDCG", "cutoff", _CUTOFFS),
    "num_q": ("NumQ", None, ()),
    "num_rel": ("NumRel", None, ()),
    "num_rel_ret": ("NumRelRet", None, ()),
    "num_ret": ("NumRet", None, ()),
    "recall": ("R", "cutoff", _CUTOFFS),
    "recip_rank": ("RR", None, ()),
    "set_F": ("SetF", "beta", (1.0,)),
    "set_P": ("SetP", None, ()),
    "set_map": ("SetAP", None, ()),
    "set_recall": ("SetR", None, ()),
    "set_relative_P": ("SetRelP", None, ()),
    "success": ("Success", "cutoff", (1, 5, 10)),
}


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure with all its parameters. Equal names are equal measures.

    Attributes:
        name: the canonical spelling, e.g. ``nDCG@10``.
        definition: the ir_measures object that the name stands for.
    """

    name: str
    definition: Any = field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.name

    def parameter(self, name: str) -> Any:
        """Return a parameter as written, else its default, else None (no such parameter, or one without default)."""
        if name in self.definition.params:
            return self.definition.params[name]
        info = self.definition.SUPPORTED_PARAMS.get(name)
        # A parameter without default is marked by a bare object() that has no public name.
        return None if info is None or type(info.default) is object else info.default

    @property
    def cutoff(self) -> int | None:
        """Depth beyond which documents do not matter, None where all of them do."""
        value = self.parameter("cutoff")
        return None if value is None else int(value)

    @property
    def is_count(self) -> bool:
        """Whether the aggregate over queries is a sum (``NumRet`` …) rather than a mean."""
        from ir_measures.measures import SumAgg

        return isinstance(self.definition.aggregator(), SumAgg)

    def with_parameters(self, **values: Any) -> Measure:
        """Return the same measure with some parameters set; None removes one."""
        merged = {**self.definition.params, **values}
        return _measure(type(self.definition), {k: v for k, v in merged.items() if v is not None})


def parse_measure(text: str | Measure) -> Measure:
    """Return the one measure that `text` names.

    Raises:
        UnknownNameError: no measure, or no parameter of it, has that name.
        UsageError: the text is malformed, a parameter does not fit, or it names several measures (``ndcg_cut``).
    """
    found = list(_expand(text))
    if len(found) > 1:
        raise UsageError(f"measure {text!r} stands for {len(found)} measures: name one, for example {found[0]}")
    return found[0]


def parse_measures(texts: str | Measure | Iterable[str | Measure]) -> tuple[Measure, ...]:
    """Return the measures that `texts` name, in order and each once.

    trec_eval's families expand: ``P_5,10`` to two measures, ``ndcg_cut`` to trec_eval's nine cutoffs.

    Raises:
        UnknownNameError: as for `parse_measure`.
        UsageError: as for `parse_measure`, or no measure is named at all.
    """
    if isinstance(texts, (str, Measure)):
        texts = [texts]
    measures = tuple(dict.fromkeys(measure for text in texts for measure in _expand(text)))
    if not measures:
        raise UsageError("no measure is named: give at least one, for example nDCG@10")
    return measures


def _expand(text: str | Measure) -> Iterator[Measure]:
    if isinstance(text, Measure):
        yield text
        return
    from ir_measures.measures import registry

    match = _FORM.fullmatch(text)
    name = match[1] if match else ""
    trec = _TREC_FORM.fullmatch(text.strip())
    if name not in registry and trec and trec[1] in _TREC:
        yield from _expand_trec(text, trec[1], trec[2], registry)
        return
    if not match:
        raise UsageError(f"measure {text!r}: {_HOW}")
    folded = {known.casefold(): known for known in registry}
    known = name if name in registry else folded.get(name.casefold())
    if known is None:
        raise UnknownNameError("measure", name, [*registry, *_TREC])
    base = registry[known]
    values = {**base.params, **_keywords(text, match[2])}
    if match[3] is not None:
        values[base.AT_PARAM] = _literal(text, match[3])
    yield _measure(type(base), values, text)


def _expand_trec(text: str, name: str, suffix: str | None, registry: Any) -> Iterator[Measure]:
    target, parameter, defaults = _TREC[name]
    base = registry[target]
    if parameter is None:
        if suffix:
            raise UsageError(f"measure {text!r}: {name} takes no parameter, but {suffix} is given")
        yield _measure(type(base), base.params, text)
        return
    for value in [_literal(text, part) for part in suffix.split(",")] if suffix else defaults:
        yield _measure(type(base), {**base.params, parameter: value}, text)


def _keywords(text: str, inside: str | None) -> dict[str, Any]:
    if not inside or not inside.strip():
        return {}
    try:
        call = ast.parse(f"_({inside})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    if not isinstance(call, ast.Call) or call.args or any(keyword.arg is None for keyword in call.keywords):
        raise UsageError(f"measure {text!r}: ({inside}) is not a list of parameter=value; {_HOW}")
    return {str(keyword.arg): _literal(text, keyword.value) for keyword in call.keywords}


def _literal(text: str, value: str | ast.expr) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        shown = value if isinstance(value, str) else ast.unparse(value)
        raise UsageError(f"measure {text!r}: {shown} is not a number, a text or true/false value; {_HOW}") from None


def _measure(kind: Any, values: dict[str, Any], text: str | None = None) -> Measure:
    """Check every parameter against the measure's declaration, and name the measure canonically."""
    name = kind.NAME
    shown = text if text is not None else name
    for parameter in values:
        if parameter not in kind.SUPPORTED_PARAMS:
            raise UnknownNameError(f"parameter of {name}", parameter, kind.SUPPORTED_PARAMS)
    checked: dict[str, Any] = {}
    for parameter, info in kind.SUPPORTED_PARAMS.items():
        if parameter not in values:
            if info.required:
                way_out = f"{name}@10" if parameter == kind.AT_PARAM == "cutoff" else f"{name}({parameter}=…)"
                raise UsageError(f"measure {shown!r} needs {parameter}: write for example {way_out}")
            continue
        value = values[parameter]
        if info.dtype is float and type(value) is int:
            value = float(value)
        if not info.validate(value) or (info.dtype is int and isinstance(value, bool)):
            limit = f"one of {', '.join(map(repr, info.choices))}" if info.dtype is str else info.dtype.__name__
            raise UsageError(f"measure {shown!r}: {parameter}={value!r} is not valid, it must be {limit}")
        _check_range(shown, parameter, value)
        checked[parameter] = value
    definition = kind(**checked)
    return Measure(repr(definition), definition)


def _check_range(text: str, parameter: str, value: Any) -> None:
    if parameter == "cutoff" and value < 1:
        raise UsageError(f"measure {text!r}: the cutoff {value} must be at least 1")
    if parameter in ("recall", "p") and not 0 <= value <= 1:
        raise UsageError(f"measure {text!r}: {parameter}={value} must lie between 0 and 1")
    if parameter == "gains" and not all(
        type(grade) is int and type(gain) is int and gain >= 0 for grade, gain in value.items()
    ):
        raise UsageError(f"measure {text!r}: gains must map whole grades to whole gains of at least 0")
