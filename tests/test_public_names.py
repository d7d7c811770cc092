"""The public names: exactly these, each explained, and none costs anything before it is used."""

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fetcher

ERRORS = [
    "AuthError", "BadPage", "BadReply", "BadZip", "ConfigError", "ConnectFailed", "ContentError", "Disconnected",
    "DiskError", "FetcherError", "Forbidden", "HashMismatch", "InsecureRedirect", "LoginPage", "MetadataMismatch",
    "MetadataMissing", "MissingCredentials", "NotAnSdist", "NotAWheel", "NotFound", "NotStatic", "Offline",
    "ServerFailed",
    "Stalled", "StatusError", "Throttled", "TimedOut", "TooManyRedirects", "TransportError", "Truncated",
    "Unauthorized",
]  # fmt: skip
# Names of types that have no docstring of their own.
ALIASES = ["Credentials", "Event", "Policy"]
VALUES = ["Basic", "Bearer", "Header", "Index", "File", "Project", "Metadata", "Download", "Progress", "Retry",
          "Explanation", "HopReport", "Formats", "Target"]  # fmt: skip
FUNCTIONS = ["candidates", "describe_python", "this_interpreter"]
PUBLIC = [*ERRORS, *ALIASES, *VALUES, *FUNCTIONS, "Fetcher", "__version__"]


def modules_after(code: str, *arguments: str) -> set[str]:
    """The modules that a fresh interpreter has after this code; what it printed does not count."""
    probe = f"try:\n    {code}\nfinally:\n    import sys, json\n    sys.stderr.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", probe, *arguments], capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
    )
    assert done.returncode == 0
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_exactly_these() -> None:
    assert sorted(fetcher.__all__) == sorted(PUBLIC)
    assert sorted(fetcher._HOME_OF) == sorted(set(PUBLIC) - {"__version__"})
    assert set(fetcher.__all__) <= set(dir(fetcher))


def test_a_type_checker_sees_them() -> None:
    """What it knows of `from fetcher import *` are the strings that are written there."""
    (written,) = [
        node.value
        for node in ast.parse(Path(fetcher.__file__).read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert ast.literal_eval(written) == fetcher.__all__


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in ("__version__", *ALIASES)])
def test_each_is_explained(name: str) -> None:
    found = getattr(fetcher, name)
    assert found.__name__ == name
    assert found.__doc__
    assert not found.__doc__.startswith(f"{name}(")  # a dataclass without a docstring of its own


@pytest.mark.parametrize("name", ALIASES)
def test_an_alias(name: str) -> None:
    assert getattr(fetcher, name) is not None


@pytest.mark.parametrize("name", PUBLIC)
def test_import_from(name: str) -> None:
    scope: dict[str, object] = {}
    exec(f"from fetcher import {name}", scope)
    assert name in scope


def test_no_other_name() -> None:
    with pytest.raises(AttributeError, match="module 'fetcher' has no attribute 'nonsense'"):
        _ = fetcher.nonsense  # type: ignore[attr-defined]
    with pytest.raises(ImportError):
        importlib.import_module("fetcher.nonsense")


def test_each_error_is_the_one_that_is_raised() -> None:
    errors = importlib.import_module("fetcher.errors")
    assert all(getattr(fetcher, name) is getattr(errors, name) for name in ERRORS)


def test_import_costs_nothing() -> None:
    found = modules_after("import fetcher")
    assert not found & {
        "aiohttp",
        "anyio",
        "asyncio",
        "rich",
        "click",
        "packaging",
        "yarl",
        "msgspec",
        "fetcher.client",
    }


def test_aiohttp_is_for_those_who_ask() -> None:
    assert not modules_after("import fetcher.client") & {"aiohttp", "hishel", "truststore"}


def test_version_costs_next_to_nothing() -> None:
    found = modules_after("from fetcher.cli.main import main; main(standalone_mode=False)", "--version")
    assert "click" in found
    assert not found & {"aiohttp", "anyio", "rich", "packaging", "yarl", "msgspec", "fetcher.client"}


def test_a_command_draws_only_on_a_terminal() -> None:
    assert "rich" not in modules_after("import fetcher.cli.get, fetcher.cli.metadata, fetcher.cli.explain")
