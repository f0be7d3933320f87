"""The pipeline grammar: a recursive-descent parser of the same language as Python's operators on nodes; nothing is evaluated.

    pipeline  =  sum { ">>" sum }
    sum       =  product { "+" product }
    product   =  operand { "*" operand | "%" COUNT }
    operand   =  NUMBER | ADDRESS | QUOTED | "(" pipeline ")" | function
    function  =  NAME "(" pipeline { "," pipeline } { "," OPTION "=" VALUE } ")"

Precedence and direction are Python's. A model address ends at white space, ``,`` or ``)``, so an operator after one stands
between spaces; a number needs none (``0.7*bm25``). An address that holds white space, a comma, a parenthesis or a quotation mark
stands in quotation marks, in which a backslash protects a quotation mark or a backslash.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from tamis.errors import ParseError, UnknownNameError, UsageError
from tamis.pipeline.expressions import Cut, Model, Pipeline, Scale, Then, interleave, rrf, wsum
from tamis.retrievers.fusion import MISSING, NORMS

T = TypeVar("T")

_LIMIT = 100  # operators and parentheses: far above real pipelines, below Python's recursion limit
_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?=[\s*%+>,)]|$)")
_WHOLE = re.compile(r"\d{1,18}(?=[\s*%+>,)]|$)")
_CALL = re.compile(r"([^\W\d]\w*)\(")
_KEYWORD = re.compile(r"([^\W\d]\w*)\s*=\s*")
_ADDRESS = re.compile(r"""[^\s,()"'%*+>][^\s,()"']*""")
_WORD = re.compile(r"[^\s,()]*")
_QUOTED = re.compile(r"""(["'])((?:\\["'\\]|(?!\1).)*)\1""", re.DOTALL)

_FUNCTIONS: dict[str, Callable[..., Pipeline]] = {"rrf": rrf, "interleave": interleave, "wsum": wsum}
_OPTIONS: dict[str, dict[str, tuple[str, ...] | type[int]]] = {
    "rrf": {"k": int},
    "interleave": {},
    "wsum": {"norm": NORMS, "missing": MISSING},
}
_OPERAND = "expected a model address such as bm25, a weight, a function such as rrf(…), or '('"


def parse(text: str) -> Pipeline:
    """Parse a pipeline string; `tamis.pipeline.check` then looks up the names in it.

    Raises:
        ParseError: the text is not a pipeline; it holds the position of the fault and what was expected there.
    """
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.steps, self.after = text, 0, 0, ""

    def whole(self) -> Pipeline:
        pipeline = self.chain()
        if self.here() < len(self.text):
            self.fail(self.no_operator())
        return pipeline

    def chain(self) -> Pipeline:
        left = self.sum()
        while self.take(">>"):
            left = Then(left, self.sum())
        return left

    def sum(self) -> Pipeline:
        left = self.product()
        while self.take("+"):
            left = left + self.product()
        return left

    def product(self) -> Pipeline:
        start = self.here()
        left = self.operand()
        while True:
            if self.take("*"):
                left = self.times(left, start)
            elif self.take("%"):
                if isinstance(left, float):
                    self.fail("'%' cuts the results of a pipeline, not a number", start)
                left = Cut(left, self.whole_number("how many results to keep", least=1))
            else:
                break
        if isinstance(left, float):
            self.fail(f"expected '*' and a pipeline after the weight {self.text[start : self.at].strip()}")
        return left

    def times(self, left: Pipeline | float, start: int) -> Pipeline | float:
        spot = self.here()
        right = self.operand()
        if isinstance(left, float):
            if isinstance(right, float):
                return left * right
            left, right = right, left
        if not isinstance(right, float):
            self.fail("'*' needs a number on one side: a pipeline cannot be multiplied by a pipeline", spot)
        return self.build(start, lambda: Scale(left, right))

    def operand(self) -> Pipeline | float:
        start = self.here()
        if start == len(self.text):
            self.fail(_OPERAND + (f" after {self.after!r}" if self.after else ": the pipeline is empty"))
        if self.take("("):
            inner = self.chain()
            self.close("'(' is never closed: expected an operator or ')'")
            return inner
        if self.text[start] in "\"'":
            text = self.quoted()
            return self.build(start, lambda: Model(text))
        if call := _CALL.match(self.text, start):
            return self.call(call[1], start)
        if number := _NUMBER.match(self.text, start):
            self.at = number.end()
            if abs(value := float(number[0])) == float("inf"):
                self.fail(f"the weight {number[0]} is too large for a number", start)
            return value
        address = _ADDRESS.match(self.text, start)
        if not address:
            self.fail(f"{_OPERAND}, found {self.text[start]!r}")
        self.at = address.end()
        return self.build(start, lambda: Model(address[0]))

    def call(self, name: str, start: int) -> Pipeline:
        if name not in _FUNCTIONS:
            self.fail(str(UnknownNameError("function", name, _FUNCTIONS)), start)
        self.at = start + len(name)
        self.take("(")
        inputs: list[Pipeline] = []
        options: dict[str, int | str] = {}
        while not (self.peek(")") and not inputs):
            if keyword := _KEYWORD.match(self.text, self.here()):
                options |= self.option(name, keyword, options)
            elif options:
                self.fail(f"the pipelines of {name} come before its options")
            else:
                inputs.append(self.chain())
            if not self.take(","):
                break
        end = self.here()
        self.close(f"expected ',' or ')' in {name}(…)")
        return self.build(start if inputs[1:] else end, lambda: _FUNCTIONS[name](*inputs, **options))

    def option(self, function: str, keyword: re.Match[str], given: dict[str, int | str]) -> dict[str, int | str]:
        name = keyword[1]
        if name not in _OPTIONS[function]:
            self.fail(str(UnknownNameError(f"option of {function}", name, _OPTIONS[function])))
        if name in given:
            self.fail(f"option {name!r} of {function} is given twice")
        self.at = keyword.end()
        valid = _OPTIONS[function][name]
        if not isinstance(valid, tuple):
            return {name: self.whole_number(f"the value of {name}", least=0)}
        start = self.here()
        if self.text[start : start + 1] in ("'", '"'):
            value = self.quoted()
        else:
            word = _WORD.match(self.text, start)
            value = word[0] if word else ""
            self.at = start + len(value)
        if value not in valid:
            self.fail(str(UnknownNameError(f"{name} of {function}", value, valid)), start)
        return {name: value}

    def whole_number(self, what: str, *, least: int) -> int:
        number = _WHOLE.match(self.text, self.here())
        if not number or int(number[0]) < least:
            found = _WORD.match(self.text, self.at)
            shown = f", found {found[0]!r}" if found and found[0] else ""
            self.fail(f"expected a whole number of at least {least}, {what}{shown}")
        self.at = number.end()
        return int(number[0])

    def quoted(self) -> str:
        found = _QUOTED.match(self.text, self.at)
        if not found:
            self.fail("the quotation mark is never closed")
        self.at = found.end()
        return re.sub(r"\\([\"'\\])", r"\1", found[2])

    def here(self) -> int:
        """Skip white space and return the position after it."""
        skipped = _SPACE.match(self.text, self.at)
        self.at = skipped.end() if skipped else self.at
        return self.at

    def peek(self, symbol: str) -> bool:
        return self.text.startswith(symbol, self.here())

    def take(self, symbol: str) -> bool:
        """Pass over `symbol` if it is next."""
        if not self.peek(symbol):
            return False
        self.steps += symbol != ","
        if self.steps > _LIMIT:
            self.fail(f"the pipeline has more than {_LIMIT} operators and parentheses: split it")
        self.at += len(symbol)
        self.after = symbol
        return True

    def close(self, problem: str) -> None:
        if self.peek(")"):
            self.at += 1
        else:
            self.fail(problem if self.at == len(self.text) else f"{problem}; {self.no_operator()}")

    def no_operator(self) -> str:
        """Say why what is next does not continue the pipeline."""
        rest = self.text[self.at :]
        if rest[0] == ")":
            return "')' closes nothing"
        if rest[0] == ",":
            return "',' separates the inputs of a function such as rrf(…): put an address that holds one in quotation marks"
        if rest[0] == ">":
            return "expected '>>' between two stages, found '>'"
        found = repr(rest.split(maxsplit=1)[0])
        return f"expected an operator (>>, +, *, %), found {found}; an address with special characters needs quotation marks"

    def build(self, position: int, make: Callable[[], T]) -> T:
        """Make a node; what it refuses is a fault at `position`."""
        try:
            return make()
        except UsageError as error:
            self.fail(str(error), position)

    def fail(self, message: str, position: int | None = None) -> NoReturn:
        raise ParseError(message, self.text, self.at if position is None else position) from None
