"""What is to be done for one project."""

from __future__ import annotations

import msgspec
import pytest
from made_up import content, entry, file, sha256

from fetcher.errors import NotFound
from fetcher.mirror.plan import as_failed, as_fetched, keys_of, may_remove, plan_project
from fetcher.mirror.records import Entry, Listing

WHEEL = "demo-1.0-py3-none-any.whl"
OTHER = "demo-2.0-py3-none-any.whl"


def known(*entries: Entry) -> dict[str, Entry]:
    return {each.filename: each for each in entries}


def test_what_is_not_there_is_fetched() -> None:
    listed = file(WHEEL)
    assert plan_project({}, [listed], [listed]).fetch == [listed]
    assert plan_project(known(entry(listed)), [listed], [listed]).fetch == [listed]


def test_what_is_there_is_not() -> None:
    listed = file(WHEEL)
    there = entry(listed, content(WHEEL))
    plan = plan_project(known(there), [listed], [listed])
    assert (plan.fetch, plan.present, plan.changed, plan.relisted) == ([], [there], [], [])


def test_a_yank_is_followed_without_fetching() -> None:
    there = entry(file(WHEEL), content(WHEEL))
    now = file(WHEEL, yanked=True, yanked_reason="bad")
    assert plan_project(known(there), [now], [now]).changed == [msgspec.structs.replace(there, listing=Listing.of(now))]
    assert plan_project(known(there), [], [now]).relisted == [msgspec.structs.replace(there, listing=Listing.of(now))]
    assert plan_project(known(there), [], []).relisted == []


def test_an_error_of_before_is_forgotten_once_it_is_there() -> None:
    listed = file(WHEEL)
    there = entry(listed, content(WHEEL), error="NotFound", reason="gone")
    (changed,) = plan_project(known(there), [listed], [listed]).changed
    assert (changed.error, changed.reason) == ("", "")


@pytest.mark.parametrize(
    ("before", "now", "other"),
    [
        ({"hashes": {"sha256": "a" * 64}}, {"hashes": {"sha256": "b" * 64}}, True),
        ({"hashes": {"sha256": "a" * 64}, "size": 1}, {"hashes": {"sha256": "a" * 64}, "size": 2}, False),
        ({"hashes": {"md5": "a" * 32}}, {"hashes": {"sha256": "b" * 64}}, False),
        ({"hashes": {"md5": "a" * 32}, "size": 1}, {"hashes": {"sha256": "b" * 64}, "size": 2}, True),
        ({"hashes": {}, "size": 1}, {"hashes": {}, "size": 1}, False),
        ({"hashes": {}, "size": 1}, {"hashes": {}, "size": 2}, True),
    ],
)
def test_other_bytes_under_the_same_name(before: dict, now: dict, other: bool) -> None:
    there, listed = entry(file(WHEEL, **before), content(WHEEL)), file(WHEEL, **now)
    assert (plan_project(known(there), [listed], [listed]).fetch == [listed]) is other
    assert plan_project(known(there), [], [listed]).fetch == []


def test_a_signature_in_a_url_is_no_other_file() -> None:
    there = entry(file(WHEEL, hashes={}), content(WHEEL))
    listing = msgspec.structs.replace(there.listing, url=f"{there.listing.url}?X-Amz-Signature=1")
    now = listing.file("demo", WHEEL, None)
    assert plan_project(known(there), [now], [now]).fetch == []
    moved = msgspec.structs.replace(listing, url="https://elsewhere/x").file("demo", WHEEL, None)
    assert plan_project(known(there), [moved], [moved]).fetch == [moved]


def test_a_page_says_more_than_a_lock() -> None:
    locked = file(WHEEL, requires_python=None)
    on_page = file(WHEEL, requires_python=">=3.9", yanked=True)
    there = entry(on_page, content(WHEEL))
    assert plan_project(known(there), [locked], []).present == [there]
    assert plan_project(known(there), [locked], [on_page]).present == [there]
    other = file(WHEEL, hashes={"sha256": "f" * 64})
    assert plan_project(known(there), [other], [on_page]).fetch == [other]


def test_a_file_that_cannot_be_had_anew_stays() -> None:
    there = entry(file(WHEEL), content(WHEEL))
    now = file(WHEEL, hashes={"sha256": "f" * 64})
    failed = as_failed("demo", now, there, NotFound("https://host/x", 404))
    assert (failed.listing, failed.content) == (there.listing, there.content)
    assert failed.error == "NotFound"
    assert plan_project(known(failed), [now], [now]).fetch == [now]  # and is tried again
    never = as_failed("demo", now, None, NotFound("https://host/x", 404))
    assert never.content is None


def test_keys() -> None:
    there = content("a", metadata="m", provenance="p")
    keys = keys_of(as_fetched("demo", file(WHEEL), there))
    assert [key.rpartition("/")[2] for key in keys] == [WHEEL, f"{WHEEL}.metadata", f"{WHEEL}.provenance"]
    assert all(sha256("a")[2:] in key for key in keys)
    assert len(keys_of(entry(file(WHEEL), content("a")))) == 1
    assert keys_of(entry(file(WHEEL))) == []


@pytest.mark.parametrize(
    ("count", "files", "percent", "allowed"),
    [(0, 0, 5, True), (5, 100, 5, True), (6, 100, 5, False), (1, 10, 5, False), (10, 10, 100, True), (1, 9, 0, False)],
)
def test_how_much_may_be_removed(count: int, files: int, percent: float, allowed: bool) -> None:
    assert may_remove(count, files, percent) is allowed
