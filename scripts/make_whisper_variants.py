#!/usr/bin/env python3
"""Writes one Whisper model in every file format Undertone reads.

    make_whisper_variants.py CT2_DIR OUT_DIR [--only NAME,NAME...]

CT2_DIR is a CTranslate2 Whisper folder (model.bin, config.json, tokenizer.json, vocabulary.*).
OUT_DIR receives (each made again from scratch; a present one is overwritten):

    ct2-f32/ ct2-f16/ ct2-int8/ ct2-int8_float16/    CTranslate2 folders
    hf-f32/ hf-f16/                                  Hugging Face folders (config.json, model.safetensors, tokenizer.json)
    ggml-f32.bin ggml-f16.bin                        whisper.cpp files (its 1.8 loads float32 but cannot run it)
    ggml-q5_0.bin ggml-q5_1.bin ggml-q8_0.bin        whisper.cpp files, quantised as its `quantize` tool does

Needs numpy only. Sources of the layouts: CTranslate2's model_spec.py (binary version 6, int8 rows with
q = round(w * 127 / amax)), whisper.cpp's convert-pt-to-ggml.py and common-ggml.cpp, ggml's quants.c.
Fused CTranslate2 projections: self_attention/linear_0 = [q;k;v], attention/linear_1 = [k;v]; Whisper's key
projection has no bias, so the zero bias that CTranslate2 stores for it is dropped.
"""
import argparse
import json
import shutil
import struct
import sys
from pathlib import Path

import numpy as np

CT2_DTYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}
CT2_IDS = {np.dtype("<f4"): 0, np.dtype("i1"): 1, np.dtype("<i2"): 2, np.dtype("<i4"): 3, np.dtype("<f2"): 4}

# name -> (ftype of the file header, ggml tensor type)
GGML_QUANTS = {"q5_0": (8, 6), "q5_1": (9, 7), "q8_0": (7, 8)}
GGML_QUANT_VERSION = 2 * 1000  # whisper.cpp writes ftype + GGML_QNT_VERSION * GGML_QNT_VERSION_FACTOR

ALL = ["ct2-f32", "ct2-f16", "ct2-int8", "ct2-int8_float16", "hf-f32", "hf-f16",
       "ggml-f32", "ggml-f16", "ggml-q5_0", "ggml-q5_1", "ggml-q8_0"]


# ---- CTranslate2 ----

def read_ct2(path):
    """model.bin -> (name, revision, {variable: array}, [(alias, variable)])."""
    data = memoryview(Path(path).read_bytes())
    at = 0

    def unpack(fmt):
        nonlocal at
        values = struct.unpack_from("<" + fmt, data, at)
        at += struct.calcsize("<" + fmt)
        return values

    def string():
        nonlocal at
        (n,) = unpack("H")
        text = bytes(data[at:at + n - 1]).decode()
        at += n
        return text

    (version,) = unpack("I")
    if version < 5:
        sys.exit(f"{path}: CTranslate2 binary version {version} is older than 5")
    spec = string()
    (revision,) = unpack("I")
    if spec != "WhisperSpec":
        sys.exit(f"{path}: holds a {spec}, not a Whisper model")
    (count,) = unpack("I")
    variables = {}
    for _ in range(count):
        name = string()
        (rank,) = unpack("B")
        shape = unpack(f"{rank}I")
        dtype, n_bytes = unpack("BI")
        raw = data[at:at + n_bytes]
        at += n_bytes
        if dtype == 5:  # bfloat16: the upper half of a float32
            array = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            array = np.frombuffer(raw, CT2_DTYPES[dtype])
        variables[name] = array.reshape(shape)
    (count,) = unpack("I")
    return spec, revision, variables, [(string(), string()) for _ in range(count)]


def dequantise(variables):
    """int8/int16 weights with `<name>_scale` -> float32 (w = q / scale); the rest unchanged."""
    out = {}
    for name, array in variables.items():
        scale = variables.get(name + "_scale")
        if scale is not None:
            scale = scale.astype(np.float32)
            array = array.astype(np.float32) / scale.reshape(scale.shape + (1,) * (array.ndim - scale.ndim))
        if not (name.endswith("_scale") and name[:-6] in variables):
            out[name] = array
    return out


def write_ct2(path, spec, revision, variables, aliases):
    with open(path, "wb") as out:
        def string(text):
            raw = text.encode() + b"\0"
            out.write(struct.pack("<H", len(raw)) + raw)
        out.write(struct.pack("<I", 6))
        string(spec)
        out.write(struct.pack("<II", revision, len(variables)))
        for name, array in variables.items():
            string(name)
            out.write(struct.pack(f"<B{array.ndim}IBI", array.ndim, *array.shape, CT2_IDS[array.dtype], array.nbytes))
            out.write(np.ascontiguousarray(array).tobytes())
        out.write(struct.pack("<I", len(aliases)))
        for alias, name in aliases:
            string(alias)
            string(name)


def ct2_variant(variables, kind):
    """The variables as CTranslate2's converter stores them for `kind`: f32, f16, int8 or int8_float16."""
    plain = np.float16 if kind in ("f16", "int8_float16") else np.float32
    out = {}
    for name, array in variables.items():
        if kind.startswith("int8") and name.endswith("/weight"):
            rows = array.astype(np.float32).reshape(array.shape[0], -1)
            amax = np.abs(rows).max(axis=1)
            amax[amax == 0] = 127.0
            scale = (np.float32(127.0) / amax).astype(np.float32)
            out[name] = np.rint(rows * scale[:, None]).astype(np.int8).reshape(array.shape)
            out[name + "_scale"] = scale
        elif array.dtype.kind == "f" and array.ndim > 0:
            out[name] = array.astype(plain)
        else:
            out[name] = array
    return dict(sorted(out.items()))


# ---- Hugging Face ----

def hf_tensors(variables):
    """CTranslate2 variables -> ({Hugging Face name: array}, layer and head counts)."""
    hf = {}

    def linear(src, dst):
        hf[dst + ".weight"] = variables[src + "/weight"]
        if src + "/bias" in variables:
            hf[dst + ".bias"] = variables[src + "/bias"]

    def norm(src, dst):
        hf[dst + ".weight"] = variables[src + "/gamma"]
        hf[dst + ".bias"] = variables[src + "/beta"]

    def split(src, dst, names):
        weights = np.split(variables[src + "/weight"], len(names), 0)
        biases = np.split(variables[src + "/bias"], len(names), 0)
        for name, weight, bias in zip(names, weights, biases):
            hf[f"{dst}.{name}_proj.weight"] = weight
            if name != "k":
                hf[f"{dst}.{name}_proj.bias"] = bias
            elif np.any(bias):
                sys.exit(f"{src}: a key bias that is not zero has no place in Whisper")

    counts = {}
    for side in ("encoder", "decoder"):
        top = f"model.{side}"
        hf[top + ".embed_positions.weight"] = variables[f"{side}/position_encodings/encodings"]
        norm(f"{side}/layer_norm", top + ".layer_norm")
        n = 0
        while f"{side}/layer_{n}/ffn/linear_0/weight" in variables:
            src, dst = f"{side}/layer_{n}", f"{top}.layers.{n}"
            norm(src + "/self_attention/layer_norm", dst + ".self_attn_layer_norm")
            split(src + "/self_attention/linear_0", dst + ".self_attn", "qkv")
            linear(src + "/self_attention/linear_1", dst + ".self_attn.out_proj")
            if side == "decoder":
                norm(src + "/attention/layer_norm", dst + ".encoder_attn_layer_norm")
                linear(src + "/attention/linear_0", dst + ".encoder_attn.q_proj")
                split(src + "/attention/linear_1", dst + ".encoder_attn", "kv")
                linear(src + "/attention/linear_2", dst + ".encoder_attn.out_proj")
            norm(src + "/ffn/layer_norm", dst + ".final_layer_norm")
            linear(src + "/ffn/linear_0", dst + ".fc1")
            linear(src + "/ffn/linear_1", dst + ".fc2")
            n += 1
        counts[side + "_layers"] = n
        counts[side + "_attention_heads"] = int(variables[f"{side}/num_heads"])
    linear("encoder/conv1", "model.encoder.conv1")
    linear("encoder/conv2", "model.encoder.conv2")
    hf["model.decoder.embed_tokens.weight"] = variables["decoder/embeddings/weight"]
    return hf, counts


def hf_config(hf, counts, ct2_config):
    vocab_size, d_model = hf["model.decoder.embed_tokens.weight"].shape
    end_of_text = 50256 if vocab_size == 51864 else 50257
    ffn = hf["model.encoder.layers.0.fc1.weight"].shape[0]
    return {
        "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper",
        "activation_function": "gelu", "d_model": d_model, "vocab_size": vocab_size,
        "num_mel_bins": hf["model.encoder.conv1.weight"].shape[1],
        **counts, "num_hidden_layers": counts["encoder_layers"],
        "encoder_ffn_dim": ffn, "decoder_ffn_dim": ffn,
        "max_source_positions": hf["model.encoder.embed_positions.weight"].shape[0],
        "max_target_positions": hf["model.decoder.embed_positions.weight"].shape[0], "max_length": 448,
        "bos_token_id": end_of_text, "eos_token_id": end_of_text, "pad_token_id": end_of_text,
        "decoder_start_token_id": end_of_text + 1, "is_encoder_decoder": True, "scale_embedding": False,
        "suppress_tokens": ct2_config.get("suppress_ids", []),
        "begin_suppress_tokens": ct2_config.get("suppress_ids_begin", []), "use_cache": True,
    }


def write_safetensors(path, tensors):
    names = {np.dtype(np.float32): "F32", np.dtype(np.float16): "F16"}
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape),
                        "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            out.write(np.ascontiguousarray(array).tobytes())


# ---- whisper.cpp ----

def mel_filters(n_mels, sample_rate=16000, n_fft=400):
    """Slaney's mel filter bank, as in OpenAI's mel_filters.npz: [n_mels, n_fft / 2 + 1]."""
    bins_hz = np.fft.rfftfreq(n_fft, 1.0 / sample_rate)
    mels = np.linspace(0.0, 45.245640471924965, n_mels + 2)
    edges = 200.0 / 3 * mels
    logarithmic = mels >= 15.0
    edges[logarithmic] = 1000.0 * np.exp(np.log(6.4) / 27.0 * (mels[logarithmic] - 15.0))
    width = np.diff(edges)
    ramps = edges[:, None] - bins_hz[None]
    weights = np.maximum(0, np.minimum(-ramps[:-2] / width[:-1, None], ramps[2:] / width[1:, None]))
    return (weights * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def byte_decoder():
    """GPT-2's printable stand-in characters -> bytes."""
    known = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in known}
    table.update({chr(256 + n): b for n, b in enumerate(b for b in range(256) if b not in known)})
    return table


def quantise(array, kind):
    """[rows, columns] float -> ggml blocks of 32, as quantize_row_*_ref in ggml's quants.c does."""
    x = array.astype(np.float32).reshape(-1, 32)
    if kind == "q8_0":
        d = np.abs(x).max(axis=1) / np.float32(127)
        inverse = np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)
        scaled = x * inverse[:, None]
        q = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)  # C's roundf
        blocks = np.empty(len(x), dtype=[("d", "<f2"), ("qs", "i1", 32)])
        blocks["d"], blocks["qs"] = d.astype(np.float16), q
        return blocks.tobytes()
    if kind == "q5_0":
        signed = x[np.arange(len(x)), np.abs(x).argmax(axis=1)]  # the value of largest magnitude, with its sign
        d, base = signed / np.float32(-16), np.float32(16.5)
        origin = np.zeros_like(d)
    else:
        origin, base = x.min(axis=1), np.float32(0.5)
        d = (x.max(axis=1) - origin) / np.float32(31)
    inverse = np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)
    q = np.minimum(31, ((x - origin[:, None]) * inverse[:, None] + base).astype(np.int32)).astype(np.uint32)
    low, high = q[:, :16] & 15, q[:, 16:] & 15
    bits = ((q >> 4) << np.arange(32, dtype=np.uint32)).sum(axis=1, dtype=np.uint32)
    fields = [("d", "<f2")] + ([("m", "<f2")] if kind == "q5_1" else []) + [("qh", "<u4"), ("qs", "u1", 16)]
    blocks = np.empty(len(x), dtype=fields)
    blocks["d"], blocks["qh"], blocks["qs"] = d.astype(np.float16), bits, low | (high << 4)
    if kind == "q5_1":
        blocks["m"] = origin.astype(np.float16)
    return blocks.tobytes()


def ggml_name(name):
    """model.decoder.layers.0.fc1.weight -> decoder.blocks.0.mlp.0.weight"""
    parts = {
        "self_attn.k_proj": "attn.key", "self_attn.q_proj": "attn.query", "self_attn.v_proj": "attn.value",
        "self_attn.out_proj": "attn.out", "self_attn_layer_norm": "attn_ln", "encoder_attn.k_proj": "cross_attn.key",
        "encoder_attn.q_proj": "cross_attn.query", "encoder_attn.v_proj": "cross_attn.value",
        "encoder_attn.out_proj": "cross_attn.out", "encoder_attn_layer_norm": "cross_attn_ln",
        "fc1": "mlp.0", "fc2": "mlp.2", "final_layer_norm": "mlp_ln",
    }
    whole = {
        "encoder.layer_norm.weight": "encoder.ln_post.weight", "encoder.layer_norm.bias": "encoder.ln_post.bias",
        "decoder.layer_norm.weight": "decoder.ln.weight", "decoder.layer_norm.bias": "decoder.ln.bias",
        "encoder.embed_positions.weight": "encoder.positional_embedding",
        "decoder.embed_positions.weight": "decoder.positional_embedding",
        "decoder.embed_tokens.weight": "decoder.token_embedding.weight",
    }
    name = name.removeprefix("model.")
    if name in whole or ".layers." not in name:
        return whole.get(name, name)
    side, _, layer, rest = name.split(".", 3)
    module, leaf = rest.rsplit(".", 1)
    return f"{side}.blocks.{layer}.{parts[module]}.{leaf}"


def write_ggml(path, hf, config, vocab, kind):
    """kind: f32, f16, q5_0, q5_1, q8_0. Convolutions stay float16 and positions and biases float32 when quantised."""
    with open(path, "wb") as out:
        def ints(*values):
            out.write(struct.pack(f"<{len(values)}i", *values))
        ftype = {"f32": 0, "f16": 1}.get(kind)
        if ftype is None:
            ftype = GGML_QUANT_VERSION + GGML_QUANTS[kind][0]
        ints(0x67676D6C, config["vocab_size"], config["max_source_positions"], config["d_model"],
             config["encoder_attention_heads"], config["encoder_layers"], config["max_target_positions"],
             config["d_model"], config["decoder_attention_heads"], config["decoder_layers"],
             config["num_mel_bins"], ftype)
        filters = mel_filters(config["num_mel_bins"])
        ints(*filters.shape)
        out.write(filters.tobytes())
        to_byte = byte_decoder()
        ints(len(vocab))
        for token, _ in sorted(vocab.items(), key=lambda item: item[1]):
            raw = bytes(to_byte[c] for c in token)
            ints(len(raw))
            out.write(raw)
        for name, array in hf.items():
            name = ggml_name(name)
            if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
                array = array.reshape(-1, 1)
            single = array.ndim < 2 or name.endswith("positional_embedding") or name.startswith("encoder.conv") \
                and name.endswith("bias")
            if single or kind == "f32":
                tensor_type, raw = 0, array.astype("<f4").tobytes()
            elif kind == "f16" or array.ndim != 2:
                tensor_type, raw = 1, array.astype("<f2").tobytes()
            else:
                # whisper.cpp quantises what its float16 file holds, so the values pass through float16 first
                tensor_type, raw = GGML_QUANTS[kind][1], quantise(array.astype(np.float16), kind)
            encoded = name.encode()
            ints(array.ndim, len(encoded), tensor_type, *array.shape[::-1])
            out.write(encoded)
            out.write(raw)


# ---- the command ----

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct2_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--only", default=",".join(ALL), help="comma-separated names, the file ending left out")
    args = parser.parse_args()
    wanted = args.only.split(",")
    if unknown := set(wanted) - set(ALL):
        parser.error(f"unknown variant {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")

    spec, revision, variables, aliases = read_ct2(args.ct2_dir / "model.bin")
    variables = dequantise(variables)
    aliases = [pair for pair in aliases if not pair[0].endswith("_scale")]
    hf, counts = hf_tensors(variables)
    config = hf_config(hf, counts, json.loads((args.ct2_dir / "config.json").read_text()))
    tokenizer = json.loads((args.ct2_dir / "tokenizer.json").read_text())
    # whisper.cpp's files list the text tokens only; it makes up the special ones itself.
    vocab = {token: i for token, i in tokenizer["model"]["vocab"].items() if i < 50257}

    args.out_dir.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        family, kind = name.split("-", 1)
        target = args.out_dir / (name + ".bin" if family == "ggml" else name)
        if family == "ggml":
            write_ggml(target, hf, config, vocab, kind)
        else:
            target.mkdir(exist_ok=True)
            shutil.copyfile(args.ct2_dir / "tokenizer.json", target / "tokenizer.json")
            if family == "ct2":
                for extra in [args.ct2_dir / "config.json", *args.ct2_dir.glob("vocabulary.*"),
                              *args.ct2_dir.glob("preprocessor_config.json")]:
                    shutil.copyfile(extra, target / extra.name)
                write_ct2(target / "model.bin", spec, revision, ct2_variant(variables, kind), aliases)
            else:
                dtype = np.float32 if kind == "f32" else np.float16
                write_safetensors(target / "model.safetensors", {k: v.astype(dtype) for k, v in hf.items()})
                config["torch_dtype"] = "float32" if kind == "f32" else "float16"
                (target / "config.json").write_text(json.dumps(config, indent=1))
        print(target)


if __name__ == "__main__":
    main()
