"""Remember which names mean the same model, so that the server's list is not requested again."""

from __future__ import annotations

from typing import Callable, Set, Tuple

from localproviders._http.deadline import Call

# Maximum number of different model names that one call looks up in the server's list of models. A
# server that sends another name in each record must not cause a request for each record.
_MOST_OTHER_NAMES = 4
# Maximum size of the cache of names. The cache is emptied when it is full.
_MOST_ALIASES = 1_000


class Aliases:
    """Pairs of names that mean the same model, according to the server's list of models.

    The provider keeps the pairs. If the name in a response means another model than the requested
    one, this is remembered only during the call, because the names in the list may change later.
    """

    def __init__(self) -> None:
        self._known: Set[Tuple[str, str]] = set()

    def match(self, requested: str, served: str, call: Call, look_up: Callable[[], bool]) -> bool:
        """Return whether two names mean the same model.

        A call looks up at most four names. For any further name that is not remembered, the result
        is False.

        Args:
            requested: The name in the request.
            served: The name in the response.
            call: The call of the request.
            look_up: Requests the list, and returns whether it has both names for one model. It is
                called at most once per call for each name in the responses.

        Raises:
            ProviderError: `look_up` raised it.
        """
        if (requested, served) in self._known:
            return True
        found = call.other_names
        if served not in found and len(found) < _MOST_OTHER_NAMES:
            found[served] = look_up()
            if found[served]:
                self._remember(requested, served)
        return found.get(served, False)

    def _remember(self, requested: str, served: str) -> None:
        if len(self._known) >= _MOST_ALIASES:
            self._known.clear()
        self._known.add((requested, served))
