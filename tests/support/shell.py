"""Runs the shell commands of the pages, as a user would type them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Dict

from tests.support.docs import ROOT, Servers

# The files that the commands of the pages read.
_FILES = {
    "letter.txt": "Dear Ms Ng, I was charged twice in May. Please send 12 euros back.",
    "notes.txt": "The pump is loud.\nThe invoice is overdue.\nA puppy plays outside.\n",
    "mails.csv": "id,title,body\n1,Refund,I was charged twice!\n2,Thanks,It works now.\n",
    "mails.jsonl": '{"id": "a", "text": "I was charged twice!"}\n{"id": "b", "text": "Thanks"}\n',
    "city.json": '{"type": "object", "properties": {"name": {"type": "string"}},'
    ' "required": ["name"]}',
    "questions.json": '{"angry": "Is the customer angry?", "topic": ["billing", "support"]}',
    "report.txt": "Nothing happened.",
}


def environment(servers: Servers, folder: Path) -> Dict[str, str]:
    """Make the files and the command in a folder; return the environment of a shell in it."""
    for name, text in _FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    programs = folder / "bin"
    programs.mkdir()
    for name, words in {
        "localproviders": f'"{sys.executable}" -m localproviders "$@"',
        "python": f'"{sys.executable}" "$@"',
        "git": 'echo "+ a line"',
    }.items():
        path = programs / name
        path.write_text(f"#!/bin/sh\nexec {words}\n" if name != "git" else f"#!/bin/sh\n{words}\n")
        path.chmod(0o755)
    return {
        "PATH": f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "OLLAMA_HOST": servers.ollama.url,
        "LMSTUDIO_HOST": servers.lmstudio.url,
        "LOCALPROVIDERS_SERVERS_LMSTUDIO_ENDPOINT": servers.lmstudio.url,
        "LOCALPROVIDERS_SERVERS_LLAMACPP_ENDPOINT": servers.llamacpp.url,
    }


def run_shell(text: str, folder: Path, env: Dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the lines in a shell, which stops at the first one that fails.

    Args:
        text: The lines.
        folder: The current folder of the shell.
        env: Its whole environment.
    """
    return subprocess.run(
        ["/bin/sh", "-e", "-c", text],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )
