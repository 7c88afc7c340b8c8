"""Fetch one published file: under a temporary name, checked, then renamed; an interrupted download is resumed."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

TIMEOUT = 30.0
BLOCK = 2**20
MOST = 2**30
"""Most bytes of a file; the largest known set has a third of that."""


def download(address: str, path: Path, md5: str, progress: Callable[[int, int], None] | None = None) -> Path:
    """Fetch `address` to `path`.

    The part downloaded so far is kept in `path` + ".part"; the next call only requests the rest.

    Args:
        address: http(s) address of the file.
        path: Target path; its folder is created.
        md5: Published checksum.
        progress: Called as progress(bytes done, bytes in all).

    Raises:
        ConnectionError: If the address cannot be reached or the connection is lost.
        ValueError: If the bytes do not match the checksum, or do not end; they are deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        fetch(address, part, progress)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise ConnectionError(f"cannot download {address}: {getattr(error, 'reason', error)}") from error
    except ValueError:
        part.unlink(missing_ok=True)
        raise
    found = md5_of(part)
    if found != md5:
        part.unlink()
        raise ValueError(f"{address} is not the published file: expected md5 {md5}, got {found}; deleted")
    return part.replace(path)


def fetch(address: str, part: Path, progress: Callable[[int, int], None] | None) -> None:
    """Append the missing bytes to `part`, or start over if the server cannot resume."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        reply = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return
            raise
    with reply:
        resumed = reply.status == http.HTTPStatus.PARTIAL_CONTENT
        done = have if resumed else 0
        total = done + int(reply.headers.get("Content-Length") or 0)
        require_reasonable(address, total)
        with part.open("ab" if resumed else "wb") as file:
            while block := reply.read(BLOCK):
                done += file.write(block)
                require_reasonable(address, done)
                if progress:
                    progress(done, total)
    if done < total:
        raise ConnectionError(f"broke off after {done:,} of {total:,} bytes; run the same command again to continue")


def require_reasonable(address: str, size: int) -> None:
    """Refuse a file too large to be a known one, before it fills the disk."""
    if size > MOST:
        raise ValueError(f"{address} sends more than {MOST:,} bytes, which no known set has; stopped")


def md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
