"""What the tests of the data stage share."""

import functools
import http.server
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loopline.components.data.ingest import ingest


@pytest.fixture
def load(tmp_path):
    """Ingest a file, or bytes written to one, and return the table that came out."""

    def run(content: bytes | str | Path, name: str = "in.csv", **options) -> pa.Table:
        path = content
        if not isinstance(content, Path):
            path = tmp_path / name
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        ingest(str(path), tmp_path / "out.parquet", **options)
        return pq.read_table(tmp_path / "out.parquet")

    return run


@pytest.fixture
def web(tmp_path):
    """A folder and the address of a server of its files; names that start with a status code answer with it."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            name = self.path.strip("/").split("?")[0]
            if name[:3].isdigit():
                self.send_error(int(name[:3]))
            elif name.startswith("cut"):
                body = (tmp_path / "site" / name).read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
            else:
                super().do_GET()

        def log_message(self, *_):
            pass

    folder = tmp_path / "site"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
