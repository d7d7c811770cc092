"""What a file depends on: the requirements of its METADATA, for one target and the extras that are wanted there.

- A marker counts as the target sees it; where every platform is wanted, only what it says of extras (PEP 508).
- What METADATA says that is no requirement is passed over, as installers do with files that they do not choose.

This file is pure.
"""

import re
from collections.abc import Iterable, Iterator

from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from fetcher.errors import ConfigError
from fetcher.index.files import file_from_url
from fetcher.index.target import Target
from fetcher.index.urls import redact
from fetcher.mirror.records import Listing
from fetcher.mirror.wanted import Ask

__all__ = ["ask_for", "dependencies"]

_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


def dependencies(requires: Iterable[str], extras: Iterable[str], target: Target | None) -> Iterator[Requirement]:
    """Yield the requirements that hold for a target."""
    for text in requires:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or _holds(requirement.marker, list(extras), target):
            yield requirement


def ask_for(requirement: Requirement, number: int | None = None) -> tuple[str, Ask]:
    """Return what a requirement asks for, and the normalized name of the project.

    Raises ConfigError for a URL that no file can be fetched from.
    """
    extras = tuple(sorted(canonicalize_name(extra) for extra in requirement.extras))
    name = canonicalize_name(requirement.name)
    if requirement.url is None:
        return name, Ask(specifier=str(requirement.specifier), extras=extras, target=number)
    try:
        file = file_from_url(requirement.url)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if file.name not in (None, name):
        raise ConfigError(f"{redact(str(requirement))}: {file.filename} is not a file of {name}")
    return name, Ask(extras=extras, target=number, filename=file.filename, listing=Listing.of(file))


def _holds(marker: Marker, extras: list[str], target: Target | None) -> bool:
    if target is None:
        named = {canonicalize_name(name) for name in _EXTRA.findall(str(marker))}
        return not named or not named.isdisjoint(extras)
    try:
        return any(marker.evaluate({**target.environment, "extra": extra}) for extra in ("", *extras))
    except (UndefinedComparison, UndefinedEnvironmentName):
        return False
