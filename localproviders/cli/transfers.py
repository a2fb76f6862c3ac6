"""The verbs that change the models of a server: pull, push, create, copy and delete."""

from __future__ import annotations

import inspect
import json
import os
from argparse import ArgumentTypeError, Namespace
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from localproviders.cli import options
from localproviders.cli.asking import check_may_ask, confirm
from localproviders.cli.inputs import read_text
from localproviders.cli.parser import Parser
from localproviders.cli.progress import BYTES, Meter
from localproviders.cli.run import Run
from localproviders.cli.table import gigabytes
from localproviders.cli.targets import Target, on_server, single_target, target_of
from localproviders.cli.usage import SUCCESS, USAGE, UsageError
from localproviders.cli.verbs import Verb
from localproviders.errors import ModelNotFoundError, UnsupportedError
from localproviders.local.provider import LocalProvider
from localproviders.types.models import ModelInfo, Progress

# --- progress ------------------------------------------------------------------------------


class TransferMeter:
    """Adds up the bytes of all files of a transfer, for a `Meter`.

    Args:
        meter: The meter.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._files: Dict[str, Tuple[int, int]] = {}

    def __call__(self, progress: Progress) -> None:
        """Add the numbers of one progress report."""
        if progress.completed_bytes is not None or progress.total_bytes is not None:
            done, total = progress.completed_bytes or 0, progress.total_bytes or 0
            # A file that is read for its digest, and then uploaded, counts twice.
            self._files[progress.digest or progress.status] = (done, max(done, total))
        sums = [sum(numbers) for numbers in zip(*self._files.values())] or [None, None]
        self._meter.set(sums[0], sums[1] or None, progress.status)


def _write_result(run: Run, verb: str, name: str, info: Optional[ModelInfo] = None) -> int:
    if run.arguments.json:
        run.output.write_json({verb: name} if info is None else info.to_dict())
        return SUCCESS
    size = None if info is None else info.capabilities.size_bytes
    run.output.write_line(f"{verb} {name}" + (f", {gigabytes(size)} GB" if size else ""))
    return SUCCESS


# --- pull and push -------------------------------------------------------------------------

#: Options of ``pull`` that are arguments of the method ``pull`` of only some providers.
_OF_SOME = ("quantization", "insecure")


def _add_pull(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model, or SERVER/MODEL")
    parser.add_argument(
        "--quantization", metavar="Q", help="quantization to download, such as Q4_K_M (LM Studio)"
    )
    _add_insecure(parser)
    options.add_server(parser)


def _add_insecure(parser: Parser) -> None:
    parser.add_argument(
        "--insecure", action="store_true", help="allow a registry without TLS (Ollama)"
    )


def _run_pull(arguments: Namespace, run: Run) -> int:
    target = target_of(run, arguments.model)
    more = {name: getattr(arguments, name) for name in _OF_SOME if getattr(arguments, name)}
    _check_options(target, more)
    pull: Callable[..., ModelInfo] = target.provider.pull
    with run.progress(None, BYTES) as meter:
        info = pull(target.model, on_progress=TransferMeter(meter), **more)
    return _write_result(run, "pulled", f"{info.provider}/{info.name}", info)


def _check_options(target: Target, more: Mapping[str, Any]) -> None:
    for name in more:
        if isinstance(target.provider, LocalProvider):
            raise UsageError(
                f"--{name} needs the name of a server", hint=f"write SERVER/{target.model}"
            )
        if name not in inspect.signature(target.provider.pull).parameters:
            raise UnsupportedError(f"{target.provider.name} has no --{name}")


def _add_push(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model, or SERVER/MODEL")
    _add_insecure(parser)
    options.add_server(parser)


def _run_push(arguments: Namespace, run: Run) -> int:
    target = single_target(run, arguments.model, "push")
    with run.progress(None, BYTES) as meter:
        report, insecure = TransferMeter(meter), arguments.insecure
        _method(target, "push")(target.model, on_progress=report, insecure=insecure)
    return _write_result(run, "pushed", str(target))


# --- create --------------------------------------------------------------------------------


def _parameter(text: str) -> Tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ArgumentTypeError(f"{text!r} is no parameter: write num_ctx=8192")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _add_create(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="the new model, or SERVER/MODEL")
    parser.add_argument("--from", metavar="MODEL", dest="source", help="the model to start from")
    for names, what in ((("-f", "--file"), "GGUF file"), (("--adapter",), "LoRA adapter")):
        words = f"{what}; repeatable"
        parser.add_argument(*names, metavar="FILE", action="append", default=[], help=words)
    parser.add_argument("--system", metavar="TEXT", help="system message of the model")
    parser.add_argument("--template-file", metavar="FILE", help="template of the model's prompts")
    parser.add_argument(
        "--parameter",
        metavar="NAME=VALUE",
        type=_parameter,
        action="append",
        default=[],
        help="parameter, such as num_ctx=8192; repeatable",
    )
    parser.add_argument("--quantize", metavar="Q", help="such as Q4_K_M")
    options.add_server(parser)


def _run_create(arguments: Namespace, run: Run) -> int:
    fields = _create_fields(arguments)
    target = single_target(run, arguments.model, "create", is_new=True)
    if arguments.source is not None:
        fields["from_model"] = on_server(target, arguments.source)
    _check_unused(arguments, target, target.model)
    with run.progress(None, BYTES) as meter:
        report = TransferMeter(meter)
        info = _method(target, "create")(target.model, on_progress=report, **fields)
    return _write_result(run, "made", f"{info.provider}/{info.name}", info)


def _create_fields(arguments: Namespace) -> Dict[str, Any]:
    if (arguments.source is None) == (not arguments.file):
        raise UsageError("a new model needs either --from MODEL or -f FILE")
    template = arguments.template_file
    fields: Dict[str, Any] = {
        "files": _named_files(arguments.file),
        "adapters": _named_files(arguments.adapter),
        "system": arguments.system,
        "template": None if template is None else read_text(template, arguments.encoding),
        "parameters": _together(arguments.parameter),
        "quantize": arguments.quantize,
    }
    return {name: value for name, value in fields.items() if value}


def _named_files(paths: List[str]) -> Dict[str, str]:
    """Return the paths by their file names. The server keeps each file under its file name."""
    found = {os.path.basename(path): path for path in paths}
    if len(found) < len(paths):
        raise UsageError("two files have the same name, so the server cannot tell them apart")
    return found


def _together(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    """Return parameters by their names. If a name occurs several times, its value is a list."""
    values: Dict[str, List[Any]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


# --- copy and delete -----------------------------------------------------------------------


def _add_copy(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model, or SERVER/MODEL")
    parser.add_argument(
        "name", metavar="NAME", help="the second name of the model, on the same server"
    )
    options.add_server(parser)


def _run_copy(arguments: Namespace, run: Run) -> int:
    target = single_target(run, arguments.model, "copy")
    name = on_server(target, arguments.name)
    _check_unused(arguments, target, name)
    _method(target, "copy")(target.model, name)
    return _write_result(run, "copied", f"{target} to {target.provider.name}/{name}")


def _add_delete(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model, or SERVER/MODEL")
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    options.add_server(parser)


def _run_delete(arguments: Namespace, run: Run) -> int:
    check_may_ask(arguments)  # before anything is sent
    target = single_target(run, arguments.model, "delete")
    size = gigabytes(target.provider.model_info(target.model).capabilities.size_bytes)
    if not confirm(arguments, f"Delete {target}{f' ({size} GB)' if size else ''}?"):
        run.warn("nothing was deleted")
        return USAGE
    _method(target, "delete")(target.model)
    return _write_result(run, "deleted", str(target))


def _method(target: Target, verb: str) -> Callable[..., Any]:
    """Return a method that only some providers have; `single_target` has checked that it exists."""
    found: Callable[..., Any] = getattr(target.provider, verb)
    return found


def _check_unused(arguments: Namespace, target: Target, name: str) -> None:
    """Raise an error if a model would be replaced, unless ``--force`` was given."""
    if arguments.force:
        return
    try:
        target.provider.model_info(name)
    except ModelNotFoundError:
        return
    raise UsageError(
        f"{target.provider.name} has a model {name!r} already",
        hint="add --force to replace it, or choose another name",
    )


VERBS = {
    "pull": Verb(
        "Make a server download a model, and wait until the download is complete. To continue a "
        "download that was interrupted, run the same command again.",
        "localproviders pull ollama/llama3.2",
        _add_pull,
        _run_pull,
    ),
    "push": Verb(
        "Make a server upload a model to its registry. A model may contain private data, so this "
        "needs --locality any.",
        "localproviders push ollama/me/llama3.2 --locality any",
        _add_push,
        _run_push,
    ),
    "create": Verb(
        "Make a model from another model or from GGUF files. A model of the same name is replaced "
        "only with --force.",
        "localproviders create ollama/pirate --from llama3.2 --system 'Say arr.'",
        _add_create,
        _run_create,
    ),
    "copy": Verb(
        "Give a model a second name on its server. Another model of that name is replaced only "
        "with --force.",
        "localproviders copy ollama/llama3.2 llama3.2-backup",
        _add_copy,
        _run_copy,
    ),
    "delete": Verb(
        "Delete a model from its server. On a terminal, the command asks first. Without a "
        "terminal, or with --no-input, --yes is needed.",
        "localproviders delete ollama/llama3.2 --yes",
        _add_delete,
        _run_delete,
    ),
}
