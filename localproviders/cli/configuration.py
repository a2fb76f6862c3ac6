"""The verbs ``config show``, ``path``, ``check`` and ``init``."""

from __future__ import annotations

import math
import os
from argparse import Namespace
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from localproviders._new_file import NewFile
from localproviders._redact import one_line
from localproviders.cli import options
from localproviders.cli.output import unwritable
from localproviders.cli.parser import Parser
from localproviders.cli.run import Run
from localproviders.cli.table import Column, write_table
from localproviders.cli.usage import SUCCESS, USAGE, UsageError
from localproviders.cli.verbs import Verb
from localproviders.config import Config, Origin, ServerConfig
from localproviders.config.check import find_problems, find_project
from localproviders.config.files import Surroundings
from localproviders.config.keys import ANY, KEYS
from localproviders.config.values import DEFAULT

# --- show ----------------------------------------------------------------------------------

_HIDDEN = "(hidden)"
#: Settings of a server whose values are API keys or passwords, or may contain one.
_SECRET = frozenset(("api_key", "username", "password", "headers", "proxies"))
_VALUES = (
    Column("KEY"),
    Column("VALUE", may_shrink=True),
    Column("ORIGIN", may_shrink=True),
)


class Setting(NamedTuple):
    """A setting: its key with dots, such as ``limits.idle_s``, its value, and its origin."""

    key: str
    value: Any
    origin: Origin


def settings_of(config: Config) -> Iterator[Setting]:
    """Yield the settings of a configuration. API keys and passwords are hidden.

    The settings of a server are its kind, its locality, and all others that were set.
    """
    for key in KEYS:
        if ANY not in key.path:
            yield Setting(key.dotted, _value_at(config, key.path), config.origin_of(key.dotted))
    if config.profile is not None:
        yield Setting("profile", config.profile, config.origins.get("profile", DEFAULT))
    for alias, models in config.aliases.items():
        yield Setting(f"aliases.{alias}", models, config.origins[f"aliases.{alias}"])
    for server in config.servers:
        yield from _server_settings(config, server)


def _server_settings(config: Config, server: ServerConfig) -> Iterator[Setting]:
    above = f"servers.{server.name}."
    found = {name: at for name, at in config.origins.items() if name.startswith(above)}
    for name in dict.fromkeys((f"{above}kind", f"{above}locality", *found)):
        path = name[len(above) :].split(".", 1)
        value = _HIDDEN if path[0] in _SECRET else _value_at(server, tuple(path))
        yield Setting(name, value, found.get(name, DEFAULT))


def _value_at(record: Any, path: Tuple[str, ...]) -> Any:
    own = getattr(record, "own_keys", {})
    if path[0] in own:
        return own[path[0]]
    for name in path:
        record = getattr(record, name)
    return record


def _add_show(parser: Parser) -> None:
    options.add_place(parser)


def _run_show(arguments: Namespace, run: Run) -> int:
    config = Config.load(profile=arguments.profile, locality=arguments.locality)
    found = list(settings_of(config))
    if arguments.json:
        run.output.write_json(
            {
                "values": [
                    {"key": each.key, "value": _plain(each.value), "origin": each.origin.to_dict()}
                    for each in found
                ]
            }
        )
    else:
        rows = [(each.key, _text(each.value), str(each.origin)) for each in found]
        write_table(run, _VALUES, rows)
    return SUCCESS


def _plain(value: Any) -> Any:
    """Return a value as a JSON type. Infinity, which JSON lacks, becomes the text ``inf``."""
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _text(value: Any) -> str:
    plain = _plain(value)
    if isinstance(plain, list):
        return ", ".join(map(str, plain))
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, float):
        return f"{plain:g}"
    return "" if plain is None else str(plain)


# --- path ----------------------------------------------------------------------------------

_PATHS = (Column("FILE"), Column("STATE"), Column("PATH"))


class ConfigFile(NamedTuple):
    """A file that `Config.load` reads if it exists.

    Attributes:
        which: ``system``, ``user`` or ``project``.
        path: Its path; None if it is not known, for example without a home directory.
        exists: Whether the file exists.
    """

    which: str
    path: Optional[Path]
    exists: bool


def config_files() -> List[ConfigFile]:
    """Return the configuration files in the order in which they are read; later ones win.

    If there is no project file, its path is ``localproviders.toml`` in the current directory.
    """
    around = Surroundings(None, None)
    project = find_project(around) or (
        around.directory and around.directory / "localproviders.toml"
    )
    named = (("system", around.system_file()), ("user", around.user_file()), ("project", project))
    return [
        ConfigFile(which, path, path is not None and os.path.exists(path)) for which, path in named
    ]


def _add_nothing(_: Parser) -> None:
    """Add no arguments."""


def _run_path(arguments: Namespace, run: Run) -> int:
    files = config_files()
    if arguments.json:
        run.output.write_json(
            {
                "files": [
                    {
                        "file": each.which,
                        "path": None if each.path is None else str(each.path),
                        "exists": each.exists,
                    }
                    for each in files
                ]
            }
        )
    else:
        rows = [(each.which, _state(each), str(each.path or "")) for each in files]
        write_table(run, _PATHS, rows)
    return SUCCESS


def _state(file: ConfigFile) -> str:
    if file.path is None:
        return "no home directory"
    return "read" if file.exists else "missing"


# --- check ---------------------------------------------------------------------------------


def _add_check(parser: Parser) -> None:
    parser.add_argument("--profile", metavar="NAME", help="profile of the configuration")


def _run_check(arguments: Namespace, run: Run) -> int:
    problems = find_problems(profile=arguments.profile)
    files = [str(each.path) for each in config_files() if each.exists]
    if arguments.json:
        found = [{"problem": one_line(each.message), "hint": each.hint} for each in problems]
        run.output.write_json({"problems": found, "files": files})
    elif problems:
        for problem in problems:
            run.output.write_line(one_line(str(problem)))
    else:
        run.output.write_line(f"no problem in {', '.join(files) or 'the environment variables'}")
    return USAGE if problems else SUCCESS


# --- init ----------------------------------------------------------------------------------

#: The file that ``config init`` writes. Removing the ``#`` before a setting activates it.
FIRST_FILE = """\
# Settings of localproviders, in TOML. Remove the # before a line to use it.
# docs/configuration.md lists all settings. To check this file: localproviders config check

# Model, alias or SERVER/MODEL for requests that name no model.
#model = "fast"

# Where prompts may be sent: loopback (this machine), private (the local network) or any.
#locality = "loopback"

# The server to use if several have the model: first, loaded, largest, smallest or balanced.
#strategy = "first"

# Names of servers in the order in which they are tried.
#fallback = ["ollama", "gpu-box"]

# Seconds: for a connection, for loading a model, to the first token, between two parts of an
# answer, and for a whole call.
#[limits]
#connect_s = 3
#load_s = 600
#first_token_s = 300
#idle_s = 120
#total_s = 1800

# Other names for models. The first model of a list is the preferred one.
#[aliases]
#fast = ["ollama/llama3.2"]

# Servers. The name is the part before the slash in SERVER/MODEL.
#[servers.ollama]
#endpoint = "http://127.0.0.1:11434"

#[servers.gpu-box]
#kind = "openai-compatible"
#endpoint = "http://127.0.0.1:8000/v1"
# The API key, from a variable, a file or a command. A key file must have the mode 0600.
#api_key = {file = "gpu-box.key"}
"""


def _run_init(arguments: Namespace, run: Run) -> int:
    if arguments.output is not None:
        run.output.write(FIRST_FILE)
        return SUCCESS
    path = Surroundings(None, None).user_file()
    if path is None:
        raise UsageError(
            "no environment variable names the home directory",
            hint="localproviders config init -o localproviders.toml",
        )
    _write_first_file(path, replace=arguments.force)
    if arguments.json:
        run.output.write_json({"written": str(path)})
    else:
        run.output.write_line(f"written: {one_line(str(path))}")
    return SUCCESS


def _write_first_file(path: Path, *, replace: bool) -> None:
    """Write the file, which appears only when it is complete. Only this user can read it."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = NewFile(path, replace=replace)
    except FileExistsError:
        raise UsageError(
            f"{str(path)!r} exists already", hint="add --force to replace it"
        ) from None
    except OSError as error:
        words = error.strerror or type(error).__name__
        raise UsageError(
            f"{str(path)!r} cannot be written: {words}",
            hint="localproviders config init -o localproviders.toml",
        ) from None
    try:
        with new:
            if hasattr(os, "fchmod"):  # not on Windows
                os.fchmod(new.file.fileno(), 0o600)
            new.file.write(FIRST_FILE.encode())
    except OSError as error:
        raise unwritable(error, str(path)) from None


VERBS = {
    "config show": Verb(
        "Show each value of the configuration, and the file, line or variable that it comes from. "
        "API keys and passwords are not shown.",
        "localproviders config show\nlocalproviders config show --json",
        _add_show,
        _run_show,
    ),
    "config path": Verb(
        "List the configuration files in the order in which they are read. A later file "
        "overrides the values of an earlier one.",
        "localproviders config path",
        _add_nothing,
        _run_path,
    ),
    "config check": Verb(
        "Check the configuration files and variables: unknown keys, wrong values, and files that "
        "other users can write. Each problem is one line. If there is one, the exit code is 2.",
        "localproviders config check",
        _add_check,
        _run_check,
    ),
    "config init": Verb(
        "Write a first configuration file for this user, in which each line is a comment. "
        "An existing file is replaced only with --force.",
        "localproviders config init",
        _add_nothing,
        _run_init,
    ),
}
