"""The public API as type checkers and its callers see it: all of it is used by `uses_public_api`, nothing leaks."""

import ast
import dataclasses
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import aiohttp
import msgspec
import packaging
import packaging.metadata
import pytest

import fetcher
import fetcher.blocking

HERE = Path(__file__).parent
USES = ast.parse((HERE / "uses_public_api.py").read_text(encoding="utf-8"))
PUBLIC: dict[str, Any] = {name: getattr(fetcher, name) for name in fetcher.__all__ if name != "__version__"}
CLASSES = [*(value for value in PUBLIC.values() if inspect.isclass(value)), fetcher.blocking.Fetcher]
FUNCTIONS = [value for value in PUBLIC.values() if inspect.isfunction(value)]
# How requests are sent is nobody's business: another library may do it one day.
HIDDEN = {"aiohttp", "yarl", "multidict", "anyio", "asyncio"}
# What annotations name that is only imported for type checkers.
FOR_CHECKERS = {"packaging": packaging}


def members(kind: type) -> Iterator[tuple[str, object]]:
    """What a class itself offers its callers: fields, properties, methods."""
    fields = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    fields += kind.__struct_fields__ if issubclass(kind, msgspec.Struct) else []
    names = dict.fromkeys([*fields, *(name for name in vars(kind) if not name.startswith("_"))])
    return ((name, inspect.getattr_static(kind, name, None)) for name in names if not name.startswith("_"))


def signatures() -> Iterator[tuple[str, Callable[..., object] | type]]:
    """Everything public that has annotations."""
    yield from ((function.__name__, function) for function in FUNCTIONS)
    for kind in CLASSES:
        yield kind.__qualname__, kind
        yield f"{kind.__qualname__}()", kind.__init__
        for name, member in members(kind):
            function = member.fget if isinstance(member, property) else getattr(member, "func", member)
            function = getattr(function, "__func__", function)  # of a classmethod
            if inspect.isfunction(function):
                yield f"{kind.__qualname__}.{name}", function


def parts(annotation: object) -> Iterator[object]:
    """A type and all that it is made of."""
    yield annotation
    for argument in get_args(annotation):
        for part in argument if isinstance(argument, list) else [argument]:
            yield from parts(part)


def test_every_public_name_is_used() -> None:
    used = {node.id for node in ast.walk(USES) if isinstance(node, ast.Name)}
    assert set(fetcher.__all__) - used == set()


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_member_is_used(kind: type) -> None:
    used = {node.attr for node in ast.walk(USES) if isinstance(node, ast.Attribute)}
    constructed = {keyword.arg for node in ast.walk(USES) if isinstance(node, ast.Call) for keyword in node.keywords}
    offered = {name for name, _ in members(kind) if kind is not fetcher.DiskError or name != "of"}
    assert offered - used == set()
    arguments = inspect.signature(kind.__init__).parameters.values()
    if kind.__name__ == "Fetcher":
        assert {
            argument.name for argument in arguments if argument.kind == argument.KEYWORD_ONLY
        } - constructed == set()


def test_the_two_front_doors_are_alike() -> None:
    for name, member in members(fetcher.Fetcher):
        other = inspect.getattr_static(fetcher.blocking.Fetcher, name)
        if inspect.isfunction(member):
            assert inspect.signature(other) == inspect.signature(member), name
    assert dict(members(fetcher.blocking.Fetcher)).keys() == dict(members(fetcher.Fetcher)).keys()
    ours, theirs = (inspect.signature(kind.__init__) for kind in (fetcher.Fetcher, fetcher.blocking.Fetcher))
    assert ours == theirs


@pytest.mark.parametrize("annotated", [pytest.param(found, id=name) for name, found in signatures()])
def test_nothing_of_the_machinery_is_in_a_signature(annotated: Any) -> None:
    hints = get_type_hints(annotated, localns=FOR_CHECKERS)
    named = {getattr(part, "__module__", "") for hint in hints.values() for part in parts(hint)}
    assert {module.partition(".")[0] for module in named} & HIDDEN == set()
    if inspect.isfunction(annotated) and annotated.__name__ != "__init__":
        assert hints.keys() >= inspect.signature(annotated).parameters.keys() - {"self", "cls"} | {"return"}


def test_a_leak_would_be_seen() -> None:
    def leaks(session: Callable[[list[aiohttp.ClientSession | None]], None]) -> None: ...

    with pytest.raises(AssertionError):
        test_nothing_of_the_machinery_is_in_a_signature(leaks)


def test_callers_checkers_may_look() -> None:
    """PEP 561."""
    assert (Path(fetcher.__file__).parent / "py.typed").exists()
