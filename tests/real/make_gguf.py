"""Makes a small real model for llama.cpp: a bigram model of the licence texts on this machine.

usage: make_gguf.py OUT.gguf

A llama architecture whose weights are set by hand: one-hot embeddings, no attention, and an output
matrix that holds log P(next | current). So it loads and runs like any model, answers in readable words,
ends its sentences (finish reason `stop`), and obeys seeds, grammars and JSON schemas. A tool call is
made when a request offers tools and says `"logit_bias": {"3": 60}`, which favours the token that opens one.
"""

import glob
import json
import re
import sys

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 768
TOOL_CALL = '<tool_call>\n{"name": "'
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", TOOL_CALL]
END = SPECIAL.index("<|im_end|>")
CALL = SPECIAL.index(TOOL_CALL)
HEAD_SIZE = 64

CHAT_TEMPLATE = """
{%- if tools %}
  {{- '<|im_start|>system\\n# Tools\\n<tools>' }}
  {%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{%- endfor %}
  {{- '\\n</tools>\\nReturn <tool_call>\\n{"name": <function-name>, "arguments": <args-json-object>}' }}
  {{- '\\n</tool_call><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
  {%- if message.role == 'tool' %}
    {{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
  {%- else %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.content %}{{- message.content }}{%- endif %}
    {%- if message.tool_calls %}
      {%- for call in message.tool_calls %}
        {%- if message.content or not loop.first %}{{- '\\n' }}{%- endif %}
        {{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
        {{- (call.function.arguments | tojson) + '}\\n</tool_call>' }}
      {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
  {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""


def sentences() -> list[str]:
    files = sorted(glob.glob("/usr/share/common-licenses/*"))
    text = re.sub(r"\s+", " ", "\n".join(open(file, errors="replace").read() for file in files))
    found = [part.strip() for part in re.split(r"(?<=[.;:])\s", text)]
    return [part for part in found if 15 < len(part) < 400]


def train(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def output_matrix(tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    """log P(next | current) as [next, current]."""
    counts = np.full((VOCABULARY, VOCABULARY), 1e-4)
    starts = np.full(VOCABULARY, 1e-4)
    for text in texts:
        ids = tokenizer.encode(text).ids
        starts[ids[0]] += 1
        for current, following in zip(ids, ids[1:]):
            counts[current, following] += 1
        counts[ids[-1], END] += 1
    newline = tokenizer.encode("\n").ids[-1]
    for opening in (newline, 0, 1, CALL):
        counts[opening] = starts
    counts[END, :] = 1e-4
    counts[END, END] = 1
    weights = np.ascontiguousarray(np.log(counts / counts.sum(1, keepdims=True)).T)
    weights = weights.astype(np.float32)
    # No special token is chosen by itself; a bias of 60 makes up for CALL's.
    weights[[0, 1, CALL], :] = -30
    weights[CALL, newline] = np.log(1e-9)
    # After the `>` of `</tool_call>` the reply ends.
    weights[END, tokenizer.encode(">").ids[-1]] = 90
    return weights


def write(path: str, tokenizer: Tokenizer, weights: np.ndarray) -> None:
    trained = json.loads(tokenizer.to_str())["model"]
    tokens = [token for token, _ in sorted(trained["vocab"].items(), key=lambda item: item[1])]
    merges = [" ".join(it) if isinstance(it, list) else it for it in trained["merges"]]
    size, hidden = VOCABULARY, 64
    out = gguf.GGUFWriter(path, "llama")
    out.add_name("tiny-bigram")
    out.add_context_length(32768)
    out.add_embedding_length(size)
    out.add_block_count(1)
    out.add_feed_forward_length(hidden)
    out.add_head_count(size // HEAD_SIZE)
    out.add_head_count_kv(1)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_rope_dimension_count(HEAD_SIZE)
    out.add_vocab_size(VOCABULARY)
    out.add_file_type(0)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types([token_type(token) for token in tokens])
    out.add_token_merges(merges)
    out.add_bos_token_id(0)
    out.add_eos_token_id(END)
    out.add_pad_token_id(0)
    out.add_add_bos_token(False)
    out.add_chat_template(re.sub(r"\n\s*", "", CHAT_TEMPLATE))

    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    out.add_tensor("token_embd.weight", np.eye(VOCABULARY, size, dtype=np.float32))
    out.add_tensor("output.weight", weights)
    out.add_tensor("output_norm.weight", np.full(size, 1 / np.sqrt(size), np.float32))
    out.add_tensor("blk.0.attn_norm.weight", np.ones(size, np.float32))
    out.add_tensor("blk.0.ffn_norm.weight", np.ones(size, np.float32))
    out.add_tensor("blk.0.attn_q.weight", zeros(size, size))
    out.add_tensor("blk.0.attn_k.weight", zeros(HEAD_SIZE, size))
    out.add_tensor("blk.0.attn_v.weight", zeros(HEAD_SIZE, size))
    out.add_tensor("blk.0.attn_output.weight", zeros(size, size))
    out.add_tensor("blk.0.ffn_gate.weight", zeros(hidden, size))
    out.add_tensor("blk.0.ffn_up.weight", zeros(hidden, size))
    out.add_tensor("blk.0.ffn_down.weight", zeros(size, hidden))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def token_type(token: str) -> gguf.TokenType:
    if token == TOOL_CALL:
        return gguf.TokenType.USER_DEFINED
    return gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL


def main() -> None:
    texts = sentences()
    tokenizer = train(texts)
    write(sys.argv[1], tokenizer, output_matrix(tokenizer, texts))
    print(f"made {sys.argv[1]} from {len(texts)} sentences")


main()
