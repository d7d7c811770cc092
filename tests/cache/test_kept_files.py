"""METADATA and small wheels out of the cache: what they cost, by what they are known, and what is never kept."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from fake_faults import ChangedFile, Cut, Etag, IgnoreRanges, Only, Stating
from fake_index import FakeIndex, Guard, basic
from fake_wheels import make_wheel, metadata_of, wheel_filename
from msgspec import structs
from test_kept_pages import damage, everything_in
from wire_checks import corp, find, left_in, observe

from fetcher import MetadataMismatch, MissingCredentials, Offline

if TYPE_CHECKING:
    from pathlib import Path

    from fetcher import Download, Metadata

pytestmark = pytest.mark.usefixtures("_no_blocking")

NAME = wheel_filename()
SMALL = make_wheel()
LARGE = make_wheel(size=600_000)
FRESH = Stating({"Cache-Control": "max-age=600"})


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def serving(wheel: bytes = LARGE, **more: Any) -> FakeIndex:
    more["faults"] = {"/simple/*": FRESH, **more.get("faults", {})}
    return FakeIndex(wheels={NAME: wheel}, **more)


async def read(index: FakeIndex, cache: Path, **options: Any) -> tuple[Metadata, int]:
    """One run: METADATA, and the requests of page and wheel."""
    async with corp(index, cache=cache, **options) as fetcher:
        before = index.requests
        metadata = await fetcher.metadata(await find(fetcher))
        return metadata, index.requests - before


async def get(index: FakeIndex, cache: Path, dest: Path, **options: Any) -> tuple[Download, int]:
    """One run: the wheel, and the requests of page and wheel."""
    async with corp(index, cache=cache, **options) as fetcher:
        before = index.requests
        done = await fetcher.download(await find(fetcher), dest)
        return done, index.requests - before


class TestMetadata:
    @pytest.mark.parametrize(
        ("options", "how"),
        [
            ({}, "range"),
            ({"sidecar": "hash"}, "sidecar"),
            ({"wheel": SMALL}, "whole"),
            ({"page_format": "html"}, "range"),
        ],
        ids=str,
    )
    async def test_twice(self, options: dict[str, Any], how: str, cache: Path) -> None:
        async with serving(**options) as index:
            first, asked = await read(index, cache)
            second, asked_again = await read(index, cache)
            third, asked_offline = await read(index, cache, offline=True)
        assert (first.how, second.how, third.how) == (how, "cache", "cache")
        assert (asked, asked_again, asked_offline) == (2, 0, 0)
        assert (second.requests, second.bytes, second.verified) == (0, 0, True)
        assert first.raw == second.raw == third.raw == metadata_of(options.get("wheel", LARGE))
        assert (second.name, second.version, second.filename) == (first.name, first.version, first.filename)
        assert (second.url, second.index) == (first.url, first.index)

    async def test_in_one_run(self, cache: Path) -> None:
        async with serving() as index, corp(index, cache=cache) as fetcher:
            file = await find(fetcher)
            hows = [(await fetcher.metadata(file)).how for _ in range(3)]
        assert hows == ["range", "cache", "cache"]

    async def test_refresh_is_for_pages(self, cache: Path) -> None:
        """What a digest names does not change."""
        async with serving() as index:
            await read(index, cache)
            metadata, requests = await read(index, cache, refresh=True)
        assert (metadata.how, requests) == ("cache", 1)

    async def test_unverified_is_not_kept(self, cache: Path) -> None:
        wheel = make_wheel(size=2_000_000, metadata_first=True)
        async with serving(wheel, faults={"*.whl": IgnoreRanges()}) as index:
            metadata = [(await read(index, cache))[0] for _ in range(2)]
        assert [(one.how, one.verified) for one in metadata] == [("stream", False)] * 2

    async def test_without_a_digest_nothing_is_kept(self, cache: Path) -> None:
        async with serving(hashes="none") as index:
            metadata = [(await read(index, cache))[0] for _ in range(2)]
        assert [one.how for one in metadata] == ["range"] * 2

    async def test_another_digest_under_the_same_url(self, cache: Path) -> None:
        """A release replaced in place."""
        other = make_wheel(size=600_000, seed=1, metadata="Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nX: y\n")
        async with serving(faults={"/simple/*": Etag("fresh")}) as index:
            await read(index, cache, refresh=True)
            index.wheels = {NAME: other}
            metadata, _ = await read(index, cache, refresh=True)
        assert (metadata.how, metadata.raw) == ("range", metadata_of(other))

    async def test_the_same_digest_under_another_url(self, cache: Path) -> None:
        """An index cannot speak for another's file: its METADATA, by a sidecar, is a lie that it vouches for itself."""
        sha256 = hashlib.sha256(LARGE).hexdigest()
        lie = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Dist: evil\n"
        liar = make_wheel(size=600_000, metadata=lie.decode())
        async with FakeIndex(wheels={NAME: liar}, sidecar="hash") as evil, serving() as index:
            async with corp(evil, cache=cache) as fetcher:
                file = structs.replace(await find(fetcher), hashes={"sha256": sha256})
                assert (await fetcher.metadata(file)).raw == lie
            metadata, _ = await read(index, cache)
        assert (metadata.how, metadata.raw) == ("range", metadata_of(LARGE))

    @pytest.mark.parametrize(("wheel", "how"), [(LARGE, "range"), (SMALL, "whole")], ids=["large", "small"])
    async def test_another_sidecar(self, wheel: bytes, how: str, cache: Path, dest: Path) -> None:
        """The page names other METADATA now: what is kept, also in the wheel, is of no use until it no longer does."""
        async with serving(wheel) as index, corp(index, cache=cache) as fetcher:
            file = await find(fetcher)
            await fetcher.download(file, dest)
            await fetcher.metadata(file)
            other = structs.replace(file, sidecar={"sha256": "0" * 64})
            outcome = await observe(fetcher.metadata(other), index)
            right = structs.replace(file, sidecar={"sha256": hashlib.sha256(metadata_of(wheel)).hexdigest()})
            again = [(await observe(fetcher.metadata(file), index)).requests for file in (file, other)]
            in_the_wheel = await observe(fetcher.metadata(right), index)
        assert (outcome.done.how, outcome.statuses[0], again) == (how, 404, [0, 0])
        assert (in_the_wheel.requests == 0) is (wheel is SMALL)

    @pytest.mark.parametrize("query", ["?signature=abc", "?x=1", "#sha256=0"])
    async def test_userinfo_and_query_do_not_count(self, query: str, cache: Path) -> None:
        async with serving() as index:
            await read(index, cache)
            async with corp(index, cache=cache) as fetcher:
                file = await find(fetcher)
                url = file.url.replace("://", "://user:password@") + query
                outcome = await observe(fetcher.metadata(structs.replace(file, url=url)), index)
        assert (outcome.done.how, outcome.requests) == ("cache", 0)

    async def test_a_file_of_another_name(self, cache: Path) -> None:
        """Whatever lies under the key: METADATA must name the project and the version."""
        async with serving() as index:
            await read(index, cache)
            async with corp(index, cache=cache) as fetcher:
                file = structs.replace(await find(fetcher), filename=wheel_filename(version="2.0"))
                outcome = await observe(fetcher.metadata(file), index)
        assert type(outcome.error).__name__ == "MetadataMissing"
        assert outcome.requests > 0

    @pytest.mark.parametrize("how", ["flip", "truncate", "empty", "remove"])
    @pytest.mark.parametrize("wheel", [SMALL, LARGE], ids=["small", "large"])
    async def test_damage(self, wheel: bytes, how: str, cache: Path, dest: Path) -> None:
        async with serving(wheel) as index:
            await read(index, cache)
            damage(cache, how)
            metadata, requests = await read(index, cache)
            done, _ = await get(index, cache, dest)
        assert (metadata.how != "cache", requests) == (True, 2)
        assert metadata.raw == metadata_of(wheel)
        assert done.path.read_bytes() == wheel

    async def test_offline_without_it(self, cache: Path) -> None:
        async with serving(sidecar="hash") as index:
            async with corp(index, cache=cache) as fetcher:
                file = await find(fetcher)
            async with corp(index, cache=cache, offline=True) as fetcher:
                outcome = await observe(fetcher.metadata(file), index)
        assert (type(outcome.error), outcome.requests) == (Offline, 0)

    async def test_always_without_credentials(self, cache: Path) -> None:
        guard = Guard(accepts=(basic("user", "good"),))
        knows = {"FETCHER_INDEX_CORP_USERNAME": "user", "FETCHER_INDEX_CORP_PASSWORD": "good"}
        always = {"authenticate": "always"}
        async with serving(SMALL, auth={"/": guard}) as index:
            async with corp(index, cache=cache, environ=knows, index_options=always) as fetcher:
                file = await find(fetcher)
                await fetcher.metadata(file)
            async with corp(index, cache=cache, index_options=always) as fetcher:
                outcome = await observe(fetcher.metadata(file), index)
                download = await observe(fetcher.download(file, cache.parent / "dest"), index)
        assert (type(outcome.error), outcome.requests) == (MissingCredentials, 0)
        assert (type(download.error), download.requests) == (MissingCredentials, 0)


OTHER = make_wheel(size=600_000, seed=1, metadata="Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nX: y\n")


class TestOfAnotherWheel:
    """METADATA read from segments of what lay there for a moment, and was not the file of the page's digest."""

    async def lie(self, index: FakeIndex, cache: Path) -> None:
        """One run that reads the METADATA of another wheel."""
        index.faults = {"/simple/*": FRESH, NAME: ChangedFile(OTHER, after=0)}
        metadata, _ = await read(index, cache)
        assert (metadata.how, metadata.raw) == ("range", metadata_of(OTHER))
        index.faults = {"/simple/*": FRESH}

    async def test_a_download_in_another_run(self, cache: Path, dest: Path) -> None:
        async with serving(sizes=False) as index:
            await self.lie(index, cache)
            await get(index, cache, dest)
            metadata, requests = await read(index, cache)
        assert (metadata.raw, requests) == (metadata_of(LARGE), 0)

    async def test_a_file_that_is_there_already(self, cache: Path, dest: Path) -> None:
        async with serving(sizes=False) as index:
            await get(index, cache, dest)
            await self.lie(index, cache)
            await get(index, cache, dest)
            metadata, requests = await read(index, cache)
        assert (metadata.raw, requests) == (metadata_of(LARGE), 0)

    async def test_who_was_given_it_is_told(self, cache: Path, dest: Path) -> None:
        async with serving(sizes=False) as index:
            await self.lie(index, cache)
            async with corp(index, cache=cache) as fetcher:
                file = await find(fetcher)
                assert (await fetcher.metadata(file)).how == "cache"
                outcome = await observe(fetcher.download(file, dest), index)
            metadata, _ = await read(index, cache)
        assert type(outcome.error) is MetadataMismatch
        assert left_in(dest) == []
        assert (metadata.how, metadata.raw) == ("range", metadata_of(LARGE))

    async def test_without_a_cache(self, dest: Path) -> None:
        other_at_first = {NAME: Only(ChangedFile(OTHER, after=0), times=1)}
        async with serving(sizes=False, faults=other_at_first) as index, corp(index) as fetcher:
            file = await find(fetcher)
            await fetcher.metadata(file)
            outcome = await observe(fetcher.download(file, dest), index)
        assert type(outcome.error) is MetadataMismatch

    async def test_the_right_one_is_no_longer_doubted(self, cache: Path, tmp_path: Path) -> None:
        """A later download finds it right, and from then on need not compare."""
        async with serving() as index:
            await read(index, cache)
            before = everything_in(cache)
            await get(index, cache, tmp_path / "first")
            proven = everything_in(cache)
            await get(index, cache, tmp_path / "second")
            metadata, requests = await read(index, cache)
        assert before != proven == everything_in(cache)
        assert (metadata.raw, requests) == (metadata_of(LARGE), 0)


class TestSmallWheels:
    """They are kept whole."""

    async def first(self, first: str, index: FakeIndex, cache: Path, dest: Path) -> None:
        if first == "metadata":
            await read(index, cache)
        else:
            await get(index, cache, dest)

    @pytest.mark.parametrize("first", ["metadata", "download"])
    async def test_a_later_run(self, first: str, cache: Path, tmp_path: Path) -> None:
        async with serving(SMALL) as index:
            await self.first(first, index, cache, tmp_path / "first")
            metadata, asked = await read(index, cache)
            done, asked_too = await get(index, cache, tmp_path / "second", offline=True)
        assert (metadata.how, metadata.raw, asked) == ("cache", metadata_of(SMALL), 0)
        assert (done.from_cache, done.bytes, asked_too) == (True, 0, 0)
        assert (done.path.read_bytes(), done.sha256) == (SMALL, hashlib.sha256(SMALL).hexdigest())

    async def test_not_from_the_cache(self, cache: Path, dest: Path) -> None:
        async with serving(SMALL) as index:
            fetched, _ = await get(index, cache, dest)
            present, _ = await get(index, cache, dest)
        assert (fetched.from_cache, fetched.bytes) == (False, len(SMALL))
        assert (present.from_cache, present.bytes) == (False, 0)

    async def test_a_large_wheel(self, cache: Path, tmp_path: Path) -> None:
        async with serving(LARGE) as index:
            await get(index, cache, tmp_path / "first")
            done, requests = await get(index, cache, tmp_path / "second")
        assert (done.from_cache, requests) == (False, 1)

    async def test_of_another_index(self, cache: Path, tmp_path: Path) -> None:
        """Whoever names a digest names the bytes."""
        async with serving(SMALL) as one, serving(SMALL) as other:
            await get(one, cache, tmp_path / "first")
            done, requests = await get(other, cache, tmp_path / "second")
        assert (done.from_cache, requests) == (True, 1)

    async def test_wrong_bytes_are_not_kept(self, cache: Path, tmp_path: Path) -> None:
        async with serving(SMALL) as index, corp(index, cache=cache) as fetcher:
            file = structs.replace(await find(fetcher), hashes={"sha256": "0" * 64})
            outcome = await observe(fetcher.download(file, tmp_path / "first"), index)
            again = await observe(fetcher.download(file, tmp_path / "first"), index)
        assert type(outcome.error).__name__ == type(again.error).__name__ == "HashMismatch"
        assert again.requests > 0

    async def test_offline_and_not_there(self, cache: Path, dest: Path) -> None:
        async with serving(SMALL) as index:
            async with corp(index, cache=cache) as fetcher:
                file = await find(fetcher)
            async with corp(index, cache=cache, offline=True) as fetcher:
                outcome = await observe(fetcher.download(file, dest), index)
        assert (type(outcome.error), outcome.requests) == (Offline, 0)
        assert left_in(dest) == []

    async def test_offline_and_in_place(self, cache: Path, dest: Path) -> None:
        async with serving(LARGE) as index:
            await get(index, cache, dest)
            done, requests = await get(index, cache, dest, offline=True)
        assert (done.bytes, requests) == (0, 0)

    async def test_a_body_that_was_cut(self, cache: Path, tmp_path: Path) -> None:
        async with serving(SMALL, faults={"*.whl": Cut(500, times=1)}) as index:
            await get(index, cache, tmp_path / "first")
            done, _ = await get(index, cache, tmp_path / "second")
        assert done.path.read_bytes() == SMALL
        assert done.from_cache

    async def test_a_url(self, cache: Path, tmp_path: Path) -> None:
        """By its digest in the fragment; without one nothing is kept."""
        async with serving(SMALL) as index:
            url = f"{index.files_url}/{NAME}"
            requests = []
            for target in (url, url, f"{url}#sha256={hashlib.sha256(SMALL).hexdigest()}"):
                for where in ("a", "b"):
                    async with corp(index, cache=cache) as fetcher:
                        folder = tmp_path / f"{len(requests)}{where}"
                        requests.append((await observe(fetcher.download(target, folder), index)).requests)
        assert requests == [1, 1, 1, 1, 1, 0]
