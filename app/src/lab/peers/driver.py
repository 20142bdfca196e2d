"""The other side of `undertone lab peers`: one system a process, asked on standard input, answering on standard output.

    driver.py faster-whisper|whisper.cpp|llama.cpp|llama-server|server|client

A request is a line of JSON: "op" names what is to be done, the other keys are its arguments, and "bytes" says how many
bytes follow the line (samples at 16 kHz, float32). The answer is a line with "ok" or with "error". The first request is
`load`. Times are in milliseconds and of the call alone: not of reading the request. When standard input ends so does
the process, in whatever it is: nothing is left behind by a program that was killed.

`server` and `client` are the pipeline of before, an HTTP server with a language model on loopback and a program that
asks it, with each of its faults apart. They need the standard library alone, and with no model no package.
"""
import contextlib
import http.client
import http.server
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time

# How long a first address is waited for that does not answer, as long as Windows tries one that refuses.
SILENT_S = 2.0
# A silent address is found by trying: so long is a silence, and so many connections fill its queue at most.
PROBE_S = 0.25
MOST_FILLING = 64
# What a reload, the longest prompt and the longest answer may take together.
ANSWER_S = 300.0


def milliseconds(since: float) -> float:
    return (time.perf_counter() - since) * 1e3


class FasterWhisper:
    """Greedy, no voice detection, its own thresholds, conditioned on the text before."""

    packages = ["faster-whisper", "ctranslate2"]

    def load(self, path: str, compute: str, threads: int) -> dict:
        from faster_whisper import WhisperModel
        self.model = WhisperModel(path, device="cpu", compute_type=compute, cpu_threads=threads)
        return {}

    def transcribe(self, samples: bytes, language: str | None) -> dict:
        import ctranslate2
        import numpy
        heard = numpy.frombuffer(samples, "<f4")
        ctranslate2.set_random_seed(1)  # above temperature 0 it draws by chance
        start = time.perf_counter()
        segments, _ = self.model.transcribe(heard, language=language, beam_size=1, vad_filter=False,
                                            condition_on_previous_text=True)
        text = "".join(segment.text for segment in segments)
        return {"ms": milliseconds(start), "text": text}


class WhisperCpp:
    """Greedy, its own thresholds. Reduced: the utterance and 512 positions behind it are encoded, not 30 seconds."""

    packages = ["pywhispercpp"]

    def load(self, path: str, threads: int, reduced: bool) -> dict:
        from pywhispercpp.model import Model
        self.reduced = reduced
        self.model = Model(path, n_threads=threads, params_sampling_strategy=0, redirect_whispercpp_logs_to=None,
                           print_progress=False, print_realtime=False)
        return {}

    def transcribe(self, samples: bytes, language: str | None) -> dict:
        import numpy
        heard = numpy.frombuffer(samples, "<f4")
        context = min(1500, len(heard) // 320 + 512) if self.reduced else 0
        start = time.perf_counter()
        segments = self.model.transcribe(heard, language=language or "auto", audio_ctx=context)
        text = " ".join(segment.text.strip() for segment in segments)
        return {"ms": milliseconds(start), "text": text}


def request_body(prompt: list, limit: int, one_line: bool) -> dict:
    """Greedy, with the beginning kept of what was asked before."""
    body = {"prompt": prompt, "max_tokens": limit, "n_predict": limit, "temperature": 0, "cache_prompt": True}
    return {**body, "stop": ["\n"]} if one_line else body


class Llama:
    """llama.cpp's server in this process, asked without HTTP: one slot."""

    packages = ["xllamacpp"]

    def __init__(self) -> None:
        self.server = None

    def load(self, path: str, threads: int, n_ctx: int) -> dict:
        import xllamacpp
        self.server = None  # gives its memory back first
        params = xllamacpp.CommonParams()
        params.model.path, params.n_ctx, params.n_parallel = path, n_ctx, 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        # No store of whole old prompts: the same text is asked in every round, and nobody dictates the same twice.
        params.cache_ram_mib = 0
        params.verbosity = -1
        self.server = xllamacpp.Server(params)
        return {"built_for": xllamacpp.get_system_info().strip(" |\n")}

    def ask(self, prompt: list, limit: int, one_line: bool) -> dict:
        start = time.perf_counter()
        answer = self.server.handle_completions(request_body(prompt, limit, one_line))
        ms = milliseconds(start)
        if "choices" not in answer:
            raise RuntimeError(f"llama.cpp refuses: {answer}")
        timings = answer.get("timings", {})
        return {"ms": ms, "text": answer["choices"][0]["text"], "prompt_ms": timings.get("prompt_ms", 0.0),
                "write_ms": timings.get("predicted_ms", 0.0)}


class NoModel:
    """In the model's place: what is left is the network."""

    packages: list = []

    def load(self, **_: object) -> dict:
        return {}

    def ask(self, prompt: list, limit: int, one_line: bool) -> dict:
        return {"ms": 0.0, "text": f"{len(prompt)} tokens", "prompt_ms": 0.0, "write_ms": 0.0}


class LlamaServer:
    """A llama-server built on this machine, over one connection that is kept."""

    packages: list = []

    def load(self, program: str, path: str, threads: int, n_ctx: int) -> dict:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [program, "-m", path, "-t", str(threads), "-c", str(n_ctx), "-np", "1", "--host", "127.0.0.1",
                   "--port", str(port), "--cache-ram", "0"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        CHILDREN.append(self.process)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
        while self.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.connection.request("GET", "/health")
                answer = self.connection.getresponse()
                answer.read()
                if answer.status == 200:
                    return {}
            time.sleep(0.05)
        raise RuntimeError(f"{program} ended with {self.process.returncode}")

    def ask(self, prompt: list, limit: int, one_line: bool) -> dict:
        body = json.dumps(request_body(prompt, limit, one_line))
        start = time.perf_counter()
        self.connection.request("POST", "/completion", body, {"Content-Type": "application/json"})
        answer = json.loads(self.connection.getresponse().read())
        ms = milliseconds(start)
        if "content" not in answer:
            raise RuntimeError(f"llama-server refuses: {answer}")
        timings = answer.get("timings", {})
        return {"ms": ms, "text": answer["content"], "prompt_ms": timings.get("prompt_ms", 0.0),
                "write_ms": timings.get("predicted_ms", 0.0)}


class Server:
    """A language model behind HTTP as Ollama has it: a request that names another context size (`num_ctx`) loads the
    model anew, and what was computed of earlier prompts is lost with it."""

    def load(self, path: str | None, threads: int, n_ctx: int) -> dict:
        self.model = NoModel() if path is None else Llama()
        self.packages = self.model.packages
        self.path, self.threads, self.n_ctx = path, threads, n_ctx
        self.lock, self.loads, self.connections = threading.Lock(), 1, 0
        found = self.model.load(path=path, threads=threads, n_ctx=n_ctx)
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # connections are kept unless the request says otherwise
            disable_nagle_algorithm = True
            wbufsize = -1  # head and body leave in one piece

            def setup(self) -> None:
                super().setup()
                server.connections += 1

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                try:
                    status, answer = 200, server.generate(asked)
                except Exception as error:
                    status, answer = 500, {"error": f"{type(error).__name__}: {error}"}
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return {**found, "port": self.http.server_address[1]}

    def generate(self, asked: dict) -> dict:
        with self.lock:
            start, n_ctx = time.perf_counter(), asked["num_ctx"]
            load_ms = 0.0
            if n_ctx != self.n_ctx:
                self.model.load(path=self.path, threads=self.threads, n_ctx=n_ctx)
                self.n_ctx, self.loads = n_ctx, self.loads + 1
                load_ms = milliseconds(start)
            answer = self.model.ask(asked["prompt"], asked["num_predict"], asked["one_line"])
            return {**answer, "load_ms": load_ms, "loads": self.loads, "connections": self.connections}


class Client:
    """The program that asked it."""

    packages: list = []

    def __init__(self) -> None:
        self.kept: http.client.HTTPConnection | None = None
        self.silent: tuple | None = None

    def load(self, port: int) -> dict:
        self.port = port
        return {}

    def silence(self) -> dict:
        """Gives the server's name a first address that does not answer."""
        self.silent = silent_address(self.port)
        return {"address": self.silent[1][0]}

    def ask(self, prompt: list, limit: int, one_line: bool, n_ctx: int, new: bool, silent: bool) -> dict:
        body = json.dumps({"prompt": prompt, "num_predict": limit, "one_line": one_line, "num_ctx": n_ctx}).encode()
        start = time.perf_counter()
        connection, attempts = self.kept, []
        if new or connection is None:
            connection, attempts = self.connect(silent)
        connect_ms = milliseconds(start)
        headers = {"Content-Type": "application/json", **({"Connection": "close"} if new else {})}
        connection.request("POST", "/api/generate", body, headers)
        answer = json.loads(connection.getresponse().read())
        if new:
            connection.close()
        else:
            self.kept = connection
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return {**answer, "ms": milliseconds(start), "connect_ms": connect_ms, "attempts": attempts}

    def connect(self, silent: bool) -> tuple:
        """One address after the other, as `socket.create_connection` does with those that a name has."""
        addresses = [(socket.AF_INET, ("127.0.0.1", self.port), ANSWER_S)]
        if silent:
            if self.silent is None:
                raise RuntimeError("no first address was made silent")
            addresses.insert(0, (*self.silent[:2], SILENT_S))
        attempts = []
        for family, address, wait_s in addresses:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.settimeout(wait_s)
            try:
                sock.connect(address)
            except OSError as error:
                attempts.append([address[0], type(error).__name__])
                sock.close()
                continue
            sock.settimeout(ANSWER_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            attempts.append([address[0], "connected"])
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
            connection.sock = sock
            return connection, attempts
        raise ConnectionError(f"no address answers: {attempts}")


def silent_address(port: int) -> tuple:
    """Family, address and sockets to keep: a socket on another address of loopback with the server's port that nobody
    accepts from. Once its queue is full the system drops what comes, as a firewall would."""
    why = "this system has no second loopback address"
    for family, host in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.2")):
        listening = None
        with contextlib.suppress(OSError):
            listening = socket.socket(family, socket.SOCK_STREAM)
            listening.bind((host, port))
            listening.listen(0)
            filling = [listening]
            for _ in range(MOST_FILLING):
                probe = socket.socket(family, socket.SOCK_STREAM)
                probe.settimeout(PROBE_S)
                try:
                    probe.connect((host, port))
                except TimeoutError:
                    probe.close()
                    return family, (host, port), filling
                filling.append(probe)
            why = f"{host} takes {MOST_FILLING} connections that nobody accepts"
        if listening is not None:
            listening.close()
    raise RuntimeError(f"no address can be made silent here: {why}")


ROLES = {"faster-whisper": FasterWhisper, "whisper.cpp": WhisperCpp, "llama.cpp": Llama, "llama-server": LlamaServer,
         "server": Server, "client": Client}
CHILDREN: list = []


def end() -> None:
    for child in CHILDREN:
        child.kill()
    os._exit(0)


def read(requests: queue.Queue) -> None:
    """Until standard input ends; then the process does."""
    try:
        for line in sys.stdin.buffer:
            request = json.loads(line)
            if "bytes" in request:
                request["samples"] = sys.stdin.buffer.read(request.pop("bytes"))
            requests.put(request)
    finally:
        end()


def versions(packages: list) -> dict:
    from importlib.metadata import version
    return {name: version(name) for name in packages}


def main() -> None:
    # Libraries print to standard output too: theirs is standard error.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    role = ROLES[sys.argv[1]]()
    requests: queue.Queue = queue.Queue(maxsize=4)
    threading.Thread(target=read, args=(requests,), daemon=True).start()
    while True:
        request = requests.get()
        op = request.pop("op")
        try:
            found = getattr(role, op)(**request)
            if op == "load":
                found["packages"] = versions(role.packages)
            answer = {"ok": found}
        except Exception as error:
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
