"""Downloads: whole, checked and resumed."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from anila.data import images, load
from anila.data.download import download, md5_of
from anila.data.known import KNOWN, Known

CONTENT = bytes(range(256)) * 5000


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT; "/short" breaks off half way unless asked for a range."""

    asked: list[str | None]

    def do_GET(self) -> None:
        start = self.headers.get("Range", "")
        self.asked.append(start)
        first = int(start.removeprefix("bytes=").removesuffix("-") or 0)
        if first >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(CONTENT) - first))
        self.end_headers()
        half = self.path.endswith("short") and not first
        self.wfile.write(CONTENT[first : len(CONTENT) // 2 if half else None])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Server.asked = []
    with HTTPServer(("127.0.0.1", 0), Server) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()
        thread.join()


@pytest.fixture
def md5(tmp_path: Path) -> str:
    (tmp_path / "content").write_bytes(CONTENT)
    return md5_of(tmp_path / "content")


def test_a_good_download_is_kept_whole(server: str, md5: str, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    path = download(f"{server}file", tmp_path / "d" / "file", md5, lambda *call: calls.append(call))
    assert path.read_bytes() == CONTENT
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_a_wrong_checksum_leaves_nothing(server: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{server}file is not the published file: expected md5 beef, got \w+"):
        download(f"{server}file", tmp_path / "d" / "file", "beef")
    assert list((tmp_path / "d").iterdir()) == []


def test_a_download_that_breaks_off_is_resumed(server: str, md5: str, tmp_path: Path) -> None:
    path = tmp_path / "d" / "file"
    with pytest.raises(ConnectionError, match=r"short: broke off after 640,000 of 1,280,000 bytes"):
        download(f"{server}short", path, md5)
    assert [file.name for file in path.parent.iterdir()] == ["file.part"]
    assert download(f"{server}short", path, md5).read_bytes() == CONTENT
    assert Server.asked == ["", "bytes=640000-"]


def test_a_complete_part_is_checked_and_renamed(server: str, md5: str, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert download(f"{server}file", tmp_path / "file", md5).read_bytes() == CONTENT


def test_a_known_set_that_cannot_be_had_says_what_to_put_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    monkeypatch.setitem(KNOWN, "mnist", KNOWN["mnist"]._replace(address="http://127.0.0.1:9/mnist/"))
    with pytest.raises(FileNotFoundError) as caught:
        load("mnist")
    message = str(caught.value)
    for part in (
        str(tmp_path / "nowhere" / "mnist"),
        str(tmp_path / "data" / "mnist"),
        "http://127.0.0.1:9/mnist/train-images-idx3-ubyte.gz",
        "md5 f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "ANILA_DATA",
    ):
        assert part in message
    assert list(cache.rglob("*.gz")) == []


def test_a_known_set_is_downloaded_once(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def fetch(address: str, path: Path, md5: str, _: object) -> Path:  # noqa: ARG001
        fetched.append(address)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((digits / path.name).read_bytes())
        return path

    files = {path.name: "" for path in sorted(digits.iterdir())}
    monkeypatch.setitem(KNOWN, "mnist", Known("http://x/", files))
    monkeypatch.setattr("anila.data.known.download", fetch)
    assert [len(images("mnist")), len(images("mnist"))] == [5, 5]
    assert fetched == [f"http://x/{name}" for name in files]
    assert images("mnist").name == "mnist"


def test_local_files_come_before_the_network(digits: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    digits.rename(tmp_path / "mnist")
    monkeypatch.setenv("ANILA_DATA", str(tmp_path))
    assert len(images("mnist")) == 5
