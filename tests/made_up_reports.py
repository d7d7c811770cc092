"""Reports of runs that never were."""

from __future__ import annotations

from dataclasses import replace

from fetcher.report.report import Failure, HostShare, ProjectShare, Report, Sample

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    '"><svg onload="window.hacked = 1">',
    "' onmouseover='window.hacked = 1",
    "</td></tr></table><style>* { display: none }</style>",
    "<!-- &lt;b&gt; &amp;amp; -->",
    "{title} {0} %s \\u003c \u2028 ]]>",
)


def made_up() -> Report:
    """842 projects, 3 GB in a minute, seven failures."""
    failures = [
        Failure("torch", "torch-2.6.0-cp311-cp311-win_amd64.whl", "HashMismatch", "its digest is not the index's"),
        Failure("corp-secrets", "", "LoginPage", "instead of the index page came an HTML page titled 'Login'"),
        Failure("grpcio", "grpcio-1.70.0.tar.gz", "NotFound", "https://pypi.example/grpcio-1.70.0.tar.gz: HTTP 404"),
        Failure("lxml", "lxml-5.3.0-cp39-cp39-win32.whl", "TimedOut", "it sent nothing for 60 s"),
        *(Failure("six", f"six-{text}.whl", "BadZip", f"{text} is no entry") for text in HOSTILE[:3]),
    ]
    return Report(
        destination="/srv/mirror",
        began="2025-03-02T04:05:06Z",
        seconds=60.2,
        version="1.0",
        outcomes={"fetched": 3412, "present": 5120, "removed": 3, "failed": 6},
        projects={"updated": 701, "unchanged": 140, "failed": 1},
        bytes=3_012_345_678,
        samples=[Sample(step * 0.2, step * 28, step * 10**7, 80_000_000 + step) for step in range(302)],
        hosts=[
            HostShare("pypi.example", 3100, 2_700_000_000, 1500, 1),
            HostShare("slow.example", 300, 11_000_000, 700, 4),
            HostShare("gone.example", 0, 0, 0, 3),
        ],
        largest=[ProjectShare("pandas", 47, 391_000_000), ProjectShare("numpy", 92, 692_000_000)],
        failures=failures,
    )


def failing(count: int) -> Report:
    """The same with so many failures, of two kinds in turn; number n is of `project-n`."""
    failures = [
        Failure(
            f"project-{number}",
            f"project_{number}-1.0.tar.gz",
            ("NotFound", "TimedOut")[number % 2],
            f"reason {number}",
        )
        for number in range(count)
    ]
    return replace(made_up(), failures=failures)
