"""What a PKG-INFO vouches for (PEP 643)."""

import pytest
from fake_sdists import pkg_info

from fetcher.errors import NotStatic
from fetcher.sdist.static import refuse_dynamic

NAME = "demo-1.0.tar.gz"


@pytest.mark.parametrize("version", ["2.2", "2.3", "2.4", "2.10", "3.0", " 2.2 "])
def test_static(version: str) -> None:
    refuse_dynamic(NAME, pkg_info(metadata_version=version))


@pytest.mark.parametrize("field", ["License-File", "Summary", "Description", "Requires-External", "Requires"])
def test_what_a_resolver_does_not_go_by_may_be_dynamic(field: str) -> None:
    refuse_dynamic(NAME, pkg_info(more=f"Dynamic: {field}\n"))


def test_the_description_names_no_fields() -> None:
    refuse_dynamic(NAME, pkg_info() + b"Dynamic: Requires-Dist\n")


@pytest.mark.parametrize("version", ["1.0", "1.2", "2.0", "2.1", "2.1.9", "two", "2", "2.2 2.2"])
def test_before_there_was_a_promise(version: str) -> None:
    with pytest.raises(NotStatic) as caught:
        refuse_dynamic(NAME, pkg_info(metadata_version=version))
    assert (caught.value.filename, caught.value.metadata_version, caught.value.dynamic) == (NAME, version, ())


def test_no_version() -> None:
    with pytest.raises(NotStatic, match="no Metadata-Version") as caught:
        refuse_dynamic(NAME, b"Name: demo\nVersion: 1.0\n")
    assert caught.value.metadata_version == ""


@pytest.mark.parametrize(
    ("fields", "dynamic"),
    [
        (["Requires-Dist"], ("Requires-Dist",)),
        (["requires-dist"], ("Requires-Dist",)),  # as setuptools writes it
        (["Provides-Extra", "Summary", "REQUIRES-PYTHON"], ("Requires-Python", "Provides-Extra")),
        (["Version"], ("Version",)),
        (["Name"], ("Name",)),
    ],
)
def test_dynamic(fields: list[str], dynamic: tuple[str, ...]) -> None:
    with pytest.raises(NotStatic) as caught:
        refuse_dynamic(NAME, pkg_info(more="".join(f"Dynamic: {field}\n" for field in fields)))
    assert (caught.value.metadata_version, caught.value.dynamic) == ("2.4", dynamic)
    assert all(field in str(caught.value) for field in dynamic)
