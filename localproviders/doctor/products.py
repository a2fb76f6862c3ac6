"""Facts about each kind of server that only the doctor needs: commands, folders and versions.

A kind that another package registers has no entry here. The doctor makes the same findings about
such a server, but with fewer commands.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from shlex import quote
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from localproviders import kinds
from localproviders._address import parse_endpoint
from localproviders.doctor.facts import Server
from localproviders.errors import ProviderError
from localproviders.provider import ModelProvider

#: A context window that holds a few pages and fits into the memory of most machines, in tokens.
_WINDOW = 16384


class Product(NamedTuple):
    """The facts about one kind of server.

    Attributes:
        minimum: The oldest version with all features that this package uses, and the name of a
            feature that older versions lack.
        window: Command that loads a model with a larger context window; ``{model}`` is the model's
            name.
        loopback: Command that starts the server so that only this machine can reach it.
        folder_variable: Environment variable with the path of the folder of the models.
        folders: The usual folders of the models. A relative path starts at the home directory.
        key_everywhere: Whether the API key in the environment variable of this kind is sent to each
            configured address. If not, the API key belongs in the configuration.
    """

    minimum: Optional[Tuple[Tuple[int, ...], str]] = None
    window: str = ""
    loopback: str = ""
    folder_variable: str = ""
    folders: Tuple[str, ...] = ()
    key_everywhere: bool = False


PRODUCTS: Mapping[str, Product] = {
    "ollama": Product(
        # Source: docs/reference/ollama.md, "Versions".
        minimum=((0, 9, 0), "thinking"),
        window=f"OLLAMA_CONTEXT_LENGTH={_WINDOW} ollama serve",
        loopback="OLLAMA_HOST=127.0.0.1 ollama serve",
        folder_variable="OLLAMA_MODELS",
        folders=(".ollama/models", "/usr/share/ollama/.ollama/models"),
    ),
    "lmstudio": Product(
        window=f"lms load {{model}} --context-length {_WINDOW}",
        folders=(".lmstudio/models", ".cache/lm-studio/models"),
        key_everywhere=True,
    ),
    "llamacpp": Product(
        window=f"llama-server -m model.gguf -c {_WINDOW}",
        loopback="llama-server --host 127.0.0.1 -m model.gguf",
        folders=(".cache/llama.cpp",),
    ),
}

#: The environment variable that tells an Ollama server where to listen, and its clients where the
#: server is.
ADDRESS_VARIABLE = "OLLAMA_HOST"
#: The environment variable with the origins of web pages that an Ollama server accepts.
ORIGINS_VARIABLE = "OLLAMA_ORIGINS"

#: Variables whose value is the path of a file or a folder.
PATH_VARIABLES = (
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    *filter(None, (product.folder_variable for product in PRODUCTS.values())),
)

#: Chat templates that a server reports for a model without a chat template.
PLAIN_TEMPLATES = ("", "{{ .Prompt }}")


def product_of(kind: str) -> Product:
    """Return the facts about a kind of server; they are empty for kinds of other packages."""
    return PRODUCTS.get(kind, Product())


def model_folders(environ: Mapping[str, str], home: Optional[Path]) -> Iterator[Tuple[str, Path]]:
    """Yield the folders in which servers keep their models, each with the kind of the server."""
    for kind, product in PRODUCTS.items():
        own = environ.get(product.folder_variable, "") if product.folder_variable else ""
        for text in [own] if own else product.folders:
            if PurePath(text).is_absolute():
                yield kind, Path(text)
            elif home is not None:
                yield kind, home / text


def read_version(text: Optional[str]) -> Optional[Tuple[int, ...]]:
    """Return the numbers of a version such as ``0.12.5-rc2``.

    None means that the version is unknown, or that the program was built without one (0.0.0).
    """
    numbers: List[int] = []
    for part in (text or "").partition("-")[0].lstrip("v").split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers) if any(numbers) else None


def command(verb: str, model: str, kind: str, endpoint: str) -> Optional[str]:
    """Return the command line of this package for a verb, a model and a server.

    None means that servers of this kind do not support the verb.

    Args:
        verb: The verb, such as ``pull``.
        model: Name of the model.
        kind: Kind of the server.
        endpoint: Address of the server.
    """
    known = kinds.find(kind)
    if known is None or not _has(known, verb):
        return None
    if known.default_address == endpoint:
        return f"localproviders {verb} {quote(f'{kind}/{model}')}"
    if model.startswith("-"):  # the name alone would be read as an option
        model = f"{kind}/{model}"
    return f"localproviders {verb} {quote(model)} --host {quote(f'{kind}={endpoint}')}"


def _has(kind: kinds.ProviderKind, verb: str) -> bool:
    """Return whether the servers of a kind support a verb.

    Every kind supports ``show``, because this verb needs only the list of models.
    """
    if verb == "show":
        return True
    try:
        own = getattr(kind.resolve("provider"), verb, None)
    except ProviderError:  # a kind of another package that cannot be imported
        return False
    return own is not None and own is not getattr(ModelProvider, verb, None)


def window_command(server: Server, model: str) -> Optional[str]:
    """Return the command that gives a model a larger context window.

    None means that the kind of the server has no such command.
    """
    text = product_of(server.kind).window
    return text.format(model=quote(model)) if text else None


def loopback_command(server: Server, platform: str) -> str:
    """Return the command that makes a server listen only on this machine.

    For a kind without such a command, return the command that shows which program listens.
    """
    return product_of(server.kind).loopback or port_command(server.endpoint, platform)


def port_command(endpoint: str, platform: str) -> str:
    """Return the command that shows which program listens at the port of an address."""
    place = parse_endpoint(endpoint, default_port=80)
    if place.socket_path:
        return f"ls -l {quote(place.socket_path)}"
    port = place.port
    commands = {
        "linux": f"ss -tlnp 'sport = :{port}'",
        "win32": f'netstat -ano | findstr ":{port} "',
    }
    return commands.get(platform, f"lsof -nP -iTCP:{port} -sTCP:LISTEN")


def edit_command(source: str) -> Optional[str]:
    """Return the command that opens a file at a line, for a source such as ``a.toml, line 3``.

    None means that the source is no line of a file.
    """
    found = re.fullmatch(r"(.+), line (\d+)", source)
    return f"${{EDITOR:-vi}} +{found[2]} {quote(found[1])}" if found is not None else None


def for_platform(fix: Optional[str], platform: str) -> Optional[str]:
    """Return a command for the usual shell of the platform.

    On Windows, ``export`` and ``unset`` become commands of PowerShell. All other commands stay
    unchanged.
    """
    if fix is None or platform != "win32":
        return fix
    name, _, rest = fix.partition(" ")
    if name == "unset":
        return f"Remove-Item Env:{rest}"
    if name == "export" and re.fullmatch(r"\w+=[^\s;$']*( \w+=[^\s;$']*)*", rest):
        pairs = (word.split("=", 1) for word in rest.split())
        return "; ".join(f'$env:{variable} = "{value}"' for variable, value in pairs)
    return fix


def start_commands() -> Dict[str, str]:
    """Return the command that starts a server of each kind, by the title of the kind."""
    return {kind.title: kind.start_command for kind in kinds.registered() if kind.start_command}
