"""Where the links of an index page lead.

Rules (RFC 3986 §5.2): links are resolved against the page's final URL, or its `<base href>`; their percent-encoding is
kept to the letter; they must lead to http or https.  The common forms cost a few string operations, not a URL parser
each: a page may have ten thousand.

This file is pure.
"""

import re

from fetcher.index.urls import join, parse_url

__all__ = ["Links", "base_url"]

_ORIGIN = re.compile(r"https?://[^/?#]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class Links:
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


def base_url(page_url: str, href: str) -> str:
    """Return what a `<base href>` makes the base (HTML §4.2.3); a base that is not http or https is none."""
    try:
        return str(parse_url(str(join(parse_url(page_url), href))))
    except ValueError:
        return page_url
