"""Which index a URL belongs to, and why.

Rules:

1. An index's root is its URL without a last path segment `simple` or `+simple` (any case); any other URL is its own
   root.  An index may name further `roots` for files kept elsewhere; nothing else takes its credentials to another
   realm.
2. Of all indexes whose URL or root covers a request, the longest wins; among equals, the one declared first.
3. If none covers it, but the page that listed the file is of index I, and the request stays in I's realm, it belongs
   to I.  That is how devpi serves inherited files, and Azure Artifacts and GitLab all files.
4. Otherwise it belongs to none.

"Covers" means: the same realm, and whole path segments.  The answer depends on the declarations alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

from yarl import URL

from fetcher.errors import ConfigError
from fetcher.index.urls import Realm, Userinfo, parse_url, realm_of, redact, segments_of, split_userinfo

__all__ = ["Index", "Policy", "Reason", "Scope", "Scopes"]

Policy = Literal["auto", "always", "never"]
Reason = Literal["root", "listed"]

_PAGE_SEGMENTS = ("simple", "+simple")


@dataclass(frozen=True)
class Index:
    """A package index (PEP 503): its URL, its name, and how to talk to it.

    `url` may be given with userinfo; it is kept apart and never shown.  `authenticate` is the policy: "auto" (send what
    is known, look further on a challenge), "always" (never send a request without), "never".  `explicit`: asked only by
    name.  `default`: asked last.  `roots`: further URLs (prefixes) where its credentials apply.

    Raises ConfigError for a URL that is not http or https, or an unknown policy.
    """

    url: str
    name: str = ""
    authenticate: Policy = "auto"
    explicit: bool = False
    default: bool = False
    roots: tuple[str, ...] = ()
    userinfo: Userinfo | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        label = self.name or redact(self.url)  # not `self.label`, which would keep what `url` is now
        if self.authenticate not in get_args(Policy):
            raise ConfigError(f"index {label}: authenticate is {self.authenticate!r}, not auto, always or never")
        url, userinfo = split_userinfo(_parse(self.url, label))
        object.__setattr__(self, "url", str(url.with_query(None)).rstrip("/"))
        object.__setattr__(self, "userinfo", userinfo)
        roots = (split_userinfo(_parse(root, label))[0] for root in self.roots)
        object.__setattr__(self, "roots", tuple(str(root.with_query(None)).rstrip("/") for root in roots))

    @cached_property
    def label(self) -> str:
        """What the index is called in sentences: its name, else its URL."""
        return self.name or redact(self.url)

    @cached_property
    def root(self) -> str:
        """The URL below which its credentials apply (rule 1)."""
        url = parse_url(self.url)
        segments = segments_of(url)
        if segments and segments[-1].lower() in _PAGE_SEGMENTS:
            return str(url.with_path("/" + "/".join(segments[:-1]), encoded=True)).rstrip("/")
        return self.url

    @cached_property
    def realm(self) -> Realm:
        """The realm of its URL."""
        return realm_of(parse_url(self.url))

    def page_url(self, normalized_name: str) -> str:
        """Return the URL of a project's page; the trailing slash spares a redirect (PEP 503)."""
        return f"{self.url}/{normalized_name}/"


def _parse(text: str, label: str) -> URL:
    try:
        return parse_url(text)
    except ValueError as error:
        raise ConfigError(f"index {label}: {error}") from None


@dataclass(frozen=True)
class Scope:
    """The index a URL belongs to, and why: `root` is the covering URL; for "listed", the realm of the index."""

    index: Index
    reason: Reason
    root: str

    def __str__(self) -> str:
        if self.reason == "listed":
            return f"its page listed the file, and {self.root} is its realm"
        return f"{self.root} covers the URL"


class Scopes:
    """The declared indexes, ready to be asked.  One lookup costs one dictionary access per path segment."""

    def __init__(self, indexes: Iterable[Index]) -> None:
        self._covering: dict[Realm, dict[tuple[str, ...], Scope]] = {}
        for index in indexes:
            for root in (index.url, index.root, *index.roots):
                url = parse_url(root)
                table = self._covering.setdefault(realm_of(url), {})
                table.setdefault(segments_of(url), Scope(index, "root", root))  # declared first stays

    def resolve(self, url: URL, listed_by: Index | None = None) -> Scope | None:
        """Return the scope of an absolute http(s) URL; `listed_by` is the index whose page named it."""
        realm = realm_of(url)
        table = self._covering.get(realm)
        if table is not None:
            segments = segments_of(url)
            for length in range(len(segments), -1, -1):
                scope = table.get(segments[:length])
                if scope is not None:
                    return scope
        if listed_by is not None and listed_by.realm == realm:
            return Scope(listed_by, "listed", str(realm))
        return None
