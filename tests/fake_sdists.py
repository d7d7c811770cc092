"""Source distributions built in memory: reproducible, in every form that pip takes, and with what real ones hold."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMS = ("tar.gz", "tgz", "tar.bz2", "tbz", "tar.xz", "txz", "tar", "zip")
_EPOCH = (1980, 1, 1, 0, 0, 0)


def pkg_info(name: str = "demo", version: str = "1.0", *, metadata_version: str = "2.4", more: str = "") -> bytes:
    """A PKG-INFO; `more` are header lines."""
    head = f"Metadata-Version: {metadata_version}\nName: {name}\nVersion: {version}\n{more}"
    return f"{head}Requires-Python: >=3.8\nRequires-Dist: idna>=3\n\n{name} {version}\n".encode()


def members_of(
    info: bytes | None = None, *, before: int = 0, after: int = 0, top: str = "demo-1.0"
) -> dict[str, bytes]:
    """The members of an sdist as setuptools writes them, with so many random bytes before and after PKG-INFO."""
    random = Random(5)
    members = {f"{top}/demo.egg-info/PKG-INFO": b"Metadata-Version: 1.0\nName: nested\n", f"{top}/LICENSE": b"free\n"}
    if before:
        members[f"{top}/before.bin"] = random.randbytes(before)
    members[f"{top}/PKG-INFO"] = pkg_info() if info is None else info
    if after:
        members[f"{top}/after.bin"] = random.randbytes(after)
    return members


def make_tar(members: Mapping[str, bytes], *, form: int = tarfile.PAX_FORMAT) -> bytes:
    """A plain tar; a name that ends with a slash is a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in members.items():
            about = tarfile.TarInfo(name.rstrip("/"))
            about.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return buffer.getvalue()


def make_sdist(form: str = "tar.gz", members: Mapping[str, bytes] | None = None) -> bytes:
    """An archive of one of FORMS."""
    members = members_of() if members is None else members
    if form == "zip":
        return _make_zip(members)
    return compress(form, make_tar(members))


def compress(form: str, tar: bytes) -> bytes:
    """A tar, compressed as a file name that ends so says."""
    match form.removeprefix("tar."):
        case "gz" | "tgz":
            return gzip.compress(tar, mtime=0)
        case "bz2" | "tbz":
            return bz2.compress(tar)
        case "xz" | "txz":
            return lzma.compress(tar)
    return tar


def _make_zip(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return buffer.getvalue()
