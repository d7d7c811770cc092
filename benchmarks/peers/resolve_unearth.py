"""Resolve with unearth: `python resolve_unearth.py INDEX_URL REQUIREMENT...` prints pins.

unearth finds the files and fetches, as in PDM: the sidecar of a wheel that has one (PEP 658), else the wheel.  Each
page and each METADATA is asked for once.  The provider is the one that fetcher is measured with.
"""

import platform
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple
from zipfile import ZipFile

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from packaging.metadata import InvalidMetadata, Metadata
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from provider import Candidate, Need, asked_by, impossible, needs_of, resolve
from unearth import Link, PackageFinder


class File(NamedTuple):
    """What the provider asks of a file."""

    filename: str
    version: Version
    link: Link


def main(index: str, *wanted: str) -> None:
    """Resolve and print."""
    target: Any = SimpleNamespace(python=Version(platform.python_version()), environment={})
    finder = PackageFinder(index_urls=[index])

    @cache
    def find(name: str) -> dict[Version, File]:
        best: dict[Version, File] = {}
        for package in finder.find_all_packages(name):
            version = Version(package.version or "")
            best.setdefault(version, File(package.link.filename, version, package.link))
        return best

    @cache
    def read(link: Link) -> Metadata:
        if link.dist_info_link is not None:
            said = finder.session.get(link.dist_info_link.normalized)
            said.raise_for_status()
            return Metadata.from_email(said.content, validate=False)
        with TemporaryDirectory() as folder, ZipFile(finder.download_and_unpack(link, folder, folder)) as wheel:
            name = next(name for name in wheel.namelist() if name.count("/") == 1 and name.endswith("-info/METADATA"))
            return Metadata.from_email(wheel.read(name), validate=False)

    @cache
    def needs(candidate: Candidate) -> list[Need]:
        try:
            file: Any = candidate.file
            return list(needs_of(candidate, read(file.link), target))
        except InvalidMetadata as error:
            return [impossible(str(error))]

    def files(name: str, specifier: SpecifierSet) -> list[Any]:
        found = find(name)
        return [found[version] for version in specifier.filter(found)]

    asked = [need for text in wanted for need in asked_by(Requirement(text), target)]
    for name, file in resolve(files, needs, asked).items():
        print(f"{name}=={file.version}")


if __name__ == "__main__":
    main(*sys.argv[1:])
