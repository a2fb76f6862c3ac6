"""From Ollama's words to our errors."""

from __future__ import annotations

from typing import Mapping, Optional, Tuple

from localproviders._http.rejection import Rule, explain, rule
from localproviders.errors import (
    AuthenticationError,
    BusyError,
    CapabilityError,
    ContextOverflowError,
    EmbeddingError,
    LocalityError,
    ModelLoadError,
    ModelNotFoundError,
    ProviderError,
    RequestRejectedError,
    ServerError,
    StreamInterruptedError,
    ToolCallError,
    UnsupportedError,
)

_PULL = "get it first: ollama pull <model>"

# Texts of pull, push and create (ollama-api §5.3). They come in mid-stream, where the status
# of their cause is lost.
_LIBRARY_RULES: Tuple[Rule, ...] = (
    rule(
        r"manifest: .*(file does not exist|\b404\b)",
        ModelNotFoundError,
        "the registry has no such model: check owner, name and tag",
    ),
    rule(
        r"manifests\b.*(no such file|cannot find)",
        ModelNotFoundError,
        "list_models() tells which models the server has",
    ),
    rule(
        r"manifest: 412\b|newer version of ollama",
        UnsupportedError,
        "update Ollama on the machine where it runs",
    ),
    rule(r"requires MLX support", UnsupportedError, "this model needs another machine"),
    rule(
        r"access denied|manifest: 40[13]\b",
        AuthenticationError,
        "sign in where Ollama runs, with: ollama signin; a push needs a name of yours, such as"
        " me/model",
    ),
    rule(
        r"digest mismatch, expected",
        RequestRejectedError,
        "the file changed while it was being sent: run it again when nobody writes to it",
    ),
    rule(
        r"no space left|not enough space",
        ServerError,
        "make room on the disk where Ollama keeps its models: OLLAMA_MODELS",
    ),
    rule(
        r"digest mismatch|max retries exceeded",
        ServerError,
        "the server's line to its registry is bad: run it again, it goes on where it stopped",
        retryable=True,
    ),
    rule(
        r"manifest: .*x509",
        ServerError,
        "Ollama does not trust the registry's certificate: a proxy's own authority must be"
        " known to the machine where Ollama runs",
    ),
    rule(
        # The second form is that of a file's own address, which is asked for its size first.
        r"(manifest: |^(get|head|post|put|patch) .?https?://.*blobs/)"
        r".*(dial tcp|proxyconnect|timeout|deadline exceeded|EOF|reset by peer)",
        ServerError,
        "Ollama cannot reach the registry; a proxy is set where Ollama runs, with HTTPS_PROXY",
        retryable=True,
    ),
    rule(
        r"neither 'from' or 'files'|unknown type|not in GGUF format|only one adapter|bad remote"
        r"|template error|info field|invalid digest format|must be relative|requires a DRAFT"
        r"|DRAFT cannot|invalid model name|unsupported quantiz|unknown quantiz",
        RequestRejectedError,
    ),
)

# The server's words, from ollama-api §5.3; a status can be wrong where they are right.
RULES: Tuple[Rule, ...] = (
    *_LIBRARY_RULES,
    rule(
        r"exceed_context_size|exceeds? the available context|longer than the context length"
        r"|input length.*exceeds|exceeds maximum context length",
        ContextOverflowError,
        "shorten the prompt, raise context_length, or accept the loss with overflow='truncate'",
    ),
    rule(
        r"contains NaN or Inf|unsupported value: ([+-]?Inf|NaN)",  # the latter with status 500
        EmbeddingError,
    ),
    rule(
        r"does not support|support image|support embeddings|support (insert|vision|audio)",
        CapabilityError,
        "choose a model that can: model_capabilities(name) tells",
    ),
    rule(r"model .*not found|file does not exist", ModelNotFoundError, _PULL),
    rule(
        r"terminated|no longer running|out-of-memory|unable to load|requires .* available"
        r"|timed out waiting for llama-server|may be incompatible|unexpectedly stopped",
        ModelLoadError,
    ),
    rule(r"encountered while running the model", StreamInterruptedError),
    rule(r"server busy", BusyError, "more requests are waiting than OLLAMA_MAX_QUEUE allows"),
    rule(r"ollama cloud is disabled|cannot run this remote model", LocalityError),
    rule(r"unauthorized|authorization details", AuthenticationError),
    rule(r"tool call", ToolCallError),
    rule(
        r"^404 page not found|^405 method|^file not found|^not found$",
        UnsupportedError,
        "this server is too old, or not Ollama",
    ),
    rule(r"option .* must be|invalid format", RequestRejectedError),
)


def explain_answer(status: int, text: str, headers: Mapping[str, str]) -> ProviderError:
    """Make the error for a status that is not 2xx."""
    return explain(status, text, headers, RULES)


def lacks_embed(error: UnsupportedError) -> bool:
    """Whether a server answers as one that does not know the path (§5.2)."""
    return error.status == 404


def refuse_cloud(name: str, host: Optional[str], locality: str) -> LocalityError:
    """Make the error for a model that would run, or ran, elsewhere."""
    where = f" at {host}" if host else ""
    return LocalityError(
        f'the model {name!r} runs in the cloud{where}, and locality is "{locality}"',
        hint='to allow it, pass locality="any" or set LOCALPROVIDERS_LOCALITY=any',
        model=name,
    )
