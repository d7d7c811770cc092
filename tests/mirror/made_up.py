"""Values of a mirror, made up for tests."""

from __future__ import annotations

import hashlib
from typing import Any

from fetcher.index.files import File, Project
from fetcher.index.scope import Index
from fetcher.mirror.records import Content, Entry, Listing

INDEX = Index("https://host/simple", name="corp")


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def file(filename: str, **stated: Any) -> File:
    """A file of the project that its name begins with; its digest is that of its name unless it is stated."""
    project = filename.partition("-")[0].lower()
    stated.setdefault("hashes", {"sha256": sha256(filename)})
    return File(filename, f"https://host/files/{filename}", listed_by=INDEX, project=project, **stated)


def project(*files: File | str, name: str = "demo", **stated: Any) -> Project:
    listed = tuple(each if isinstance(each, File) else file(each) for each in files)
    return Project(name, listed, f"https://host/simple/{name}/", INDEX, **stated)


def content(text: str = "", **stated: Any) -> Content:
    return Content(sha256(text), stated.pop("size", 3), **stated)


def entry(listed: File, there: Content | None = None, **stated: Any) -> Entry:
    return Entry(listed.project or "", listed.filename, Listing.of(listed), there, **stated)
