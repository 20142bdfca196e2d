#!/usr/bin/env python3
"""Golden values of a language model in a GGUF file, by llama.cpp.

    llm.py FILE.gguf NAME [--f32] [--out DIR]

Writes llm_NAME.json into models/tests/golden; its README.md says what is in it. Teacher-forced text: text.txt.
--f32 adds the same with every weight dequantised to float32 first: llama.cpp otherwise rounds activations to
8 bits, which this reference does not. That needs four bytes a weight of memory and disk.
Needs: pip install llama-cpp-python==0.3.36 gguf==0.19.0
"""
import argparse
import hashlib
import json
import tempfile
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = [
    "The three most important rules of good writing are",
    "Once upon a time, in a small village near the sea,",
    "def fibonacci(n):\n    ",
]


def load(path):
    return llama_cpp.Llama(model_path=str(path), n_ctx=1280, n_batch=256, n_threads=2, n_threads_batch=2,
                           flash_attn=False, logits_all=True, type_k=0, type_v=0, verbose=False)


def teacher_forced(llm, tokens):
    llm.reset()
    llm.eval(tokens)
    logits = np.array(llm.scores[:len(tokens)], dtype=np.float64)
    peak = logits.max(1)
    logsumexp = peak + np.log(np.exp(logits - peak[:, None]).sum(1))
    following = logits[np.arange(len(tokens) - 1), tokens[1:]] - logsumexp[:-1]
    top = np.argpartition(-logits, 8, axis=1)[:, :8]
    top = np.take_along_axis(top, np.argsort(-np.take_along_axis(logits, top, 1), axis=1), 1)
    return {
        "nll_sum": round(float(-following.sum()), 4),
        "argmax": top[:, 0].tolist(),
        "next_logprob": np.round(following, 4).tolist(),
        "logsumexp": np.round(logsumexp, 3).tolist(),
        "top_ids": top.tolist(),
        "top_logits": np.round(np.take_along_axis(logits, top, 1), 3).tolist(),
    }


def greedy(llm, prompt, count=48):
    tokens = llm.tokenize(prompt.encode(), add_bos=True, special=False)
    llm.reset()
    llm.eval(tokens)
    out, margins = [], []
    while len(out) < count:
        logits = llm.scores[llm.n_tokens - 1]
        second, best = np.partition(logits, -2)[-2:]
        token = int(logits.argmax())
        out.append(token)
        margins.append(round(float(best - second), 3))
        if token == llm.token_eos():
            break
        llm.eval([token])
    text = llm.detokenize(out).decode(errors="replace")
    return {"prompt": prompt, "prompt_tokens": tokens, "tokens": out, "margins": margins, "text": text}


def to_f32(source, target):
    """A copy of the GGUF file with every tensor as float32."""
    reader = gguf.GGUFReader(source)
    architecture = reader.get_field("general.architecture").contents()
    writer = gguf.GGUFWriter(target, architecture)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        kind = field.types[0]
        writer.add_key_value(key, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        writer.add_tensor_info(tensor.name, tensor.shape.tolist()[::-1], np.dtype(np.float32), tensor.n_elements * 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.write_tensor_data(values.reshape(tensor.shape.tolist()[::-1]))
    writer.close()


def write(path, document):
    """One key a line, two levels deep."""
    def lines(value, depth):
        if isinstance(value, dict) and depth < 2:
            body = ",\n".join(f"{' ' * (depth + 1)}{json.dumps(k)}: {lines(v, depth + 1)}" for k, v in value.items())
            return "{\n" + body + "\n" + " " * depth + "}"
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    path.write_text(lines(document, 0) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("name")
    parser.add_argument("--f32", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "models/tests/golden")
    args = parser.parse_args()
    text = Path(__file__).with_name("text.txt").read_text()
    llm = load(args.gguf)
    tokens = llm.tokenize(text.encode(), add_bos=True, special=False)
    document = {
        "runtime": f"llama-cpp-python {llama_cpp.__version__}, 2 threads, flash_attn off, float32 cache, batches of 256",
        "gguf_sha256": hashlib.sha256(args.gguf.read_bytes()).hexdigest(),
        "text": text, "tokens": tokens,
        "teacher_forced": teacher_forced(llm, tokens),
        "greedy": [greedy(llm, prompt) for prompt in PROMPTS],
    }
    llm.close()
    if args.f32:
        with tempfile.TemporaryDirectory(dir=args.gguf.parent) as folder:
            to_f32(args.gguf, Path(folder) / "f32.gguf")
            llm = load(Path(folder) / "f32.gguf")
            assert llm.tokenize(text.encode(), add_bos=True, special=False) == tokens
            document["f32_teacher_forced"] = teacher_forced(llm, tokens)
            document["f32_greedy"] = [greedy(llm, prompt) for prompt in PROMPTS]
            llm.close()
        a, b = (np.array(document[k]["argmax"]) for k in ("teacher_forced", "f32_teacher_forced"))
        print("top-1 agreement with float32 weights:", (a == b).mean(),
              "nll", document["teacher_forced"]["nll_sum"], document["f32_teacher_forced"]["nll_sum"])
    write(args.out / f"llm_{args.name}.json", document)
    print(args.name, len(tokens), "tokens, perplexity", np.exp(document["teacher_forced"]["nll_sum"] / (len(tokens) - 1)))
    for run in document["greedy"]:
        print(repr(run["text"]), min(run["margins"]))


if __name__ == "__main__":
    main()
