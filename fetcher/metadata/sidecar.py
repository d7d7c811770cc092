"""The metadata file beside a wheel, if the page advertises one (PEP 658, 714).

One GET, its hash checked.  One that is missing, wrong or HTML is worth a warning, and the wheel itself is read: caching
proxies advertise sidecars they do not have.  A login page ends it: the wheel would be no other.
"""

import logging

from yarl import URL

from fetcher.content import TITLE, login_page, read_head, sniff_head
from fetcher.digest import Digest
from fetcher.errors import FetcherError, LoginPage, MetadataMissing, MissingCredentials, Offline
from fetcher.index.files import File
from fetcher.metadata.body import SLACK, Read
from fetcher.transport.transport import SEGMENT_BUFFER, Answer, Meter, Request, Transport
from fetcher.wheel.identity import check_identity
from fetcher.wheel.sniff import looks_like_login

__all__ = ["read_sidecar"]

logger = logging.getLogger(__name__)

# METADATA with its long description has tens of KiB.
MOST_METADATA = 4 << 20
# ... and may be larger than its wheel, where that is small; a body of unknown size can come to a buffer more.
LEAST_BOUND = SLACK - SEGMENT_BUFFER


async def read_sidecar(transport: Transport, file: File, meter: Meter) -> Read | None:
    """Return the sidecar's METADATA, None if there is none that can be used."""
    request = Request(file.sidecar_url, file.listed_by, patient=False, buffer=SEGMENT_BUFFER)
    try:
        body = await transport.ask(request, lambda answer: _consume(answer, file), meter)
        digest = Digest(file.sidecar or {})
        digest.update(body)
        if not digest.matches:
            raise digest.mismatch(f"{file.filename}.metadata", file.sidecar_url)
        name, version = check_identity(file.filename, body, file.project)
    except (LoginPage, MissingCredentials, Offline):
        raise
    except FetcherError as error:
        logger.warning("the advertised metadata file of %s is of no use: %s", file.filename, error)
        return None
    return Read(body, name, version, "sidecar", digest.expected is not None)


async def _consume(answer: Answer, file: File) -> bytes:
    """Return the sidecar's bytes; HTML is looked at no further than its title."""
    head = await read_head(answer)
    if sniff_head(head) != "html":
        least = LEAST_BOUND if answer.reply.body_size is None else SLACK
        most = min(MOST_METADATA, max(least, file.size or MOST_METADATA))
        return head + await answer.response.read(max(0, most - len(head)))
    body = head + await answer.response.read_up_to(TITLE)
    # A soft "not found" is no reason to stop; a login page is, and so is HTML behind a redirect.
    if len(answer.hops) > 1 or looks_like_login(body, URL(answer.reply.url).path):
        raise login_page(answer, body, f"{file.filename}.metadata")
    answer.response.abandon()
    raise MetadataMissing(f"{file.filename}.metadata", "it is an HTML page")
