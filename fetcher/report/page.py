"""The page around a report: head, style, and what the browser may do with it.

1. The browser may run the one script and use the one style whose digests stand in the policy (CSP level 3), and may
   load nothing at all: markup that came in with somebody's file name could not act even if it were not escaped.
2. Hence no style attributes; widths and places are attributes of SVG.
3. Values for the script stand in the page as JSON in which no character can end the element.

This file is pure.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256

from fetcher.report.script import SCRIPT

__all__ = ["STYLE", "page"]

# All texts have a contrast of at least 4.5 : 1 to the page (WCAG 2.2, 1.4.3), in both schemes.
STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --text: #1b1f24; --quiet: #59636e; --rule: #e2e6ea; --grid: #edf0f2;
  --curve: #1f6feb; --area: #1f6feb1f; --bar: #8fb6f0; --failed: #b42318; --failed-bar: #d92d20;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14181d; --text: #e4e8ec; --quiet: #9aa5b1; --rule: #2c333b; --grid: #232a31;
    --curve: #6cb0ff; --area: #6cb0ff26; --bar: #3d6da6; --failed: #ff9a8f; --failed-bar: #e5534b;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body {
  margin: 0; background: var(--page); color: var(--text); font: 14px/1.5 system-ui, "Segoe UI", Roboto, sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 1160px; margin: 0 auto; padding: 40px 32px 72px; }
h1 { font-size: 24px; line-height: 1.3; font-weight: 600; letter-spacing: -0.01em; margin: 0; max-width: 36em;
  text-wrap: balance; }
h2 { font-size: 16px; font-weight: 600; margin: 0; }
a { color: var(--failed); text-underline-offset: 3px; text-decoration-thickness: 1px; }
a:not(:hover) { text-decoration-color: color-mix(in srgb, currentcolor 40%, transparent); }
dl { display: flex; flex-wrap: wrap; gap: 12px 40px; margin: 20px 0 0; }
dt, .note, .none, .axis, figcaption { color: var(--quiet); }
dt { font-size: 13px; }
dd { margin: 0; overflow-wrap: anywhere; }
section { margin-top: 44px; min-width: 0; }
.note { margin: 2px 0 0; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 0 56px; }
figure { margin: 16px 0 0; min-width: 0; }
figcaption { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 16px; }
figcaption b { font-weight: 500; color: var(--text); }
.plot { display: block; width: calc(100% - 52px); height: 190px; margin: 14px 0 0 52px; overflow: visible; }
.plot line { stroke: var(--grid); }
.plot text { fill: var(--quiet); font-size: 13px; text-anchor: middle; }
.plot text.y, .plot text.last { text-anchor: end; }
.plot path { fill: none; vector-effect: non-scaling-stroke; }
.plot .area { fill: var(--area); }
.plot .curve { stroke: var(--curve); stroke-width: 1.5; stroke-linejoin: round; }
.plot .mean { stroke: var(--quiet); stroke-dasharray: 3 4; }
.plot .pointed { fill: var(--curve); opacity: 0.35; }
.axis { margin: 24px 0 0 52px; font-size: 13px; text-align: center; }
.wide { overflow-x: auto; margin-top: 10px; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: 6px 0 6px 20px; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
th:first-child { padding-left: 0; }
th { font-weight: 400; }
tbody th { min-width: 104px; }
tbody th, #failed td { overflow-wrap: anywhere; }
thead th { color: var(--quiet); font-size: 13px; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
.bar { width: 34%; }
.bar svg { display: block; width: 100%; height: 8px; margin-top: 7px; }
.bar rect { fill: var(--bar); }
tr.failed .bar rect { fill: var(--failed-bar); }
tr.failed th, tr.failed .number, span.failed { color: var(--failed); }
thead button { all: unset; cursor: pointer; }
thead button:hover { color: var(--text); }
[aria-sort] button::after { content: " ↑"; }
[aria-sort="descending"] button::after { content: " ↓"; }
:focus-visible { outline: 2px solid var(--curve); outline-offset: 2px; border-radius: 3px; }
#failed { table-layout: fixed; min-width: 640px; }
#failed th:nth-child(1) { width: 16%; }
#failed th:nth-child(2) { width: 30%; }
#failed th:nth-child(3) { width: 14%; }
.kinds { display: flex; flex-wrap: wrap; gap: 8px; margin: 12px 0 0; }
.kinds button, #more {
  font: inherit; color: inherit; background: none; border: 1px solid var(--rule); border-radius: 6px; padding: 3px 10px;
}
.kinds button:enabled, #more { cursor: pointer; }
.kinds button:enabled:hover, #more:hover { border-color: var(--quiet); }
.kinds button[aria-pressed="true"] { border-color: var(--curve); box-shadow: inset 0 0 0 1px var(--curve); }
.kinds b { font-weight: 600; margin-left: 4px; }
.search { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 16px; margin-top: 14px; color: var(--quiet); }
.search label { display: flex; flex: 0 1 420px; align-items: center; gap: 8px; }
.search input {
  flex: 1; min-width: 0; font: inherit; color: var(--text); background: none; padding: 5px 10px;
  border: 1px solid var(--quiet); border-radius: 6px;
}
#more { margin-top: 14px; }
@media (scripting: enabled) { #failed:not(.ready) tr:nth-child(n + 201) { display: none; } }
@media (max-width: 640px) {
  main { padding: 24px 16px 48px; }
  h1 { font-size: 20px; }
  th, td { padding-left: 12px; }
  .bar { width: 20%; }
  .plot { height: 160px; }
  #failed { min-width: 0; }
  #failed thead { display: none; }
  #failed tr { display: block; padding: 10px 0; border-bottom: 1px solid var(--rule); }
  #failed tbody :is(th, td) { display: block; width: auto; padding: 0; border: 0; }
  #failed tbody th { font-weight: 600; }
  #failed td:nth-child(3) { color: var(--quiet); }
}
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def page(title: str, body: str, data: Mapping[str, object]) -> str:
    """Return the document; `title` and `body` are HTML, `data` is what the script reads."""
    # An empty data URL is the icon: without it, browsers ask the server for /favicon.ico.
    policy = (
        f"default-src 'none'; img-src data:; style-src {_source(STYLE)}; script-src {_source(SCRIPT)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return _PAGE.format(policy=policy, title=title, style=STYLE, body=body, data=_as_json(data), script=SCRIPT)


def _source(text: str) -> str:
    """Return what stands for an inline script or style in a policy (CSP level 3, 2.3.1)."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _as_json(value: object) -> str:
    """Return JSON that ends no element and begins none (rule 3); beyond ASCII, json escapes by itself."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
