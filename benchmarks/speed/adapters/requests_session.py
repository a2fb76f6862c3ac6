"""Correct use of `requests`: one session, `stream=True`, and `iter_lines()`."""

from __future__ import annotations

import json

import requests
from requests.adapters import HTTPAdapter

from benchmarks.speed.adapters import MODEL
from benchmarks.speed.adapters.decisions import chosen_in, request_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, List

PACKAGES = ("requests", "urllib3")


class Client:
    """A client with one session, whose pool keeps a connection for each of 32 threads."""

    def __init__(self, url: str, dialect: str) -> None:
        self.url = url
        self.dialect = dialect
        self.session = requests.Session()
        self.session.mount("http://", HTTPAdapter(pool_maxsize=32))

    def post(self, path: str, body: Any, stream: bool = True) -> requests.Response:
        response = self.session.post(self.url + path, json=body, stream=stream, timeout=60)
        response.raise_for_status()
        return response


def connect(url: str, dialect: str) -> Client:
    return Client(url, dialect)


def close(client: Client) -> None:
    client.session.close()


def stream(client: Client, prompt: str) -> Iterator[str]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "stream": True}
    if client.dialect == "ollama":
        for line in client.post("/api/chat", body).iter_lines():
            yield json.loads(line)["message"]["content"]
        return
    for line in client.post("/v1/chat/completions", body).iter_lines():
        if line.startswith(b"data: {"):
            choices = json.loads(line[6:])["choices"]
            if choices:
                yield choices[0]["delta"].get("content", "")


def chat(client: Client, prompt: str) -> str:
    return "".join(stream(client, prompt))


def embed(client: Client, texts: List[str], packed: bool) -> List[Any]:
    if client.dialect == "ollama":
        response = client.post("/api/embed", {"model": MODEL, "input": texts}, stream=False)
        rows: List[Any] = response.json()["embeddings"]
        return rows
    form = "base64" if packed else "float"
    body = {"model": MODEL, "input": texts, "encoding_format": form}
    found = client.post("/v1/embeddings", body, stream=False).json()["data"]
    if packed:
        from benchmarks.speed.adapters.baseline import unpack

        return unpack(found)
    return [row["embedding"] for row in found]


def decide(client: Client, method: str, state: str) -> str:
    path, body = request_of(method, state)
    return chosen_in(method, client.post(path, body, stream=False).content)
