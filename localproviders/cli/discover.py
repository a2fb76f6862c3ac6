"""The verb ``discover``, which lists the servers on this machine and their models."""

from __future__ import annotations

from argparse import Namespace
from typing import Any, cast

from localproviders._address import origin_of
from localproviders._redact import each_on_one_line, one_line
from localproviders.cli.options import add_place
from localproviders.cli.output import print_error
from localproviders.cli.parser import Parser
from localproviders.cli.run import Run
from localproviders.cli.usage import SUCCESS
from localproviders.cli.verbs import Verb
from localproviders.config import Config
from localproviders.discovery import Discovery, FoundServer, discover
from localproviders.errors import UnreachableError


def _add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "address",
        nargs="*",
        metavar="ADDRESS",
        help="a further address to search, such as http://127.0.0.1:8081",
    )
    add_place(parser)


def _run(arguments: Namespace, run: Run) -> int:
    config = Config.load(profile=arguments.profile, locality=arguments.locality)
    found = discover(
        [*arguments.address, *config.endpoints, *config.project_endpoints],
        timeout_s=arguments.timeout or 1.0,
        locality=cast("Any", config.locality),
    )
    found = _with_configured_names(found, config)
    is_ready = any(server.state == "available" for server in found.servers)
    if arguments.json:
        run.output.write_json(found.to_dict())
    elif is_ready:
        _print_servers_and_models(run, found)
    else:
        print_error(found.explain())
    if not is_ready:
        raise UnreachableError("no model server is ready")
    return SUCCESS


def _with_configured_names(found: Discovery, config: Config) -> Discovery:
    """Return the result of the search, with the configured names of configured servers."""
    names = {origin_of(each.endpoint): each.name for each in config.servers if each.endpoint}
    servers = (
        each.replace(name=names.get(origin_of(each.endpoint), each.name)) for each in found.servers
    )
    return found.replace(servers=tuple(servers))


def _print_servers_and_models(run: Run, found: Discovery) -> None:
    run.output.write_line(found.explain())
    run.output.write_line("Models:")
    for server in found.servers:
        for model in server.models:
            name = each_on_one_line(model.name)
            mark = _loaded_mark(server, model.name)
            run.output.write_line(one_line(f"- {server.name}/{name}{mark}"))


def _loaded_mark(server: FoundServer, model: str) -> str:
    return ", loaded" if any(loaded.name == model for loaded in server.loaded) else ""


VERBS = {
    "discover": Verb(
        "Find the model servers on this machine and at configured addresses, and list their "
        "models as SERVER/MODEL. Exit code 5 if no server is ready.",
        "localproviders discover\nlocalproviders discover --json",
        _add_arguments,
        _run,
    )
}
