"""The documentation strings of Python's standard library, as a corpus.

Every public module, class, function, method and property that documents itself becomes one passage, called by the name
that a user would write: ``csv``, ``csv.reader``, ``pathlib.Path.exists``, and without a module for the built-ins: ``len``,
``str.split``. An object is listed once, under the public module that defines it, and a method under the class that
documents it, not again under each class that inherits it.

The modules are named one by one rather than discovered: importing must not print, open a window, start a thread or warn,
and what is listed should be there from Python 3.11 to 3.13. Modules that a platform lacks are passed over.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from tamis.data.document import Document
from tamis.errors import PrerequisiteError

MODULES = tuple(
    """
    abc argparse array ast asyncio atexit base64 bdb binascii bisect builtins bz2 cProfile calendar cmath cmd code codecs
    codeop collections collections.abc colorsys compileall concurrent.futures configparser contextlib contextvars copy
    copyreg csv ctypes ctypes.util dataclasses datetime dbm dbm.dumb decimal difflib dis doctest email email.charset
    email.contentmanager email.encoders email.errors email.generator email.header email.headerregistry email.message
    email.mime.application email.mime.audio email.mime.base email.mime.image email.mime.message email.mime.multipart
    email.mime.text email.parser email.policy email.utils enum errno faulthandler fcntl filecmp fileinput fnmatch fractions
    ftplib functools gc getopt getpass gettext glob graphlib grp gzip hashlib heapq hmac html html.entities html.parser http
    http.client http.cookiejar http.cookies http.server imaplib importlib importlib.abc importlib.machinery
    importlib.metadata importlib.resources importlib.util inspect io ipaddress itertools json keyword linecache locale
    logging logging.config logging.handlers lzma mailbox marshal math mimetypes mmap modulefinder multiprocessing
    multiprocessing.connection multiprocessing.managers multiprocessing.pool multiprocessing.shared_memory netrc numbers
    operator optparse os os.path pathlib pdb pickle pickletools pkgutil platform plistlib poplib pprint profile pstats pty
    pwd py_compile pyclbr pydoc queue quopri random re reprlib resource runpy sched secrets select selectors shelve shlex
    shutil signal smtplib socket socketserver sqlite3 ssl stat statistics string stringprep struct subprocess symtable sys
    sysconfig syslog tabnanny tarfile tempfile termios textwrap threading time timeit token tokenize tomllib trace traceback
    tracemalloc tty types typing unicodedata unittest unittest.mock urllib.error urllib.parse urllib.request urllib.response
    urllib.robotparser uuid venv warnings wave weakref webbrowser wsgiref wsgiref.handlers wsgiref.headers
    wsgiref.simple_server wsgiref.util wsgiref.validate xml xml.dom xml.dom.minidom xml.dom.pulldom xml.etree.ElementTree
    xml.sax xml.sax.handler xml.sax.saxutils xml.sax.xmlreader xmlrpc.client xmlrpc.server zipapp zipfile zipimport zlib
    zoneinfo
    """.split()  # noqa: SIM905 - one quoted line a module would hide the list
)
"""Public modules that import without side effects."""

MIN_WORDS = 3
"""Shorter documentation ("Return self.", "An enumeration.") says less than the name."""

_SHOWN_PARAMETERS = 6
_WRAPPERS = (classmethod, staticmethod)
_HOMES = {"posix": "os", "nt": "os", "posixpath": "os.path", "ntpath": "os.path", "genericpath": "os.path"}
_NOT_PROSE = re.compile(r"[\w.]+\([^\n]*\)(?: ?->.*)?|Alias for field number \d+|Initialize self\..*")


def passages() -> Iterator[Document]:
    """Yield one document for every documented public object of the standard library, in ascending order of id.

    The title is the call with its parameter names, the text the cleaned documentation string; the metadata hold
    ``module`` and ``kind`` (module, class, function, method or property).

    Raises:
        PrerequisiteError: Python runs with ``-OO``, which drops documentation strings.
    """
    if sys.flags.optimize > 1:
        raise PrerequisiteError(
            "the demo collection needs documentation strings, which python -OO (PYTHONOPTIMIZE=2) drops: "
            "start Python without it"
        )
    with warnings.catch_warnings():  # some public names are deprecated, and touching them says so
        warnings.simplefilter("ignore")
        modules = _import_modules()
        entries = sorted(_without_aliases(_entries(modules)), key=lambda entry: entry.name)
        documents = [Document(e.name, e.text, e.title, {"module": e.module, "kind": e.kind}) for e in entries]
    yield from documents


@dataclass(frozen=True, slots=True)
class _Entry:
    """One documented object.

    Attributes:
        module: the public module that lists it.
        owner: the class of a method or property, else empty.
        leaf: its own name, empty for a module.
        kind: module, class, function, method or property.
        target: the object itself, as it stands in the namespace (not bound).
        text: its documentation, cleaned.
        depth: how many classes above `owner` it was found (0: its own).
    """

    module: str
    owner: str
    leaf: str
    kind: str
    target: Any
    text: str
    depth: int = 0

    @property
    def is_alias(self) -> bool:
        """Whether the object calls itself by another name than this one."""
        return str(getattr(self.target, "__name__", self.leaf)) != self.leaf

    @property
    def name(self) -> str:
        module = "" if self.leaf and self.module == "builtins" else self.module
        return ".".join(part for part in (module, self.owner, self.leaf) if part)

    @property
    def title(self) -> str:
        """The call as one writes it, then the same in words, for analysers that do not split a name at its dots."""
        if self.kind == "module":
            return f"{self.name}, module"
        if self.owner:
            return f"{self.name}{self._parameters()}, {self.kind} {self.leaf} of {self.owner} in {self.module}"
        if self.module == "builtins":
            return f"{self.name}{self._parameters()}, built-in {self.kind}"
        return f"{self.name}{self._parameters()}, {self.kind} {self.leaf} of {self.module}"

    def _parameters(self) -> str:
        """Parameter names only: the `repr` of a default may hold a memory address."""
        if self.kind == "property":
            return ""
        try:
            target = self.target.__func__ if isinstance(self.target, _WRAPPERS) else self.target
            names = list(inspect.signature(target).parameters)
        except (ValueError, TypeError, AttributeError):  # C code without a text signature, or with a broken one
            return "()"
        if self.owner and names and names[0] in ("self", "cls", "type"):
            del names[0]
        dots = ["…"] if len(names) > _SHOWN_PARAMETERS else []
        return f"({', '.join(names[:_SHOWN_PARAMETERS] + dots)})"


def _import_modules() -> dict[str, ModuleType]:
    found = {}
    for name in MODULES:
        try:
            found[name] = import_module(name)
        except ImportError:  # not on this platform, or Python was built without the library behind it
            continue
    return found


def _entries(modules: Mapping[str, ModuleType]) -> Iterator[_Entry]:
    """Yield modules, then what they define, then what their classes define."""
    classes: dict[type, tuple[str, str]] = {}
    for name, module in sorted(modules.items()):
        if text := _prose(module):
            yield _Entry(name, "", "", "module", module, text)
        for leaf, value in _defined_in(name, module, modules):
            if inspect.isclass(value):
                if value not in classes or leaf == value.__name__ != classes[value][1]:  # IOError is a second name
                    classes[value] = name, leaf
            elif text := _prose(value):
                yield _Entry(name, "", leaf, "function", value, text)
    for cls, (name, leaf) in classes.items():
        if text := _prose(cls) or _prose(vars(cls).get("__init__")):
            yield _Entry(name, "", leaf, "class", cls, text)
        yield from _members(cls, name, leaf, classes)


def _defined_in(name: str, module: ModuleType, modules: Mapping[str, ModuleType]) -> Iterator[tuple[str, Any]]:
    """Yield the public classes and functions that belong to `module` and not to another that it took them from."""
    declared = getattr(module, "__all__", None)
    for leaf in sorted(set(vars(module) if declared is None else declared)):
        value = getattr(module, leaf, None)
        if leaf.startswith("_") or not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        home = str(getattr(value, "__module__", None) or name)
        home = _HOMES.get(home, home)
        real = getattr(value, "__name__", leaf)
        if name == "builtins":
            belongs = home in (name, "io", "_io")  # where `open` is defined
        elif home == name:
            belongs = True
        elif getattr(modules.get(home), real, None) is value:
            belongs = False
        else:
            belongs = declared is not None or home == f"_{name}" or home.startswith(f"{name}.")
        if belongs and getattr(module, real, value) is value:  # not _socket.socket, which socket.socket extends
            yield leaf, value


def _members(cls: type, module: str, owner: str, public: Mapping[type, object]) -> Iterator[_Entry]:
    """Yield the documented methods and properties of `cls`, save those that a public base class documents alike."""
    bases = [base for base in cls.__mro__[1:] if base in public]
    for leaf in sorted({name for base in cls.__mro__ for name in vars(base) if not name.startswith("_")}):
        target, text, depth = _member(cls, leaf)
        if text and not any(_member(base, leaf)[1] == text for base in bases):
            kind = "property" if _is_property(target) else "method"
            yield _Entry(module, owner, leaf, kind, target, text, depth)


def _member(cls: type, name: str) -> tuple[Any, str, int]:
    """Return the method or property `name` of `cls`, its documentation and the depth in the MRO where that stands.

    An override without documentation takes that of the method which it overrides.
    """
    for depth, base in enumerate(cls.__mro__):
        target = vars(base).get(name)
        if target is not None and not _is_method_or_property(target):
            break
        if text := _prose(target):
            return target, text, depth
    return None, "", 0


def _is_method_or_property(target: object) -> bool:
    return inspect.isroutine(target) or _is_property(target) or isinstance(target, _WRAPPERS)


def _is_property(target: object) -> bool:
    return inspect.isdatadescriptor(target) or isinstance(target, functools.cached_property)


def _prose(target: object) -> str:
    """Return an object's own documentation without its indentation; empty if it says no more than a name or signature."""
    text = getattr(target, "__doc__", None)
    if not isinstance(text, str) or text == type(target).__doc__:  # the latter belongs to the type
        return ""
    text = inspect.cleandoc(text).strip()
    return "" if len(text.split()) < MIN_WORDS or _NOT_PROSE.fullmatch(text) else text


def _function(target: Any) -> Any:
    """Return what a class method, static method or bound method wraps."""
    return getattr(target, "__func__", target)


def _without_aliases(entries: Iterable[_Entry]) -> Iterable[_Entry]:
    """Keep one entry an object: where it is defined rather than inherited, under its own name, under the shortest."""
    best: dict[int, _Entry] = {}
    for entry in sorted(entries, key=lambda e: (e.depth, e.is_alias, len(e.name), e.name)):
        best.setdefault(id(_function(entry.target)), entry)
    return best.values()
