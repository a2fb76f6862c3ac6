"""The baseline: correct use of `http.client` and `json`, without limits, checks or types."""

from __future__ import annotations

import http.client
import json
import threading

from benchmarks.speed.adapters import MODEL
from benchmarks.speed.adapters.decisions import chosen_in, request_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, List

PACKAGES = ()
_HEADERS = {"Content-Type": "application/json"}


class Client:
    """A client with one kept connection for each thread."""

    def __init__(self, url: str, dialect: str) -> None:
        self._authority, _, path = url.partition("//")[2].partition("/")
        self.prefix = "/" + path
        self.dialect = dialect
        self._kept = threading.local()

    def post(self, path: str, body: Any) -> http.client.HTTPResponse:
        connection = getattr(self._kept, "connection", None)
        if connection is None:
            connection = self._kept.connection = http.client.HTTPConnection(self._authority)
        connection.request("POST", self.prefix + path, json.dumps(body), _HEADERS)
        response: http.client.HTTPResponse = connection.getresponse()
        if response.status != 200:
            raise OSError(response.status)
        return response

    def close(self) -> None:
        """Close the connection of the calling thread."""
        connection = getattr(self._kept, "connection", None)
        if connection is not None:
            connection.close()


def connect(url: str, dialect: str) -> Client:
    return Client(url, dialect)


def close(client: Client) -> None:
    client.close()


def stream(client: Client, prompt: str) -> Iterator[str]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "stream": True}
    if client.dialect == "ollama":
        for line in client.post("/api/chat", body):
            yield json.loads(line)["message"]["content"]
        return
    response = client.post("/v1/chat/completions", body)
    for line in response:
        if line.startswith(b"data: {"):
            choices = json.loads(line[6:])["choices"]
            if choices:
                yield choices[0]["delta"].get("content", "")


def chat(client: Client, prompt: str) -> str:
    return "".join(stream(client, prompt))


def embed(client: Client, texts: List[str], packed: bool) -> List[Any]:
    if client.dialect == "ollama":
        response = client.post("/api/embed", {"model": MODEL, "input": texts})
        rows: List[Any] = json.loads(response.read())["embeddings"]
        return rows
    form = "base64" if packed else "float"
    body = {"model": MODEL, "input": texts, "encoding_format": form}
    found = json.loads(client.post("/v1/embeddings", body).read())["data"]
    if packed:
        return unpack(found)
    return [row["embedding"] for row in found]


def unpack(found: List[Any]) -> List[Any]:
    """Return the rows of an embeddings response as arrays, decoded from base64."""
    from array import array
    from base64 import b64decode

    return [array("f", b64decode(row["embedding"])) for row in found]


def decide(client: Client, method: str, state: str) -> str:
    path, body = request_of(method, state)
    return chosen_in(method, client.post(path, body).read())
