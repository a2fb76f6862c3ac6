"""The models of the fake Ollama: the registry, the files of models, and created models."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from localproviders._signatures import Unpack
from localproviders.ollama.names import is_cloud, listed_name, same_model, split_source, valid_name
from localproviders.secret import Sealed
from localproviders.testing.answers import Answer, dumps
from localproviders.testing.fake import FakeOptions, FakeServer, Models
from localproviders.testing.ollama.answers import (
    DATE,
    RefusedError,
    as_listed,
    empty_answer,
    json_answer,
    progress_answer,
)
from localproviders.testing.ollama.requests import body_of
from localproviders.testing.scripted import Exchange, Step
from localproviders.testing.values import FakeModel

# Ollama's names of abilities, by the names in `FakeModel.abilities`: docs/reference/ollama.md,
# "Capabilities".
_ABILITIES = {
    "chat": "completion",
    "tools": "tools",
    "insert": "insert",
    "vision": "vision",
    "audio": "audio",
    "embeddings": "embedding",
    "thinking": "thinking",
    "decision": "decision",
}

_MISSING = "pull model manifest: file does not exist"
_SUCCESS = {"status": "success"}
_REPORT = b'"success"'
#: The fake keeps only this number of bytes of each uploaded file, from its beginning.
_MAGIC_BYTES = 8

# Size of a model in bytes, on the disk and in memory. The fake adds some bytes that depend on the
# model, so that two models differ in size, as real models do.
_SIZE = 2019393189
_STUB_SIZE = 384
# Fields of a request to create a model that do not become part of the model.
_NOT_IN_MANIFEST = ("model", "name", "stream")

# The template of a model that can chat, and the template of any other model.
_CHAT = "{{ .System }}<|user|>{{ .Prompt }}<|assistant|>"
_PLAIN = "{{ .Prompt }}"

_NAMES = {"model": "string", "name": "string"}
_SHOW = {**_NAMES, "verbose": "bool", "system": "string", "options": "map[string]interface {}"}
_TRANSFER = {**_NAMES, "stream": "bool", "insecure": "bool"}
_COPY = {"source": "string", "destination": "string"}
#: The Go types of the fields of a request that creates a model.
CREATE = {
    **_NAMES,
    "stream": "bool",
    "from": "string",
    "files": "map[string]string",
    "adapters": "map[string]string",
    "draft_files": "map[string]string",
    "template": "string",
    "system": "string",
    "renderer": "string",
    "parser": "string",
    "requires": "string",
    "parameters": "map[string]interface {}",
    "messages": "[]api.Message",
    "quantize": "string",
    "draft_quantize": "string",
    "info": "map[string]interface {}",
}

Record = Dict[str, Any]


class FakeLibrary(FakeServer):
    """The part of `FakeOllama` that lists, pulls, pushes, creates, copies and deletes models.

    If a fault interrupts a pull, the server keeps the bytes pulled so far, and the next pull
    continues after these bytes. A model is installed only when its complete stream is sent,
    including ``success``.
    """

    def __init__(self, models: Models = None, **options: Unpack[FakeOptions]) -> None:
        given, options = Sealed(options), FakeOptions()
        super().__init__(models, **given.cell_contents)
        #: Models that can be pulled.
        self.registry: List[FakeModel] = [
            self.make_model(name)
            for name in ("llama3.2", "qwen3:0.6b", "gemma3:270m", "nomic-embed-text")
        ]
        #: Sizes of the files of each pulled or pushed model, in bytes.
        self.layers: Sequence[int] = (8_000_000, 1_500, 300)
        #: Seconds without data before each report of a transfer.
        self.report_pause_s: float = 0.0
        #: Whether a pull continues an interrupted one. If False, it starts again at the first byte.
        self.keeps_parts = True
        #: Number of pulled bytes of each file, by digest.
        self.parts: Dict[str, int] = {}
        #: First bytes of each uploaded file, by digest.
        self.blobs: Dict[str, bytes] = {}
        #: Names of the pushed models.
        self.pushed: List[str] = []
        #: The request that created each model, as JSON, by the name of the model.
        self.made: Dict[str, Mapping[str, Any]] = {}
        #: Models that were deleted. If such a model was in memory, it stays there until its
        #: keep-alive time ends.
        self.deleted: List[FakeModel] = []
        #: For each copied or created model without files of its own, the name of the model whose
        #: files it uses.
        self.shares: Dict[str, str] = {}
        self._commits: Dict[int, Callable[[], None]] = {}
        self._received: Dict[int, Tuple[str, bytes]] = {}

    # --- lists ----------------------------------------------------------------------------

    def _tags(self, _: Exchange) -> Answer:
        return json_answer({"models": [self._entry(model) for model in self.models]}, kind="list")

    def _entry(self, model: FakeModel) -> Record:
        name = as_listed(model.name)
        remote = {"remote_host": model.remote_host, "remote_model": model.name}
        return {
            "name": name,
            "model": name,
            **(remote if model.remote_host else {}),
            "modified_at": DATE,
            "size": self.size_of(model),
            "digest": self.digest_of(model),
            "details": {
                **self._details(),
                "context_length": model.max_context_length,
                "embedding_length": model.dimensions,
            },
            "capabilities": _capabilities(model),
        }

    def _details(self) -> Record:
        return {
            "parent_model": "",
            "format": "gguf",
            "family": "llama",
            "families": ["llama"],
            "parameter_size": "3.2B",
            "quantization_level": "Q4_K_M",
        }

    def _show(self, exchange: Exchange) -> Answer:
        body = body_of(exchange, "api.ShowRequest", _SHOW)
        name = body.get("model") or body.get("name")
        model = self._find(name, f"model '{as_listed(name or '')}' not found")
        remote = {"remote_host": model.remote_host, "remote_model": model.name}
        made = self.made.get(as_listed(model.name), {})
        own = ("system", "renderer", "parser", "messages", "requires")
        texts = {name: made[name] for name in own if name in made}
        license_ = made.get("license", "A licence for tests")
        return json_answer(
            {
                "license": license_ if isinstance(license_, str) else "\n".join(license_),
                "modelfile": self._modelfile(model),
                "parameters": _parameter_lines(made.get("parameters", {})),
                "template": made.get("template", self._usual_template(model, made)),
                **texts,
                "details": {**self._details(), "parent_model": made.get("from", "")},
                "model_info": self._metadata(model, bool(body.get("verbose"))),
                **(remote if model.remote_host else {}),
                "tensors": [{"name": "token_embd.weight", "type": "Q8_0", "shape": [64, 8]}],
                "capabilities": _capabilities(model),
                "modified_at": DATE,
            }
        )

    def _usual_template(self, model: FakeModel, made: Mapping[str, Any]) -> str:
        """Return the template of a model that has not set its own.

        A model that was created only from files has the plain template.
        """
        is_plain = bool(made) and "from" not in made
        return _PLAIN if is_plain or not model.can("chat") else _CHAT

    def _modelfile(self, model: FakeModel) -> str:
        file = _file_digest(self.owner_of_files(model), 0).replace(":", "-")
        source = model.name if model.remote_host else f"/models/blobs/{file}"
        return f'# Modelfile generated by "ollama show"\nFROM {source}\n'

    def digest_of(self, model: FakeModel) -> str:
        """Return the digest of a model's manifest.

        Only copies, and models with the same `FakeModel.digest`, have the same digest.
        """
        return self._made_digest(model) if model.digest is None else model.digest

    def _made_digest(self, model: FakeModel) -> str:
        made = self.made.get(as_listed(model.name), {})
        own = {name: made[name] for name in sorted(made) if name not in _NOT_IN_MANIFEST}
        manifest = dumps([self.owner_of_files(model), own])
        return hashlib.sha256(manifest.encode()).hexdigest()

    def size_of(self, model: FakeModel) -> int:
        """Return the size of a model in bytes."""
        if model.size_bytes is not None:
            return model.size_bytes
        return _STUB_SIZE if model.remote_host else _SIZE + int(self._made_digest(model)[:5], 16)

    def owner_of_files(self, model: FakeModel) -> str:
        """Return the name of the model whose files a model uses; usually its own name."""
        name = as_listed(model.name)
        return self.shares.get(name, name)

    def _metadata(self, model: FakeModel, verbose: bool) -> Record:
        return {
            "general.architecture": "llama",
            "general.parameter_count": 3212749888,
            "llama.context_length": model.max_context_length,
            "llama.embedding_length": model.dimensions,
            "tokenizer.ggml.tokens": ["<s>", "</s>"] if verbose else None,
        }

    def _find(self, name: Optional[str], missing: str) -> FakeModel:
        """Return the model with a name.

        Raises:
            RefusedError: The name is empty; or there is no such model, and the error has the text
                `missing`.
        """
        if not name:
            raise RefusedError("model is required")
        base = split_source(name)[0]
        for model in self.models:
            if same_model(model.name, name) or same_model(model.name, base):
                return model
        raise RefusedError(missing, "404 Not Found")

    # --- transfers ------------------------------------------------------------------------

    def _pull(self, exchange: Exchange) -> Answer:
        body = body_of(exchange, "api.PullRequest", _TRANSFER)
        name = _target_name(body)
        records: List[Record] = [{"status": "pulling manifest"}]
        found = self._in_registry(name)
        if found is None:
            return self._progress(body, [*records, {"error": _MISSING}])
        records, begun = self._pull_reports(records, found)
        self._commits[id(exchange)] = lambda: self._install_pulled(found, listed_name(name))
        return self._progress(body, [*records, _SUCCESS], begun)

    def _in_registry(self, name: str) -> Optional[FakeModel]:
        found = next((model for model in self.registry if same_model(model.name, name)), None)
        if found is None and is_cloud(name):
            return FakeModel(name=name, remote_host="https://ollama.com:443")
        return found

    def _pull_reports(self, records: List[Record], model: FakeModel) -> Tuple[List[Record], int]:
        """Return the reports of a pull, and the number of reports after which a fault happens.

        Args:
            records: The reports before the first file.
            model: The model.
        """
        begun = 0
        for index, total in enumerate(self.layers):
            digest = _file_digest(model.name, index)
            have = self.parts.get(digest, 0)
            for done in _byte_counts(have, total):
                records.append(_report("pulling", digest, total, done))
                if not begun and (have < done or done == total) and total > 1_000_000:
                    begun = len(records)
                    self.parts[digest] = done if self.keeps_parts else 0
        work = ("verifying sha256 digest", "writing manifest")
        return [*records, *({"status": status} for status in work)], begun or len(records)

    def _push(self, exchange: Exchange) -> Answer:
        body = body_of(exchange, "api.PushRequest", _TRANSFER)
        name = _target_name(body)
        records: List[Record] = [{"status": "retrieving manifest"}]
        model = next((m for m in self.models if same_model(m.name, name)), None)
        if model is None:
            missing = f"open /models/manifests/{name}: no such file or directory"
            return self._progress(
                body, [*records, {"status": "couldn't retrieve manifest"}, {"error": missing}]
            )
        for index, total in enumerate(self.layers):
            records += [
                _report("pushing", _file_digest(model.name, index), total, done)
                for done in _byte_counts(0, total)
            ]
        if "/" not in name:
            return self._progress(body, [*records, {"error": "unauthorized: access denied"}])
        self._commits[id(exchange)] = lambda: self.pushed.append(as_listed(name))
        return self._progress(body, [*records, {"status": "pushing manifest"}, _SUCCESS], 3)

    def _create(self, exchange: Exchange) -> Answer:
        body = body_of(exchange, "api.CreateRequest", CREATE)
        name = _target_name(body)
        try:
            records, model = self._created_model(body, name)
        except _InStreamError as error:
            return self._progress(body, error.records)
        self._commits[id(exchange)] = lambda: self._install_created(model, body)
        new = [{"status": f"creating new layer {_file_digest(name, index)}"} for index in range(2)]
        records = [*records, *new, {"status": "writing manifest"}, _SUCCESS]
        return self._progress(body, records, 2)

    def _created_model(self, body: Mapping[str, Any], name: str) -> Tuple[List[Record], FakeModel]:
        files = [
            digest
            for kind in ("files", "adapters", "draft_files")
            for digest in (body.get(kind) or {}).values()
        ]
        for digest in files:
            self._check_blob(str(digest))
        if body.get("draft_quantize") and not body.get("draft_files"):
            raise RefusedError("--draft-quantize requires a DRAFT model")
        source = str(body.get("from") or "")
        if not source and not body.get("files"):
            raise RefusedError("neither 'from' or 'files' was specified")
        records: List[Record] = []
        found: Optional[FakeModel] = None
        if source:
            records, found = self._source_of(source)
        records += [{"status": "parsing GGUF"}] if files else []
        if body.get("quantize"):
            records += _quantize_reports(str(body["quantize"]))
        if found is None:
            return records, self.make_model(name)
        records.append({"status": f"using existing layer {_file_digest(found.name, 0)}"})
        return records, found.replace(name=name, loaded=False)

    def _source_of(self, name: str) -> Tuple[List[Record], FakeModel]:
        """Return the source of a new model, and the reports of pulling the source.

        A source that is installed is not pulled, and has no reports.

        Raises:
            _InStreamError: The source is neither installed nor in the registry.
        """
        installed = next((m for m in self.models if same_model(m.name, name)), None)
        if installed is not None:
            return [], installed
        records: List[Record] = [{"status": "pulling manifest"}]
        found = self._in_registry(name)
        if found is None:
            raise _InStreamError([*records, {"error": _MISSING}])
        return self._pull_reports(records, found)[0], found

    def _check_blob(self, digest: str) -> None:
        if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
            raise RefusedError("invalid digest format")
        if not self.blobs.get(digest, b"").startswith(b"GGUF"):
            raise RefusedError("supplied file was not in GGUF format")

    def _progress(
        self, body: Mapping[str, Any], records: Sequence[Record], begun: int = 1
    ) -> Answer:
        return progress_answer(body, records, begun, self.report_pause_s)

    def _answer_steps(self, exchange: Exchange) -> Sequence[Step]:
        """Return the steps of the response, with one more if the request is a transfer.

        This step lets the transfer take effect, just before the step that reports success. If the
        client disconnects earlier, the transfer has no effect.
        """
        steps = list(super()._answer_steps(exchange))
        commit = self._commits.pop(id(exchange), None)
        last = [n for n, each in enumerate(steps) if isinstance(each, bytes) and _REPORT in each]
        if commit is not None and last:
            steps.insert(last[-1], lambda _: commit())
        return steps

    def _install(self, model: FakeModel) -> None:
        for index, total in enumerate(self.layers):
            self.parts[_file_digest(model.name, index)] = total
        for models in (self.models, self.deleted):
            models[:] = [m for m in models if not same_model(m.name, model.name)]
        self.models.insert(0, model)

    def _install_pulled(self, found: FakeModel, name: str) -> None:
        self._install(found.replace(name=name))
        for facts in (self.made, self.shares):  # the pull replaces a created model of this name
            facts.pop(as_listed(name), None)

    def _install_created(self, model: FakeModel, body: Mapping[str, Any]) -> None:
        self._install(model)
        self.made[as_listed(model.name)] = body
        self.shares.pop(as_listed(model.name), None)
        if body.get("from") and not body.get("quantize") and not body.get("adapters"):
            self._share(model.name, str(body["from"]))

    def _share(self, name: str, source: str) -> None:
        owner = as_listed(source)
        self.shares[as_listed(name)] = self.shares.get(owner, owner)

    # --- copies, deletions, files ---------------------------------------------------------

    def _copy(self, exchange: Exchange) -> Answer:
        body = body_of(exchange, "api.CopyRequest", _COPY)
        for role in ("source", "destination"):
            if not valid_name(body.get(role, "")):
                raise RefusedError(f'{role} "{body.get(role, "")}" is invalid')
        model = self._find(body["source"], f'model "{body["source"]}" not found')
        self.made[as_listed(body["destination"])] = self.made.get(as_listed(model.name), {})
        self._install(model.replace(name=body["destination"], loaded=False))
        self._share(body["destination"], model.name)
        return empty_answer()

    def _delete(self, exchange: Exchange) -> Answer:
        body = body_of(exchange, "api.DeleteRequest", _NAMES)
        name = body.get("model") or body.get("name")
        model = self._find(name, f"model '{name}' not found")
        self.models.remove(model)
        self.deleted.append(model)
        for index in range(len(self.layers)):
            self.parts.pop(_file_digest(model.name, index), None)
        return empty_answer()

    def _before_body(self, exchange: Exchange) -> None:
        super()._before_body(exchange)
        if exchange.path.startswith("/api/blobs/") and exchange.method == "POST":
            self._received[id(exchange)] = self._receive(exchange)

    def _receive(self, exchange: Exchange) -> Tuple[str, bytes]:
        """Read an uploaded file; return its digest and, to save memory, only its first bytes."""
        found, first = hashlib.sha256(), b""
        for piece in exchange.body_pieces():
            found.update(piece)
            first = first if len(first) >= _MAGIC_BYTES else (first + piece)[:_MAGIC_BYTES]
        return f"sha256:{found.hexdigest()}", first

    def _blob(self, exchange: Exchange) -> Answer:
        expected = exchange.path.rpartition("/")[2]
        if not re.fullmatch("sha256[:-][0-9a-fA-F]{64}", expected):
            raise RefusedError("invalid digest format")
        if exchange.method == "HEAD":
            if expected not in self.blobs:
                raise RefusedError(f"blob {expected!r} not found", "404 Not Found")
            return empty_answer()
        digest, first = self._received.pop(id(exchange))
        if digest != expected:
            raise RefusedError(f'digest mismatch, expected "{expected}", got "{digest}"')
        is_new = digest not in self.blobs
        self.blobs[digest] = first
        return empty_answer("201 Created" if is_new else "200 OK")


class _InStreamError(RefusedError):
    """An error that is sent as the last record of a stream that has already begun."""

    def __init__(self, records: Sequence[Record]) -> None:
        super().__init__(str(records[-1]["error"]))
        self.records = records


def _target_name(body: Mapping[str, Any]) -> str:
    name: str = body.get("model") or body.get("name") or ""
    if not name:
        raise RefusedError("model is required")
    if not valid_name(name):
        raise RefusedError("invalid model name")
    return name


def _file_digest(name: str, index: int) -> str:
    """Return the digest of a file of a model."""
    return f"sha256:{hashlib.sha256(f'{as_listed(name)} {index}'.encode()).hexdigest()}"


def _byte_counts(have: int, total: int) -> List[int]:
    """Return the byte counts that the reports about a file contain.

    Args:
        have: Number of bytes that an earlier pull has received.
        total: Size of the file.
    """
    if have >= total:
        return [total]
    return [have + (total - have) * quarter // 4 for quarter in range(5)]


def _report(verb: str, digest: str, total: int, done: int) -> Record:
    head = {"status": f"{verb} {digest[7:19]}", "digest": digest, "total": total}
    return {**head, "completed": done} if done else head  # zeros are left out


def _quantize_reports(target: str) -> List[Record]:
    status, digest = f"quantizing F16 model to {target}", "sha256:" + "0" * 64
    return [
        {"status": status, "digest": digest, "total": 1000, "completed": done}
        for done in (250, 500, 1000)
    ]


def _parameter_lines(parameters: Mapping[str, Any]) -> str:
    lines = []
    for name, value in parameters.items():
        for item in value if isinstance(value, list) else [value]:
            shown = f'"{item}"' if isinstance(item, str) else str(item)
            lines.append(f"{name:<30} {shown}")
    # The order has no meaning (docs/reference/ollama.md, "Model details").
    return "\n".join(reversed(lines))


def _capabilities(model: FakeModel) -> List[str]:
    return [name for ability, name in _ABILITIES.items() if model.can(ability)]
