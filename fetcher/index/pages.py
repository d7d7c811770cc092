"""Simple API pages: bytes in, `Project` and `File` out.

Rules (PEP 503, 592, 629, 658, 691, 700, 708, 714, 740, 792; today's text is the PyPA "Simple repository API"):

1. The bytes say what a page is: `{` first makes it JSON, anything else HTML.  Content-Type is not asked: Nexus sends
   none.
2. A major version other than 1 is refused; a page that states none has 1.0 (PEP 629).
3. Links are resolved against the page's final URL, or its `<base href>` (RFC 3986 §5.2), and their percent-encoding is
   kept to the letter.  They must lead to http or https.
4. Wheels and source distributions are files, told by their suffix; all other links are no concern of ours.
5. A name from the network never leaves its directory: no separators, no control characters, no `..`, no device names.
6. A digest that cannot be one is dropped.  A file that cannot be used is left out and named in `Project.skipped`; the
   page stays.
7. `core-metadata` wins over `dist-info-metadata` (PEP 714).
"""

import codecs
import re
from binascii import unhexlify
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import unquote

import msgspec
from packaging.tags import Tag
from packaging.utils import (
    BuildTag,
    NormalizedName,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version
from selectolax.lexbor import LexborHTMLParser

from fetcher.errors import BadPage
from fetcher.index.scope import Index
from fetcher.index.urls import join, parse_url, redact, split_userinfo

__all__ = ["File", "Project", "is_safe_name", "parse_page"]

_SDIST_SUFFIXES = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".tbz", ".txz", ".tar")
# What pip takes for a distribution, without the lzma forms that no build backend ever wrote.
_SUFFIXES = (".whl", *_SDIST_SUFFIXES)

# Hex digits of what `hashlib.new(name)` gives; PEP 691 allows those names.  Without a fixed length (shake) there is
# nothing to check, and under another name (blake2b_256) nothing to compute.
_DIGEST_LENGTHS = {
    "md5": 32,
    "sha1": 40,
    "sha224": 56,
    "sha256": 64,
    "sha384": 96,
    "sha512": 128,
    "sha3_224": 56,
    "sha3_256": 64,
    "sha3_384": 96,
    "sha3_512": 128,
    "blake2b": 128,
    "blake2s": 64,
}

# A file offset is a signed 64-bit number everywhere.
_SIZE_LIMIT = 2**63

# No separator of any system, no drive or stream (`:`), no wildcard; the first character can be neither the dot of a
# hidden file nor the dash of an option; no device of Windows, which lies in every directory; no end that Windows drops.
_SAFE_NAME = re.compile(
    r"(?!(?i:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$))\w[^/\\:*?\"<>|\x00-\x1f\x7f]*(?<![. ])"
)
_ORIGIN = re.compile(r"https?://[^/?#]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")

# The charsets that pages have, by the names of the Encoding Standard.  For any other UTF-8 does: links are ASCII there.
# Python's own list has codecs that do more than decode ("unicode_escape", "idna"); a server must not choose those.
_CODECS = {
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "windows-1252": "cp1252",
    "utf-16": "utf-16-le",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
}
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

# Elements that an HTML parser nests.  Left out: void ones, those that the next of their kind closes, and `a` itself.
_NESTING_TAG = re.compile(
    r"<(/?)(?!(?i:a|area|base|br|col|dd|dt|embed|hr|img|input|li|link|meta|option|p|source|td|th|tr|wbr)[\s/>])"
    r"([a-zA-Z][^\s/>]*)"
)
# Browsers stop at 512.  Parsing takes time in the square of the depth: 100,000 open `div` (500 kB) take 15 s.
_MAX_DEPTH = 512


class _Parsed(NamedTuple):
    name: NormalizedName | None = None
    version: Version | None = None
    build: BuildTag = ()
    tags: frozenset[Tag] = frozenset()


class File(msgspec.Struct, frozen=True, dict=True):
    """A wheel or source distribution, as an index page lists it.

    `url` is absolute, without fragment; it may hold userinfo, and `repr` hides it.  `hashes` maps algorithm to digest,
    both in lower case.  `size` is in bytes (PEP 700).  `requires_python` and `upload_time` stand as the page has them.
    `yanked_reason` may be empty for a yanked file (PEP 592).  `sidecar` is None unless the page advertises a metadata
    file, else the hashes of that, possibly none (PEP 658, 714).  `provenance` is an absolute URL (PEP 740).
    `listed_by` is the index whose page named the file.
    """

    filename: str
    url: str
    hashes: Mapping[str, str] = {}
    size: int | None = None
    requires_python: str | None = None
    yanked: bool = False
    yanked_reason: str = ""
    sidecar: Mapping[str, str] | None = None
    upload_time: str | None = None
    provenance: str | None = None
    listed_by: Index | None = None

    def __hash__(self) -> int:
        return hash((self.filename, self.url))

    def __repr__(self) -> str:
        return f"File({self.filename!r}, {redact(self.url)!r})"

    @property
    def is_wheel(self) -> bool:
        """Whether the name ends as a wheel's does (PEP 427)."""
        return self.filename.endswith(".whl")

    @property
    def name(self) -> NormalizedName | None:
        """The normalized project name in the file name; None when the file name does not follow the standards."""
        return self._parsed.name

    @property
    def version(self) -> Version | None:
        """The version in the file name; None as for `name`."""
        return self._parsed.version

    @property
    def build(self) -> BuildTag:
        """A wheel's build number and the text after it; `()` when there is none."""
        return self._parsed.build

    @property
    def tags(self) -> frozenset[Tag]:
        """A wheel's compatibility tags (PEP 425); empty for a source distribution."""
        return self._parsed.tags

    @property
    def sha256(self) -> str | None:
        """The SHA-256 digest, if the page has it."""
        return self.hashes.get("sha256")

    @property
    def sidecar_url(self) -> str:
        """Where the metadata file is, if there is one (PEP 658): `.metadata` after the path, before the query."""
        path, mark, query = self.url.partition("?")
        return f"{path}.metadata{mark}{query}"

    @cached_property
    def _parsed(self) -> _Parsed:
        try:
            if self.is_wheel:
                return _Parsed(*parse_wheel_filename(self.filename))
            suffix = next(suffix for suffix in _SDIST_SUFFIXES if self.filename.endswith(suffix))
            return _Parsed(*parse_sdist_filename(self.filename.removesuffix(suffix) + ".tar.gz"))
        except (ValueError, StopIteration):
            return _Parsed()


@dataclass(frozen=True, slots=True)
class Project:
    """What one page of one index says about a project.

    `name` is normalized.  `files` stand in page order; `skipped` names those that could not be used (rule 6).  `url` is
    the final URL of the page, `index` the index that was asked.  `versions` is empty before API version 1.1 (PEP 700).
    `status` is "active" unless the page says otherwise (PEP 792).  `tracks` and `alternate_locations`: PEP 708.
    """

    name: str
    files: tuple[File, ...]
    url: str
    index: Index | None = None
    versions: tuple[str, ...] = ()
    status: str = "active"
    status_reason: str = ""
    tracks: tuple[str, ...] = ()
    alternate_locations: tuple[str, ...] = ()
    api_version: str = "1.0"
    skipped: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Project({self.name!r}, {len(self.files)} files, {redact(self.url)!r})"


def parse_page(
    body: bytes, *, url: str, name: str, listed_by: Index | None = None, charset: str | None = None
) -> Project:
    """Read a project's page, JSON (PEP 691) or HTML (PEP 503), whatever its Content-Type was.

    `url` is the page's final URL, `name` the project asked for, `charset` what the reply said of HTML.  An HTML page
    without file links is a project without files: whether it is a login page is for the caller to say.

    Raises BadPage for bytes that are neither, or of another major version; ValueError if `url` is not http or https.
    """
    page = _Page(str(split_userinfo(parse_url(url))[0]), canonicalize_name(name), listed_by)
    content = body.removeprefix(codecs.BOM_UTF8).lstrip()
    if content.startswith(b"{"):
        return page.read_json(content)
    return page.read_html(_decode_text(body, charset))


def is_safe_name(name: str) -> bool:
    """Say whether a file name from the network may be used as one here (rule 5)."""
    return _SAFE_NAME.fullmatch(name) is not None and (name.isascii() or name.isprintable())


# --------------------------------------------------------------------------------------------------------------- links


class _Links:
    """Where the links of one page lead.  The common forms cost a few string operations, not a URL parser each."""

    def __init__(self, base: str) -> None:
        scheme, _, rest = base.partition("//")
        authority, _, path = rest.partition("?")[0].partition("/")
        self._scheme = scheme
        self._origin = f"{scheme}//{authority}"
        self._path = f"/{path}"
        self._sound = {self._origin}
        # Where a link leads that starts with so many `../`, with `./`, with `/`, or plainly.
        steps = ["", *path.split("/")[:-1]]
        above = {"../" * up: "/".join([self._origin, *steps[1 : len(steps) - up], ""]) for up in range(len(steps))}
        self._starts = {**above, "./": above[""], "/": f"{self._origin}/"}

    def join(self, reference: str) -> str | None:
        """Return the absolute URL of a reference without fragment; None if no file can be there."""
        if not reference or not reference.isprintable() or "\\" in reference:
            return None
        if " " in reference:
            reference = reference.replace(" ", "%20")
        if not reference.startswith(("https://", "http://")):
            rest = reference.lstrip("./")
            start = self._starts.get(reference[: len(reference) - len(rest)])
            if start is not None and "/." not in rest and ":" not in rest and not rest.startswith("?"):
                return start + rest
            reference = self._resolve(reference)
        end = reference.find("/", len("https://"))
        origin = reference[:end] if end > 0 else ""
        return reference if origin in self._sound or self._vouch(origin) else None

    def _vouch(self, origin: str) -> bool:
        """Say whether an origin is one that the rest of the package can parse, and remember it if so."""
        if _ORIGIN.fullmatch(origin) is None:
            return False
        try:
            parse_url(origin)
        except ValueError:
            return False
        self._sound.add(origin)
        return True

    def _resolve(self, reference: str) -> str:
        """Resolve any reference that does not start with `http` (RFC 3986 §5.2.2)."""
        scheme = _SCHEME.match(reference)
        if scheme is not None:
            return scheme[0].lower() + reference[scheme.end() :]
        if reference.startswith("//"):
            return self._scheme + reference
        path, mark, query = reference.partition("?")
        if not path:
            path = self._path
        elif not path.startswith("/"):
            path = self._path[: self._path.rindex("/") + 1] + path
        return self._origin + _without_dots(path) + mark + query


def _without_dots(path: str) -> str:
    """Resolve the dot segments of an absolute path (RFC 3986 §5.2.4)."""
    segments = path.split("/")[1:]
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _base_url(page_url: str, href: str) -> str:
    """Return what a `<base href>` makes the base (HTML §4.2.3); a base that is not http or https is none."""
    try:
        return str(parse_url(str(join(parse_url(page_url), href))))
    except ValueError:
        return page_url


# ------------------------------------------------------------------------------------------------------------- digests


def _digests(stated: Mapping[str, str]) -> Mapping[str, str]:
    """Return the digests that can be digests, in lower case (rule 6)."""
    for algorithm, digest in stated.items():
        if not _is_digest(algorithm, digest):
            return _cleaned(stated.items())
    return stated


def _is_digest(algorithm: str, digest: str) -> bool:
    try:
        # What comes back unchanged was hex in lower case; four times as fast as a pattern.
        return _DIGEST_LENGTHS.get(algorithm) == len(digest) and unhexlify(digest).hex() == digest
    except ValueError:
        return False


def _cleaned(stated: Iterable[tuple[str, str]]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for algorithm, digest in ((key.strip().lower(), value.strip().lower()) for key, value in stated):
        if _is_digest(algorithm, digest):
            kept.setdefault(algorithm, digest)
    return kept


def _fragment_digests(fragment: str) -> Mapping[str, str]:
    """Read `sha256=...`, alone or among `egg=...&subdirectory=...` (PEP 503, pip's fragments)."""
    algorithm, _, digest = fragment.partition("=")
    if _is_digest(algorithm, digest):
        return {algorithm: digest}
    pairs = (pair.partition("=") for pair in fragment.split("&"))
    return _cleaned((key, value) for key, _, value in pairs)


def _sidecar(stated: bool | str | dict[str, str] | None) -> Mapping[str, str] | None:
    """Read what a page says of a metadata file (PEP 658, 691, 714); None means that there is none."""
    if isinstance(stated, dict):
        return _digests(stated)
    if isinstance(stated, str):
        return None if stated in ("false", "False") else _fragment_digests(stated)
    return {} if stated else None


# ---------------------------------------------------------------------------------------------------------------- JSON

_Stated = bool | str | dict[str, str] | None
_Entry = TypeVar("_Entry")


class _JsonFile(msgspec.Struct, rename="kebab", gc=False):
    filename: str
    url: str
    hashes: dict[str, str] | None = None
    requires_python: str | None = None
    size: int | None = None
    upload_time: str | None = None
    yanked: bool | str | None = None
    core_metadata: _Stated = None
    dist_info_metadata: _Stated = None
    data_dist_info_metadata: _Stated = None
    provenance: str | None = None


class _JsonPage(msgspec.Struct, Generic[_Entry], rename="kebab"):
    files: list[_Entry]
    # Few and small: read loosely, so that a slip in one of them does not cost the page.
    meta: Any = None
    versions: Any = None
    project_status: Any = None
    alternate_locations: Any = None


class _Named(msgspec.Struct):
    filename: str = "?"


_page_decoder = msgspec.json.Decoder(_JsonPage[_JsonFile])
_loose_decoder = msgspec.json.Decoder(_JsonPage[msgspec.Raw])
_file_decoder = msgspec.json.Decoder(_JsonFile)
_name_decoder = msgspec.json.Decoder(_Named)


def _decode_json(content: bytes) -> tuple[_JsonPage[Any], list[_JsonFile], list[str]]:
    """Return the page, its well-formed files, and the names of the others.  Raises ValueError, RecursionError."""
    try:
        page = _page_decoder.decode(content)
    except msgspec.ValidationError:
        loose = _loose_decoder.decode(content)
    else:
        return page, page.files, []
    files: list[_JsonFile] = []
    malformed: list[str] = []
    for entry in loose.files:
        try:
            files.append(_file_decoder.decode(entry))
        except ValueError:
            malformed.append(_name_of(entry))
    return loose, files, malformed


def _name_of(entry: msgspec.Raw) -> str:
    try:
        return _name_decoder.decode(entry).filename
    except ValueError:
        return _Named().filename


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


# ---------------------------------------------------------------------------------------------------------------- HTML


def _decode_text(body: bytes, charset: str | None) -> str:
    for mark, codec in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(codec, "replace")
    return body.decode(_CODECS.get((charset or "").strip().lower(), "utf-8"), "replace")


def _nests_too_deep(text: str) -> bool:
    """Follow the tags as a parser's stack would, in linear time."""
    stack: list[str] = []
    opened: Counter[str] = Counter()
    for slash, name in _NESTING_TAG.findall(text):
        tag = name.lower()
        if not slash:
            stack.append(tag)
            opened[tag] += 1
            if len(stack) > _MAX_DEPTH:
                return True
        elif opened[tag]:
            while True:
                top = stack.pop()
                opened[top] -= 1
                if top == tag:
                    break
    return False


def _meta_tags(tree: LexborHTMLParser) -> dict[str, list[str]]:
    """Return what the page's meta elements say, by name; what is empty says nothing."""
    found: dict[str, list[str]] = {}
    for node in tree.css("meta[name][content]"):
        attributes = node.attributes
        name, content = attributes["name"], attributes["content"]
        if name and content:
            found.setdefault(name.strip().lower(), []).append(content)
    return found


def _stated_in_html(attributes: Mapping[str, str | None]) -> str | None:
    for key in ("data-core-metadata", "data-dist-info-metadata"):
        if key in attributes:
            return attributes[key] or ""  # an attribute without value is there all the same (PEP 658)
    return None


def _printable(name: str) -> str:
    """Return a name as it may be shown on a terminal."""
    return name if name.isprintable() else ascii(name)[1:-1]


# ---------------------------------------------------------------------------------------------------------------- page


class _Page:
    """One page being read."""

    def __init__(self, url: str, name: str, listed_by: Index | None) -> None:
        self._url = url
        self._name = name
        self._listed_by = listed_by
        self._links = _Links(url)
        self._files: list[File] = []
        self._skipped: list[str] = []

    def read_json(self, content: bytes) -> Project:
        try:
            page, files, malformed = _decode_json(content)
        except (ValueError, RecursionError) as error:
            raise BadPage(self._url, f"it is no project page in JSON ({error})") from None
        meta, status = _table(page.meta), _table(page.project_status)
        api_version = self._check_version(meta.get("api-version"))
        self._skipped += map(_printable, malformed)
        for file in files:
            if file.filename.endswith(_SUFFIXES):
                self._add_json(file)
        return self._project(
            api_version=api_version,
            versions=_texts(page.versions),
            status=_text(status.get("status")),
            status_reason=_text(status.get("reason")),
            tracks=_texts(meta.get("tracks")),
            alternate_locations=_texts(page.alternate_locations),
        )

    def _add_json(self, file: _JsonFile) -> None:
        url = self._usable(file.filename, file.url.partition("#")[0].strip())
        if url is None:
            return
        sidecar = file.core_metadata
        if sidecar is None:
            sidecar = file.data_dist_info_metadata if file.dist_info_metadata is None else file.dist_info_metadata
        yanked = file.yanked
        self._files.append(
            File(
                file.filename,
                url,
                _digests(file.hashes or {}),
                file.size if file.size is not None and 0 <= file.size < _SIZE_LIMIT else None,
                file.requires_python or None,
                bool(yanked),
                yanked if isinstance(yanked, str) else "",
                _sidecar(sidecar),
                file.upload_time,
                self._links.join(file.provenance) if file.provenance else None,
                self._listed_by,
            )
        )

    def read_html(self, text: str) -> Project:
        if _nests_too_deep(text):
            raise BadPage(self._url, f"its elements are nested more than {_MAX_DEPTH} deep")
        tree = LexborHTMLParser(text)
        meta = _meta_tags(tree)
        api_version = self._check_version(meta.get("pypi:repository-version", [None])[0])
        base = tree.css_first("base[href]")
        if base is not None:
            self._links = _Links(_base_url(self._url, base.attributes["href"] or ""))
        for anchor in tree.css("a"):
            self._add_anchor(anchor.attributes)
        return self._project(
            api_version=api_version,
            status=meta.get("pypi:project-status", [""])[0],
            status_reason=meta.get("pypi:project-status-reason", [""])[0],
            tracks=tuple(meta.get("pypi:tracks", ())),
            alternate_locations=tuple(meta.get("pypi:alternate-locations", ())),
        )

    def _add_anchor(self, attributes: Mapping[str, str | None]) -> None:
        reference, _, fragment = (attributes.get("href") or "").strip().partition("#")
        filename = reference.partition("?")[0].rpartition("/")[2]
        if "%" in filename:
            filename = unquote(filename)
        url = self._usable(filename, reference) if filename.endswith(_SUFFIXES) else None
        if url is None:
            return
        provenance = attributes.get("data-provenance")
        self._files.append(
            File(
                filename,
                url,
                _fragment_digests(fragment) if fragment else {},
                None,
                attributes.get("data-requires-python") or None,
                "data-yanked" in attributes,
                attributes.get("data-yanked") or "",
                _sidecar(_stated_in_html(attributes)),
                None,
                self._links.join(provenance.strip()) if provenance else None,
                self._listed_by,
            )
        )

    def _usable(self, filename: str, reference: str) -> str | None:
        """Return the URL of a file, or None and note its name (rules 3 and 5)."""
        url = self._links.join(reference)
        if url is not None and is_safe_name(filename):
            return url
        self._skipped.append(_printable(filename))
        return None

    def _check_version(self, stated: object) -> str:
        """Return the API version, 1.0 if none is stated (rule 2)."""
        if stated is None:
            return "1.0"
        version = str(stated) if isinstance(stated, (str, int, float)) else "?"
        if version.partition(".")[0].strip() != "1":
            raise BadPage(self._url, f"it has version {version[:20]!r} of the Simple API, and only 1.x is known")
        return version

    def _project(
        self,
        *,
        api_version: str,
        versions: tuple[str, ...] = (),
        status: str,
        status_reason: str,
        tracks: tuple[str, ...],
        alternate_locations: tuple[str, ...],
    ) -> Project:
        return Project(
            self._name,
            tuple(self._files),
            self._url,
            self._listed_by,
            versions,
            status or "active",
            status_reason,
            tracks,
            alternate_locations,
            api_version,
            tuple(self._skipped),
        )
