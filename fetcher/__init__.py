"""The download layer under Python package tools.

    from fetcher import Fetcher, Index

The names below are the public ones.  Each is imported when it is first used, so that `import fetcher` costs nothing
and no room of the house depends on this file.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from fetcher.version import __version__

# Written out, for type checkers read only that.
__all__ = [
    "AuthError",
    "BadPage",
    "BadReply",
    "BadZip",
    "Basic",
    "Bearer",
    "ConfigError",
    "ConnectFailed",
    "ContentError",
    "Credentials",
    "Disconnected",
    "DiskError",
    "Download",
    "Event",
    "Explanation",
    "Fetcher",
    "FetcherError",
    "File",
    "Forbidden",
    "Formats",
    "HashMismatch",
    "Header",
    "HopReport",
    "Index",
    "InsecureRedirect",
    "LoginPage",
    "Metadata",
    "MetadataMismatch",
    "MetadataMissing",
    "MissingCredentials",
    "NotAWheel",
    "NotAnSdist",
    "NotFound",
    "NotStatic",
    "Offline",
    "Policy",
    "Progress",
    "Project",
    "Retry",
    "ServerFailed",
    "Stalled",
    "StatusError",
    "Target",
    "Throttled",
    "TimedOut",
    "TooManyRedirects",
    "TransportError",
    "Truncated",
    "Unauthorized",
    "__version__",
    "candidates",
    "describe_python",
    "this_interpreter",
]

if TYPE_CHECKING:
    from fetcher.auth.credentials import Basic, Bearer, Credentials, Header
    from fetcher.client import Fetcher
    from fetcher.download.download import Download
    from fetcher.download.events import Event, Progress, Retry
    from fetcher.errors import (
        AuthError,
        BadPage,
        BadReply,
        BadZip,
        ConfigError,
        ConnectFailed,
        ContentError,
        Disconnected,
        DiskError,
        FetcherError,
        Forbidden,
        HashMismatch,
        InsecureRedirect,
        LoginPage,
        MetadataMismatch,
        MetadataMissing,
        MissingCredentials,
        NotAnSdist,
        NotAWheel,
        NotFound,
        NotStatic,
        Offline,
        ServerFailed,
        Stalled,
        StatusError,
        Throttled,
        TimedOut,
        TooManyRedirects,
        TransportError,
        Truncated,
        Unauthorized,
    )
    from fetcher.explain import Explanation, HopReport
    from fetcher.index.candidates import candidates
    from fetcher.index.files import File, Project
    from fetcher.index.formats import Formats
    from fetcher.index.scope import Index, Policy
    from fetcher.index.target import Target, describe_python, this_interpreter
    from fetcher.metadata.metadata import Metadata

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


def __getattr__(name: str) -> object:
    """Import a public name from its room (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'fetcher' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
