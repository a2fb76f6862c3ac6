"""The next-token probabilities of the fake servers, before and after biases and samplers.

The fields, and the order in which biases and samplers apply, are those of llama.cpp's server, build
b11549. The free distribution has the probabilities of the model itself, which no bias and no
sampler has changed. Reported log-probabilities are always those of the free distribution. With
``post_sampling_probs``, the server reports probabilities instead, namely those after the biases and
the samplers. A grammar in the request has no effect here.
"""

from __future__ import annotations

import zlib
from itertools import accumulate
from math import exp, inf, log
from typing import Any, Dict, List, Mapping

from localproviders.testing.values import Reply, words_of

#: Probabilities by token. Their sum is at most 1.
Distribution = Mapping[str, float]

_LOGPROB = -0.1
# Besides the scripted tokens, a distribution has made-up tokens, such as " other1". If no token is
# scripted, the log-probability of the first made-up token is 1 below this value, and that of each
# further one is lower by 1.
_OTHER_LOGPROB = -2.0
_OTHERS = 200
# If tokens are scripted, each made-up token gets this share of the probability that is still left.
_SHARE = 0.1
# The largest probability of a token that is named only in a bias. It is small, because a chat model
# rarely begins its answer with a label.
_BIASED = 1e-4

_SAMPLERS = ("top_k", "top_p", "min_p", "temperature")
_TOP_K, _TOP_P, _MIN_P, _TEMPERATURE = 40, 0.95, 0.05, 0.8

# The tokens whose ids the fake servers of this process have sent, by id.
_TOKENS: Dict[int, str] = {}


def token_id(token: str) -> int:
    """Return the id of a token. It has 31 bits, like the ids of llama.cpp."""
    number = zlib.crc32(token.encode("utf-8", "surrogatepass")) & 0x7FFFFFFF
    _TOKENS.setdefault(number, token)
    return number


def tokens_of_text(text: str) -> List[str]:
    """Return the tokens of a text: its words, each with the white space before it."""
    return words_of(text) if text.strip() else []


def pieces_of_text(text: str) -> List[str]:
    """Return the tokens of a text. Each line break is a separate token, as for most models."""
    lines = text.split("\n")
    after = [piece for line in lines[1:] for piece in ("\n", *tokens_of_text(line))]
    return [*tokens_of_text(lines[0]), *after] if text.strip() else []


def biases_of(body: Mapping[str, Any]) -> Dict[str, float]:
    """Return the biases of a request by token; ``false`` forbids a token.

    llama.cpp accepts a list of pairs (token and bias), or an object with the tokens as its keys. A
    token is an id or a text; a key of an object is an id if it consists of digits. The bias of a
    text applies to each of the text's tokens.
    """
    given = body.get("logit_bias")
    if isinstance(given, dict):
        given = [(int(key) if key.isdigit() else key, bias) for key, bias in given.items()]
    found: Dict[str, float] = {}
    for token, bias in given if isinstance(given, list) else ():
        tokens = tokens_of_text(token) if isinstance(token, str) else [_TOKENS.get(token, "")]
        found.update(dict.fromkeys(tokens, -inf if bias is False else float(bias)))
    found.pop("", None)  # an id that no client can have seen
    return found


def free_distribution(reply: Reply, token: str) -> Dict[str, float]:
    """Return the free distribution at the first token of an answer.

    If the reply has probabilities for the first token, the result has these, and made-up tokens
    share the rest. Without them, the token of the answer is by far the likeliest one.
    """
    if not reply.first_token:
        return usual_distribution(token)
    scripted = dict(reply.first_token)
    rest = max(0.0, 1.0 - sum(scripted.values()))
    for number in range(1, _OTHERS if rest > 1e-9 else 0):
        scripted[f" other{number}"] = rest * _SHARE * (1 - _SHARE) ** (number - 1)
    return scripted


def usual_distribution(token: str) -> Dict[str, float]:
    """Return the distribution at a token of an answer without scripted probabilities."""
    others = {f" other{n}": exp(_OTHER_LOGPROB - n) for n in range(1, _OTHERS)}
    return {token: exp(_LOGPROB), **others}


def with_biased(free: Distribution, biases: Mapping[str, float]) -> Dict[str, float]:
    """Return a distribution that also has the tokens of the biases, with small probabilities."""
    added = {
        token: (zlib.crc32(token.encode("utf-8", "surrogatepass")) % 1000 + 1) / 1000 * _BIASED
        for token in biases
        if token not in free
    }
    return {**free, **added}


def drawn_token(reply: Reply, token: str, body: Mapping[str, Any]) -> str:
    """Return the first token of an answer: the likeliest of the scripted and biased tokens.

    Without such tokens, return `token`. If no token is scripted, `token` competes with the biased
    ones.
    """
    biases = biases_of(body)
    if not reply.first_token and not biases:
        return token
    free = with_biased(free_distribution(reply, token), biases)
    named = [*(reply.first_token or (token,)), *biases]
    found: str = max(named, key=lambda name: _logit(free[name], biases.get(name, 0.0)))
    return found


def _logit(probability: float, bias: float) -> float:
    return (log(probability) if probability > 0 else -inf) + bias


def sampled(free: Distribution, body: Mapping[str, Any]) -> Dict[str, float]:
    """Return the distribution after a request's biases and samplers, the likeliest token first.

    The free distribution must contain all tokens that have a bias.
    """
    biases = biases_of(body)
    logits = {token: _logit(p, biases.get(token, 0.0)) for token, p in free.items()}
    ordered = dict(sorted(logits.items(), key=lambda item: -item[1]))
    temperature = _number(body, "temperature", _TEMPERATURE)
    if temperature <= 0:
        return {next(iter(ordered)): 1.0}
    samplers = body.get("samplers")
    for name in samplers if isinstance(samplers, list) else _SAMPLERS:
        if name in _CUTS:
            ordered = _CUTS[name](ordered, body)
        elif name == "temperature":
            ordered = {token: logit / temperature for token, logit in ordered.items()}
    return _softmax(ordered)


def _softmax(logits: Mapping[str, float]) -> Dict[str, float]:
    most = max(logits.values())
    weights = {token: exp(logit - most) for token, logit in logits.items()}
    total = sum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


def _keep(logits: Mapping[str, float], number: int) -> Dict[str, float]:
    return dict(list(logits.items())[: max(1, number)])


def _cut_to_top_k(logits: Mapping[str, float], body: Mapping[str, Any]) -> Dict[str, float]:
    number = int(_number(body, "top_k", _TOP_K))
    return _keep(logits, number if number > 0 else len(logits))


def _cut_to_top_p(logits: Mapping[str, float], body: Mapping[str, Any]) -> Dict[str, float]:
    sums = accumulate(_softmax(logits).values())
    limit = _number(body, "top_p", _TOP_P)
    return _keep(logits, 1 + sum(total < limit for total in sums))


def _cut_to_min_p(logits: Mapping[str, float], body: Mapping[str, Any]) -> Dict[str, float]:
    probabilities = list(_softmax(logits).values())
    limit = _number(body, "min_p", _MIN_P) * probabilities[0]
    return _keep(logits, sum(p >= limit for p in probabilities))


_CUTS = {"top_k": _cut_to_top_k, "top_p": _cut_to_top_p, "min_p": _cut_to_min_p}


def _number(body: Mapping[str, Any], name: str, usual: float) -> float:
    value = body.get(name)
    return float(value) if isinstance(value, (int, float)) else usual


# --- entries --------------------------------------------------------------------------------


def token_entry(
    token: str, free: Distribution, body: Mapping[str, Any], number: int
) -> Dict[str, Any]:
    """Return the entry for a token of an answer in the list of log-probabilities.

    Args:
        token: The token.
        free: The free distribution at the position of the token.
        body: The request. Its ``post_sampling_probs`` decides the form of the entry.
        number: How many of the likeliest tokens at this position the entry lists; at least one.
    """
    free = with_biased(free, biases_of(body))
    if body.get("post_sampling_probs"):
        after = sampled(free, body)
        rows = [{**_token(name), "prob": p} for name, p in list(after.items())[: max(1, number)]]
        return {**_token(token), "prob": after.get(token, 0.0), "top_probs": rows}
    ordered = sorted(free.items(), key=lambda item: -item[1])
    rows = [_with_logprob(name, p) for name, p in ordered[: max(1, number)]]
    own = with_biased(free, {token: 0.0})[token]
    return {**_with_logprob(token, own), "top_logprobs": rows}


def _with_logprob(token: str, probability: float) -> Dict[str, Any]:
    return {**_token(token), "logprob": log(probability) if probability > 0 else -1e9}


def _token(token: str) -> Dict[str, Any]:
    data = list(token.encode("utf-8", "surrogatepass"))
    return {"id": token_id(token), "token": token, "bytes": data}
