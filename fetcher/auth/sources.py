"""Where credentials come from: URL, environment, netrc.

The functions for URL and environment only look at values; reading the netrc file blocks, so its caller runs it in a
thread.
"""

import logging
import netrc
from collections.abc import Mapping
from pathlib import Path

from fetcher.auth.credentials import Bearer, Candidate
from fetcher.errors import environment_name
from fetcher.index.scope import Index
from fetcher.index.urls import Userinfo

__all__ = ["Netrc", "from_environment", "from_userinfo", "netrc_path", "read_netrc"]

logger = logging.getLogger(__name__)

_PREFIXES = ("FETCHER_INDEX_", "UV_INDEX_")


def from_userinfo(userinfo: Userinfo | None, source: str) -> list[Candidate]:
    """Return what a URL's userinfo knows."""
    if userinfo is None:
        return []
    return [Candidate(source, userinfo.username, userinfo.password)]


def from_environment(index: Index, environ: Mapping[str, str]) -> list[Candidate]:
    """Return what `FETCHER_INDEX_<NAME>_TOKEN`, `_USERNAME` and `_PASSWORD` know, then `UV_INDEX_<NAME>_…`."""
    if not index.name:
        return []
    found = []
    for prefix in _PREFIXES:
        start = prefix + environment_name(index.name)
        token = environ.get(f"{start}_TOKEN")
        if token:
            found.append(Candidate(f"the environment variable {start}_TOKEN", credentials=Bearer(token)))
        username, password = environ.get(f"{start}_USERNAME"), environ.get(f"{start}_PASSWORD")
        if username is not None or password is not None:
            ending = "USERNAME" if password is None else "PASSWORD"
            found.append(Candidate(f"the environment variable {start}_{ending}", username, password))
    return found


def netrc_path(environ: Mapping[str, str], home: Path) -> Path:
    """Return the user's netrc file: `NETRC`, else `.netrc` in the home directory (`_netrc` where only that exists)."""
    if environ.get("NETRC"):
        return Path(environ["NETRC"])
    plain, windows = home / ".netrc", home / "_netrc"
    return windows if windows.exists() and not plain.exists() else plain


class Netrc:
    """The entries of a netrc file, read once.  Machines are host names, without a port."""

    def __init__(self, machines: Mapping[str, tuple[str, str]], shown_as: str) -> None:
        self._machines = {name.lower() if name != "default" else name: entry for name, entry in machines.items()}
        self._shown_as = shown_as

    def candidates(self, host: str, *, use_default: bool) -> list[Candidate]:
        """Return what the file knows of a host; `default` counts only inside a declared scope."""
        # Python's netrc keeps the default entry under that very name.
        entry, place = None if host == "default" else self._machines.get(host), f"machine {host}"
        if entry is None and use_default:
            entry, place = self._machines.get("default"), "default"
        if entry is None:
            return []
        login, password = entry
        return [Candidate(f"{self._shown_as} ({place})", login, password)]


def read_netrc(path: Path) -> Netrc:
    """Read a netrc file; blocks.  A missing file knows nothing; one that cannot be read likewise, with a warning."""
    try:
        # A path given explicitly spares the permission check, which only knows ~/.netrc.
        hosts = netrc.netrc(str(path)).hosts
    except FileNotFoundError:
        return Netrc({}, path.name)
    except (OSError, UnicodeDecodeError, netrc.NetrcParseError) as error:
        # The parser's own message quotes the word it stumbled over, which may be a password.
        reason = f"line {error.lineno}" if isinstance(error, netrc.NetrcParseError) else type(error).__name__
        logger.warning("%s is ignored: it cannot be read (%s)", path, reason)
        return Netrc({}, path.name)
    return Netrc({host: (login, password) for host, (login, _, password) in hosts.items()}, path.name)
