"""Loops that run inside Java without compiled Java: small programs put together from method handles.

Crossing from Python into Java costs about a microsecond, so work on every document, hit or posting must not cross one by
one. There is no Java compiler in the wheels, but `java.lang.invoke.MethodHandles` composes calls, array reads and counted
loops into one handle that the virtual machine compiles. A `Loop` has typed parameters and a body of expressions over them
and over the loop index; once built it is stateless, so threads may share it.

    loop = Loop(hits="[Lorg.apache.lucene.search.ScoreDoc;", docs="[I")
    hit = loop.item("hits", loop.index)
    run = loop.build(loop.length("hits"), loop.store("docs", loop.index, loop.field(hit, "doc", "int")))
    run(hits, docs)

Types are written as Java writes them in `Class.getName`, primitives by their keyword.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tamis.indexer.lucene.jvm import java, start

Expression = Any
"""A method handle from (int index, parameters…) to a value."""

_PRIMITIVES = {
    "void": "java.lang.Void",
    "boolean": "java.lang.Boolean",
    "byte": "java.lang.Byte",
    "int": "java.lang.Integer",
    "long": "java.lang.Long",
    "float": "java.lang.Float",
    "double": "java.lang.Double",
}


def java_type(name: str) -> Any:
    """Return the `java.lang.Class` object of a type name."""
    if name in _PRIMITIVES:
        return java(_PRIMITIVES[name]).TYPE
    if name.startswith("["):
        return java("java.lang.Class").forName(name)
    return java(name).class_


class Loop:
    """A counted loop under construction. Parameters are given as ``name="java type"`` in call order."""

    def __init__(self, **parameters: str) -> None:
        jpype = start()
        self._handles = java("java.lang.invoke.MethodHandles")
        self._types = java("java.lang.invoke.MethodType")
        self._lookup = self._handles.publicLookup()
        self._class_array = jpype.JArray(java("java.lang.Class"))
        self._int_array = jpype.JArray(jpype.JInt)
        self._object_array = jpype.JArray(jpype.JObject)
        self._names = list(parameters)
        self._kinds = parameters
        self._signature = [java_type("int"), *(java_type(kind) for kind in parameters.values())]
        self.index = self._argument(0)

    def _argument(self, position: int) -> Expression:
        """The handle that returns one of the loop's arguments and ignores the others."""
        handle = self._handles.identity(self._signature[position])
        if position:
            handle = self._handles.dropArguments(handle, 0, self._class_array(self._signature[:position]))
        rest = self._signature[position + 1 :]
        return self._handles.dropArguments(handle, position + 1, self._class_array(rest)) if rest else handle

    def parameter(self, name: str) -> Expression:
        """Return the value of a parameter."""
        return self._argument(1 + self._names.index(name))

    def constant(self, kind: str, value: Any) -> Expression:
        """Return a fixed value."""
        handle = self._handles.constant(java_type(kind), value)
        return self._handles.dropArguments(handle, 0, self._class_array(self._signature))

    def apply(self, handle: Any, *arguments: Expression) -> Expression:
        """Return the result of a raw method handle on the values of `arguments`."""
        filtered = handle
        for position in reversed(range(len(arguments))):
            filtered = self._handles.collectArguments(filtered, position, arguments[position])
        if len(arguments) == 1:
            return filtered
        order = [i for _ in arguments for i in range(len(self._signature))]
        kind = self._types.methodType(filtered.type().returnType(), self._class_array(self._signature))
        return self._handles.permuteArguments(filtered, kind, self._int_array(order))

    def call(self, receiver: Expression, owner: str, method: str, signature: str, *arguments: Expression) -> Expression:
        """Return ``receiver.method(arguments)``; `signature` is ``"result(argument,argument)"``."""
        result, kinds = self._parse(signature)
        handle = self._lookup.findVirtual(java(owner).class_, method, self._method_type(result, kinds))
        return self.apply(handle, receiver, *arguments)

    def static(self, owner: str, method: str, signature: str, *arguments: Expression) -> Expression:
        """Return ``owner.method(arguments)`` of a static method."""
        result, kinds = self._parse(signature)
        handle = self._lookup.findStatic(java(owner).class_, method, self._method_type(result, kinds))
        return self.apply(handle, *arguments)

    def new(self, owner: str, kinds: str, *arguments: Expression, seen_as: str | None = None) -> Expression:
        """Return ``new owner(arguments)``; `kinds` are the declared parameter types, comma separated."""
        declared = kinds.split(",") if kinds else []
        handle = self._lookup.findConstructor(java(owner).class_, self._method_type("void", declared))
        if seen_as is not None:  # e.g. a String where a CharSequence is declared
            handle = handle.asType(self._method_type(owner, seen_as.split(",")))
        return self.apply(handle, *arguments)

    def field(self, value: Expression, name: str, kind: str) -> Expression:
        """Return a public field of `value`."""
        return self.apply(self._lookup.findGetter(value.type().returnType(), name, java_type(kind)), value)

    def item(self, array: str, index: Expression) -> Expression:
        """Return ``array[index]`` of the array parameter called `array`."""
        getter = self._handles.arrayElementGetter(java_type(self._kinds[array]))
        return self.apply(getter, self.parameter(array), index)

    def item_of(self, kind: str, array: Expression, index: Expression) -> Expression:
        """Return ``array[index]`` of any expression that is an array of type `kind`."""
        return self.apply(self._handles.arrayElementGetter(java_type(kind)), array, index)

    def store(self, array: str, index: Expression, value: Expression) -> Expression:
        """Do ``array[index] = value``."""
        setter = self._handles.arrayElementSetter(java_type(self._kinds[array]))
        return self.apply(setter, self.parameter(array), index, value)

    def length(self, array: str) -> Expression:
        """Return the length of an array parameter."""
        return self.apply(self._handles.arrayLength(java_type(self._kinds[array])), self.parameter(array))

    def cast(self, value: Expression, kind: str) -> Expression:
        """Return `value` converted as a Java cast would."""
        return self._handles.explicitCastArguments(value, self._types.methodType(java_type(kind), value.type()))

    def add(self, a: Expression, b: Expression, kind: str = "int") -> Expression:
        """Return ``a + b`` of ints or longs; overflow raises."""
        return self.static("java.lang.Math", "addExact", f"{kind}({kind},{kind})", a, b)

    def subtract(self, a: Expression, b: Expression, kind: str = "int") -> Expression:
        """Return ``a - b`` of ints or longs; overflow raises."""
        return self.static("java.lang.Math", "subtractExact", f"{kind}({kind},{kind})", a, b)

    def sequence(self, *steps: Expression) -> Expression:
        """Do the steps one after another."""
        void = java_type("void")
        plain = [step.asType(step.type().changeReturnType(void)) for step in steps]
        body = plain[-1]
        for step in reversed(plain[:-1]):
            body = self._handles.foldArguments(body, step)
        return body

    def build(self, count: Expression, body: Expression) -> Callable[..., None]:
        """Return the finished loop: a callable of the parameters that does `body` for index 0 … count - 1."""
        # the count may not depend on the index: give it a constant one
        fixed = self._handles.insertArguments(count, 0, self._object_array([start().JInt(0)]))
        handle = self._handles.countedLoop(fixed, None, self.sequence(body))
        objects = self._object_array

        def run(*arguments: Any) -> None:
            handle.invokeWithArguments(objects(list(arguments)))

        return run

    def _method_type(self, result: str, kinds: list[str]) -> Any:
        return self._types.methodType(java_type(result), self._class_array([java_type(kind) for kind in kinds]))

    @staticmethod
    def _parse(signature: str) -> tuple[str, list[str]]:
        result, _, rest = signature.rstrip(")").partition("(")
        return result, rest.split(",") if rest else []
