"""The seed bug, on real servers: devpi with a login page, an index that inherits another, a file outside its root.

`authenticate = "always"` on `root/awepy` must hold for the file below `root/base` that its page lists.  uv 0.13 sends
that request without credentials, gets the login page, and calls the version invalid.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_servers import RealIndex, RealServersMissing, running_devpi, uv_command, uv_resolves

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealIndex]:
    try:
        with running_devpi(tmp_path_factory.mktemp("servers")) as index:
            yield index
    except RealServersMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(autouse=True)
def _fresh_log(real: RealIndex) -> None:
    real.clear_log()


class Command:
    """The `fetcher` command in an environment without any setting of this machine's user."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def __call__(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "FETCHER_NO_CACHE") if name in os.environ}
        return subprocess.run(
            [sys.executable, "-m", "fetcher", *arguments],
            env={**kept, "HOME": str(self._home), **environ},
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def fetcher(tmp_path: Path) -> Command:
    return Command(tmp_path)


def flags(url: str, policy: str) -> tuple[str, ...]:
    return "--index", f"corp={url}", "--authenticate", f"corp={policy}", "--json"


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (line,) = done.stdout.splitlines()
    fields: dict[str, Any] = json.loads(line)
    return fields


@pytest.mark.parametrize("policy", ["always", "auto"])
@pytest.mark.parametrize("site", ["ranges ignored", "ranges honoured"])
def test_an_inherited_file_is_asked_for_with_the_credentials_of_the_index_that_listed_it(
    real: RealIndex, fetcher: Command, tmp_path: Path, policy: str, site: str
) -> None:
    url = real.index_url if site == "ranges ignored" else real.ranged_index_url
    wanted = f"cryptography=={real.version('cryptography')}"

    metadata = fetcher("metadata", wanted, *flags(real.with_userinfo(url), policy))
    got = fetcher("get", wanted, "--dest", str(tmp_path / "wheels"), *flags(real.with_userinfo(url), policy))

    assert (metadata.returncode, metadata.stderr) == (0, "")
    assert result(metadata)["how"] == ("stream" if site == "ranges ignored" else "range")
    assert result(metadata)["metadata"].startswith("Metadata-Version:")
    assert (got.returncode, got.stderr) == (0, "")
    assert Path(result(got)["path"]).read_bytes() == real.wheel("cryptography").read_bytes()
    log = real.log()
    assert [row.path for row in log].count(real.file_path("cryptography")) >= 2
    assert [row for row in log if not row.authorized] == []
    assert {row.status for row in log} <= {200, 206}


def without_password(real: RealIndex) -> dict[str, str]:
    return {
        "no userinfo": real.index_url,
        "a username alone": real.index_url.replace("://", f"://{real.username}@"),
    }


@pytest.mark.parametrize("userinfo", ["no userinfo", "a username alone"])
@pytest.mark.parametrize("command", ["metadata", "get"])
def test_always_without_a_password_asks_nothing(
    real: RealIndex, fetcher: Command, tmp_path: Path, userinfo: str, command: str
) -> None:
    done = fetcher(command, "cryptography", *flags(without_password(real)[userinfo], "always"))

    assert done.returncode == 3
    assert result(done)["error"] == "MissingCredentials"
    (sentence,) = done.stderr.splitlines()
    assert "index corp" in sentence
    assert "FETCHER_INDEX_CORP_PASSWORD" in sentence
    assert real.log() == []
    assert list(tmp_path.glob("*.whl")) == []


@pytest.mark.parametrize("userinfo", ["no userinfo", "a username alone"])
@pytest.mark.parametrize("command", ["metadata", "get"])
def test_auto_without_a_password_says_login_page(
    real: RealIndex, fetcher: Command, userinfo: str, command: str
) -> None:
    done = fetcher(command, "cryptography", *flags(without_password(real)[userinfo], "auto"))

    assert done.returncode == 3
    assert result(done)["error"] == "LoginPage"
    (sentence,) = done.stderr.splitlines()
    assert "index corp" in sentence
    assert f"{real.url}/+login" in sentence
    assert len(real.log()) == 2


def test_a_wrong_password_is_said_to_be_not_accepted(real: RealIndex, fetcher: Command) -> None:
    url = real.index_url.replace("://", f"://{real.username}:wrong-password@")

    done = fetcher("metadata", "cryptography", *flags(url, "always"))

    assert done.returncode == 3
    assert "not accepted" in done.stderr
    assert "wrong-password" not in done.stdout + done.stderr


def test_auto_answers_the_login_page_with_netrc(real: RealIndex, fetcher: Command, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(f"machine localhost login {real.username} password {real.password}\n")

    done = fetcher("metadata", "cryptography", *flags(real.ranged_index_url, "auto"))

    assert (done.returncode, done.stderr) == (0, "")
    assert [row.authorized for row in real.log()] == [False, False, True, True]


def test_over_tls(fetcher: Command, tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_devpi(tmp_path_factory.mktemp("tls"), tls=True) as real:
        url = real.with_userinfo(real.ranged_index_url)
        untrusted = fetcher("metadata", "cryptography", *flags(url, "always"), "--retries", "0")
        done = fetcher("metadata", "cryptography", *flags(url, "always"), SSL_CERT_FILE=str(real.ca_file))
        log = real.log()

    assert untrusted.returncode == 4
    assert "certificate" in untrusted.stderr
    assert (done.returncode, done.stderr) == (0, "")
    assert [row for row in log if not row.authorized] == []


def test_uv_takes_the_login_page_for_a_wheel(real: RealIndex) -> None:
    """The contrast.  Should a later uv do better, this test says so and steps aside."""
    if (uv := uv_command()) is None:
        pytest.skip("uv is not installed")

    done = uv_resolves(real, f"cryptography=={real.version('cryptography')}", uv)

    if done.returncode == 0:
        pytest.skip("this uv sends credentials for files outside the index root")
    assert "invalid package format" in done.stderr
    wheel = [row for row in real.log() if row.path == real.file_path("cryptography")]
    assert wheel
    assert not any(row.authorized for row in wheel)
