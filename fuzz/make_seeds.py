#!/usr/bin/env python3
"""Writes fuzz/seeds/TARGET: the smallest inputs that reach the end of each target. What fuzzing found is kept beside them
(found-...) and is not written here. The seeds are committed: run this only to change one."""
import json
import pathlib
import struct

ROOT = pathlib.Path(__file__).resolve().parent
SEEDS = ROOT / "seeds"
CLIPS = ROOT.parent / "engine/tests/clips"


def seed(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def zeros(count):
    """As `expand` in src/lib.rs reads it."""
    return b"\0" * count if count < 12 else b"\xf0ZR0" + struct.pack("<I", count)


# GGUF ---------------------------------------------------------------------------------------------------------------

F32, F16, Q4_0, Q8_0, Q4_K, Q6_K = 0, 1, 2, 8, 12, 14
BLOCKS = {F32: (1, 4), F16: (1, 2), Q4_0: (32, 18), Q8_0: (32, 34), Q4_K: (256, 144), Q6_K: (256, 210)}


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf_value(value):
    if isinstance(value, bool):
        return struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    kind, pack = {str: (8, text), int: (5, lambda v: struct.pack("<i", v)), float: (6, lambda v: struct.pack("<f", v))}[type(value[0])]
    return struct.pack("<IIQ", 9, kind, len(value)) + b"".join(map(pack, value))


def gguf(metadata, tensors=()):
    infos, data, plain = b"", b"", 0
    for name, dims, ty in tensors:
        infos += text(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in reversed(dims))
        infos += struct.pack("<IQ", ty, plain)
        per, size = BLOCKS[ty]
        count = size * (dims[-1] // per)
        for d in dims[:-1]:
            count *= d
        padded = -(-count // 32) * 32
        # Norms are ones, so that something comes out at the end.
        data += struct.pack("<f", 1.0) * (count // 4) + b"\0" * (padded - count) if len(dims) == 1 else zeros(padded)
        plain += padded
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(text(key) + gguf_value(value) for key, value in metadata.items()) + infos
    return head + b"\0" * (-len(head) % 32) + data


def spm():
    tokens = ["<unk>", "<s>", "</s>", "<start_of_turn>", "<end_of_turn>", "\u2581", "H", "e", "l", "o", "He", "ll", "\u2581He", "<0x0A>", "\n\n"]
    types = [2, 3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 6, 4]
    return {
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.scores": [-float(i) for i in range(len(tokens))],
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.add_space_prefix": False,
    }


def bpe(pre):
    tokens = ["H", "e", "l", "o", "He", "ll", "llo", "\u0120", "\u010a", "<|im_start|>", "<|im_end|>", "1", "."]
    return {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * 9 + [3, 3, 1, 1], "tokenizer.ggml.merges": ["H e", "l l", "ll o"],
        "tokenizer.ggml.bos_token_id": 9, "tokenizer.ggml.eos_token_id": 10, "tokenizer.ggml.add_bos_token": True,
    }


def language_model(architecture, ty, vocabulary, d=32, hidden=64, heads=2, kv=1, apart=False):
    tokens = len(vocabulary["tokenizer.ggml.tokens"])
    metadata = {
        "general.architecture": architecture, f"{architecture}.embedding_length": d, f"{architecture}.block_count": 1,
        f"{architecture}.feed_forward_length": hidden, f"{architecture}.attention.head_count": heads,
        f"{architecture}.attention.head_count_kv": kv, f"{architecture}.context_length": 64,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5, f"{architecture}.rope.freq_base": 1e4,
        "tokenizer.chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}", **vocabulary,
    }
    size = d // heads
    tensors = [("token_embd.weight", (tokens + 1, d), ty), ("output_norm.weight", (d,), F32)]
    tensors += [("output.weight", (tokens + 1, d), ty)] if apart else []
    tensors += [(f"blk.0.{name}.weight", dims, ty) for name, dims in [
        ("attn_q", (d, d)), ("attn_k", (kv * size, d)), ("attn_v", (kv * size, d)), ("attn_output", (d, d)),
        ("ffn_gate", (hidden, d)), ("ffn_up", (hidden, d)), ("ffn_down", (d, hidden)),
    ]]
    tensors += [("blk.0.attn_norm.weight", (d,), F32), ("blk.0.ffn_norm.weight", (d,), F32)]
    if architecture == "qwen2":
        tensors += [("blk.0.attn_q.bias", (d,), F32)] + [(f"blk.0.attn_{n}.bias", (kv * size,), F32) for n in "kv"]
    if architecture == "gemma3":
        metadata["gemma3.attention.key_length"] = size
        metadata["gemma3.attention.sliding_window"] = 4
        tensors += [(f"blk.0.attn_{n}_norm.weight", (size,), F32) for n in "qk"]
        tensors += [(f"blk.0.{n}.weight", (d,), F32) for n in ("post_attention_norm", "post_ffw_norm")]
    if architecture == "llama":
        tensors += [("rope_freqs.weight", (size // 2,), F32)]
    return gguf(metadata, tensors)


def gguf_seeds():
    seed("gguf", "llama-f32", language_model("llama", F32, spm()))
    seed("gguf", "llama-q4_0", language_model("llama", Q4_0, bpe("llama-bpe"), apart=True))
    seed("gguf", "llama-q4_k", language_model("llama", Q4_K, bpe("smollm"), d=256, hidden=256))
    seed("gguf", "qwen2-q8_0", language_model("qwen2", Q8_0, bpe("qwen2")))
    seed("gguf", "qwen2-f16", language_model("qwen2", F16, bpe("qwen2"), kv=2, apart=True))
    seed("gguf", "gemma3-q6_k", language_model("gemma3", Q6_K, spm(), d=256, hidden=256, heads=4))
    seed("gguf", "empty", gguf({"general.architecture": "llama", "general.alignment": 64}))


# Whisper ------------------------------------------------------------------------------------------------------------

VOCABULARY, MELS, POSITIONS, CONTEXT = 51_864, 4, 4, 8


def whisper_tensors(d, fc=None):
    fc = fc or 4 * d
    yield "encoder.conv1.weight", (d, MELS, 3)
    yield "encoder.conv1.bias", (d,)
    yield "encoder.conv2.weight", (d, d, 3)
    yield "encoder.conv2.bias", (d,)
    yield "encoder.embed_positions.weight", (POSITIONS, d)
    yield "decoder.embed_tokens.weight", (VOCABULARY, d)
    yield "decoder.embed_positions.weight", (CONTEXT, d)
    for side, blocks in (("encoder", ["self_attn"]), ("decoder", ["self_attn", "encoder_attn"])):
        yield f"{side}.layer_norm.weight", (d,)
        yield f"{side}.layer_norm.bias", (d,)
        layer = f"{side}.layers.0"
        for block in blocks:
            for part in "q", "k", "v", "out":
                yield f"{layer}.{block}.{part}_proj.weight", (d, d)
                if part != "k":
                    yield f"{layer}.{block}.{part}_proj.bias", (d,)
            yield f"{layer}.{block}_layer_norm.weight", (d,)
            yield f"{layer}.{block}_layer_norm.bias", (d,)
        yield f"{layer}.final_layer_norm.weight", (d,)
        yield f"{layer}.final_layer_norm.bias", (d,)
        yield f"{layer}.fc1.weight", (fc, d)
        yield f"{layer}.fc1.bias", (fc,)
        yield f"{layer}.fc2.weight", (d, fc)
        yield f"{layer}.fc2.bias", (d,)


def size(dims):
    count = 1
    for d in dims:
        count *= d
    return count


BLOCK_MODULES = {
    "self_attn.q_proj": "attn.query", "self_attn.k_proj": "attn.key", "self_attn.v_proj": "attn.value",
    "self_attn.out_proj": "attn.out", "self_attn_layer_norm": "attn_ln", "encoder_attn.q_proj": "cross_attn.query",
    "encoder_attn.k_proj": "cross_attn.key", "encoder_attn.v_proj": "cross_attn.value",
    "encoder_attn.out_proj": "cross_attn.out", "encoder_attn_layer_norm": "cross_attn_ln", "fc1": "mlp.0",
    "fc2": "mlp.2", "final_layer_norm": "mlp_ln",
}
MODULES = {
    "encoder.conv1": "encoder.conv1", "encoder.conv2": "encoder.conv2", "encoder.layer_norm": "encoder.ln_post",
    "decoder.layer_norm": "decoder.ln", "decoder.embed_tokens": "decoder.token_embedding",
    "encoder.embed_positions": "encoder.positional_embedding", "decoder.embed_positions": "decoder.positional_embedding",
}


def ggml_name(name):
    module, leaf = name.rsplit(".", 1)
    if module in MODULES:
        ours = MODULES[module]
        return ours if ours.endswith("positional_embedding") else f"{ours}.{leaf}"
    side, _, n, rest = module.split(".", 3)
    return f"{side}.blocks.{n}.{BLOCK_MODULES[rest]}.{leaf}"


def ggml(d, ty, heads=2):
    out = struct.pack("<I11i", 0x67676D6C, VOCABULARY, POSITIONS, d, heads, 1, CONTEXT, d, heads, 1, MELS, ty)
    out += struct.pack("<II", MELS, 2) + zeros(4 * MELS * 2)
    # Two tokens and as many empty ones as Whisper has besides.
    out += struct.pack("<I", 50_257) + b"\1\0\0\0a" + b"\1\0\0\0b" + zeros(4 * 50_255)
    for name, dims in whisper_tensors(d):
        kind = ty if name.endswith("weight") and len(dims) == 2 and "embed_positions" not in name else F32
        per, width = BLOCKS[kind]
        stored = (*dims, 1) if "conv" in name and name.endswith("bias") else dims
        out += struct.pack("<III", len(stored), len(ggml_name(name)), kind)
        out += b"".join(struct.pack("<I", n) for n in reversed(stored)) + ggml_name(name).encode()
        out += zeros(size(dims) // per * width)
    return out


def ggml_seeds():
    seed("ggml", "f16", ggml(8, F16))
    seed("ggml", "q8_0", ggml(32, Q8_0))
    seed("ggml", "q4_0", ggml(32, Q4_0, heads=1))
    seed("ggml", "header", struct.pack("<I11i", 0x67676D6C, VOCABULARY, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1))


def ct2_variable(name, dims, kind, data):
    raw = name.encode() + b"\0"
    width = {0: 4, 1: 1, 2: 2, 4: 2, 5: 2}[kind]
    out = struct.pack("<H", len(raw)) + raw + struct.pack("<B", len(dims)) + b"".join(struct.pack("<I", n) for n in dims)
    return out + struct.pack("<BI", kind, size(dims) * width) + data


CT2_PARTS = {
    "self_attn.q_proj": "self_attention/linear_0", "self_attn.out_proj": "self_attention/linear_1",
    "self_attn_layer_norm": "self_attention/layer_norm", "encoder_attn.q_proj": "attention/linear_0",
    "encoder_attn.k_proj": "attention/linear_1", "encoder_attn.out_proj": "attention/linear_2",
    "encoder_attn_layer_norm": "attention/layer_norm", "final_layer_norm": "ffn/layer_norm", "fc1": "ffn/linear_0",
    "fc2": "ffn/linear_1",
}


def ct2_tensors(d):
    for name, dims in whisper_tensors(d):
        module, leaf = name.rsplit(".", 1)
        norm = "norm" in module
        leaf = {"weight": "gamma", "bias": "beta"}[leaf] if norm else leaf
        parts = module.split(".", 3)
        if len(parts) == 2:
            stem = {"embed_positions": "position_encodings", "embed_tokens": "embeddings"}.get(parts[1], parts[1])
            leaf = "encodings" if stem == "position_encodings" else leaf
            # The decoder's embeddings are in a list of one.
            yield f"{parts[0]}/{stem}/{leaf}", dims
            continue
        side, _, n, rest = parts
        fused = {"self_attn.q_proj": 3, "encoder_attn.k_proj": 2}.get(rest, 1)
        if rest in ("self_attn.k_proj", "self_attn.v_proj", "encoder_attn.v_proj"):
            continue
        yield f"{side}/layer_{n}/{CT2_PARTS[rest]}/{leaf}", (fused * dims[0], *dims[1:])
        if rest == "encoder_attn.k_proj":
            yield f"{side}/layer_{n}/{CT2_PARTS[rest]}/bias", (2 * d,)


def ctranslate2(d, kind, version=6, revision=3):
    variables = [ct2_variable(f"{side}/num_heads", (), 5, struct.pack("<H", 2)) for side in ("encoder", "decoder")]
    for name, dims in ct2_tensors(d):
        small = kind in (1, 2) and name.endswith("weight") and len(dims) == 2
        if small:
            scale = struct.pack("<f", 127.0)
            ones = scale * dims[0] if dims[0] <= 64 else zeros(4 * dims[0])
            variables.append(ct2_variable(f"{name}_scale", (dims[0],), 0, ones))
        stored = kind if small or kind in (4, 5) else 0
        width = {0: 4, 1: 1, 2: 2, 4: 2, 5: 2}[stored]
        variables.append(ct2_variable(name, dims, stored, zeros(size(dims) * width)))
    out = struct.pack("<I", version) + struct.pack("<H", 12) + b"WhisperSpec\0" + struct.pack("<II", revision, len(variables))
    aliases = [("decoder/projection/weight", "decoder/embeddings/weight")]
    named = [struct.pack("<H", len(word) + 1) + word.encode() + b"\0" for pair in aliases for word in pair]
    return out + b"".join(variables) + struct.pack("<I", len(aliases)) + b"".join(named)


def ctranslate2_seeds():
    seed("ctranslate2", "f16", ctranslate2(8, 4))
    seed("ctranslate2", "int8", ctranslate2(32, 1))
    seed("ctranslate2", "int16", ctranslate2(8, 2, version=5))
    seed("ctranslate2", "empty", struct.pack("<IH", 6, 12) + b"WhisperSpec\0" + struct.pack("<III", 3, 0, 0))


def safetensors(d, dtype, width):
    header, data, at = {"__metadata__": {"format": "pt"}}, b"", 0
    for name, dims in whisper_tensors(d):
        count = size(dims) * width
        header[f"model.{name}"] = {"dtype": dtype, "shape": dims, "data_offsets": [at, at + count]}
        data += zeros(count)
        at += count
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw + data


def safetensors_seeds():
    seed("safetensors", "f16", safetensors(8, "F16", 2))
    seed("safetensors", "bf16", safetensors(32, "BF16", 2))
    seed("safetensors", "f32", safetensors(8, "F32", 4))
    seed("safetensors", "empty", b"\x02\0\0\0\0\0\0\0{}")
    seed("safetensors", "index", '{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"../x","c":""}}')


# Tokenizers ---------------------------------------------------------------------------------------------------------


def tokenizer_seeds():
    for name, metadata in [("spm", spm()), *((pre, bpe(pre)) for pre in ("default", "gpt-2", "smollm", "qwen2", "llama-bpe"))]:
        seed("tokenizer", f"gguf-{name}", gguf({"general.architecture": "llama", **metadata}))
    vocab = {"H": 0, "e": 1, "l": 2, "o": 3, "He": 4, "ll": 5, "\u0120": 6, "llo": 7}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = [{"id": 8, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}]
    model = {"type": "BPE", "vocab": vocab, "merges": ["H e", "l l", "ll o"]}
    seed("tokenizer", "json-byte-level", json.dumps({"added_tokens": added, "pre_tokenizer": level, "decoder": level, "model": model}))
    split = {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\s+(?!\\S)|(a+)+b"}, "behavior": "Isolated", "invert": False}
    steps = {"type": "Sequence", "pretokenizers": [split, {"type": "Digits", "individual_digits": True}, {"type": "Metaspace"}]}
    normal = {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}, {"type": "Prepend", "prepend": "\u2581"}]}
    fall = {**model, "merges": [["H", "e"], ["l", "l"]], "byte_fallback": True, "ignore_merges": True}
    seed("tokenizer", "json-split", json.dumps({"added_tokens": added, "normalizer": normal, "pre_tokenizer": steps, "model": fall}))


# Audio --------------------------------------------------------------------------------------------------------------


def wav(tag, channels, bits, data, extensible=False, rate=16_000, extra=b"", block=None):
    block = block or channels * bits // 8
    fmt = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, channels, rate, rate * block, block, bits)
    if extensible:
        fmt += struct.pack("<HHIH", 22, bits, 3, tag) + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    elif extra:
        fmt += struct.pack("<H", len(extra)) + extra
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"LIST\4\0\0\0INFO" + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tone(pack, count=1800):
    return b"".join(struct.pack(pack, (i * 37 % 200) - 100) for i in range(count))


def box(kind, body):
    return struct.pack(">I", 8 + len(body)) + kind + body


def m4a():
    data = (CLIPS / "question.m4a").read_bytes()
    moov, mdat = data[22274:], data[44:44 + 3000]
    at = moov.index(b"stco") + 12
    moov = moov[:at] + struct.pack(">I", 28 + len(moov) + 8) + moov[at + 4:]
    return data[:28] + moov + box(b"mdat", mdat)


def ebml(number, body):
    return bytes.fromhex(number) + struct.pack(">I", 0x1000_0000 | len(body)) + body


def mkv():
    head = ebml("1a45dfa3", ebml("4286", b"\1") + ebml("42f7", b"\1") + ebml("42f2", b"\4") + ebml("42f3", b"\x08") + ebml("4282", b"matroska") + ebml("4287", b"\4") + ebml("4285", b"\2"))
    audio = ebml("b5", struct.pack(">f", 16_000.0)) + ebml("9f", b"\1") + ebml("6264", b"\x10")
    track = ebml("d7", b"\1") + ebml("73c5", b"\1") + ebml("83", b"\2") + ebml("86", b"A_PCM/INT/LIT") + ebml("e1", audio)
    cluster = ebml("e7", b"\0") + ebml("a3", b"\x81\0\0\x80" + tone("<h"))
    info = ebml("2ad7b1", b"\x0f\x42\x40")
    return head + ebml("18538067", ebml("1549a966", info) + ebml("1654ae6b", ebml("ae", track)) + ebml("1f43b675", cluster))


def aiff():
    rate = struct.pack(">HQ", 16383 + 13, 16_000 << 50)
    data = tone(">h")
    comm = struct.pack(">hIh", 1, len(data) // 2, 16) + rate
    body = b"AIFF" + b"COMM" + struct.pack(">I", len(comm)) + comm + b"SSND" + struct.pack(">III", len(data) + 8, 0, 0) + data
    return b"FORM" + struct.pack(">I", len(body)) + body


def audio_seeds():
    seed("audio", "wav-16", wav(1, 1, 16, tone("<h")))
    seed("audio", "wav-8-stereo", wav(1, 2, 8, bytes(3600)))
    seed("audio", "wav-24", wav(1, 1, 24, bytes(5400), extensible=True))
    seed("audio", "wav-float", wav(3, 1, 32, tone("<f"), rate=8_000))
    seed("audio", "wav-double", wav(3, 1, 64, tone("<d"), rate=8_000))
    seed("audio", "wav-alaw", wav(6, 1, 8, bytes(range(256)) * 8, extra=b"\0"))
    seed("audio", "wav-ima", wav(0x11, 1, 4, bytes(2048), extra=struct.pack("<H", 505), block=256))
    seed("audio", "wav-ms", wav(2, 1, 4, bytes(2048), extra=struct.pack("<HH", 500, 7) + struct.pack("<14h", 256, 0, 512, -256, 0, 0, 192, 64, 240, 0, 460, -208, 392, -232), block=256))
    seed("audio", "aiff", aiff())
    seed("audio", "mkv", mkv())
    seed("audio", "m4a", m4a())
    for kind, count in (("flac", 6000), ("mp3", 3000), ("ogg", 8000)):
        seed("audio", kind, (CLIPS / f"question.{kind}").read_bytes()[:count])
    seed("audio", "mp3-tag", b"ID3\4\0\0\0\0\0\x0aTIT2\0\0\0\0\0\0" + (CLIPS / "question.mp3").read_bytes()[:2501])


# Texts --------------------------------------------------------------------------------------------------------------


def chat_seeds():
    chatml = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
              "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
    gemma = ("{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
             "{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
             "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}")
    llama = ("{% set ns = namespace(n=0) %}{% macro head(role) %}<|start_header_id|>{{ role }}{% endmacro %}"
             "{%- for m in messages if m.content is iterable %}{% set ns.n = ns.n + 1 %}{{ head(m.role) }}{{ m.content.strip() }}<|eot_id|>"
             "{% endfor %}{{ strftime_now('%d %b %Y') }}{{ messages[-1].content.split('x')|join(' ')|upper }}")
    said = "\x1eBe brief.\x1eHello <|im_end|> {{ bos_token }}\x1eYes.\x1e\uf8f00\uf8f1"
    for name, template in ("chatml", chatml), ("gemma", gemma), ("llama", llama):
        seed("chat", name, template + said)
        seed("chat", f"{name}-alone", template)
    seed("chat", "loops", "{% for i in range(1000) %}{% for j in range(1000) %}{{ i * j }}{% endfor %}{% endfor %}")
    seed("chat", "methods", "{{ 'aXb'.split('X') }}{{ 'ab'.find('b') }}{{ ' a '.strip(' ') }}{{ {'a': 1}.get('b', 2) }}{{ 'a'.startswith(('a', 'b')) }}{{ 'x' * 9 }}{{ messages|tojson(indent=2) }}{{ {'a': 1}.items()|list }}")


def config_seeds():
    seed("config", "usual", '[models]\nspeech = "base"\ndevice = "cpu"\nbudget = "8GiB"\nallow = ["q8-kv"]\n\n[[keys]]\nkey = "ctrl+shift+space"\nstyle = "tap"\n\n[replacements]\n"k eight s" = "k8s"\n')
    seed("config", "modes", '[modes.mail]\npolicy = "standard"\ninstruction = "Write a mail."\ndelivery = "note"\nexamples = [["um hello", "Hello."]]\n\n[[profiles]]\nclass = "*Term*"\nmode = "mail"\n')
    seed("config", "set", "[audio]\ntail_ms = 200 # kept\n\0audio.tail_ms\0" + "300")
    seed("config", "set-list", "\0keys.0.key\0alt+d")
    seed("config", "set-mode", "[modes.mail]\n\0modes.mail.instruction\0Be brief.")
    seed("config", "broken", "[audio\ntail_ms = x\ndevce = 1\n[audio]\n")


def control_seeds():
    commands = ['{"command":"start","mode":"note"}', '{"command":"stop"}', '{"command":"toggle","hands_free":true}', '{"command":"cancel"}',
                '{"command":"mode","name":"mail"}', '{"command":"again"}', '{"command":"undo"}', '{"command":"raw"}', '{"command":"status"}',
                '{"command":"wait","timeout_s":3}', '{"command":"quit"}']
    seed("control", "all", "\n".join(commands) + "\n")
    seed("control", "refused", '{"command":"strat"}\n{"command":"wait","timeout_s":99999}\n{"command":"stop","x":1}\n[]\n{"command":5}\n\n\xff')
    seed("control", "no-end", '{"command":"status"}')


def channels_seeds():
    for name, how, words in [
        ("think", 0, "<think>hm</think>Yes."), ("opened", 1, "hm</think>Yes."), ("nested", 0, "A <think>x<think>y</think>z</think>B"),
        ("harmony", 0, "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi.<|return|>"),
        ("halves", 0, "a<|im_<|im_end|>end|>b"), ("roles", 0, "Hi.<|im_end|>\n<|im_start|>assistant\nMore.<end_of"),
        ("wide", 0, "◁think▷日本◁/think▷🙂<｜end▁of▁sentence｜>"),
    ]:
        seed("channels", name, bytes([how, 3]) + words.encode())
    seed("channels", "parts", bytes([3, 2]) + b"\xffhello\0\1secret\0\xffworld\0\4more")


def bundle_seeds():
    papers = b"\3readme.md\xfepaper\xfflicences/MIT\xfetext"
    model = gguf({"general.type": "model", "general.architecture": "llama"})
    seed("bundle", "forged", papers)
    seed("bundle", "forged-model", papers + b"\xffmodels/m/m.gguf\xfe" + model)
    for name, bend in [("link", b"\1\2"), ("outside", b"\3\0undertone/../../x"), ("size", b"\3\3\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f"), ("more", b"\2\6undertone/y")]:
        seed("bundle", f"bent-{name}", papers + b"\xff\xff" + bend)
    seed("bundle", "archive", b"\2" + bytes(1024))
    seed("bundle", "sealed", b"\1\x28\xb5\x2f\xfd\0\0\1\0\0")
    seed("bundle", "plain", b"\0" + b"\x50\x2a\x4d\x18\x20\0\0\0" + bytes(32))


if __name__ == "__main__":
    for make in (gguf_seeds, ggml_seeds, ctranslate2_seeds, safetensors_seeds, tokenizer_seeds, audio_seeds, chat_seeds,
                 config_seeds, control_seeds, channels_seeds, bundle_seeds):
        make()
