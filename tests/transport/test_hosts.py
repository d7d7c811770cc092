"""What was learned of each host."""

import asyncio

from fetcher.index.urls import Realm
from fetcher.transport.hosts import Hosts


async def test_one_for_each_realm() -> None:
    hosts = Hosts(most=7)
    secure, plain = hosts.of(Realm("https", "host", 443)), hosts.of(Realm("http", "host", 80))
    assert hosts.of(Realm("https", "host", 443)) is secure
    assert plain is not secure
    assert secure.limiter.total_tokens == plain.limiter.total_tokens == 7
    secure.refuses_suffix = True
    assert not plain.refuses_suffix


async def test_the_longest_pause_stays() -> None:
    host = Hosts(1).of(Realm("https", "host", 443))
    assert host.cool_until == 0
    host.cool_down(10, 503)
    host.cool_down(5, 429)
    assert (host.cool_until, host.cooled_by) == (10, 503)
    host.cool_down(20, 429)
    assert (host.cool_until, host.cooled_by) == (20, 429)


async def test_a_right_range_is_remembered_and_heals() -> None:
    host = Hosts(1).of(Realm("https", "host", 443))
    host.refuses_ranges = True
    host.note(right_range=False)
    assert host.refuses_ranges
    assert not await host.is_known_to_range()
    host.note(right_range=True)
    assert not host.refuses_ranges
    host.note(right_range=False)
    assert await host.is_known_to_range()


async def test_the_first_is_told_at_once_and_the_next_wait_for_it() -> None:
    host = Hosts(1).of(Realm("https", "host", 443))
    assert not await host.is_known_to_range()
    others = [asyncio.create_task(host.is_known_to_range()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in others)
    host.note(right_range=True)
    assert await asyncio.gather(*others) == [True] * 3


async def test_its_places_follow_the_limit() -> None:
    host = Hosts(most=100).of(Realm("https", "host", 443))
    first = host.limiter.total_tokens
    host.answered(0.01)
    assert host.limiter.total_tokens == host.limit.now == first + 1
    host.complained(began=0.0)
    assert host.limiter.total_tokens == host.limit.now == (first + 1) // 2
