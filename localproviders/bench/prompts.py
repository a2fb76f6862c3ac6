"""Prompts of a given length that no server has in its prompt cache."""

from __future__ import annotations

import random
from typing import NamedTuple, Optional

# Common words: nearly every tokenizer has one token for each.
_WORDS = """
the time year people way day man thing woman life child world school state family student group
country problem hand part place case week company system program question work government number
night point home water mother area money story fact month lot right study book eye job word
business issue side kind head service friend father power hour game line end member law car city
community name president team minute idea body information back parent face others level office
health person art war history party result change morning reason research girl guy moment air
teacher force education
"""

_TASK = "\n\nWrite a long story that uses all of these words."


class Scale(NamedTuple):
    """The relation between the number of random words and the tokens of a prompt.

    Attributes:
        base: Tokens of a prompt without random words, from the chat template and the task.
        per_word: Tokens for each word.
    """

    base: float = 0.0
    per_word: float = 1.0

    def words(self, tokens: int) -> int:
        """Return the number of words that a prompt of this many tokens needs, at least 1."""
        return max(1, round((tokens - self.base) / self.per_word))


def scale_of(
    few: int, few_tokens: Optional[int], many: int, many_tokens: Optional[int]
) -> Optional[Scale]:
    """Return the scale that two prompts show; None if the server's counts are missing or wrong.

    Args:
        few: Number of words of the shorter prompt.
        few_tokens: Its tokens by the server's count, or None.
        many: Number of words of the longer prompt.
        many_tokens: Its tokens by the server's count, or None.
    """
    if few_tokens is None or many_tokens is None or many_tokens <= few_tokens:
        return None
    per_word = (many_tokens - few_tokens) / (many - few)
    return Scale(few_tokens - few * per_word, per_word)


class Prompts:
    """A source of prompts, all of them different.

    Servers keep the beginnings of earlier prompts in a cache. Some servers keep this cache on disk,
    or use it for all clients. So each prompt begins with a random number, and its words are in a
    random order.

    Args:
        seed: Seed of the random numbers, for tests. None means different prompts in each run.
    """

    def __init__(self, seed: Optional[int] = None) -> None:
        # These numbers are not secret. They only have to differ.
        self._random = random.Random(seed)  # noqa: S311
        self._words = _WORDS.split()

    def next(self, words: int) -> str:
        """Return a new prompt with this many random words, and a task after them."""
        number = self._random.getrandbits(32)
        return f"{number} {' '.join(self._random.choices(self._words, k=words))}{_TASK}"
