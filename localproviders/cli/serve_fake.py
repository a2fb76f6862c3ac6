"""The verb ``serve-fake``: a fake server, for the tests of shell scripts."""

from __future__ import annotations

import os
import subprocess
import threading
from argparse import Namespace
from typing import Dict, List, Optional

from localproviders import kinds
from localproviders._did_you_mean import did_you_mean
from localproviders.cli.parser import Parser
from localproviders.cli.run import Run
from localproviders.cli.usage import SUCCESS, UsageError
from localproviders.cli.values import whole
from localproviders.cli.verbs import Verb
from localproviders.config.keys import variable
from localproviders.testing.fake import FakeServer, fake_of


def _add_arguments(parser: Parser) -> None:
    names = ", ".join(_kinds())
    parser.add_argument("kind", metavar="KIND", help=f"kind of the server: {names}")
    parser.takes_command = True
    group = parser.add_argument_group("fake server")
    group.add_argument(
        "-m",
        "--model",
        action="append",
        metavar="NAME",
        help="model of the fake server; repeatable",
    )
    group.add_argument("--reply", metavar="TEXT", help="text of every answer")
    group.add_argument("--fault", metavar="NAME", help="break every answer with this fault")
    group.add_argument(
        "--list-faults", action="store_true", help="list the faults that KIND supports"
    )
    group.add_argument(
        "--port", metavar="N", type=whole(1, 65535), default=0, help="port (default: a free one)"
    )


def _kinds() -> List[str]:
    return [kind.name for kind in kinds.registered() if kind.fake is not None]


def _run(arguments: Namespace, run: Run) -> int:
    fake = _make(arguments)
    if arguments.list_faults:
        return _list_faults(fake, run)
    with fake:
        address = _address(arguments.kind, fake)
        if arguments.command:
            env = _variables(arguments.kind, address, fake)
            return _run_command(arguments.command, env)
        if arguments.json:
            run.output.write_json({"kind": arguments.kind, "endpoint": address})
        else:
            run.output.write_line(address)
        run.output.sync()
        run.output.commit()  # now, because a script may be waiting for the file of -o
        threading.Event().wait()  # a signal ends the run
    return SUCCESS


def _make(arguments: Namespace) -> FakeServer:
    if arguments.kind not in _kinds():
        known = _kinds()
        raise UsageError(
            f"there is no fake server of the kind {arguments.kind!r}"
            f"{did_you_mean(arguments.kind, known)}",
            hint=f"the kinds are {', '.join(known)}",
        )
    try:
        fake = fake_of(arguments.kind)(arguments.model, port=arguments.port)
    except OSError as error:
        raise UsageError(
            f"port {arguments.port} cannot be used: {error.strerror}", hint="leave --port out"
        ) from None
    if arguments.reply is not None:
        fake.usual = arguments.reply
    if arguments.fault is not None:
        _break(fake, arguments)
    return fake


def _break(fake: FakeServer, arguments: Namespace) -> None:
    try:
        fake.break_next(arguments.fault, times=None)
    except ValueError as error:
        fake.stop()
        raise UsageError(
            str(error), hint=f"localproviders serve-fake {arguments.kind} --list-faults"
        ) from None


def _list_faults(fake: FakeServer, run: Run) -> int:
    from localproviders.testing.faults import FAULTS  # only for --list-faults

    for fault in FAULTS:
        if set(fault.kinds) & set(fake.kinds):
            run.output.write_line(fault.name)
    fake.stop()
    return SUCCESS


def _address(kind: str, fake: FakeServer) -> str:
    """Return the address of the fake server in the form that the provider of this kind accepts.

    For a kind without a usual address, it includes the path of the API, such as ``/v1``.
    """
    has_usual = kinds.get(kind).default_address is not None
    return fake.url if has_usual else str(getattr(fake, "base_url", fake.url))


def _run_command(words: List[str], variables: Dict[str, str]) -> int:
    """Run a command with these variables added to its environment; return its exit code."""
    try:
        with subprocess.Popen(words, env={**os.environ, **variables}) as process:  # noqa: S603  # the user's own command
            try:
                status = process.wait()
            except BaseException:
                process.terminate()
                raise
    except OSError as error:
        raise UsageError(f"{words[0]!r} cannot be started: {error.strerror}") from None
    return 128 - status if status < 0 else status


def _variables(kind: str, address: str, fake: FakeServer) -> Dict[str, str]:
    """Return the environment variables that make the package use the fake server."""
    name: Optional[str] = kinds.get(kind).address_variable
    found = {variable(("servers", kind, "endpoint")): address}
    if name is not None:
        found[name] = address
    if fake.models:
        found["LOCALPROVIDERS_MODEL"] = f"{kind}/{fake.models[0].name}"
    return found


VERBS = {
    "serve-fake": Verb(
        "Serve a fake model server on this machine, for the tests of shell scripts. Its address "
        "is written to standard output. With a command, the server lives as long as the command, "
        "and environment variables tell the command the server and its first model.",
        'localproviders serve-fake ollama --reply "Hello" -- localproviders chat "Hi"',
        _add_arguments,
        _run,
    )
}
