"""Which indexes there are: `[[index]]` tables of a uv.toml or pyproject.toml, and command-line flags.

Rules, as uv has them ("Package indexes" and "Configuration files" in its documentation):

1. In a file called pyproject.toml the settings stand below `[tool.uv]`, in any other at the top.  What is no index is
   left alone, and so is a key of an index that means nothing here.  Variables (`${NAME}`) are not expanded.
2. Order: `--index` flags, the file's indexes, `--extra-index-url` flags; the default index is always last.
3. The default index is that of `--index-url`, else the file's, else PyPI.
4. A flag's index replaces the file's of the same name.  If that was the default, its successor is: another URL for the
   default index must not bring PyPI in.
5. An index may go without a name.  What a flag declares gets one, so that `--authenticate` can name it: "default",
   "extra-1", "extra-2", ...

No error quotes a secret: whatever may be a URL is redacted.
"""

import re
import tomllib
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, TypeGuard, cast, get_args

from fetcher.errors import ConfigError
from fetcher.index.scope import Index, Policy
from fetcher.index.urls import parse_url, redact

__all__ = ["PYPI_URL", "declare", "read_config", "search_order"]

PYPI_URL = "https://pypi.org/simple"

# uv's alphabet for index names.
_OUTSIDE_NAME = re.compile(r"[^A-Za-z0-9._-]")

# The keys of an `[[index]]` table that mean something here, and what their values must be.
_KEYS: dict[str, tuple[type, str]] = {
    "name": (str, "a string"),
    "url": (str, "a string"),
    "authenticate": (str, "a string"),
    "format": (str, "a string"),
    "explicit": (bool, "true or false"),
    "default": (bool, "true or false"),
    "roots": (list, "a list of URLs"),
}


def read_config(path: str | Path) -> list[Index]:
    """Return the indexes that a TOML file declares: `[[index]]` tables, `extra-index-url`, `index-url` as the default.

    Raises ConfigError, with the path and the line, or the table and the key, for what cannot be read or is not
    supported, for a name that is there twice, for two defaults.
    """
    path = Path(path)
    settings = _load(path)
    if path.name == "pyproject.toml":
        settings = _section(settings, "tool", str(path))
        settings = _section(settings, "uv", f"{path}: [tool]")
    indexes = [
        *_read_tables(settings.get("index", []), str(path)),
        *_read_extra(settings.get("extra-index-url", []), f"{path}: `extra-index-url`"),
        *_read_default(settings.get("index-url"), f"{path}: `index-url`"),
    ]
    _check(indexes, f"{path}: ")
    return indexes


def declare(
    *,
    index_url: str | None = None,
    extra_index_urls: Sequence[str] = (),
    named: Sequence[str] = (),
    authenticate: Sequence[str] = (),
    configured: Sequence[Index] = (),
) -> list[Index]:
    """Return the indexes that flags and a file declare together, the default one last (rules 2 to 5).

    `index_url`, `extra_index_urls` and `named` (`--index`) are `URL` or `NAME=URL`; `authenticate` are `NAME=POLICY`,
    of which the last for a name counts.  `configured` is what `read_config` returned.

    Raises ConfigError for a flag that cannot be read, a name that is there twice, an unknown name, two defaults.
    """
    _check(configured)
    first = [_read_flag(flag, "--index") for flag in named]
    extra = [_read_flag(flag, "--extra-index-url") for flag in extra_index_urls]
    given = [] if index_url is None else [_read_flag(index_url, "--index-url", default=True)]
    extra = _numbered(extra, {index.name for index in (*first, *extra, *given, *configured)})
    flags = [*first, *extra, *given]
    _check(flags)
    default = given[0] if given else _default_of(flags, configured)
    replaced = {default.name, *(index.name for index in flags)} - {""}
    kept = [index for index in configured if not index.default and index.name not in replaced]
    others = [index for index in (*first, *kept, *extra) if not index.name or index.name != default.name]
    return _with_policies([*others, default], authenticate)


def search_order(indexes: Iterable[Index]) -> list[Index]:
    """Return the indexes to ask for a project, in order: not the explicit ones, the default last, no URL twice."""
    asked: dict[str, Index] = {}
    for index in sorted(indexes, key=lambda index: index.default):  # stable: declared order otherwise
        if not index.explicit:
            asked.setdefault(index.url, index)
    return list(asked.values())


# ---------------------------------------------------------------------------------------------------------------- file


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def _section(table: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    section = table.get(key, {})
    if not isinstance(section, dict):
        raise ConfigError(f"{where}: `{key}` must be a table")
    return section


def _read_tables(value: object, where: str) -> Iterator[Index]:
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise ConfigError(f"{where}: `index` must be an array of tables, [[index]]")
    for number, table in enumerate(value, 1):
        yield _read_table(table, f"{where}: [[index]] table {number}")


def _read_table(table: dict[str, Any], where: str) -> Index:
    for key, (kind, expected) in _KEYS.items():
        if key in table and not isinstance(table[key], kind):
            raise ConfigError(f"{where}: `{key}` must be {expected}")
    if "url" not in table:
        raise ConfigError(f"{where} has no `url`")
    if table.get("format", "simple") != "simple":
        raise ConfigError(f"{where}: `format` {table['format']!r} is not supported: only the Simple API is")
    roots = table.get("roots", [])
    if not _are_texts(roots):
        raise ConfigError(f"{where}: `roots` must be a list of URLs")
    return Index(
        _checked_url(table["url"], f"{where}: `url`"),
        name=_checked_name(table["name"], f"{where}: `name`") if "name" in table else "",
        authenticate=_checked_policy(table.get("authenticate", "auto"), f"{where}: `authenticate`"),
        explicit=table.get("explicit", False),
        default=table.get("default", False),
        roots=tuple(_checked_url(root, f"{where}: `roots`") for root in roots),
    )


def _read_extra(value: object, where: str) -> Iterator[Index]:
    if not _are_texts(value):
        raise ConfigError(f"{where} must be a list of URLs")
    for url in value:
        yield Index(_checked_url(url, where))


def _read_default(value: object, where: str) -> Iterator[Index]:
    if value is None:
        return
    if not isinstance(value, str):
        raise ConfigError(f"{where} must be a URL")
    yield Index(_checked_url(value, where), name="default", default=True)


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


# --------------------------------------------------------------------------------------------------------------- flags


def _read_flag(flag: str, option: str, *, default: bool = False) -> Index:
    name, equals, url = flag.partition("=")
    if not equals or ":" in name:  # as uv: a URL's first `=` stands after its scheme
        return Index(_checked_url(flag, option), name="default" if default else "", default=default)
    return Index(_checked_url(url, option), name=_checked_name(name, option), default=default)


def _numbered(extra: Iterable[Index], taken: Container[str]) -> list[Index]:
    """Give the extra indexes without a name the first numbers that are free, in their order."""
    free = (name for name in map("extra-{}".format, count(1)) if name not in taken)
    return [index if index.name else _changed(index, name=next(free)) for index in extra]


def _default_of(flags: Iterable[Index], configured: Iterable[Index]) -> Index:
    """Return the file's default index, or the flag's that replaces it (rule 4), else PyPI."""
    ours = next((index for index in configured if index.default), None)
    if ours is None:
        taken = {index.name for index in (*flags, *configured)}
        return Index(PYPI_URL, name="" if "pypi" in taken else "pypi", default=True)
    successors = (index for index in flags if index.name and index.name == ours.name)
    return _changed(next(successors, ours), default=True)


def _with_policies(indexes: list[Index], authenticate: Iterable[str]) -> list[Index]:
    policies: dict[str, Policy] = {}
    known = {index.name for index in indexes} - {""}
    for flag in authenticate:
        name, equals, policy = flag.rpartition("=")
        if not equals:
            raise ConfigError("--authenticate: it must be of the form NAME=POLICY")
        if _checked_name(name, "--authenticate") not in known:
            names = ", ".join(sorted(known)) or "none with a name"
            raise ConfigError(f"--authenticate: there is no index {name!r}, there are: {names}")
        policies[name] = _checked_policy(policy, f"--authenticate {name}")
    return [
        _changed(index, authenticate=policies[index.name]) if index.name in policies else index for index in indexes
    ]


def _changed(
    index: Index, *, name: str | None = None, authenticate: Policy | None = None, default: bool = False
) -> Index:
    changed = replace(
        index,
        name=index.name if name is None else name,
        authenticate=authenticate or index.authenticate,
        default=default or index.default,
    )
    # `replace` reads the URL anew, from which the userinfo was taken the first time.
    object.__setattr__(changed, "userinfo", index.userinfo)
    return changed


# -------------------------------------------------------------------------------------------------------------- checks


def _check(indexes: Iterable[Index], where: str = "") -> None:
    seen: set[str] = set()
    defaults: list[str] = []
    for index in indexes:
        if index.name in seen - {""}:
            raise ConfigError(f"{where}two indexes are named {index.name!r}")
        seen.add(index.name)
        if index.default:
            defaults.append(index.label)
    if len(defaults) > 1:
        raise ConfigError(f"{where}there can be one default index, not {len(defaults)}: {', '.join(defaults)}")


def _checked_url(url: str, where: str) -> str:
    try:
        parse_url(url)
    except ValueError:
        raise ConfigError(f"{where}: {_shown(url)!r} is not an http or https URL") from None
    return url


def _checked_name(name: str, where: str) -> str:
    if not name:
        raise ConfigError(f"{where}: the name of an index cannot be empty")
    if odd := sorted(set(_OUTSIDE_NAME.findall(name))):
        # Only these characters are quoted: the name may be a piece of a URL with a password.
        quoted = " ".join(map(repr, odd))
        raise ConfigError(f"{where}: an index name has letters, digits, `-`, `_` and `.` only, this one has {quoted}")
    return name


def _checked_policy(policy: str, where: str) -> Policy:
    if policy not in get_args(Policy):
        raise ConfigError(f"{where} must be {', '.join(get_args(Policy))}, not {_shown(policy)!r}")
    return cast("Policy", policy)


def _shown(text: str) -> str:
    """Return what should have been a URL as it may be shown; `redact` finds userinfo in true URLs only."""
    _, at, rest = text.rpartition("@")
    return redact(f"***@{rest}" if at else text)
