"""`ServerConfig`: one server as it is configured."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from localproviders._record import CONTENT, Record, field, loads, record
from localproviders.secret import SecretString
from localproviders.settings import Proxies
from localproviders.types.limits import Limits
from localproviders.types.retry import RetryPolicy

#: What a server can be, and the argument that its provider takes the address in.
KINDS: Mapping[str, Optional[str]] = {
    "ollama": "host",
    "lmstudio": "host",
    "openai-compatible": "base_url",
    "gguf": None,
}

# The engine waits on a pipe, which takes no infinity; nothing loads for a day.
_LONGEST_S = 86_400.0


@record
class ServerConfig(Record):
    """A server as it is configured. What it does not say for itself is filled in already.

    Attributes:
        name: Its name, unique in a `Config`: the provider's name, and the part before the
            slash in ``name/model``.
        kind: ``ollama``, ``lmstudio``, ``openai-compatible``, or ``gguf``: a model file
            that the embedded engine serves.
        endpoint: Its address as it was written; None is the usual place of its kind, and
            for ``gguf`` there is none.
        gguf: The model file, absolute; for ``gguf`` only.
        model: The model for requests that name none.
        api_key: Its key, already read from where the configuration said it is.
        allow_plaintext_key: Send the key over plain HTTP beyond loopback.
        limits: Time limits: its own, else the configuration's, each limit by itself.
        retry: What is sent again: its own, else the configuration's.
        locality: Where prompts may go. Its own, but no wider than that of the
            configuration, where that says something.
        ca_bundle: As in `Settings`.
        client_cert: As in `Settings`.
        proxies: As in `Settings`; not used where `locality` is not ``any``.
    """

    name: str
    kind: str
    endpoint: Optional[str] = None
    gguf: Optional[Path] = field(default=None, metadata=loads(Path))
    model: Optional[str] = None
    api_key: Optional[SecretString] = None
    allow_plaintext_key: bool = False
    limits: Limits = field(default_factory=Limits, metadata=loads(Limits.from_dict))
    retry: RetryPolicy = field(default_factory=RetryPolicy, metadata=loads(RetryPolicy.from_dict))
    locality: str = "loopback"
    ca_bundle: Optional[str] = None
    client_cert: Union[str, Tuple[str, str], None] = None
    proxies: Proxies = field(default=None, metadata=CONTENT)  # it may hold a password

    def options(self) -> Mapping[str, Any]:
        """Give the keyword arguments for the constructor of this kind's provider.

        ``ollama`` is for `OllamaProvider`, ``lmstudio`` for `LMStudioProvider`,
        ``openai-compatible`` for `OpenAICompatibleProvider`, ``gguf`` for `LocalEngine`.
        What is not configured is not among them.
        """
        if self.kind == "gguf":
            return {"model": self.gguf, "start_timeout_s": min(self.limits.load_s, _LONGEST_S)}
        found: Dict[str, Any] = {
            str(KINDS[self.kind]): self.endpoint,
            "name": self.name,
            "model": self.model,
            "api_key": self.api_key,
            "allow_plaintext_key": self.allow_plaintext_key or None,
            "timeout": self.limits,
            "retry": self.retry,
            "locality": self.locality,
            "ca_bundle": self.ca_bundle,
            "client_cert": self.client_cert,
            # Behind a proxy nobody can check where a name leads to.
            "proxies": self.proxies if self.locality == "any" else None,
        }
        return {name: value for name, value in found.items() if value is not None}
