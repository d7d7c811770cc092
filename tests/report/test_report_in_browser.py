"""The report of a mirror job in a real browser: it asks for nothing, complains of nothing, and does what it should."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from browser import browsing
from made_up_reports import HOSTILE, failing, made_up

from fetcher.report.chart import BOX
from fetcher.report.report import render_report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from browser import Browser

    from fetcher.report.report import Report

SHOWN = "[...document.querySelectorAll('#failed tbody tr')].filter((row) => row.checkVisibility())"
FIRST_CELLS = f"{SHOWN}.map((row) => row.cells[0].textContent)"
FOUND = "document.querySelector('#found').textContent"


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with browsing(tmp_path / "profile") as found:
        yield found


async def opened(browser: Browser, folder: Path, report: Report) -> None:
    file = folder / "report.html"
    file.write_text(render_report(report), encoding="utf-8")
    await browser.open(file.as_uri())


async def test_it_asks_for_nothing_and_hostile_text_stays_text(browser: Browser, tmp_path: Path) -> None:
    await opened(browser, tmp_path, made_up())
    assert await browser.value(FIRST_CELLS) == ["torch", "corp-secrets", "grpcio", "lxml", "six", "six", "six"]
    files = f"{SHOWN}.slice(-3).map((row) => row.cells[1].textContent)"
    assert await browser.value(files) == [f"six-{text}.whl" for text in HOSTILE[:3]]
    assert await browser.value("[document.images.length, document.scripts.length]") == [0, 2]
    assert await browser.value("typeof window.hacked") == "undefined"
    assert await browser.value("performance.getEntriesByType('resource').length") == 0
    assert (browser.requests, browser.complaints) == ([(tmp_path / "report.html").as_uri()], [])


async def test_the_browser_lets_nothing_in_even_if_it_were_markup(browser: Browser, tmp_path: Path) -> None:
    markup = '<img src="http://127.0.0.1:9/x.png" onerror="window.hacked = 1"><script>window.hacked = 1</script>'
    text = render_report(made_up()).replace("<header>", f"<header>{markup}")
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    await browser.open((tmp_path / "report.html").as_uri())
    assert await browser.value("typeof window.hacked") == "undefined"
    told = [str(complaint) for complaint in browser.complaints]
    assert [any(word in text for text in told) for word in ("img-src", "script-src")] == [True, True]


async def test_the_charts(browser: Browser, tmp_path: Path) -> None:
    await opened(browser, tmp_path, made_up())
    curves = await browser.value("[...document.querySelectorAll('path.curve')].map((path) => path.getAttribute('d'))")
    assert len(curves) == 4
    for curve in curves:
        numbers = [float(number) for number in re.findall(r"[\d.]+", curve)]
        assert all(0 <= number <= BOX for number in numbers)
        places = [float(number) for number in re.findall(r"H([\d.]+)", curve)]
        assert len(places) > 50
        assert places == sorted(places)
        assert places[-1] == BOX
    boxes = "[...document.querySelectorAll('path.curve')].map((path) => path.getBoundingClientRect().width)"
    assert min(await browser.value(boxes)) > 300
    await browser.click("#speed .plot")
    assert re.fullmatch(
        r"[\d.]+–[\d.]+ s: 50 MB/s", await browser.value("document.querySelector('#speed output').textContent")
    )


async def test_search(browser: Browser, tmp_path: Path) -> None:
    await opened(browser, tmp_path, failing(345))
    assert await browser.value(FOUND) == "345 of 345"
    assert await browser.value(f"{SHOWN}.length") == 200
    await browser.click("#more")
    assert await browser.value(f"{SHOWN}.length") == 345
    await browser.type_into("#search", "project-34")
    expected = [f"project-{number}" for number in (34, 340, 341, 342, 343, 344)]
    assert await browser.value(FIRST_CELLS) == expected
    assert await browser.value(FOUND) == "6 of 345"
    await browser.type_into("#search", "  TIMEDOUT reason  project-34")
    assert await browser.value(FOUND) == "2 of 345"
    await browser.type_into("#search", "nothing has this")
    assert await browser.value(FOUND) == "0 of 345"
    await browser.type_into("#search", "project-34")
    await browser.click("[data-error=NotFound]")
    assert await browser.value(FOUND) == "4 of 345"
    await browser.click("[data-error=NotFound]")
    assert await browser.value(FOUND) == "6 of 345"
    assert browser.complaints == []


async def test_sorting(browser: Browser, tmp_path: Path) -> None:
    await opened(browser, tmp_path, failing(12))
    for order, expected in (("ascending", ["project-0", "project-1", "project-2"]), ("descending", ["project-11"])):
        await browser.click("#failed th button")
        assert (await browser.value(FIRST_CELLS))[: len(expected)] == expected
        assert await browser.value("document.querySelector('#failed th').ariaSort") == order
    hosts = "[...document.querySelectorAll('#hosts tbody th')].map((cell) => cell.textContent)"
    await browser.click("#hosts th:nth-child(3) button")
    assert await browser.value(hosts) == ["pypi.example", "slow.example", "gone.example"]
    await browser.click("#hosts th:nth-child(3) button")
    assert await browser.value(hosts) == ["gone.example", "slow.example", "pypi.example"]


async def test_without_a_script_all_is_there(browser: Browser, tmp_path: Path) -> None:
    await browser.call("Emulation.setScriptExecutionDisabled", value=True)
    await opened(browser, tmp_path, failing(345))
    assert await browser.value(f"{SHOWN}.length") == 345
    shown = "['#search', '#more', 'path.curve'].map((name) => document.querySelector(name).checkVisibility())"
    assert await browser.value(shown) == [False, False, True]


@pytest.mark.parametrize("width", [360, 1400])
async def test_it_fits_the_screen(browser: Browser, tmp_path: Path, width: int) -> None:
    await browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=True)
    await opened(browser, tmp_path, made_up())
    assert await browser.value("document.documentElement.scrollWidth") == width


async def test_texts_can_be_read_in_light_and_dark(browser: Browser, tmp_path: Path) -> None:
    for scheme in ("light", "dark"):
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        await browser.call("Emulation.setEmulatedMedia", features=media)
        await opened(browser, tmp_path, made_up())
        color = "((name, kind) => getComputedStyle(document.querySelector(name))[kind])"
        page = await browser.value(f"{color}('body', 'backgroundColor')")
        assert (luminance(page) < 0.5) == (scheme == "dark")
        for name, kind in (("h1", "color"), ("h1 a", "color"), (".note", "color"), (".plot text", "fill")):
            assert contrast(page, await browser.value(f"{color}('{name}', '{kind}')")) >= 4.5, (scheme, name)
        assert contrast(page, await browser.value(f"{color}('path.curve', 'stroke')")) >= 3


def luminance(color: str) -> float:
    """WCAG 2.2: relative luminance of `rgb(r, g, b)`."""
    shares = [int(number) / 255 for number in re.findall(r"\d+", color)[:3]]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
