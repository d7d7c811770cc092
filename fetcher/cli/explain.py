"""`fetcher explain URL`"""

import json
import sys
from typing import Any

import click

from fetcher.cli.deadline import Deadline
from fetcher.cli.options import Settings, common_options, make_fetcher
from fetcher.cli.run import finish, run, say_error
from fetcher.errors import FetcherError
from fetcher.explain import Explanation, HopReport
from fetcher.index.urls import redact

__all__ = ["command"]

_RANGES = {
    "supported": "supported",
    "ignored": "ignored: the whole file comes, and is read as it streams by",
    "refused": "refused",
    "wrong": "answered wrongly",
}


@click.command("explain")
@click.argument("url")
@common_options
def command(settings: Settings, url: str) -> None:
    """Say which index URL belongs to, what is sent to it and why, by asking for its first bytes."""
    if settings.offline:
        raise click.UsageError("explain asks the server, which --offline excludes")

    async def main() -> Explanation:
        async with fetcher:
            with Deadline(settings.deadline).over(redact(url)):
                return await fetcher.explain(url)

    try:
        fetcher = make_fetcher(settings)
    except FetcherError as error:
        finish(error, settings)
    explanation = run(main, settings)
    _print(explanation, settings)
    if explanation.error is not None:
        say_error(explanation.error, settings)
        sys.exit(explanation.error.exit_code)


def _print(explanation: Explanation, settings: Settings) -> None:
    if settings.json:
        click.echo(json.dumps(_fields(explanation)))
        return
    click.echo(explanation.url)
    for number, hop in enumerate(explanation.hops, start=1):
        click.echo(f"  request {number}: {hop.url}")
        for name, value in _lines(hop):
            click.echo(f"    {name + ':':<14}{value}")
    if explanation.if_listed_by:
        click.echo(
            f"  it would belong to index {' or '.join(explanation.if_listed_by)} if a page of that index listed it"
        )
    if explanation.ranges is not None:
        click.echo(f"  {'ranges:':<16}{_RANGES[explanation.ranges]}")
    if explanation.content is not None:
        click.echo(f"  {'content:':<16}{explanation.content}")


def _lines(hop: HopReport) -> list[tuple[str, str]]:
    sent = f"from {hop.sent}" if hop.sent else "none sent"
    if hop.signed:
        sent = "none sent: the URL is signed"
    return [
        ("index", "none" if hop.index is None else f"{hop.index}: {hop.scope}"),
        ("authenticate", hop.policy),
        ("credentials", sent),
        ("answer", "none" if hop.status is None else f"HTTP {hop.status}"),
    ]


def _fields(explanation: Explanation) -> dict[str, Any]:
    error = explanation.error
    return {
        "url": explanation.url,
        "hops": [
            {
                "url": hop.url,
                "index": hop.index,
                "scope": hop.scope,
                "authenticate": hop.policy,
                "credentials": hop.sent,
                "signed": hop.signed,
                "status": hop.status,
            }
            for hop in explanation.hops
        ],
        "ranges": explanation.ranges,
        "content": explanation.content,
        "if_listed_by": list(explanation.if_listed_by),
        **({} if error is None else {"error": type(error).__name__, "message": str(error)}),
    }
