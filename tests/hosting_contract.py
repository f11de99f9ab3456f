"""What GitHub, GitLab and Gitea answer to requests to merge, as their API documentation says.

The real services cannot run in a test. This server refuses what they refuse: other paths, headers, names and types than
documented. GitHub: REST, version 2022-11-28, pulls; GitLab: v4, merge requests; Gitea: v1, repository.
"""

import http.server
import json
import threading
from urllib.parse import parse_qs, urlsplit

TOKEN = "s3cr3t-t0ken"
PROJECT = "acme/flights-config"


class HostingContract(http.server.ThreadingHTTPServer):
    """One of the three services, with one project; use it in a ``with`` block.

    Attributes:
        api: The address of its API.
        requests: Method, path and query of what it was asked.
        opened: The requests to merge that are open.
        faults: Answers to give first, by method: status, headers, body.
    """

    daemon_threads = True

    def __init__(self, provider: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.provider, self.prefix = provider, {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}[provider]
        self.api = f"http://127.0.0.1:{self.server_port}{self.prefix}"
        self.requests: list[tuple[str, str, dict]] = []
        self.opened: list[dict] = []
        self.faults: dict[str, list[tuple[int, dict, dict]]] = {"GET": [], "POST": []}

    def __enter__(self) -> "HostingContract":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.shutdown()
        self.server_close()

    def answer(self, method: str, path: str, query: dict, headers, body: dict | None) -> tuple[int, dict | list]:
        """Answer as the service does."""
        if problem := self._refuse(path, headers):
            return problem
        if self.provider == "gitlab":
            return self._gitlab(method, query, body)
        return self._github(method, query, body) if self.provider == "github" else self._gitea(method, query, body)

    def _refuse(self, path: str, headers) -> tuple[int, dict] | None:
        token = {"gitlab": headers.get("PRIVATE-TOKEN", ""), "gitea": headers.get("Authorization", "")}.get(
            self.provider, headers.get("Authorization", "")
        )
        if token != {"github": f"Bearer {TOKEN}", "gitlab": TOKEN, "gitea": f"token {TOKEN}"}[self.provider]:
            return 401, {"message": "Bad credentials"}
        if self.provider == "github" and headers.get("X-GitHub-Api-Version") != "2022-11-28":
            return 400, {"message": "no version"}
        name = PROJECT.replace("/", "%2F")
        expected = f"/projects/{name}/merge_requests" if self.provider == "gitlab" else f"/repos/{PROJECT}/pulls"
        return (404, {"message": "Not Found"}) if path != self.prefix + expected else None

    def _github(self, method: str, query: dict, body: dict | None) -> tuple[int, dict | list]:
        if method == "GET":
            assert set(query) == {"head", "base", "state"} and query["state"] == "open"
            return 200, [
                one
                for one in self.opened
                if (f"acme:{one['head']['ref']}", one["base"]["ref"]) == (query["head"], query["base"])
            ]
        assert set(body) == {"head", "base", "title", "body"}
        if any(one["head"]["ref"] == body["head"] for one in self.opened):
            errors = [{"message": f"A pull request already exists for acme:{body['head']}."}]
            return 422, {"message": "Validation Failed", "errors": errors}
        return 201, self._open(body, "html_url", head={"ref": body["head"]}, base={"ref": body["base"]})

    def _gitlab(self, method: str, query: dict, body: dict | None) -> tuple[int, dict | list]:
        if method == "GET":
            assert set(query) == {"source_branch", "target_branch", "state"} and query["state"] == "opened"
            names = ("source_branch", "target_branch")
            return 200, [one for one in self.opened if all(one[name] == query[name] for name in names)]
        assert set(body) == {"source_branch", "target_branch", "title", "description"}
        if any(one["source_branch"] == body["source_branch"] for one in self.opened):
            return 409, {"message": ["Another open merge request already exists for this source branch: !1"]}
        return 201, self._open(body, "web_url")

    def _gitea(self, method: str, query: dict, body: dict | None) -> tuple[int, dict | list]:
        if method == "GET":
            assert set(query) == {"state", "limit", "page"} and query["state"] == "open"
            start = (int(query["page"]) - 1) * int(query["limit"])
            return 200, self.opened[start : start + int(query["limit"])]
        assert set(body) == {"head", "base", "title", "body"}
        if any(one["head"]["ref"] == body["head"] for one in self.opened):
            return 409, {"message": "pull request already exists for these targets", "url": "x"}
        return 201, self._open(body, "html_url", head={"ref": body["head"]}, base={"ref": body["base"]})

    def _open(self, body: dict, address: str, **more) -> dict:
        entry = {**body, **more, address: f"https://git.example.com/{PROJECT}/{len(self.opened) + 1}"}
        self.opened.append(entry)
        return entry


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts, server = urlsplit(self.path), self.server
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        server.requests.append((self.command, parts.path, query))
        if server.faults[self.command]:
            return self._answer(*server.faults[self.command].pop(0))
        status, content = server.answer(self.command, parts.path, query, self.headers, body)
        return self._answer(status, {}, content)

    do_POST = do_GET

    def _answer(self, status: int, headers: dict, content) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers, "Content-Length": len(data)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments) -> None:
        pass
