"""What a bucket is asked for, and what it meant: `s3://` URLs, the AWS variables, content types, failures.

Rules:

* `s3://BUCKET/PREFIX`; credentials in it are refused, for it is shown to people.
* The endpoint is AWS_ENDPOINT_URL_S3, else AWS_ENDPOINT_URL, else Amazon's for the region (AWS_REGION, else
  AWS_DEFAULT_REGION, else us-east-1).  An endpoint written with `http://` is asked without TLS.
* The path of a bucket is part of its URL, unless AWS_VIRTUAL_HOSTED_STYLE_REQUEST says that the endpoint names it.
* A failure is told in words of our own.  What a server says may quote what was signed, and that is not passed on; its
  error code, a word such as `AccessDenied`, is.

This file is pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from fetcher.errors import ConfigError, StoreFailed, StoreRefused
from fetcher.index.urls import parse_url, redact

__all__ = ["Bucket", "content_type", "failure", "is_answered", "is_not_implemented", "parse_bucket"]

_REGION = "us-east-1"
_TRUE = {"1", "true", "on", "yes", "y"}  # what obstore takes for true

_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    # PEP 691: a client takes a page for JSON by this type alone.
    "index.json": "application/vnd.pypi.simple.v1+json",
    ".json": "application/json",
    ".metadata": "text/plain; charset=utf-8",
}

_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_ASKED = re.compile(r"Error performing [A-Z]+ (\S+)")
_KIND = re.compile(r"kind: (\w+)")
# The server knows the key or the token, and would not have it (S3 API reference, "Error responses").
_REFUSED_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"}
_CREDENTIALS_HINT = (
    "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN of temporary ones, and AWS_REGION"
)


@dataclass(frozen=True)
class Bucket:
    """Where objects are.  `prefix` has no slash at either end; `endpoint` is that of the bucket's requests."""

    name: str
    prefix: str
    endpoint: str
    region: str
    hosted: bool = False

    @property
    def url(self) -> str:
        """`s3://BUCKET/PREFIX`."""
        return f"s3://{self.name}/{self.prefix}" if self.prefix else f"s3://{self.name}"

    @property
    def insecure(self) -> bool:
        """Say whether it is asked without TLS."""
        return self.endpoint.startswith("http://")

    def show(self, key: str) -> str:
        """Return an object's `s3://` URL."""
        return f"{self.url}/{key}"

    def address(self, key: str) -> str:
        """Return the http URL of an object, percent-encoded as it is signed."""
        bucket = self.endpoint if self.hosted else f"{self.endpoint}/{self.name}"
        path = f"{self.prefix}/{key}" if self.prefix else key
        return f"{bucket}/{quote(path, safe='/-_.~')}"


def parse_bucket(url: str, environment: Mapping[str, str]) -> Bucket:
    """Return the bucket of an `s3://BUCKET/PREFIX`, as the AWS variables say how it is reached.

    Raises ConfigError, without what may be a secret.
    """
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"{redact(url)}: credentials have no place in an s3:// URL: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    prefix = parts.path.strip("/")
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise ConfigError(f"{redact(url)} is not s3://BUCKET or s3://BUCKET/PREFIX")
    if any(segment in ("", ".", "..") for segment in prefix.split("/")[bool(not prefix) :]):
        raise ConfigError(f"{redact(url)}: an empty, `.` or `..` segment cannot be part of a key")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or _REGION
    hosted = environment.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() in _TRUE
    return Bucket(parts.netloc, prefix, _endpoint(parts.netloc, region, environment, hosted=hosted), region, hosted)


def _endpoint(bucket: str, region: str, environment: Mapping[str, str], *, hosted: bool) -> str:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if given := environment.get(name):
            return _checked(name, given)
    return f"https://{bucket}.s3.{region}.amazonaws.com" if hosted else f"https://s3.{region}.amazonaws.com"


def _checked(name: str, given: str) -> str:
    """Return an endpoint without slash at the end; what obstore is given must be a URL, for it would panic."""
    try:
        url = parse_url(given)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None
    if url.raw_user is not None or url.raw_password is not None or url.raw_query_string:
        raise ConfigError(f"{name}: {redact(given)} has more than scheme, host, port and path")
    return str(url).rstrip("/")


def content_type(key: str) -> str:
    """Return what an object is served as."""
    for ending, kind in _CONTENT_TYPES.items():
        if key.endswith(ending):
            return kind
    return "application/octet-stream"


def is_answered(said: str) -> bool:
    """Say whether the failure that obstore tells of is a server's answer."""
    return _STATUS.search(said) is not None


def is_not_implemented(said: str) -> bool:
    """Say whether the server answered that it knows no such request."""
    status = _STATUS.search(said)
    return status is not None and status[1] in ("400", "405", "501")


def failure(bucket: Bucket, key: str, said: str) -> StoreFailed:
    """Return the error for what obstore said of a request for this key."""
    shown = bucket.show(key)
    asked = _ASKED.search(said)
    if asked and not asked[1].startswith(bucket.endpoint):
        # It asked for credentials elsewhere: the metadata of a machine or container, a token service.
        return StoreRefused(shown, f"there are no credentials for it: {_CREDENTIALS_HINT}")
    status, code = _STATUS.search(said), _CODE.search(said)
    if status is None:
        return StoreFailed(shown, _no_answer(bucket, said))
    answer = f"{code[1]}, HTTP {status[1]}" if code else f"HTTP {status[1]}"
    return _answered(bucket, shown, status[1], code[1] if code else "", answer)


def _answered(bucket: Bucket, shown: str, status: str, code: str, answer: str) -> StoreFailed:
    if code == "NoSuchBucket":
        return StoreFailed(shown, f"{bucket.endpoint} has no bucket {bucket.name} ({answer}): create it first")
    if code in _REFUSED_CREDENTIALS:
        return StoreRefused(shown, f"{bucket.endpoint} did not accept the credentials ({answer}): {_CREDENTIALS_HINT}")
    if status in ("401", "403"):
        hint = f"give them the right to read, write, list and delete in {bucket.url}, or {_CREDENTIALS_HINT}"
        return StoreRefused(shown, f"{bucket.endpoint} refuses it to the credentials ({answer}): {hint}")
    return StoreFailed(shown, f"{bucket.endpoint} answered {answer}")


def _no_answer(bucket: Bucket, said: str) -> str:
    kind = _KIND.search(said)
    if kind and kind[1] == "Connect":
        return f"cannot connect to {bucket.endpoint}: check AWS_ENDPOINT_URL"
    if kind and kind[1] == "Timeout":
        return f"{bucket.endpoint} did not answer in time"
    return f"the connection to {bucket.endpoint} broke"
