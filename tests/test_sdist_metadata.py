"""METADATA of a source distribution: PKG-INFO as the archive streams by, no more of it than need be, never a build."""

from __future__ import annotations

import gzip
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from fake_faults import ChangedFile, Cut, Fault, Gzip, LoginPage as Login, RangesRefused, Stating, Status
from fake_index import FakeIndex, Guard, basic
from fake_pages import KNOWN
from fake_sdists import FORMS, compress, make_sdist, make_tar, members_of, pkg_info
from msgspec import structs
from wire_checks import SLACK, ask_metadata, corp, find, left_in, observe

from fetcher import (
    BadReply,
    BadZip,
    Disconnected,
    HashMismatch,
    LoginPage,
    Metadata,
    MetadataMismatch,
    MetadataMissing,
    NotAnSdist,
    NotStatic,
    Truncated,
    candidates,
    this_interpreter,
)

if TYPE_CHECKING:
    from pathlib import Path

    from wire_checks import Outcome

pytestmark = pytest.mark.usefixtures("_no_blocking", "_short_waits")

SDIST = "demo-1.0.tar.gz"
INFO = pkg_info()
HERE = this_interpreter()
TARS = [form for form in FORMS if form != "zip"]
# Longer than what the sockets between us and the server hold, so that what is not read is not sent.
LONG = 24 << 20
known = pytest.mark.parametrize("knows", KNOWN)


def offering(body: bytes, *faults: Fault, name: str = SDIST, knows: str = "size-and-hash", **more: Any) -> FakeIndex:
    return FakeIndex(wheels={name: body}, faults={name: faults}, **{**KNOWN[knows], **more})


async def ask(index: FakeIndex, **more: Any) -> Outcome[Metadata]:
    (name,) = index.wheels
    async with corp(index, **{"retries": 0, **more}) as fetcher:
        return await ask_metadata(fetcher, await find(fetcher, ending=name), index)


@known
@pytest.mark.parametrize("form", FORMS)
async def test_of_every_form(form: str, knows: str) -> None:
    body = make_sdist(form, members_of(before=3000, after=200_000))
    async with offering(body, name=f"demo-1.0.{form}", knows=knows) as index:
        found = (await ask(index)).done
    assert (found.raw, found.name, found.version, found.filename) == (INFO, "demo", "1.0", f"demo-1.0.{form}")
    assert (found.index, found.requests) == ("corp", 2 if form == "zip" else 1)
    assert found.parsed.requires_dist is not None
    assert found.how == ("range" if form == "zip" else "stream")
    assert found.verified is (form == "zip" or "hash" in knows)


@pytest.mark.parametrize("form", ["tar.gz", "tar"])
async def test_no_more_is_read_than_need_be(form: str) -> None:
    body = make_sdist(form, members_of(after=LONG))
    async with offering(body, name=f"demo-1.0.{form}") as index:
        outcome = await ask(index)
    assert (outcome.done.raw, outcome.done.verified) == (INFO, False)
    assert outcome.done.bytes < LONG // 4
    assert outcome.body_bytes < len(body)


async def test_of_a_zip_no_more_than_its_end_is_read() -> None:
    async with offering(make_sdist("zip", members_of(after=1 << 20)), name="demo-1.0.zip") as index:
        outcome = await ask(index)
    assert (outcome.done.how, outcome.done.verified, outcome.done.raw) == ("range", True, INFO)
    assert outcome.requests <= 3
    assert outcome.body_bytes < 1 << 18


@known
async def test_a_zip_where_ranges_are_refused(knows: str) -> None:
    body = make_sdist("zip", members_of(after=300_000))
    async with offering(body, RangesRefused(501), name="demo-1.0.zip", knows=knows) as index:
        found = (await ask(index)).done
    assert (found.how, found.verified, found.raw) == ("stream", True, INFO)


@pytest.mark.parametrize("form", FORMS)
async def test_what_was_read_to_its_end_is_kept(form: str, dest: Path) -> None:
    name, body = f"demo-1.0.{form}", make_sdist(form, members_of(before=40_000))
    async with offering(body, name=name) as index, corp(index) as fetcher:
        file = await find(fetcher, ending=name)
        assert (await fetcher.metadata(file)).raw == INFO
        outcome = await observe(fetcher.download(file, dest), index)
    assert (outcome.requests, outcome.done.bytes) == (0, 0)
    assert (dest / name).read_bytes() == body


class TestADashInTheVersion:
    """`demo-1.0-1` is 1.0.post1 on the page of demo, and whatever the last dash says where nobody knows the project."""

    @pytest.mark.parametrize("knows", ["nothing", "size-and-hash"])
    @pytest.mark.parametrize("form", FORMS)
    async def test_it_is_found_and_read_and_fetched(self, form: str, knows: str, dest: Path) -> None:
        name = f"demo-1.0-1.{form}"
        body = make_sdist(form, members_of(pkg_info(version="1.0.post1"), after=200_000, top="demo-1.0-1"))
        async with offering(body, name=name, knows=knows) as index, corp(index) as fetcher:
            (file,) = candidates(await fetcher.project("demo"), HERE, "==1.0.post1")
            found = await fetcher.metadata(file)
            done = await fetcher.download(file, dest)
        assert (found.name, found.version, found.filename) == ("demo", "1.0.post1", name)
        assert done.path.read_bytes() == body

    @pytest.mark.parametrize("form", ["tar.gz", "zip"])
    async def test_a_sidecar_that_nothing_vouches_for(self, form: str, dest: Path) -> None:
        name, info = f"demo-1.0-1.{form}", pkg_info(version="1.0.post1")
        index = offering(make_sdist(form, members_of(info)), name=name, knows="nothing", sidecar="plain")
        async with index, corp(index) as fetcher:
            file = structs.replace(await find(fetcher, ending=name), sidecar={})
            assert (await fetcher.metadata(file)).how == "sidecar"
            await fetcher.download(file, dest)
        assert left_in(dest) == [name]

    @pytest.mark.parametrize("form", ["tar.gz", "zip"])
    async def test_it_is_of_another_version(self, form: str) -> None:
        name = f"demo-1.0-1.{form}"
        async with offering(make_sdist(form), name=name) as index, corp(index) as fetcher:
            file = await find(fetcher, ending=name)
            with pytest.raises(MetadataMismatch, match=r"it is of version '1\.0'"):
                await fetcher.metadata(file)

    @pytest.mark.parametrize("form", ["tar.gz", "zip"])
    async def test_by_its_url_alone(self, form: str) -> None:
        body = make_sdist(form, members_of(pkg_info("demo-1.0", "1")))
        async with FakeIndex(wheels={f"demo-1.0-1.{form}": body}) as index, corp(index) as fetcher:
            found = await fetcher.metadata(f"{index.files_url}/demo-1.0-1.{form}")
        assert (found.name, found.version) == ("demo-1.0", "1")


class TestSidecar:
    """An index may have one for a source distribution, too (PEP 658)."""

    async def ask(self, body: bytes, *faults: Fault, digest: bytes | None = None, **more: Any) -> Outcome[Metadata]:
        sidecar = {} if digest is None else {"sha256": hashlib.sha256(digest).hexdigest()}
        async with offering(body, sidecar="plain", **more) as index, corp(index, retries=0) as fetcher:
            index.faults = {"*.metadata": faults}
            file = structs.replace(await find(fetcher, ending=SDIST), sidecar=sidecar)
            return await ask_metadata(fetcher, file, index)

    @pytest.mark.parametrize("digest", [INFO, None])
    async def test_it_is_read(self, digest: bytes | None) -> None:
        found = (await self.ask(make_sdist(), digest=digest)).done
        assert (found.how, found.raw, found.requests, found.verified) == ("sidecar", INFO, 1, digest is not None)

    @pytest.mark.parametrize("fault", [Status(404), Status(200, body="html"), ChangedFile(b"x" * 300, after=0)])
    async def test_it_is_of_no_use(self, fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
        found = (await self.ask(make_sdist(), fault, digest=INFO)).done
        assert (found.how, found.raw, found.requests) == ("stream", INFO, 2)
        assert "the advertised metadata file of demo-1.0.tar.gz is of no use" in caplog.text

    async def test_a_login_page_ends_it(self) -> None:
        outcome = await self.ask(make_sdist(), Login())
        assert isinstance(outcome.error, LoginPage)
        assert outcome.requests == 1

    async def test_it_vouches_for_nothing(self) -> None:
        outcome = await self.ask(make_sdist("tar.gz", members_of(pkg_info(metadata_version="2.1"))))
        assert isinstance(outcome.error, NotStatic)
        assert outcome.requests == 1


class TestNotStatic:
    @pytest.mark.parametrize("form", FORMS)
    async def test_an_old_one(self, form: str) -> None:
        body = make_sdist(form, members_of(pkg_info(metadata_version="2.1")))
        async with offering(body, name=f"demo-1.0.{form}") as index:
            error = (await ask(index)).error
        assert isinstance(error, NotStatic)
        assert (error.filename, error.metadata_version, error.dynamic) == (f"demo-1.0.{form}", "2.1", ())
        assert error.exit_code == 5

    async def test_a_dynamic_one(self) -> None:
        body = make_sdist("tar.gz", members_of(pkg_info(more="Dynamic: requires-dist\n")))
        async with offering(body) as index:
            error = (await ask(index)).error
        assert isinstance(error, NotStatic)
        assert error.dynamic == ("Requires-Dist",)

    async def test_it_may_be_downloaded(self, dest: Path) -> None:
        body = make_sdist("tar.gz", members_of(pkg_info(metadata_version="1.1")))
        async with offering(body) as index, corp(index) as fetcher:
            file = await find(fetcher, ending=SDIST)
            with pytest.raises(NotStatic):
                await fetcher.metadata(file)
            await fetcher.download(file, dest)
        assert (dest / SDIST).read_bytes() == body


class TestMissing:
    @pytest.mark.parametrize("form", FORMS)
    async def test_there_is_none(self, form: str) -> None:
        members = members_of()
        del members["demo-1.0/PKG-INFO"]
        async with offering(make_sdist(form, members), name=f"demo-1.0.{form}") as index:
            error = (await ask(index)).error
        assert isinstance(error, NotStatic), repr(error)
        assert not error.has_pkg_info

    @pytest.mark.parametrize("name", ["demo.tar.gz", "demo-latest.zip", "notes.txt"])
    async def test_a_name_that_promises_nothing_is_not_asked_for(self, name: str) -> None:
        async with FakeIndex(wheels={name: make_sdist()}) as index, corp(index) as fetcher:
            outcome = await ask_metadata(fetcher, f"{index.files_url}/{name}", index)
        assert isinstance(outcome.error, MetadataMissing)
        assert outcome.requests == 0

    async def test_the_archive_ends_in_the_middle(self) -> None:
        body = gzip.compress(make_tar(members_of(before=5000))[:3000])
        async with offering(body) as index:
            error = (await ask(index)).error
        assert isinstance(error, MetadataMissing)
        assert error.reason == "the archive ends in the middle"

    async def test_two_in_a_zip(self) -> None:
        body = make_sdist("zip", {**members_of(), "other/PKG-INFO": INFO})
        async with offering(body, name="demo-1.0.zip") as index:
            error = (await ask(index)).error
        assert isinstance(error, BadZip)
        assert "2 top directories with a PKG-INFO" in str(error)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "version"), [("other", "1.0"), ("demo", "2.0")])
async def test_it_is_of_another_file(form: str, name: str, version: str) -> None:
    async with offering(make_sdist(form, members_of(pkg_info(name, version))), name=f"demo-1.0.{form}") as index:
        assert isinstance((await ask(index)).error, MetadataMismatch)


class TestWhatCameInstead:
    @pytest.mark.parametrize("redirect", [False, True])
    @pytest.mark.parametrize("form", FORMS)
    async def test_a_login_page(self, form: str, redirect: bool) -> None:
        page = Login(redirect=redirect, title="Corporate sign-in")
        async with offering(make_sdist(form), page, name=f"demo-1.0.{form}") as index:
            error = (await ask(index)).error
        assert isinstance(error, LoginPage), repr(error)
        assert (error.expected, error.title, error.index) == (f"demo-1.0.{form}", "Corporate sign-in", "corp")
        assert error.exit_code == 3

    async def test_a_login_page_is_a_challenge(self, tmp_path: Path) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password pw\n")
        (tmp_path / "netrc").chmod(0o600)
        async with offering(make_sdist()) as index:
            index.auth = {"/files": Guard((basic("user", "pw"),), otherwise=Login())}
            outcome = await ask(index, environ={"NETRC": str(tmp_path / "netrc")})
        assert outcome.done.raw == INFO
        assert [wire.authorization is not None for wire in outcome.wires] == [False, True]

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("kind", ["json", "xml", "text", "empty"])
    async def test_no_archive(self, form: str, kind: Any) -> None:
        fault = Status(200, body=kind)
        async with offering(make_sdist(form), fault, name=f"demo-1.0.{form}", knows="nothing") as index:
            error = (await ask(index)).error
        assert isinstance(error, NotAnSdist), repr(error)
        assert error.kind == ("other" if kind == "text" else kind)

    async def test_another_archive_than_its_name_says(self) -> None:
        async with offering(make_sdist("tar.xz")) as index:
            error = (await ask(index)).error
        assert isinstance(error, NotAnSdist)
        assert (error.filename, error.kind) == (SDIST, "xz")

    async def test_a_login_page_that_was_compressed(self) -> None:
        page = gzip.compress(b"<html><title>Corporate sign-in</title><form></form>")
        label = Stating({"Content-Encoding": "gzip", "Content-Type": "text/html"})
        async with offering(page, label, knows="nothing") as index:
            error = (await ask(index)).error
        assert isinstance(error, LoginPage), repr(error)

    @known
    async def test_an_archive_that_is_labelled_as_encoded(self, knows: str) -> None:
        async with offering(make_sdist(), Stating({"Content-Encoding": "gzip"}), knows=knows) as index:
            assert (await ask(index)).done.raw == INFO

    async def test_an_archive_that_is_compressed_once_more(self) -> None:
        async with offering(make_sdist(), Gzip(), knows="nothing") as index:
            assert isinstance((await ask(index)).error, BadReply)

    @pytest.mark.parametrize("form", TARS)
    async def test_other_bytes_than_the_digest_promises(self, form: str) -> None:
        body, other = (make_sdist(form, members_of(before=size)) for size in (9_000, 9_001))
        other = other[: len(body)].ljust(len(body), b"\0")
        async with offering(body, ChangedFile(other, after=0), name=f"demo-1.0.{form}") as index:
            error = (await ask(index)).error
        assert isinstance(error, HashMismatch), repr(error)


class TestBounds:
    @pytest.mark.parametrize("form", [form for form in TARS if form != "tar"])
    async def test_an_archive_that_unpacks_to_very_much(self, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fetcher.sdist.walk._MAX_UNPACKED", 64 << 20)
        body = compress(form, make_tar({"demo-1.0/zeros": bytes(96 << 20), "demo-1.0/PKG-INFO": INFO}))
        async with offering(body, name=f"demo-1.0.{form}") as index:
            outcome = await ask(index)
        assert isinstance(outcome.error, MetadataMissing)
        assert "in the first 67108864 bytes" in str(outcome.error)

    @pytest.mark.parametrize("fault", [Cut(20_000), Cut(300)])
    @pytest.mark.parametrize("form", TARS)
    async def test_a_body_that_is_cut(self, form: str, fault: Fault) -> None:
        body = make_sdist(form, members_of(before=50_000))
        async with offering(body, fault, name=f"demo-1.0.{form}") as index:
            error = (await ask(index)).error
        assert isinstance(error, Truncated | Disconnected), repr(error)

    async def test_a_body_that_is_cut_is_asked_for_again(self) -> None:
        body = make_sdist("tar.gz", members_of(before=50_000))
        async with offering(body, Cut(20_000, times=1)) as index:
            outcome = await ask(index, retries=2)
        assert (outcome.done.raw, outcome.requests) == (INFO, 2)
        assert outcome.body_bytes <= len(body) + SLACK


class TestUnverified:
    """PKG-INFO that nothing vouched for is compared with that of the file that comes later."""

    @pytest.mark.parametrize("form", ["tar.gz", "tar.bz2"])
    async def test_the_file_has_another(self, form: str, dest: Path) -> None:
        name = f"demo-1.0.{form}"
        first = make_sdist(form, members_of(pkg_info(more="Provides-Extra: a\n"), after=LONG))
        then = make_sdist(form, members_of(pkg_info(more="Provides-Extra: b\n"), after=LONG))
        async with offering(first, name=name, knows="nothing") as index, corp(index) as fetcher:
            file = await find(fetcher, ending=name)
            assert not (await fetcher.metadata(file)).verified
            index.wheels = {name: then}
            outcome = await observe(fetcher.download(file, dest), index)
        assert isinstance(outcome.error, MetadataMismatch), repr(outcome.error)
        assert left_in(dest) == []

    @known
    async def test_the_file_has_the_same(self, knows: str, dest: Path) -> None:
        body = make_sdist("tar.gz", members_of(after=LONG))
        async with offering(body, knows=knows) as index, corp(index) as fetcher:
            file = await find(fetcher, ending=SDIST)
            assert not (await fetcher.metadata(file)).verified
            await fetcher.download(file, dest)
            again = await fetcher.download(file, dest)  # what lies there is looked into as well
        assert again.sha256 == hashlib.sha256(body).hexdigest()


async def test_one_that_stops_early_leaves_the_fetcher_usable() -> None:
    async with offering(make_sdist("tar.gz", members_of(after=LONG))) as index, corp(index) as fetcher:
        file = await find(fetcher, ending=SDIST)
        for _ in range(3):
            assert (await fetcher.metadata(file)).raw == INFO
