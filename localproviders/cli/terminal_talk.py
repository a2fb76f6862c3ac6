"""The state of a conversation on a terminal: its provider, its model, and its questions."""

from __future__ import annotations

from typing import Any, Optional

from localproviders._redact import printable
from localproviders.cli.answers import write_answer
from localproviders.cli.inputs import Input, as_text, template_of
from localproviders.cli.next_steps import line_of
from localproviders.cli.output import print_error
from localproviders.cli.requests import request_fields, user_message, without_system
from localproviders.cli.run import Run
from localproviders.cli.terminal_lines import terminal
from localproviders.conversation import Conversation
from localproviders.errors import ProviderError
from localproviders.provider import ModelProvider
from localproviders.types.messages import Message


class Talk:
    """A conversation between a person on a terminal and a model.

    Attributes:
        run: The run of the verb.
        conversation: The conversation.
        provider: The provider that answers.
        model: Name of the model; None if the provider chooses the model.
        is_ended: Whether the person has ended the conversation.

    Args:
        run: The run of the verb.
        provider: The provider that answers.
        conversation: The conversation.

    Raises:
        ProviderError: The options of the request cannot be used.
    """

    def __init__(self, run: Run, provider: ModelProvider, conversation: Conversation) -> None:
        self.run: Run = run
        self.conversation = conversation
        self.provider: ModelProvider = provider
        self.model: Optional[str] = model_of(provider)
        self.is_ended = False
        self._fields = without_system(request_fields(run.arguments))
        self._template = template_of(run.arguments)
        self._has_sent_images = False

    def greet(self) -> None:
        """Show the model, and how to get help. With ``--quiet``, show nothing."""
        if self.run.arguments.quiet:
            return
        earlier = len(self.conversation.messages)
        if earlier:
            self.show(f"{self.conversation.path}: {earlier} earlier messages")
        self.show(f"{self.described()}; /help lists the commands, Ctrl-D ends")

    def described(self) -> str:
        """Return a text with the model, and with the server if there is only one."""
        model = self.model or "no model"
        has_server = getattr(self.provider, "settings", None) is not None
        return f"{model} on {self.provider.name}" if has_server else model

    def show(self, text: str = "") -> None:
        """Show lines that are not part of an answer."""
        stream = terminal()
        encoding = stream.encoding or "utf-8"
        shown = printable(text).encode(encoding, "backslashreplace").decode(encoding)
        print(shown, file=stream, flush=True)

    def complain(self, error: ProviderError) -> None:
        """Show an error as one line."""
        print_error(line_of(error, "localproviders chat", self.model))

    def ask(self, text: str) -> None:
        """Ask the model, and write its answer. Ctrl-C stops the answer.

        Raises:
            ProviderError: The call failed. The conversation is unchanged.
            OutputError: The answer cannot be written.
        """
        before = len(self.conversation.messages)
        try:
            self._answer(self._message(text))
        except KeyboardInterrupt:
            is_kept = len(self.conversation.messages) > before
            self.show("(stopped)" if is_kept else "(stopped; this question is not kept)")
        except OSError as error:
            # Some subclasses of `ProviderError` are subclasses of `OSError`, too.
            if isinstance(error, ProviderError) or error.filename != self.conversation.path:
                raise
            # The turn is kept in memory, and is written together with the next turn.
            print_error(f"localproviders chat: {error.filename!r}: {error.strerror}")
        if len(self.conversation.messages) > before:
            self._has_sent_images = True

    def _answer(self, message: Message) -> None:
        with self.conversation.stream(
            self.provider, [message], model=self.model, **self._fields
        ) as answer:
            write_answer(self.run, answer)

    def _message(self, text: str) -> Message:
        """Return the message of a text. The images of ``--image`` are part of the first message."""
        if self._template is not None:
            text = as_text(Input("the text", text), self._template)
        if self._has_sent_images:
            return Message.user(text)
        return user_message(self.run.arguments, text)

    def use_model(self, name: str) -> None:
        """Use another model from now on: one of the same server, or of any server.

        Raises:
            ProviderError: There is no such model. The model is the same as before.
        """
        if not self._has(name):
            provider: Any = self.run.provider(model=name)
            name = model_of(provider) or name
            provider.model_info(name)
            self.provider = provider
        self.model = name

    def _has(self, name: str) -> bool:
        """Return whether the server of the provider has a model; False if it does not answer."""
        try:
            return self.provider.supports_model(name)
        except ProviderError:
            return False


def model_of(provider: ModelProvider) -> Optional[str]:
    """Return the model that a provider uses for requests without a model, or None."""
    settings = getattr(provider, "settings", None)
    # `LocalProvider` has no `settings`. Its attribute `_model` has the model.
    found = getattr(settings, "model", None) or getattr(provider, "_model", None)
    return found if isinstance(found, str) else None
