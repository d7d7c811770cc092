"""Imports point down, pure files stay pure, and each thing is done in one place only."""

import ast
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "fetcher"

# From the ground up. A room imports from itself and the layers below; rooms side by side know nothing of each other.
# A module is in the room with the longest name that begins its own: `index.urls` lies below the rest of `index`.
LAYERS = (
    ("version", "segments", "disk", "words", "index.urls"),
    ("errors",),
    ("index",),
    ("digest", "flights", "storage"),
    ("spool", "hints"),
    ("auth", "wheel"),
    ("sdist",),
    ("transport", "cache"),
    ("content",),
    ("metadata", "download", "explain", "page"),
    ("client",),
    ("blocking", "mirror", "report"),
    ("cluster", "verify"),
    ("cli",),
    ("__main__",),
)
HEIGHT = {room: height for height, rooms in enumerate(LAYERS) for room in rooms} | {"__init__": 1}

PURE = (
    "segments",
    "errors",
    "digest",
    "index",
    "auth.credentials",
    "cache.pages",
    "cache.rules",
    "wheel",
    "sdist",
    "transport.limit",
    "transport.pace",
    "transport.reply",
    "transport.retry",
    "download.lanes",
    "download.resume",
    "download.events",
    "words",
    "storage.s3",
    "mirror.closure",
    "mirror.layout",
    "mirror.plan",
    "mirror.records",
    "mirror.wanted",
    "cluster.shares",
    "verify.claims",
    "verify.differences",
    "verify.findings",
    "verify.remedy",
    "report",
)
NOT_PURE = ("index.config",)
IMPURE = {"aiohttp", "anyio", "asyncio", "os", "pathlib", "socket", "time", "random", "logging"}

# What stands in these rooms only.
IMPORTERS = {
    "aiohttp": ("auth.middleware", "transport"),
    "click": ("cli",),
    "rich": ("cli",),
    "obstore": ("storage.object_store",),
    "dask": ("cluster.local_worker",),
    "distributed": ("cluster.carrier", "cluster.local_worker", "cluster.scheduler", "cluster.shard"),
}
AUTHORIZERS = ("auth.middleware", "auth.credentials")
OUTPUT = {"print", "input", "exit", "quit", "click.echo", "sys.exit", "sys.stdout", "sys.stderr", "os._exit"}
GRAB_BAGS = {"utils", "util", "helpers", "common", "base", "manager", "misc"}


def is_in(module: str, rooms: Collection[str]) -> bool:
    return any(f"{module}.".startswith(f"{room}.") for room in rooms)


def room_of(module: str) -> str:
    return max((room for room in HEIGHT if is_in(module, [room])), key=len, default="")


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but docstrings and what only the type checker sees."""
    yield tree
    for node in ast.iter_child_nodes(tree):
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not is_docstring and not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from nodes(node)


def imports(source: str) -> list[str]:
    """The modules that are imported; relative ones begin with a dot."""
    found = list(nodes(ast.parse(source)))
    names = [alias.name for node in found if isinstance(node, ast.Import) for alias in node.names]
    return names + ["." * node.level + (node.module or "") for node in found if isinstance(node, ast.ImportFrom)]


def own(names: Collection[str]) -> list[str]:
    """Those of this package, without its name; a relative one keeps its dot, so that no module is called so."""
    return [name.removeprefix("fetcher").removeprefix(".") for name in names if name.split(".")[0] == "fetcher"] + [
        name for name in names if name.startswith(".")
    ]


def faults(module: str, source: str, modules: Collection[str]) -> Iterator[str]:
    """Say which rules a module breaks; `modules` are all there are."""
    if not room_of(module):
        yield "is in no layer"
    if GRAB_BAGS & set(module.split(".")):
        yield "is a grab bag"
    names = imports(source)
    for name in own(names):
        if name not in modules:
            yield f"imports {name!r}, a package or nothing"
        elif room_of(name) != room_of(module) and HEIGHT[room_of(name)] >= HEIGHT.get(room_of(module), 0):
            yield f"imports {name}, which is not below it"
    foreign = {name.split(".")[0] for name in names}
    if is_in(module, PURE) and not is_in(module, NOT_PURE) and foreign & IMPURE:
        yield f"is pure and imports {foreign & IMPURE}"
    yield from (f"imports {name}" for name, rooms in IMPORTERS.items() if name in foreign and not is_in(module, rooms))
    found = list(nodes(ast.parse(source)))
    words = {ast.unparse(node) for node in found if isinstance(node, ast.Name | ast.Attribute)}
    if not is_in(module, ["cli"]) and words & OUTPUT:
        yield f"prints or exits by {words & OUTPUT}"
    texts = words | {node.value for node in found if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    if not is_in(module, AUTHORIZERS) and any("authorization" in text.lower() for text in texts):
        yield "mentions Authorization"


def cycle(sources: Mapping[str, str]) -> list[str]:
    try:
        TopologicalSorter({module: own(imports(source)) for module, source in sources.items()}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """Module name without `fetcher.` to text; a package is called `room.__init__`."""
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.rglob("*.py")}
    return {name: path.read_text(encoding="utf-8") for name, path in files.items()}


def test_the_house(sources: dict[str, str]) -> None:
    assert [f"{module} {fault}" for module in sources for fault in faults(module, sources[module], sources)] == []
    assert cycle(sources) == []
    assert {room_of(module) for module in sources} == set(HEIGHT)


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("errors", "from fetcher.transport.reply import Reply", "is not below it"),
        ("index.scope", "def f():\n    from fetcher.client import Fetcher", "is not below it"),
        ("index.urls", "from fetcher.index.scope import Index", "is not below it"),
        ("auth.sources", "import fetcher.wheel.plan", "is not below it"),
        ("download.download", "from fetcher.explain import explain", "is not below it"),
        ("transport.session", "import fetcher.content as c", "is not below it"),
        ("client", "from fetcher.cli.run import run", "is not below it"),
        ("__init__", "from fetcher.client import Fetcher", "is not below it"),
        ("client", "from fetcher import Index", "a package or nothing"),
        ("client", "import fetcher", "a package or nothing"),
        ("client", "from fetcher.index import scope", "a package or nothing"),
        ("index.scope", "from . import urls", "a package or nothing"),
        ("index.scope", "from .urls import redact", "a package or nothing"),
        ("attic", "", "is in no layer"),
        ("index.utils", "", "is a grab bag"),
        ("helpers.urls", "", "is a grab bag"),
        ("index.urls", "import os.path", "is pure"),
        ("wheel.plan", "from time import monotonic", "is pure"),
        ("transport.retry", "if x:\n    import random", "is pure"),
        ("download.download", "import aiohttp", "imports aiohttp"),
        ("auth.sources", "from aiohttp import hdrs", "imports aiohttp"),
        ("client", "import click", "imports click"),
        ("client", "print(1)", "prints or exits"),
        ("transport.session", "import sys\nsys.exit(1)", "prints or exits"),
        ("client", "import sys\nsys.stderr.write('x')", "prints or exits"),
        ("transport.session", "headers = {'authorization': 'x'}", "mentions Authorization"),
        ("client", "headers[hdrs.AUTHORIZATION] = 'x'", "mentions Authorization"),
        ("client", "header = f'Authorization: {x}'", "mentions Authorization"),
    ],
)
def test_a_made_up_fault_is_found(module: str, source: str, fault: str, sources: dict[str, str]) -> None:
    assert any(fault in found for found in faults(module, source, sources))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("errors", '"""Of the Authorization header."""\nif TYPE_CHECKING:\n    from fetcher.client import Fetcher'),
        ("client", "from fetcher.errors import NotFound\nfrom fetcher.transport.reply import Reply"),
        ("wheel.plan", "from fetcher.wheel.records import Record\nimport zlib"),
        ("cli.get", "import click, sys\nclick.echo(1)\nsys.exit(2)"),
        ("index.config", "from pathlib import Path"),
    ],
)
def test_what_is_allowed(module: str, source: str, sources: dict[str, str]) -> None:
    assert list(faults(module, source, sources)) == []


def test_a_made_up_cycle_is_found() -> None:
    made_up = {"wheel.a": "import fetcher.wheel.b", "wheel.b": "from fetcher.wheel.a import x", "wheel.c": ""}
    assert set(cycle(made_up)) == {"wheel.a", "wheel.b"}
