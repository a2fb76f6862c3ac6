"""The request fields that restrict an answer of llama.cpp to labels, and the tokens of labels.

A label, such as A or B, is the short form of one answer to a question. docs/reference/decisions.md,
"A decision out of a chat model", explains what the server does with the fields.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

from localproviders._dialect.common import checked, unexpected
from localproviders._dialect.values import integer, mappings
from localproviders._http.transport import Payload
from localproviders.openai_compatible.wire.errors import RULES

# The largest bias that llama.cpp and OpenAI document. It is larger than any difference between two
# logits, so no other token has a probability above zero.
_BIAS = 100


def labels_payload(labels: Iterable[str], model: str) -> Dict[str, Any]:
    """Return the JSON for ``/tokenize`` that makes llama.cpp return the tokens of labels.

    Each label is on two lines: alone, and with a blank before it. No token contains both a line
    break and a letter, so the line breaks do not change the tokens of the labels.
    """
    content = "".join(f"\n{label}\n {label}" for label in labels)
    return Payload(model=model, content=content, with_pieces=True)


def parse_label_tokens(data: Any, labels: Sequence[str]) -> Dict[str, Tuple[int, ...]]:
    """Return the tokens of labels from the response of llama.cpp's ``/tokenize``.

    A label has up to two tokens: the label itself, and the label after a blank. The result has only
    the labels that are single tokens.

    Raises:
        ProviderError: The response is an error, or its tokens have no texts, as on vLLM.
    """
    tokens = checked(data, RULES).get("tokens")
    pieces = {item.get("piece"): item.get("id") for item in _with_text(tokens)}
    if not pieces:
        unexpected("'tokens' list with texts")
    found: Dict[str, List[int]] = {}
    for label in labels:
        ids = [integer(pieces.get(piece)) for piece in (label, f" {label}")]
        if ids[0] is not None:
            found[label] = [each for each in ids if each is not None]
    return {label: tuple(ids) for label, ids in found.items()}


def _with_text(tokens: Any) -> List[Mapping[str, Any]]:
    # If a token is only a part of a character, its piece is a list of bytes and not a text.
    return [item for item in mappings(tokens) if isinstance(item.get("piece"), str)]


def bias_fields(tokens: Iterable[int]) -> Dict[str, Any]:
    """Return the fields that allow only these tokens next.

    The fields keep the ratios between the probabilities of the tokens. The server reports the
    probabilities after the bias only with ``post_sampling_probs``. Its usual samplers would drop
    unlikely tokens and change the ratios of the others.
    """
    return {
        "logit_bias": {str(token): _BIAS for token in tokens},
        "post_sampling_probs": True,
        "samplers": ["temperature"],
    }
