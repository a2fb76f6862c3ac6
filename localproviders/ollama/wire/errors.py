"""Translation of Ollama's error texts to this package's errors."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Mapping, Optional, Sequence, Tuple

from localproviders._address import allowing_hint
from localproviders._dialect.error_answers import explain
from localproviders._dialect.error_rules import OTHER_USES, Rule, rule
from localproviders._lazy import LazyModule
from localproviders.errors import (
    AuthenticationError,
    CapabilityError,
    ContextOverflowError,
    EmbeddingError,
    LocalityError,
    ModelLoadError,
    ModelNotFoundError,
    ProviderError,
    RequestRejectedError,
    ServerBusyError,
    ServerError,
    StreamInterruptedError,
    ToolCallError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from localproviders._dialect import missing_models
else:
    missing_models = LazyModule("localproviders._dialect.missing_models")

_PULL = "list_models() returns the names of the server's models"
_NOT_HERE = "list_models() returns the models that the server has"
_NOT_IN_REGISTRY = "the registry has no such model: check owner, name and tag"

#: The final hint of an error about a missing model lists the server's models. Each value here is
#: the text after this list. Its key is the hint that the error had before the list was added.
WAYS_TO_GET: Mapping[Optional[str], str] = {
    _PULL: "to get this one: ollama pull {model}",
    _NOT_HERE: "",
    _NOT_IN_REGISTRY: _NOT_IN_REGISTRY,
}
_SIGN_IN = (
    "sign in on the machine where Ollama runs: ollama signin; a push needs a name with your"
    " namespace, such as me/model"
)

# Error texts of pull, push and create (docs/reference/ollama.md, "Error texts"). They arrive in the
# middle of a stream, so no status code shows the kind of the error.
_LIBRARY_RULES: Tuple[Rule, ...] = (
    rule(
        r"manifest: .*(file does not exist|\b404\b)",
        ModelNotFoundError,
        _NOT_IN_REGISTRY,
    ),
    rule(
        r"manifests\b.*(no such file|cannot find)",
        ModelNotFoundError,
        _NOT_HERE,
    ),
    rule(
        r"manifest: 412\b|newer version of ollama",
        UnsupportedError,
        "update Ollama on the machine where it runs",
    ),
    rule(
        r"requires MLX support", UnsupportedError, "run this model on a machine that supports MLX"
    ),
    rule(
        r"access denied|manifest: 40[13]\b",
        AuthenticationError,
        _SIGN_IN,
    ),
    rule(
        r"digest mismatch, expected",
        RequestRejectedError,
        "the file changed during the upload: run create() again while no program writes to the"
        " file",
    ),
    rule(
        r"no space left|not enough space",
        ServerError,
        "make space on the disk where Ollama stores its models (OLLAMA_MODELS)",
    ),
    rule(
        # The server retries an upload even if the registry refuses it. Only the status after
        # "max retries exceeded" shows the reason.
        r"max retries exceeded.*\b(401|403|unauthori[sz]ed|forbidden)\b",
        AuthenticationError,
        _SIGN_IN,
    ),
    rule(
        r"max retries exceeded: http status 4(?!08|29)\d\d\b",
        RequestRejectedError,
        "the registry refuses this model: check its name, and the rules of the registry",
    ),
    rule(
        # The texts of Go's HTTP client if the registry answers without TLS.
        r"first record does not look like a TLS handshake|HTTP response to HTTPS client",
        ServerError,
        "the registry speaks plain HTTP: pass insecure=True to allow it",
    ),
    rule(
        r"digest mismatch|max retries exceeded",
        ServerError,
        "run the transfer again: it continues where the bad connection between Ollama and its"
        " registry stopped it",
        retryable=True,
    ),
    rule(
        r"manifest: (5\d\d|429)\b",
        ServerError,
        "the registry fails: run the transfer again later",
        retryable=True,
    ),
    rule(
        r"manifest: .*x509",
        ServerError,
        "Ollama does not trust the registry's certificate: if a proxy signs it, install the"
        " proxy's certificate authority on the machine where Ollama runs",
    ),
    rule(
        # A text of the second form quotes the URL of a model file: before Ollama downloads the
        # file, it requests this URL to learn the size.
        r"(manifest: |^(get|head|post|put|patch) .?https?://.*blobs/)"
        r".*(dial tcp|proxyconnect|timeout|deadline exceeded|EOF|reset by peer)",
        ServerError,
        "Ollama cannot reach the registry; if it needs a proxy, set HTTPS_PROXY on the machine"
        " where Ollama runs",
        retryable=True,
    ),
    rule(
        r"split GGUF",
        RequestRejectedError,
        "pass all parts of the model in files, each under its own name, such as"
        " model-00001-of-00003.gguf",
    ),
    rule(
        r"^(unexpected EOF|EOF)$|GGUF (string|array|tensor|key|metadata)\b.*(exceeds|overflow)"
        r"|invalid (file magic|gguf)|unsupported (gguf|model format)|(read|decod)\w* gguf"
        r"|tensor .*out of bounds|^tensor .*(exceeds|overflow)|^failed to read tensor"
        r"|^parameter count overflow|^invalid (array )?type: \d|^improper type for",
        RequestRejectedError,
        "the file is cut off, damaged or not a GGUF file: compare its size and its checksum with"
        " those of the original file, and download it again",
    ),
    rule(
        r"quantization is only supported|cannot quantize|already quantized|draft quantization",
        RequestRejectedError,
        "quantize an F16, BF16 or F32 file of the model, or leave out quantize (draft_quantize"
        " for a draft model)",
    ),
    rule(
        r"^(unsupported|unknown) architecture|^failed to validate GGUF|^architecture not set",
        RequestRejectedError,
        "this version of Ollama cannot use such a model: update Ollama, or convert the model to"
        " GGUF with llama.cpp",
    ),
    rule(
        r"neither 'from' or 'files'|unknown type|not in GGUF format|only one adapter|bad remote"
        r"|template error|info field|invalid digest format|must be relative|requires a DRAFT"
        r"|DRAFT cannot|invalid model name|unsupported quantiz|unknown quantiz"
        r"|no files provided|no base model was found|unknown license type|^parse config\.json"
        r"|^duplicate tensor name|^unknown tensor format|^unknown data type|\bfp8\b",
        RequestRejectedError,
    ),
)

# The server's texts (docs/reference/ollama.md, "Error texts"). They are tested before the status
# code, because the status can be wrong. For example, an invalid option has status 500.
RULES: Tuple[Rule, ...] = (
    *_LIBRARY_RULES,
    rule(
        r"exceed_context_size|exceeds? the available context|longer than the context length"
        r"|input length.*exceeds|exceeds maximum context length"
        # The texts for decision models. The last one is llama.cpp's, which Ollama passes on
        # unchanged for some models.
        r"|input is never truncated|text and schema must not exceed|too large to process",
        ContextOverflowError,
        "shorten the prompt, raise context_length, or accept the loss with overflow='truncate'",
    ),
    rule(
        r"contains NaN or Inf|unsupported value: ([+-]?Inf|NaN)",  # the second text has status 500
        EmbeddingError,
    ),
    rule(
        r"does not support (chat|generate)",
        CapabilityError,
        "choose a model that writes text: model_capabilities(name) lists its abilities; "
        + OTHER_USES,
    ),
    rule(
        r"does not support|support image|support embeddings|support (insert|vision|audio)",
        CapabilityError,
        "choose a model that has this ability: model_capabilities(name) lists its abilities",
    ),
    rule(r"model .*not found|file does not exist", ModelNotFoundError, _PULL),
    rule(
        r"terminated|no longer running|out-of-memory|unable to load|requires .* available"
        r"|timed out waiting for llama-server|may be incompatible|unexpectedly stopped",
        ModelLoadError,
    ),
    rule(
        r"encountered while running the model",
        StreamInterruptedError,
        "the process that runs the model ended: call again, because the server starts a new one;"
        " its log has the reason",
        retryable=True,
    ),
    rule(
        r"server busy",
        ServerBusyError,
        "raise OLLAMA_MAX_QUEUE, which limits the waiting requests; or let the provider retry"
        " for longer: pass retry=RetryPolicy(attempts=10)",
    ),
    rule(r"ollama cloud is disabled|cannot run this remote model", LocalityError),
    rule(r"unauthorized|authorization details", AuthenticationError),
    rule(r"tool call", ToolCallError),
    # The texts of Go's XML parser, for a tool call that a Qwen or GLM model wrote in XML.
    rule(r"XML syntax error|failed to parse XML|expected element type <", ToolCallError),
    rule(
        r"^404 page not found|^405 method|^file not found|^not found$",
        UnsupportedError,
        "update Ollama if its version is old, or check that the server at this address is Ollama",
    ),
    rule(
        r"option .* must be|invalid format|invalid JSON schema|required for format"
        r"|fail\w* to parse grammar|parsing grammar|initialize samplers",
        RequestRejectedError,
    ),
)


def explain_answer(status: int, text: str, headers: Mapping[str, str]) -> ProviderError:
    """Return the error for a response whose status is not 2xx."""
    return explain(status, text, headers, RULES)


def missing_model(model: str, names: Sequence[str], *, needed: bool = True) -> ModelNotFoundError:
    """Return the error for a model that is not among the server's models.

    Args:
        model: Name of the model.
        names: Names of the server's models.
        needed: Whether the call needs the model. If so, the hint says how to pull it.
    """
    return missing_models.not_found(
        model, hint=_PULL if needed else _NOT_HERE, available=tuple(names)
    )


def refuse_without_pull(error: ModelNotFoundError) -> None:
    """Remove the advice to pull the model, which is of no use if it was to be copied or deleted."""
    error.hint = _NOT_HERE


def stays_loaded(
    model: str, expires_at: Optional[datetime], refusal: ModelNotFoundError
) -> ModelNotFoundError:
    """Return the error for a deleted model that is still in memory and cannot be unloaded.

    Args:
        model: Name of the model.
        expires_at: Time at which the model leaves memory; None if it never leaves memory.
        refusal: The server's refusal to unload it.
    """
    # Described in docs/reference/ollama.md, "Loaded models".
    end = "when the server restarts" if expires_at is None else f"at {expires_at:{_TIME_FORM}}"
    return ModelNotFoundError(
        f"the model {model!r} was deleted while it was loaded, and the server cannot unload it:"
        f" it leaves memory {end}",
        hint="to free the memory now, restart the server; delete() unloads a model before it"
        " deletes it",
        status=refusal.status,
        server_message=refusal.server_message,
    )


_TIME_FORM = "%Y-%m-%d %H:%M:%S %Z"


def lacks_embed(error: UnsupportedError) -> bool:
    """Return whether the error means that the server does not have ``/api/embed``."""
    # Described in docs/reference/ollama.md, "Status codes".
    return error.status == 404


def refuse_cloud(name: str, host: Optional[str], locality: str) -> LocalityError:
    """Return the error for a model that runs in the cloud, before or after a request to it."""
    where = f" at {host}" if host else ""
    return LocalityError(
        f'the model {name!r} runs in the cloud{where}, and locality is "{locality}"',
        hint=allowing_hint("any"),
        model=name,
    )
