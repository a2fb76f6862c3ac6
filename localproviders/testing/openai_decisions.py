"""Checks of decision requests: System One as llama.cpp checks it, and OpenAI's dialect.

The texts of the refusals of System One are those of llama.cpp's server, build b11549. OpenAI does
not document the error texts of its decision route, so the texts here are made up in the style of
its other routes.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple

from localproviders.testing.decisions import YES_NO, BadRequestError, Question, text_of
from localproviders.testing.openai_requests import RefusedError

_MOST_IMAGES = 8
# The largest number of options for a model that uses one letter, large or small, for each option.
_MOST_OPTIONS = 52
_FEWEST_LEVELS, _MOST_LEVELS = 2, 10

#: llama.cpp's texts for two refused decision requests: the model is not a decision model, or the
#: request has images and the model cannot read images.
NO_DECISION_MODEL = "This model is not a decision model"
NO_IMAGES = (
    "This server does not support image input for decisions. For a model that supports it, start "
    "it with `--mmproj`"
)


def not_supported(words: str) -> RefusedError:
    """Return llama.cpp's refusal for an ability that a model does not have, with status 501."""
    error = {"code": 501, "message": words, "type": "not_supported_error"}
    return RefusedError({"error": error}, "501 Not Implemented")


# --- System One -----------------------------------------------------------------------------


def system_one_questions(body: Mapping[str, Any]) -> List[Question]:
    """Return the questions of a System One request.

    Raises:
        BadRequestError: The state or a question is missing or malformed.
    """
    if body.get("state") is None:
        raise BadRequestError('"state" must be provided')
    questions = body.get("questions")
    if not isinstance(questions, dict) or not questions:
        raise BadRequestError('"questions" must be a non-empty object')
    return [_system_one_question(id_, given) for id_, given in questions.items()]


def _system_one_question(id_: str, given: Any) -> Question:
    def require(fits: bool, words: str) -> None:
        if not fits:
            raise BadRequestError(f"questions.{id_}: {words}")

    require(isinstance(given, dict), "must be an object")
    require(given.get("instructions") is not None, '"instructions" must be provided')
    kind, criteria = given.get("type"), given.get("criteria")
    if kind == "choice":
        fits = isinstance(criteria, dict) and bool(criteria)
        require(fits, '"criteria" must be a non-empty object')
        options = tuple(criteria)
    elif kind == "score":
        fits = isinstance(criteria, list) and _FEWEST_LEVELS <= len(criteria) <= _MOST_LEVELS
        require(fits, f'"criteria" must be an array of {_FEWEST_LEVELS} to {_MOST_LEVELS} levels')
        options = tuple(criteria)
    else:
        require(kind == "noul", '"type" must be one of: choice, score, noul')
        require(isinstance(criteria, (dict, type(None))), '"criteria" must be an object')
        options = YES_NO
    limit = f"this model supports at most {_MOST_OPTIONS}"
    require(len(options) <= _MOST_OPTIONS, f"too many options ({len(options)}), {limit}")
    return Question(id_, str(kind), text_of(given["instructions"]), options)


def system_one_images(body: Mapping[str, Any]) -> List[str]:
    """Return the images of a System One request, each as a data URL.

    Raises:
        BadRequestError: There are too many images, an image is not a data URL, or the request has
            a video.
    """
    if body.get("videos"):
        raise BadRequestError('"videos" is not supported')
    images: List[Any] = []
    for name in ("files", "images"):
        given = body.get(name)
        if not isinstance(given, (list, type(None))):
            raise BadRequestError(f'"{name}" must be an array')
        images += given or []
    images += _images_in(body.get("state"))
    for at, image in enumerate(images):
        if not isinstance(image, str) or not image.startswith("data:"):
            forms = "data:image/...;base64,... or data:audio/...;base64,..."
            raise BadRequestError(f"images must be data URLs ({forms})")
        if at >= _MOST_IMAGES:
            raise BadRequestError(f"too many images, the maximum is {_MOST_IMAGES}")
    return images


def _images_in(state: Any) -> List[Any]:
    """Return the images in a state that is a conversation; none for any other state."""
    messages = state.get("messages") if isinstance(state, dict) else state
    if not isinstance(messages, list):
        return []
    contents = [m.get("content") for m in messages if isinstance(m, dict)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    found = [p.get("image_url") for p in parts if isinstance(p, dict)]
    return [
        image.get("url", image) if isinstance(image, dict) else image for image in found if image
    ]


# --- OpenAI's dialect -----------------------------------------------------------------------

_MOST_QUESTIONS = 400
# For each kind of question: the field with the list of options, the field with the text of each
# option, and the smallest and the largest number of options.
_LISTS: Mapping[str, Tuple[str, str, int, int]] = {
    "choice": ("choices", "value", 2, 255),
    "score": ("levels", "label", _FEWEST_LEVELS, _MOST_LEVELS),
}


def openai_questions(body: Mapping[str, Any]) -> List[Question]:
    """Return the questions of a decision request in OpenAI's dialect.

    Raises:
        BadRequestError: The input or a question is missing or malformed.
    """
    for name in ("model", "input", "questions"):
        if body.get(name) is None:
            raise _missing(name)
    if not isinstance(body["input"], (str, list)):
        raise _wrong_type("input", "a string or an array")
    _check_list(body["questions"], "questions", 1, _MOST_QUESTIONS)
    return [_openai_question(given, at) for at, given in enumerate(body["questions"])]


def _openai_question(given: Any, at: int) -> Question:
    where = f"questions[{at}]"
    if not isinstance(given, dict):
        raise _wrong_type(where, "an object")
    if given.get("instructions") is None:
        raise _missing(f"{where}.instructions")
    if not isinstance(given.get("name"), (str, type(None))):
        raise _wrong_type(f"{where}.name", "a string")
    kind, text = str(given.get("type")), text_of(given["instructions"])
    if kind == "predicate":
        return Question(given.get("name"), "noul", text, YES_NO)
    if kind not in _LISTS:
        kinds = "'predicate', 'choice', and 'score'"
        words = f"Invalid value: '{kind}'. Supported values are: {kinds}."
        raise BadRequestError(words, f"{where}.type", "invalid_value")
    return Question(given.get("name"), kind, text, _options(given, kind, where))


def _options(given: Dict[str, Any], kind: str, where: str) -> Tuple[Any, ...]:
    name, field, least, most = _LISTS[kind]
    rows = given.get(name)
    if rows is None:
        raise _missing(f"{where}.{name}")
    _check_list(rows, f"{where}.{name}", least, most)
    types = (str, bool) if kind == "choice" else (str,)
    for at, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get(field), types):
            raise _wrong_type(f"{where}.{name}[{at}].{field}", "a string")
    options = tuple(row[field] for row in rows)
    if kind == "choice" and len({(type(o), o) for o in options}) < len(options):
        words = f"Invalid '{where}.{name}': values must be unique."
        raise BadRequestError(words, f"{where}.{name}", "invalid_value")
    return options


def _check_list(given: Any, where: str, least: int, most: int) -> None:
    if not isinstance(given, list):
        raise _wrong_type(where, "an array")
    number = len(given)
    if least <= number <= most:
        return
    word, limit = ("short", least) if number < least else ("long", most)
    bound, code = ("minimum", "below_min") if number < least else ("maximum", "above_max")
    words = (
        f"Invalid '{where}': array too {word}. Expected an array with {bound} length {limit}, but "
        f"got an array with length {number} instead."
    )
    raise BadRequestError(words, where, f"array_{code}_length")


def _missing(where: str) -> BadRequestError:
    words = f"Missing required parameter: '{where}'."
    return BadRequestError(words, where, "missing_required_parameter")


def _wrong_type(where: str, wanted: str) -> BadRequestError:
    words = f"Invalid type for '{where}': expected {wanted}."
    return BadRequestError(words, where, "invalid_type")


def openai_images(body: Mapping[str, Any]) -> List[Any]:
    """Return the images in the input and the instructions of a request in OpenAI's dialect."""
    lists: List[Any] = [body["input"], *(q.get("instructions") for q in body["questions"])]
    lists += [item.get("content") for item in body["input"] if isinstance(item, dict)]
    parts = [part for found in lists if isinstance(found, list) for part in found]
    return [
        part.get("image_url")
        for part in parts
        if isinstance(part, dict) and part.get("type") == "input_image"
    ]


def openai_refusal(error: BadRequestError) -> RefusedError:
    """Return the refusal of a request in the form of OpenAI's errors."""
    fields = {"message": error.words, "type": "invalid_request_error"}
    return RefusedError({"error": {**fields, "param": error.param, "code": error.code}})
