"""Serve one page on this machine only, at any free port, until Ctrl-C."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"


def server(text: str, policy: str, port: int = 0) -> ThreadingHTTPServer:
    """A server of the page at /, and of nothing else.

    Args:
        text: The page.
        policy: Its Content-Security-Policy.
        port: 0 for any that is free.
    """
    return ThreadingHTTPServer((HOST, port), handler(text.encode(), policy + "; frame-ancestors 'none'"))


def serve(text: str, policy: str, say: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C; say where."""
    with server(text, policy) as served:
        say(f"http://{HOST}:{served.server_port}/ until Ctrl-C")
        served.serve_forever()


def handler(body: bytes, policy: str) -> type[BaseHTTPRequestHandler]:
    """Answers GET / for this machine's own name: a page elsewhere that points its name here gets nothing."""

    class OnePage(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ours = self.headers.get("Host", "").partition(":")[0] in (HOST, "localhost")
            if not ours or self.path != "/":
                self.send_error(404)
                return
            self.send_response(200)
            for name, value in headers(body, policy).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return OnePage


def headers(body: bytes, policy: str) -> dict[str, str]:
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Length": str(len(body)),
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
