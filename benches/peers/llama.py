#!/usr/bin/env python3
"""How long Undertone and llama.cpp take for the same language model.

    llama.py speed GGUF...                 prompts of 128 and 512 tokens, 64 tokens one by one (llama-bench)
    llama.py cleanup --speech CT2_DIR GGUF clean-up of text pairs beside llama-server

llama.cpp is built for this processor, in the version that the package llama-cpp-python carries, into
target/ on the first call (cmake and ninja from PyPI; about ten minutes on two cores). Both get 2 threads
and take turns. `cleanup`: the same instruction and examples; the server keeps its connection, its one slot and the
prompt's beginning; greedy. Undertone answers in standard mode: rules, drafts from the transcript, the licence, the
check. Times are from request to answer, each text once for both, in turn. Run
`cargo build --release -p undertone-benches --bin language` first.
"""
import argparse
import http.client
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tarfile
import time
import tomllib
import venv
from pathlib import Path

from systems import ROOT, THREADS

PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
OPTIONS = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_OPENSSL=OFF",
           "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF"]


def build():
    """The folder with llama-bench and llama-server."""
    folder = ROOT / f"target/peers-llama-{VERSION}"
    programs = folder / "build/bin"
    if not (programs / "llama-server").exists():
        venv.create(folder / "venv", with_pip=True)
        tools = folder / "venv/bin"
        pip = [tools / "python", "-m", "pip", "--quiet"]
        subprocess.run([*pip, "install", "cmake", "ninja"], check=True)
        subprocess.run([*pip, "download", "--no-deps", "--no-binary", PACKAGE, "--dest", folder,
                        f"{PACKAGE}=={VERSION}"], check=True)
        with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
        source = next(folder.glob("*/vendor/llama.cpp"))
        env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
        subprocess.run(["cmake", "-S", source, "-B", folder / "build", "-G", "Ninja", *OPTIONS], check=True, env=env)
        subprocess.run(["ninja", "-C", folder / "build", "llama-bench", "llama-server"], check=True, env=env)
    return programs


def environment():
    return {**os.environ, "RAYON_NUM_THREADS": str(THREADS)}


def language_binary():
    binary = ROOT / "target/release/language"
    if not binary.exists():
        sys.exit("build the other side first: cargo build --release -p undertone-benches --bin language")
    return binary


def llama_bench(binary, gguf):
    """Milliseconds, as `language speed` gives them."""
    run = subprocess.run([binary / "llama-bench", "-m", gguf, "-t", str(THREADS), "-p", "128,512", "-n", "64", "-r", "1",
                          "-o", "json"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    names = {(128, 0): "prefill_128", (512, 0): "prefill_512", (0, 64): "decode_64"}
    return {names[row["n_prompt"], row["n_gen"]]: row["avg_ns"] / 1e6 for row in json.loads(run.stdout)}


def undertone_speed(gguf):
    run = subprocess.run([language_binary(), "speed", gguf], check=True, stdout=subprocess.PIPE, env=environment())
    return json.loads(run.stdout)


def speed(args):
    binary, report = build(), {}
    for gguf in args.gguf:
        rounds = {"llama.cpp": [], "undertone": []}
        for number in range(args.rounds):
            turns = [("llama.cpp", lambda: llama_bench(binary, gguf)), ("undertone", lambda: undertone_speed(gguf))]
            for name, turn in turns if number % 2 else reversed(turns):
                rounds[name].append(turn())
        medians = {name: {work: round(statistics.median(r[work] for r in runs), 2) for work in runs[0]}
                   for name, runs in rounds.items()}
        report[gguf.name] = {"median_ms": medians, "all_ms": rounds}
        for work, peer in medians["llama.cpp"].items():
            ours, tokens = medians["undertone"][work], int(work.split("_")[1])
            print(f"{gguf.name:40}{work:12} llama.cpp {tokens * 1e3 / peer:8.1f} tokens/s   undertone "
                  f"{tokens * 1e3 / ours:8.1f}   {peer / ours:.2f}x", flush=True)
    return report


class Server:
    """llama-server with one slot, over one connection."""

    def __init__(self, binary, gguf):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [binary / "llama-server", "-m", gguf, "-t", str(THREADS), "-c", "2048", "-np", "1", "--host", "127.0.0.1",
             "--port", str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.connection = None
        for _ in range(600):
            try:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
                self.ask("GET", "/health")
                return
            except (OSError, RuntimeError):
                time.sleep(0.1)
        sys.exit("llama-server does not answer")

    def send(self, method, path, body):
        self.connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
        return self.connection.getresponse()

    def ask(self, method, path, body=None):
        try:
            answer = self.send(method, path, body)
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
            self.connection.close()  # the server did, after some idle seconds; the next request opens another
            answer = self.send(method, path, body)
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(text)
        return json.loads(text)

    def close(self):
        self.process.terminate()
        self.process.wait()


def request(mode, chat, text):
    """Path and body that ask the server as Undertone asks its model."""
    # Undertone's limit: half as long again, and 16 tokens.
    common = {"temperature": 0, "cache_prompt": True, "n_predict": int(len(text) / 4 * 1.5) + 16}
    pairs = mode["examples"]
    if chat:
        messages = [{"role": "system", "content": mode["instruction"]}]
        for raw, clean in pairs:
            messages += [{"role": "user", "content": raw}, {"role": "assistant", "content": clean}]
        return "/v1/chat/completions", {**common, "messages": [*messages, {"role": "user", "content": text}]}
    prompt = mode["instruction"] + "\n\n" + "".join(f"Transcript: {r}\nClean text: {c}\n\n" for r, c in pairs)
    return "/completion", {**common, "prompt": f"{prompt}Transcript: {text}\nClean text:", "stop": ["\n"]}


def evenly(path, most):
    """Pairs from each category in turn, as `benches/src/bin/cleanup.rs` takes them."""
    categories = {}
    for line in path.read_text().splitlines():
        pair = json.loads(line)
        categories.setdefault(pair["category"], []).append(pair)
    rows = [categories[name] for name in sorted(categories)]
    pairs = [row[i] for i in range(max(map(len, rows))) for row in rows if i < len(row)]
    return [pair["raw"] for pair in pairs[:most]]


def cleanup(args):
    binary, report = build(), {}
    mode = tomllib.loads((ROOT / "engine/modes.toml").read_text())["standard"]
    texts = evenly(args.data / "text/cleanup.jsonl", args.pairs)
    for gguf in args.gguf:
        chat = "qwen" in gguf.name.lower()
        server = Server(binary, gguf)
        ours = subprocess.Popen([language_binary(), "clean", args.speech, gguf], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True, env=environment())

        def ask_server(text):
            start = time.perf_counter()
            server.ask("POST", *request(mode, chat, text))
            return (time.perf_counter() - start) * 1e3

        def ask_undertone(text):
            ours.stdin.write(" ".join(text.split()) + "\n")
            ours.stdin.flush()
            return json.loads(ours.stdout.readline())["ms"]

        for text in texts[:3]:  # the prompt's beginning is computed; not counted
            ask_server(text), ask_undertone(text)
        times = {"llama.cpp": [], "undertone": []}
        for number, text in enumerate(texts):
            turns = [("llama.cpp", ask_server), ("undertone", ask_undertone)]
            for name, turn in turns if number % 2 else reversed(turns):
                times[name].append(round(turn(text), 2))
        server.close()
        ours.stdin.close()
        ours.wait()
        found = {}
        for name, ms in times.items():
            found[name] = {"p50_ms": round(statistics.median(ms), 1),
                           "p95_ms": round(statistics.quantiles(ms, n=20)[-1], 1), "sum_ms": round(sum(ms))}
        report[gguf.name] = {**found, "all_ms": times}
        peer, own = found["llama.cpp"], found["undertone"]
        print(f"{gguf.name}: {len(texts)} texts, llama-server {peer}, undertone {own}: "
              f"p50 {peer['p50_ms'] / own['p50_ms']:.2f}x, p95 {peer['p95_ms'] / own['p95_ms']:.2f}x", flush=True)
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "cleanup"])
    parser.add_argument("gguf", type=Path, nargs="+")
    parser.add_argument("--speech", help="cleanup: a speech model for the engine")
    parser.add_argument("--rounds", type=int, default=10, help="speed: of each, in turn")
    parser.add_argument("--pairs", type=int, default=200, help="cleanup: texts")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--out", type=Path, help="default: benches/runs/llama-WHAT.json")
    args = parser.parse_args()
    report = speed(args) if args.what == "speed" else cleanup(args)
    out = args.out or ROOT / f"benches/runs/llama-{args.what}.json"
    out.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "machine": platform.machine(), "peer": f"llama.cpp of {PACKAGE} {VERSION}",
                               "threads": THREADS, "load_average": os.getloadavg()[0], "models": report}, indent=1) + "\n")
    print(out)


if __name__ == "__main__":
    main()
