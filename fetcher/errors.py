"""Every error this package raises.

    FetcherError
    ├── ConfigError              exit 2   bad input: flag, file, URL, name
    ├── AuthError                exit 3
    │   ├── MissingCredentials            authenticate = "always", none known: nothing was sent
    │   ├── Unauthorized                  401
    │   ├── Forbidden                     403
    │   └── InsecureRedirect              https led to http while credentials were in play
    ├── TransportError           exit 4
    │   ├── ConnectFailed                 no connection: name, port, TLS
    │   ├── Disconnected                  the connection broke
    │   ├── TimedOut                      nothing came for too long
    │   ├── Stalled                       something came, but too slowly
    │   ├── Truncated                     the body ended early
    │   ├── BadReply                      an answer that HTTP does not allow, or that contradicts an earlier one
    │   ├── TooManyRedirects
    │   ├── WorkerLost                    each worker of a cluster that was to bring it died
    │   └── Offline                       it is not in the cache, and no request is to be made
    ├── StatusError              exit 4   any other status that is not a success
    │   ├── NotFound                      404, 410; or nothing that fits the request
    │   ├── Throttled                     408, 429, or a Retry-After longer than we wait, or than there is time
    │   └── ServerFailed                  5xx
    ├── ContentError             exit 5
    │   ├── LoginPage            exit 3   HTML where a file or an index page should be
    │   ├── NotAWheel                     any other body that is no zip
    │   ├── NotAnSdist                    any other body that is not the archive its name says
    │   ├── BadPage                       an index page that cannot be read
    │   ├── BadZip                        a zip that breaks the format, or is ambiguous
    │   ├── MetadataMissing               no METADATA of this wheel in it; the PKG-INFO of an sdist cannot be reached
    │   ├── NotStatic                     an sdist has no PKG-INFO that vouches for its dependencies
    │   ├── MetadataMismatch              METADATA names another project or version
    │   └── HashMismatch
    └── DiskError                exit 6
        └── StoreFailed                   object storage would not store or give an object
            └── StoreRefused     exit 3   for want of credentials or rights

Facts are attributes; `str(error)` is the one sentence a person needs.  URLs are redacted when they are put into an
error, so no secret can leave through one.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from fetcher.index.urls import redact

__all__ = [
    "AuthError",
    "BadPage",
    "BadReply",
    "BadZip",
    "ConfigError",
    "ConnectFailed",
    "ContentError",
    "Disconnected",
    "DiskError",
    "FetcherError",
    "Forbidden",
    "HashMismatch",
    "InsecureRedirect",
    "LoginPage",
    "MetadataMismatch",
    "MetadataMissing",
    "MissingCredentials",
    "NotAWheel",
    "NotAnSdist",
    "NotFound",
    "NotStatic",
    "Offline",
    "ServerFailed",
    "Stalled",
    "StatusError",
    "StoreFailed",
    "StoreRefused",
    "Throttled",
    "TimedOut",
    "TooManyRedirects",
    "TransportError",
    "Truncated",
    "Unauthorized",
    "WorkerLost",
]

# Of what a server said, in characters: what it sends where HTTP should be may be megabytes.
MOST_QUOTED = 200


@dataclass(eq=False)
class FetcherError(Exception):
    """What every error of this package is.  `exit_code` is that of the command line.

    `hurried`: the caller's deadline left no time for another attempt, so that who has more time may fare better.
    """

    exit_code: ClassVar[int] = 1
    hurried = False  # without annotation it is no argument

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name.endswith("url"):
                setattr(self, field.name, redact(getattr(self, field.name)))
        # Exception keeps the constructor's arguments, and those were not redacted.
        self.args = ()

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own way calls the class with `args`, which a dataclass leaves empty.
        return _rebuild, (type(self), dict(self.__dict__))


def _rebuild(kind: type[FetcherError], facts: dict[str, Any]) -> FetcherError:
    error = kind.__new__(kind)
    error.__dict__.update(facts)
    return error


@dataclass(eq=False)
class ConfigError(FetcherError):
    """Bad input: a flag, a file, a URL, a name."""

    exit_code: ClassVar[int] = 2
    reason: str

    def __str__(self) -> str:
        return self.reason


def _credentials_hint(index: str) -> str:
    """Say where credentials of an index may be put; an index without a name is shown by its URL."""
    if "://" in index:
        return "put them into the index URL or into ~/.netrc"
    name = environment_name(index)
    return (
        f"set FETCHER_INDEX_{name}_USERNAME and FETCHER_INDEX_{name}_PASSWORD, or put them into the index URL "
        "or into ~/.netrc"
    )


def environment_name(index: str) -> str:
    """Return an index name as it stands in an environment variable: upper case, other than A-Z0-9 an underscore."""
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in index).upper()


def _in_short(text: str) -> str:
    """Return what a server said in one line that a terminal can show."""
    line = "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
    return line if len(line) <= MOST_QUOTED else f"{line[:MOST_QUOTED]}…"


def _sent(source: str | None) -> str:
    return f"with the credentials from {source}" if source else "without credentials"


# ---------------------------------------------------------------------------------------------------------------- auth


@dataclass(eq=False)
class AuthError(FetcherError):
    """Credentials are missing, refused, or would have been given away."""

    exit_code: ClassVar[int] = 3


@dataclass(eq=False)
class MissingCredentials(AuthError):
    """`authenticate = "always"`, and no source has credentials; no request was sent.

    `username_from` names the source of a username that has no password; the name itself may be a token, and is not
    shown.
    """

    url: str
    index: str
    username_from: str | None = None

    def __str__(self) -> str:
        whose = f"no password for the username from {self.username_from}" if self.username_from else "no credentials"
        return (
            f'index {self.index} has authenticate = "always" but {whose} could be found, so {self.url} was not asked: '
            f"{_credentials_hint(self.index)}"
        )


@dataclass(eq=False)
class Unauthorized(AuthError):
    """401.  `source` names where the refused credentials came from, None when none were sent."""

    url: str
    index: str | None
    source: str | None = None
    status: int = 401

    def __str__(self) -> str:
        if self.source is None and self.index is None:
            return (
                f"{self.url} wants credentials (HTTP {self.status}), and lies in no declared index: declare the index "
                "it belongs to, or name the URL in the `roots` of one"
            )
        if self.source is None:
            return (
                f"index {self.index} wants credentials for {self.url} (HTTP {self.status}), and none are known: "
                f"{_credentials_hint(self.index or '')}"
            )
        whose = f"index {self.index}" if self.index else "the server"
        return (
            f"{whose} refused the credentials from {self.source} for {self.url} (HTTP {self.status}): check them; "
            "a token may have expired"
        )


@dataclass(eq=False)
class Forbidden(AuthError):
    """403."""

    url: str
    index: str | None
    source: str | None = None
    status: int = 403

    def __str__(self) -> str:
        whose = f"index {self.index}" if self.index else "the server"
        if self.source is None:
            hint = _credentials_hint(self.index) if self.index else "it lies in no declared index"
            return f"{whose} refuses {self.url} to a request without credentials (HTTP {self.status}): {hint}"
        return (
            f"{whose} refuses {self.url} to the credentials from {self.source} (HTTP {self.status}): ask for the right "
            "to read it; a token may have expired"
        )


@dataclass(eq=False)
class InsecureRedirect(AuthError):
    """An https request that carried credentials was sent on to http."""

    url: str
    final_url: str

    def __str__(self) -> str:
        return (
            f"{self.url} redirects to {self.final_url}, from https to http, while credentials are in play: not followed"
        )


# ----------------------------------------------------------------------------------------------------------- transport


@dataclass(eq=False)
class TransportError(FetcherError):
    """Bytes did not cross the wire."""

    exit_code: ClassVar[int] = 4
    url: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


@dataclass(eq=False)
class ConnectFailed(TransportError):
    """No connection: the name does not resolve, the port refuses, TLS fails.  `lasting`: no use in trying again."""

    lasting: bool = False

    def __str__(self) -> str:
        return f"cannot connect to {self.url}: {self.reason}"


@dataclass(eq=False)
class Disconnected(TransportError):
    """The connection broke while an answer was awaited or read."""

    def __str__(self) -> str:
        return f"the connection to {self.url} broke: {self.reason}"


@dataclass(eq=False)
class TimedOut(TransportError):
    """No connection, or no byte, for `seconds`."""

    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.url}: {self.reason} within {self.seconds:g} s"


@dataclass(eq=False)
class Stalled(TransportError):
    """Less than `least` bytes in `seconds`."""

    least: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.url} stalled: less than {self.least} bytes in {self.seconds:g} s"


@dataclass(eq=False)
class Truncated(TransportError):
    """The body ended after `received` of `expected` bytes (None: the server did not say how many)."""

    received: int = 0
    expected: int | None = None

    def __str__(self) -> str:
        of = "" if self.expected is None else f" of {self.expected}"
        return f"{self.url}: the body ended early, {self.received}{of} bytes arrived"


@dataclass(eq=False)
class BadReply(TransportError):
    """An answer that HTTP does not allow, or that contradicts an earlier one."""

    def __str__(self) -> str:
        return f"{self.url} answered with something HTTP does not allow here: {_in_short(self.reason)}"


@dataclass(eq=False)
class TooManyRedirects(TransportError):
    """More than `redirects` in a row."""

    redirects: int = 0

    def __str__(self) -> str:
        return f"{self.url} redirects more than {self.redirects} times"


@dataclass(eq=False)
class WorkerLost(TransportError):
    """So many `workers` of a cluster died, one after the other, while they brought this file alone."""

    workers: int = 0

    def __str__(self) -> str:
        who = "a worker of the cluster died"
        if self.workers > 1:
            who = f"{self.workers} workers of the cluster died, one after the other,"
        return f"{self.url}: {who} of bringing this file alone: the log of a worker says why"


@dataclass(eq=False)
class Offline(TransportError):
    """What was wanted is not in the cache, and offline no request is made."""

    def __str__(self) -> str:
        return f"{self.url} is not in the cache, and --offline (offline=True) makes no request: leave it out to ask"


# -------------------------------------------------------------------------------------------------------------- status


@dataclass(eq=False)
class StatusError(FetcherError):
    """A status that is not a success.  `retry_after`: the seconds that the server asks to wait, if it does."""

    exit_code: ClassVar[int] = 4
    url: str
    status: int
    retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.url} answered HTTP {self.status}"


@dataclass(eq=False)
class NotFound(StatusError):
    """404 or 410 for a URL; or nothing on the indexes that fits the request.

    `url` is empty in the second case, and `asked` says what was looked for and where.
    """

    status: int = 404
    asked: str = ""
    source: str | None = None

    def __str__(self) -> str:
        if not self.url:
            return self.asked
        hint = "; a token may have expired" if self.source else ""
        return f"{self.url} does not exist (HTTP {self.status}, asked {_sent(self.source)}{hint})"


@dataclass(eq=False)
class Throttled(StatusError):
    """408, 429, or a Retry-After that is longer than we wait.

    `left`: the seconds that are left before the caller's deadline, where these are too few to wait for the host; None
    otherwise.
    """

    left: float | None = None

    def __str__(self) -> str:
        if self.left is not None:
            return (
                f"{self.url}: its host answered HTTP {self.status} and asks to wait {self.retry_after or 0:.1f} s, but "
                f"{max(0.0, self.left):.1f} s are left before the deadline: try again later, or with a later deadline"
            )
        wait = "" if self.retry_after is None else f" and asks to wait {self.retry_after:g} s"
        return f"{self.url} answered HTTP {self.status}{wait}: try again later, or with fewer connections"


@dataclass(eq=False)
class ServerFailed(StatusError):
    """5xx, again and again."""


# ------------------------------------------------------------------------------------------------------------- content


@dataclass(eq=False)
class ContentError(FetcherError):
    """The bytes are not what was asked for."""

    exit_code: ClassVar[int] = 5


@dataclass(eq=False)
class LoginPage(ContentError):
    """HTML where `expected` (a file name, or "the index page of x") should be.

    `index` is the index the URL belongs to and `scope` says why; both None outside every index.  `sent` names the
    source of the credentials that were sent, None when none were.
    """

    exit_code: ClassVar[int] = 3
    expected: str
    url: str
    final_url: str
    status: int
    title: str
    index: str | None
    scope: str | None
    policy: str | None
    sent: str | None

    def __str__(self) -> str:
        title = f" titled {self.title!r}" if self.title else ""
        led = "" if self.final_url == self.url else f" after {self.url}"
        return (
            f"instead of {self.expected} came an HTML page{title} (HTTP {self.status}, {self.final_url}{led}): "
            f"a login page or a proxy's; {self._cause()}"
        )

    def _cause(self) -> str:
        if self.sent is not None:
            whose = f"of index {self.index} " if self.index else ""
            return (
                f"the credentials {whose}from {self.sent} were sent and not accepted: check them; "
                "a token may have expired"
            )
        if self.index is None:
            return (
                "no credentials were sent because the URL lies in no declared index: declare the index it belongs to, "
                "or name the URL in the `roots` of one"
            )
        if self.policy == "never":
            return (
                f'no credentials were sent because index {self.index} has authenticate = "never": set it to "always" '
                f"and {_credentials_hint(self.index)}"
            )
        return (
            f"no credentials were sent because none are known for index {self.index} ({self.scope}): "
            f'{_credentials_hint(self.index)}, and set authenticate = "always" for index {self.index}'
        )


_KINDS = {
    "zip": "a zip archive",
    "gzip": "a gzip archive",
    "bzip2": "a bzip2 archive",
    "xz": "an xz archive",
    "tar": "a tar archive",
    "json": "a JSON document",
    "xml": "an XML document",
    "empty": "an empty body",
    "html": "an HTML page",
}


@dataclass(eq=False)
class NotAWheel(ContentError):
    """A body of `kind` ("gzip", "json", "xml", "empty", "other", …) where a wheel should be; `detail` quotes it."""

    url: str
    filename: str
    kind: str
    detail: str = ""

    def __str__(self) -> str:
        return _instead(self, "something that is no zip")


@dataclass(eq=False)
class NotAnSdist(ContentError):
    """A body of `kind` where a source distribution, or another file that is no wheel, should be; `detail` quotes it."""

    url: str
    filename: str
    kind: str
    detail: str = ""

    def __str__(self) -> str:
        return _instead(self, "something that is no such archive")


def _instead(error: NotAWheel | NotAnSdist, other: str) -> str:
    what = _KINDS.get(error.kind, other)
    said = f" ({error.detail})" if error.detail else ""
    return f"instead of {error.filename} came {what}{said} from {error.url}"


@dataclass(eq=False)
class BadPage(ContentError):
    """An index page that cannot be read."""

    url: str
    reason: str

    def __str__(self) -> str:
        return f"the index page {self.url} cannot be read: {self.reason}"


@dataclass(eq=False)
class BadZip(ContentError):
    """A zip that breaks the format, is ambiguous, or uses what nobody can read."""

    filename: str
    reason: str

    def __str__(self) -> str:
        what = "wheel" if self.filename.endswith(".whl") else "archive"
        return f"{self.filename} is a damaged or unsafe {what}: {self.reason}"


@dataclass(eq=False)
class MetadataMissing(ContentError):
    """No `.dist-info/METADATA` of this wheel in it; or the `PKG-INFO` of a source distribution cannot be reached."""

    filename: str
    reason: str

    def __str__(self) -> str:
        return f"{self.filename} has no usable METADATA: {self.reason}"


@dataclass(eq=False)
class NotStatic(ContentError):
    """A source distribution has no PKG-INFO that vouches for what a resolver needs (PEP 643).

    `dynamic` names the fields that only a build would tell; it is empty where `metadata_version` is before 2.2 or not
    given, or where there is no PKG-INFO, and nothing is vouched for.
    """

    filename: str
    metadata_version: str
    dynamic: tuple[str, ...] = ()
    has_pkg_info: bool = True

    def __str__(self) -> str:
        if not self.has_pkg_info:
            why = "there is none"
        elif self.dynamic:
            why = f"{', '.join(self.dynamic)} {'is' if len(self.dynamic) == 1 else 'are'} dynamic"
        elif self.metadata_version:
            why = f"Metadata-Version {_in_short(self.metadata_version)}, before 2.2"
        else:
            why = "no Metadata-Version"
        return (
            f"the PKG-INFO of {self.filename} does not vouch for its dependencies ({why}): it would have to be built, "
            "which fetcher never does; take a wheel, if there is one"
        )


@dataclass(eq=False)
class MetadataMismatch(ContentError):
    """METADATA says something else than the file name, or than it said before."""

    filename: str
    reason: str

    def __str__(self) -> str:
        return f"the METADATA of {self.filename} does not belong to it: {self.reason}"


@dataclass(eq=False)
class HashMismatch(ContentError):
    """The bytes of `url` have another digest than the index said."""

    filename: str
    url: str
    algorithm: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return (
            f"{self.filename} from {self.url} has the wrong {self.algorithm}: expected {self.expected}, got "
            f"{self.actual}; nothing was kept"
        )


# ---------------------------------------------------------------------------------------------------------------- disk


@dataclass(eq=False)
class DiskError(FetcherError):
    """The operating system would not store a file."""

    exit_code: ClassVar[int] = 6
    path: str
    reason: str

    def __str__(self) -> str:
        return f"cannot write {self.path}: {self.reason}"

    @classmethod
    def of(cls, path: str, error: OSError) -> Self:
        """Return the error for what the operating system said."""
        return cls(path, error.strerror or str(error))


@dataclass(eq=False)
class StoreFailed(DiskError):
    """Object storage would not store, give or remove an object; `path` is its `s3://` URL."""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(eq=False)
class StoreRefused(StoreFailed):
    """Object storage was given no credentials, wrong ones, or those of somebody who may not."""

    exit_code: ClassVar[int] = 3
