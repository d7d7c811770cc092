"""The download layer under Python package tools.

    from fetcher import Fetcher, Index

The names below are the public ones.  Each is imported when it is first used, so that `import fetcher` costs nothing
and no room of the house depends on this file.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from fetcher.version import __version__

if TYPE_CHECKING:
    from fetcher.auth.credentials import Basic as Basic, Bearer as Bearer, Credentials as Credentials, Header as Header
    from fetcher.client import Fetcher as Fetcher
    from fetcher.download.download import Download as Download
    from fetcher.download.events import Event as Event, Progress as Progress, Retry as Retry
    from fetcher.errors import (
        AuthError as AuthError,
        BadPage as BadPage,
        BadReply as BadReply,
        BadZip as BadZip,
        ConfigError as ConfigError,
        ConnectFailed as ConnectFailed,
        ContentError as ContentError,
        Disconnected as Disconnected,
        DiskError as DiskError,
        FetcherError as FetcherError,
        Forbidden as Forbidden,
        HashMismatch as HashMismatch,
        InsecureRedirect as InsecureRedirect,
        LoginPage as LoginPage,
        MetadataMismatch as MetadataMismatch,
        MetadataMissing as MetadataMissing,
        MissingCredentials as MissingCredentials,
        NotAnSdist as NotAnSdist,
        NotAWheel as NotAWheel,
        NotFound as NotFound,
        NotStatic as NotStatic,
        Offline as Offline,
        ServerFailed as ServerFailed,
        Stalled as Stalled,
        StatusError as StatusError,
        Throttled as Throttled,
        TimedOut as TimedOut,
        TooManyRedirects as TooManyRedirects,
        TransportError as TransportError,
        Truncated as Truncated,
        Unauthorized as Unauthorized,
    )
    from fetcher.explain import Explanation as Explanation, HopReport as HopReport
    from fetcher.index.candidates import candidates as candidates
    from fetcher.index.files import File as File, Project as Project
    from fetcher.index.formats import Formats as Formats
    from fetcher.index.scope import Index as Index, Policy as Policy
    from fetcher.index.target import (
        Target as Target,
        describe_python as describe_python,
        this_interpreter as this_interpreter,
    )
    from fetcher.metadata.metadata import Metadata as Metadata

_HOMES = {
    "fetcher.auth.credentials": ("Basic", "Bearer", "Credentials", "Header"),
    "fetcher.client": ("Fetcher",),
    "fetcher.download.download": ("Download",),
    "fetcher.download.events": ("Event", "Progress", "Retry"),
    "fetcher.errors": (
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
        "Throttled",
        "TimedOut",
        "TooManyRedirects",
        "TransportError",
        "Truncated",
        "Unauthorized",
    ),
    "fetcher.explain": ("Explanation", "HopReport"),
    "fetcher.index.candidates": ("candidates",),
    "fetcher.index.files": ("File", "Project"),
    "fetcher.index.formats": ("Formats",),
    "fetcher.index.scope": ("Index", "Policy"),
    "fetcher.index.target": ("Target", "describe_python", "this_interpreter"),
    "fetcher.metadata.metadata": ("Metadata",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*_HOME_OF, "__version__"]  # noqa: PLE0604 - the keys are strings


def __getattr__(name: str) -> object:
    """Import a public name from its room (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'fetcher' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
