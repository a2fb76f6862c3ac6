"""`ModelProvider`: the interface of every provider, and the conveniences built on it once."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from localproviders.provider.answers import Texts, bare
from localproviders.provider.conversations import Conversations

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ModelProvider", "Texts", "bare"]


class ModelProvider(Conversations):
    """A server of language models on this machine, or wherever its policy allows.

    Every method that talks takes `timeout` (seconds for the whole call, a `Limits`, or
    None for the provider's own) and `cancel` (a `CancelToken`). It ends in a complete
    answer or in one `ProviderError`. A provider may be shared by threads, used after a
    fork, and pickled; it is a context manager that closes its kept connections.
    """

    @abstractmethod
    def close(self) -> None:
        """Close the kept connections. May be called again; the next call opens new ones."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
