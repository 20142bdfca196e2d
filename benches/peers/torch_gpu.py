#!/usr/bin/env python3
"""What torch and transformers make of networks of the same shapes on this GPU, for scripts/gpu-check.

    torch_gpu.py [--device cuda|cpu] [--layers N] [--rounds N]

Random weights, bf16 for language models (torch multiplies no GGUF blocks: it reads three and a half times as many bytes as
Q4_K_M) and f16 for Whisper, scaled_dot_product_attention, a static cache compiled where the device is a GPU. Medians in ms:
a prompt of 500 tokens, one token and eight behind it, the encoder over 30 s. One JSON object. `--layers 1 --device cpu` shows
that this program works, and no more.
"""
import argparse
import json
import statistics
import sys
import time

import torch
import transformers as tf

PROMPT_TOKENS, CONTEXT_TOKENS = 500, 2048


def time_ms(device, rounds, run):
    """Median of `rounds` calls behind three that warm up."""
    times = []
    for _ in range(3 + rounds):
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[3:])


def gemma_3_4b(layers):
    config = tf.Gemma3TextConfig(
        vocab_size=262_144, hidden_size=2560, intermediate_size=10_240, num_hidden_layers=layers or 34,
        num_attention_heads=8, num_key_value_heads=4, head_dim=256, sliding_window=1024,
        max_position_embeddings=CONTEXT_TOKENS)
    return tf.Gemma3ForCausalLM(config)


def llama_3_2_3b(layers):
    config = tf.LlamaConfig(
        vocab_size=128_256, hidden_size=3072, intermediate_size=8192, num_hidden_layers=layers or 28,
        num_attention_heads=24, num_key_value_heads=8, head_dim=128, rope_theta=500_000.0,
        max_position_embeddings=CONTEXT_TOKENS, tie_word_embeddings=True)
    return tf.LlamaForCausalLM(config)


def language(model, device, rounds):
    cache = tf.StaticCache(config=model.config, max_cache_len=CONTEXT_TOKENS)
    forward = model

    def run(tokens, position):
        ids = torch.arange(300, 300 + tokens, device=device)[None]
        places = torch.arange(position, position + tokens, device=device)
        return forward(input_ids=ids, past_key_values=cache, cache_position=places, use_cache=True, logits_to_keep=1)

    if device == "cuda":
        try:
            forward = torch.compile(model, mode="reduce-overhead")
            run(1, 0)
        except Exception as error:  # it needs a C compiler, among others
            print(f"not compiled: {error}", file=sys.stderr)
            forward = model
    return {
        "compiled": forward is not model,
        "weights_bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
        "prefill_tokens_per_s": 1e3 * PROMPT_TOKENS / time_ms(device, rounds, lambda: run(PROMPT_TOKENS, 0)),
        "token_ms": time_ms(device, rounds, lambda: run(1, PROMPT_TOKENS)),
        "eight_tokens_ms": time_ms(device, rounds, lambda: run(8, PROMPT_TOKENS)),
    }


def large_v3_turbo_encoder(layers):
    config = tf.WhisperConfig(
        vocab_size=51_866, num_mel_bins=128, d_model=1280, encoder_layers=layers or 32, encoder_attention_heads=20,
        encoder_ffn_dim=5120, decoder_layers=layers or 4, decoder_attention_heads=20, decoder_ffn_dim=5120)
    return tf.WhisperModel(config).get_encoder()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--layers", type=int, help="only so many in each network")
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    report = {
        "torch": torch.__version__, "transformers": tf.__version__,
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu", "rounds": args.rounds,
    }
    with torch.inference_mode():
        for name, make in (("gemma-3-4b", gemma_3_4b), ("llama-3.2-3b", llama_3_2_3b)):
            torch.set_default_dtype(torch.bfloat16)
            with torch.device(args.device):
                model = make(args.layers).eval()
            report[name] = language(model, args.device, args.rounds)
            del model
        torch.set_default_dtype(torch.float16 if args.device == "cuda" else torch.float32)
        with torch.device(args.device):
            encoder = large_v3_turbo_encoder(args.layers).eval()
            mel = torch.zeros(1, 128, 3000)
        report["whisper-large-v3-turbo"] = {
            "encoder_30_s_ms": time_ms(args.device, args.rounds, lambda: encoder(mel).last_hidden_state)}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
