"""The models that the server has: getting, making, sharing, copying and deleting them."""

from __future__ import annotations

import math
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Iterable,
    Mapping,
    Optional,
    Sequence,
    TypeVar,
    Union,
)

from localproviders._http.deadline import Call
from localproviders._http.transport import Body, Payload, encode
from localproviders.ollama import wire
from localproviders.ollama.inventory import Inventory
from localproviders.provider import bare
from localproviders.types.cancel import CancelToken
from localproviders.types.limits import LISTING_TOTAL_S, Timeout
from localproviders.types.message import Messages, as_messages
from localproviders.types.model import ModelInfo
from localproviders.types.progress import OnProgress

if TYPE_CHECKING:
    from localproviders.ollama.blobs import Files

T = TypeVar("T")


class Library(Inventory):
    """The part of `OllamaProvider` that changes which models there are.

    A transfer has no total limit unless `timeout` gives one (a `Limits` always does): the
    provider's own total is for its other calls. Bytes that stand still for `idle_s` end it;
    work that the server does in silence, such as checking a digest, may take `load_s`
    (ollama-api §3.5). What `on_progress` raises ends the call and closes the connection.
    """

    def pull(
        self,
        model: str,
        *,
        on_progress: Optional[OnProgress] = None,
        insecure: bool = False,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> ModelInfo:
        """Let the server download a model, and wait until it is there (ollama-api §2.9).

        A download that stands still, breaks off or fails on the server's own line is asked
        for again, and goes on where it stopped: as long as attempts get further, and for
        `RetryPolicy.attempts` attempts that do not.

        Args:
            model: Name in the registry, such as ``llama3.2`` or ``hf.co/owner/model:Q4_K_M``.
                A cloud model is stored as a stub.
            on_progress: Told of each report: about 16 a second. Fractions are by file, and
                can fall where the server repeats a part (ollama-api §8).
            insecure: True lets the server use plain HTTP to its registry.
            timeout: See `Library`.
            cancel: See the class. What has been downloaded is kept by the server.

        Raises:
            ModelNotFoundError: The registry has no such model.
            UnsupportedError: The model needs a newer Ollama, or another machine.
            AuthenticationError: The registry does not give it to this server's account.
            LimitError: It stands still (``idle_s``), or another limit ran out.
            ServerError: The server cannot reach its registry; `retryable` where that may pass.
            StreamInterruptedError: The connection broke, again and again.
            ProviderError: As for `list_models`.
        """
        body = encode(wire.transfer_payload(model, insecure))
        transfer = self._transferring("pull", body, on_progress)

        def work(call: Call) -> ModelInfo:
            transfer(call)
            return self._seen_quickly(model, call)

        return self._change("pull", model, work, timeout, cancel)

    def push(
        self,
        model: str,
        *,
        on_progress: Optional[OnProgress] = None,
        insecure: bool = False,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> None:
        """Let the server upload a model to its registry (ollama-api §2.10).

        A model can hold what nobody else may see: its weights, its system text, its messages.
        So this needs ``locality="any"``. It is repeated as `pull` is.

        Args:
            model: Name with its owner, such as ``me/model``; `copy` gives it one.
            on_progress: As for `pull`.
            insecure: True lets the server use plain HTTP to its registry.
            timeout: See `Library`.
            cancel: See the class.

        Raises:
            LocalityError: `locality` is not ``any``. Nothing was sent.
            AuthenticationError: The server's account may not push to this name.
            ProviderError: As for `pull`.
        """
        body = encode(wire.transfer_payload(model, insecure))
        transfer = self._transferring("push", body, on_progress)

        def work(call: Call) -> None:
            if self.settings.locality != "any":
                raise wire.refuse_push(model, self.settings.locality)
            transfer(call)

        self._perform("push", model, work, timeout=timeout, cancel=cancel, total_s=math.inf)

    def create(
        self,
        model: str,
        *,
        from_model: Optional[str] = None,
        files: Optional[Files] = None,
        adapters: Optional[Files] = None,
        template: Optional[str] = None,
        system: Optional[str] = None,
        parameters: Optional[Mapping[str, Any]] = None,
        license: Union[str, Sequence[str], None] = None,
        messages: Optional[Messages] = None,
        quantize: Optional[str] = None,
        extra_body: Optional[Mapping[str, Any]] = None,
        on_progress: Optional[OnProgress] = None,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> ModelInfo:
        """Make a model out of another one, or out of files on this machine (ollama-api §2.11).

        A model of this name that is there already is replaced. Each file is read twice, in
        pieces: for its digest, and to send it, unless the server has it. The creation itself
        is not repeated, and cannot be cancelled in good order: if it fails or is cancelled,
        what has become of it is open, and it is to be run again (§3.8).

        Args:
            model: Name of the new model.
            from_model: The model to begin with. The server downloads it first if it has
                none; a cloud model makes a stub, and `remote_host` of the result says so.
            files: Path of a GGUF file, or several paths by the names that the server is to
                use, relative and with forward slashes.
            adapters: The same, for a LoRA adapter.
            template: Template of its prompts.
            system: Its own system text.
            parameters: Its own settings by Ollama's names, such as ``num_ctx``; the server
                does not check them.
            license: One text, or several.
            messages: The conversation that it always begins with.
            quantize: Such as ``Q4_K_M``; the source must not be quantized yet.
            extra_body: Further fields for the server's JSON, unchanged and unchecked.
            on_progress: Told of each piece that is read (``reading <name>``) or sent
                (``uploading <name>``), and of each report of the server.
            timeout: See `Library`.
            cancel: See the class.

        Raises:
            ConfigurationError: A file cannot be read, is empty or changes; a name is
                impossible.
            RequestRejectedError: The server cannot make a model of this.
            ModelNotFoundError: There is no such `from_model`.
            LimitError: A limit ran out.
            ProviderError: As for `list_models`.
        """
        try:
            said = () if messages is None else as_messages(messages)
        except (TypeError, ValueError) as error:
            raise bare(error) from None
        finally:
            del messages  # a traceback with locals shows no prompt
        recipe = wire.Recipe(
            from_model, template, system, parameters, license, said, quantize, extra_body or {}
        )
        del template, system, parameters, extra_body, said  # as above
        from localproviders.ollama.blobs import Blobs, named_files

        sources = named_files(files, "files"), named_files(adapters, "adapters")

        def work(call: Call) -> ModelInfo:
            blobs = Blobs(self._transport, call, on_progress)
            payload = wire.create_payload(model, recipe, *map(blobs.bring, sources))
            body = encode(Payload(payload))
            del payload  # as above
            self._transferring("create", body, on_progress, resumes=False)(call)
            return self._seen_quickly(model, call)

        return self._change("create", model, work, timeout, cancel, texts=lambda: recipe.texts)

    def copy(
        self,
        source: str,
        destination: str,
        *,
        timeout: Timeout = None,
        cancel: Optional[CancelToken] = None,
    ) -> None:
        """Give a model a second name; the files are shared (ollama-api §2.12).

        The server replaces a model that has the new name already, without a word. Copying
        and then deleting the old name renames a model.

        Raises:
            ModelNotFoundError: The server has no model `source`.
            RequestRejectedError: The new name is impossible.
            ProviderError: As for `list_models`.
        """
        payload = wire.copy_payload(source, destination)
        self._change(
            "copy",
            source,
            lambda call: self._tell("POST", "/api/copy", payload, call),
            timeout,
            cancel,
            total_s=LISTING_TOTAL_S,
        )

    def delete(
        self, model: str, *, timeout: Timeout = None, cancel: Optional[CancelToken] = None
    ) -> None:
        """Delete a model; files that others share stay (ollama-api §2.12).

        Raises:
            ModelNotFoundError: The server has no such model.
            ProviderError: As for `list_models`.
        """
        payload = wire.delete_payload(model)
        self._change(
            "delete",
            model,
            lambda call: self._tell("DELETE", "/api/delete", payload, call),
            timeout,
            cancel,
            total_s=LISTING_TOTAL_S,
        )

    # --- pieces of it ---------------------------------------------------------------------

    def _transferring(
        self, verb: str, body: Body, on_progress: Optional[OnProgress], *, resumes: bool = True
    ) -> Callable[[Call], None]:
        def work(call: Call) -> None:
            from localproviders.ollama.progress import Transfer

            transfer = Transfer(self._transport, self.settings, call, resumes=resumes)
            transfer.run(f"/api/{verb}", body, on_progress)

        return work

    def _change(
        self,
        operation: str,
        model: str,
        work: Callable[[Call], T],
        timeout: Timeout,
        cancel: Optional[CancelToken],
        *,
        total_s: float = math.inf,
        texts: Callable[[], Iterable[str]] = tuple,
    ) -> T:
        """Do something after which what was known of models may be wrong, done or not."""
        try:
            return self._perform(
                operation, model, work, timeout=timeout, cancel=cancel, total_s=total_s, texts=texts
            )
        finally:
            self._forget()
