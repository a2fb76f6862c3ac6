"""A script that does the same as ``localproviders chat``, written by hand with ``requests``."""

from __future__ import annotations

import argparse
import json
import sys

import requests


def main() -> None:
    """Send the text and the standard input to Ollama, and print the answer while it arrives."""
    parser = argparse.ArgumentParser(description="Ask a model.")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--url", default="http://127.0.0.1:11434")
    parser.add_argument("text")
    options = parser.parse_args()
    prompt = f"{options.text}\n\n{sys.stdin.read()}"
    messages = [{"role": "user", "content": prompt}]
    body = {"model": options.model, "messages": messages, "stream": True}
    with requests.Session() as session:
        response = session.post(f"{options.url}/api/chat", json=body, stream=True, timeout=60)
        response.raise_for_status()
        for line in response.iter_lines():
            print(json.loads(line)["message"]["content"], end="", flush=True)
    print()
