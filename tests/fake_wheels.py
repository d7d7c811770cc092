"""Wheels built in memory: valid, reproducible, of a wanted size and layout.

The archive lies as real ones do: `<name>/*` first, then `<name>-<version>.dist-info/` with RECORD as the last entry,
unless `metadata_first` or `distance` say otherwise.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date a zip entry can have: the same wheel has the same bytes every time


def wheel_filename(name: str = "demo", version: str = "1.0", *, tag: str = "py3-none-any") -> str:
    """The file name of a wheel, `demo-1.0-py3-none-any.whl`."""
    return f"{name}-{version}-{tag}.whl"


def make_wheel(
    name: str = "demo",
    version: str = "1.0",
    *,
    size: int = 0,
    distance: int = 0,
    metadata_first: bool = False,
    metadata: str | None = None,
    method: int = zipfile.ZIP_DEFLATED,
    comment: bytes = b"",
    extra_entries: Mapping[str, bytes] | None = None,
    many_entries: int = 0,
    data_descriptor: bool = False,
    tag: str = "py3-none-any",
    seed: int = 0,
) -> bytes:
    """A valid wheel of `size` bytes, or a few kB where that is more.

    distance: at least so many bytes lie between METADATA and the end of the file.
    metadata_first: METADATA is the first entry, as meson and maturin write it.
    metadata: its text, in place of a made-up one for `name` and `version`.
    method: of every entry but the padding, which is stored so that sizes come out exactly.
    many_entries: so many small modules; each costs about 80 bytes of central directory.
    data_descriptor: sizes and CRC follow the data and are zero in the local headers (flag bit 3).
    seed: another seed, another padding.
    """
    info = f"{name}-{version}.dist-info"
    head = {f"{info}/METADATA": (metadata or _metadata_text(name, version)).encode()}
    code = {f"{name}/__init__.py": f"__version__ = {version!r}\n".encode(), **(extra_entries or {})}
    code |= {f"{name}/generated/module_{n:06}.py": b"value = %d\n" % n for n in range(many_entries)}
    wheel_file = {f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()}
    random = Random(seed)
    far = {f"{info}/sboms/filler.bin": random.randbytes(distance)} if distance else {}

    def build(padding: int) -> bytes:
        pad = {f"{name}/padding.bin": random.randbytes(padding)} if padding else {}
        parts = (head, code, pad, far, wheel_file) if metadata_first else (code, pad, head, far, wheel_file)
        entries = {entry: data for part in parts for entry, data in part.items()}
        entries[f"{info}/RECORD"] = "".join(_record_lines(entries, f"{info}/RECORD")).encode()
        return _zip(entries, method=method, comment=comment, data_descriptor=data_descriptor)

    smallest = build(1)
    return build(1 + max(0, size - len(smallest)))


def metadata_of(wheel: bytes) -> bytes:
    """METADATA of a wheel, as zipfile reads it; PKG-INFO of a source distribution, as tarfile or zipfile does."""
    if wheel.startswith(b"\x1f\x8b"):
        with tarfile.open(fileobj=io.BytesIO(wheel)) as tar:
            name = next(name for name in tar.getnames() if name.count("/") == 1 and name.endswith("/PKG-INFO"))
            file = tar.extractfile(name)
            assert file is not None
            return file.read()
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        ends = (".dist-info/METADATA", "/PKG-INFO")
        name = next(name for name in archive.namelist() if name.count("/") == 1 and name.endswith(ends))
        return archive.read(name)


def _metadata_text(name: str, version: str) -> str:
    return (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: A wheel made for a test\n"
        "Requires-Python: >=3.8\nRequires-Dist: idna>=3\n\n" + f"{name} {version}\n" * 20
    )


def _record_lines(entries: Mapping[str, bytes], record: str) -> Iterator[str]:
    for entry, data in entries.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        yield f"{entry},sha256={digest},{len(data)}\n"
    yield f"{record},,\n"


class _Pipe(io.BytesIO):
    """A file that cannot seek: zipfile then writes data descriptors."""

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0, /) -> int:
        raise io.UnsupportedOperation("seek")

    def tell(self) -> int:
        raise io.UnsupportedOperation("tell")


def _zip(entries: Mapping[str, bytes], *, method: int, comment: bytes, data_descriptor: bool) -> bytes:
    buffer = _Pipe() if data_descriptor else io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = comment
        for entry, data in entries.items():
            about = zipfile.ZipInfo(entry, _EPOCH)
            about.external_attr = 0o644 << 16
            archive.writestr(about, data, zipfile.ZIP_STORED if entry.endswith(".bin") else method)
    return buffer.getvalue()
