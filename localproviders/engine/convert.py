"""A BERT sentence-embedding model (safetensors) as a GGUF file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

# Names of tensors there, and here.
_WHOLE = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}
_IN_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def tensor_name(name: str) -> Optional[str]:
    """Give a tensor's name in a GGUF file; None where the engine does not need it."""
    name = name[len("bert.") :] if name.startswith("bert.") else name
    if name in _WHOLE:
        return _WHOLE[name]
    found = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias)", name)
    if found is None or found.group(2) not in _IN_LAYER:
        return None
    return f"blk.{found.group(1)}.{_IN_LAYER[found.group(2)]}.{found.group(3)}"


def token_text(word: str) -> str:
    """Give a word piece as the engine spells it: beginnings are marked, not continuations."""
    if word in _SPECIAL:
        return word
    return word[2:] if word.startswith("##") else "\u2581" + word


def convert(source: Path, target: Path) -> None:
    """Write the model in a folder as one GGUF file with 8-bit weights. Takes a second.

    Args:
        source: Folder with ``config.json``, ``vocab.txt`` and ``model.safetensors``.
        target: The file to write.

    Raises:
        OSError: A file is missing, or the target cannot be written.
    """
    import gguf  # an optional package

    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    vocabulary = (source / "vocab.txt").read_text(encoding="utf-8").split("\n")
    writer = gguf.GGUFWriter(str(target), "bert")
    try:
        _write_facts(writer, gguf, config)
        _write_vocabulary(writer, gguf, vocabulary[: config["vocab_size"]])
        _write_tensors(writer, gguf, source / "model.safetensors")
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _write_facts(writer: Any, gguf: Any, config: Dict[str, Any]) -> None:
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
        gguf.TokenType.CONTROL if word in _SPECIAL else gguf.TokenType.NORMAL for word in words
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
        # The engine reads vectors and these two tables as full floats only.
        if values.ndim < 2 or name in ("position_embd.weight", "token_types.weight"):
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, eight_bit), raw_dtype=eight_bit)


def _tensors(path: Path) -> Iterator[Tuple[str, Any]]:
    """Read safetensors: eight bytes of header length, a JSON header, the raw values."""
    import numpy as np  # comes with gguf

    kinds = {"F32": np.float32, "F16": np.float16}
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    for name, entry in json.loads(data[8:start]).items():
        new = tensor_name(name)
        if new is None:
            continue
        begin, end = entry["data_offsets"]
        raw = np.frombuffer(data[start + begin : start + end], kinds[entry["dtype"]])
        yield new, raw.reshape(entry["shape"]).astype(np.float32)
