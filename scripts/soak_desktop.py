"""What `scripts/soak` needs: a desktop of its own, a microphone that can be played into and unplugged, windows that record,
and the resident program."""
import collections
import json
import os
import queue
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RATE = 16000
# A machine that does much else is slow.
PATIENCE_S = 120
SETTINGS = """\
[models]
offline = true
[dictation]
language = "en"
[show]
overlay = false
tray = false
sounds = false
notifications = false
[inject]
modifiers_wait_ms = 10000
[[keys]]
key = "f9"
style = "hold"
[[profiles]]
title = "paste-*"
way = "paste"
"""


class Wrong(Exception):
    """Something was lost, or came twice, or hangs."""


def wait_for(what, ready, patience_s=PATIENCE_S):
    end = time.monotonic() + patience_s
    while True:
        value = ready()
        if value:
            return value
        if time.monotonic() > end:
            raise Wrong(f"waited in vain for {what}")
        time.sleep(0.01)


def words(text):
    plain = "".join(c if c.isalnum() or c == "'" else " " for c in text.lower())
    return plain.split()


def distance(a, b):
    """Edits between two lists."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        diagonal, row[0] = row[0], i + 1
        for j, y in enumerate(b):
            diagonal, row[j + 1] = row[j + 1], min(diagonal + (x != y), row[j] + 1, row[j + 1] + 1)
    return row[-1]


def is_near(text, clip):
    """Whether the text is that of the clip, letter by letter: what passed a sound server may be spelt otherwise."""
    heard = "".join(words(text))
    return any(distance(heard, said) <= max(4, len(said) // 2) for said in map("".join, map(words, clip.texts)))


class Microphone:
    """A pipe that a sound server takes for a microphone: faint noise, and the clips that are played."""

    def __init__(self, pipe, speed):
        self.pipe, self.speed = pipe, speed
        noise = random.Random(0)
        self.noise = b"".join(noise.randint(-2, 2).to_bytes(2, "little", signed=True) for i in range(RATE))
        self.waiting, self.lock = b"", threading.Lock()
        self.played_s = 0.0
        threading.Thread(target=self._feed, daemon=True).start()

    def _feed(self):
        fd, owed, last = None, 0.0, time.monotonic()
        while True:
            time.sleep(0.01)
            now = time.monotonic()
            # Whoever was kept waiting does not catch up at once.
            owed, last = min(owed + (now - last) * self.speed, 0.1 * self.speed), now
            try:
                fd = os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK) if fd is None else fd
                count = 2 * int(owed * RATE)
                with self.lock:
                    chunk = self.waiting[:count] or self.noise[: min(count, len(self.noise))]
                    written = os.write(fd, chunk) // 2 * 2
                    if self.waiting:
                        self.waiting = self.waiting[written:]
                        self.played_s += written / 2 / RATE
                owed -= written / 2 / RATE
            except BlockingIOError:
                owed = 0.0
            except OSError:
                # The server is gone, or not there yet.
                fd = os.close(fd) if fd is not None else None

    def play(self, clip, part=1.0):
        """Plays the beginning of a clip; the seconds that were written."""
        with self.lock:
            self.waiting, self.played_s = clip.samples[: 2 * int(part * len(clip.samples) / 2)], 0.0
        end = time.monotonic() + PATIENCE_S
        while self.waiting:
            if time.monotonic() > end:
                raise Wrong("the sound server does not take what is played to it")
            time.sleep(0.005)
        # On its way through the server's buffers and the program's.
        time.sleep(0.25)
        return self.played_s


class Desktop:
    """X server, window manager and sound server."""

    def __init__(self, speed):
        self.folder = tempfile.TemporaryDirectory(prefix="undertone-soak")
        self.home = Path(self.folder.name)
        for name in ("run", "config/undertone", "data", "state", "tmp"):
            (self.home / name).mkdir(parents=True, mode=0o700)
        (self.home / ".asoundrc").write_text("pcm.!default pulse\nctl.!default pulse\n")
        (self.home / "config/undertone/config.toml").write_text(SETTINGS)
        # By a pipe of its own: there may be other servers.
        read, write = os.pipe()
        arguments = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset"]
        self.processes = [subprocess.Popen(arguments, pass_fds=[write], stderr=subprocess.DEVNULL)]
        os.close(write)
        with os.fdopen(read) as display:
            self.display = ":" + display.readline().strip()
        self.env = {name: value for name, value in os.environ.items() if name not in ("WAYLAND_DISPLAY", "PULSE_SERVER")}
        self.env |= {"DISPLAY": self.display, "HOME": str(self.home), "LC_ALL": "C.UTF-8", "TMPDIR": str(self.home / "tmp")}
        for variable, name in {"RUNTIME_DIR": "run", "CONFIG_HOME": "config", "DATA_HOME": "data", "STATE_HOME": "state"}.items():
            self.env["XDG_" + variable] = str(self.home / name)
        # Where the server puts it: with it the program speaks PulseAudio's protocol, without it ALSA (as in app/tests/desktop).
        self.env["PULSE_COOKIE"] = str(self.home / "config/pulse/cookie")
        self.processes.append(self.spawn(["openbox"], stderr=subprocess.DEVNULL))
        self.sound = None
        self.start_sound()
        self.microphone = Microphone(self.home / "microphone", speed)

    def spawn(self, arguments, **options):
        return subprocess.Popen(arguments, env=self.env, stdin=options.pop("stdin", subprocess.DEVNULL), **options)

    def run(self, *arguments, check=True):
        done = subprocess.run(arguments, env=self.env, capture_output=True, text=True, timeout=PATIENCE_S)
        if check and done.returncode:
            raise Wrong(f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout if done.returncode == 0 else None

    def start_sound(self):
        arguments = ["pulseaudio", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit", "--log-level=error", "-n"]
        self.sound = self.spawn([*arguments, "-L", "module-native-protocol-unix"], stderr=subprocess.DEVNULL)
        wait_for("the sound server", lambda: self.run("pactl", "info", check=False))
        self.run("pactl", "load-module", "module-null-sink", "sink_name=speakers")
        self.plug_in()

    def plug_in(self):
        self.run(
            *("pactl", "load-module", "module-pipe-source", "source_name=microphone", f"file={self.home}/microphone"),
            *("format=s16le", f"rate={RATE}", "channels=1"),
        )
        self.run("pactl", "set-default-source", "microphone")

    def unplug(self):
        self.run("pactl", "unload-module", "module-pipe-source")

    def kill_sound(self):
        self.sound.kill()
        self.sound.wait()
        (self.home / "microphone").unlink(missing_ok=True)

    def close(self):
        for process in [self.sound, *reversed(self.processes)]:
            process.kill()
            process.wait()
        self.folder.cleanup()


class Clip:
    def __init__(self, path, samples, *texts):
        """`texts`: what the program makes of the file, and what was said, if that is known."""
        self.path, self.samples, self.text, self.texts = path, samples, texts[0], texts
        self.seconds = len(samples) / 2 / RATE


def clip_files(folder):
    """Clips, each with what is said in it where that is known."""
    manifest = folder / "audio/manifest.jsonl"
    if folder.is_file():
        return {folder: []}
    if not manifest.exists():
        raise Wrong(f"{folder} is no data set: there is no {manifest}")
    clips = [json.loads(line) for line in manifest.read_text().splitlines()]
    short = [c for c in clips if c["kind"] == "short" and c["lang"] == "en" and c["duration_s"] <= 3]
    return {folder / clip["path"]: [clip["text"]] for clip in short}


def load_clips(desktop, undertone, folder):
    """All at once through the sound server, which reads every format; their texts by the program."""
    files = clip_files(folder)
    if not files:
        raise Wrong(f"no clips in {folder}")
    recordings = []
    for at, path in enumerate(files):
        desktop.run("pactl", "load-module", "module-null-sink", f"sink_name=clip{at}", f"rate={RATE}", "channels=1")
        to_raw = ["parec", "--raw", f"--device=clip{at}.monitor", "--format=s16le", f"--rate={RATE}", "--channels=1"]
        recorder = desktop.spawn([*to_raw, "--latency-msec=20", str(desktop.home / f"clip{at}")])
        recordings.append((path, recorder, desktop.home / f"clip{at}"))
    time.sleep(0.5)
    players = [desktop.spawn(["paplay", f"--device=clip{at}", str(path)]) for at, path in enumerate(files)]
    if any(player.wait(timeout=PATIENCE_S) for player in players):
        raise Wrong("a clip cannot be played")
    time.sleep(0.5)
    for _, recorder, _ in recordings:
        recorder.send_signal(signal.SIGINT)
        recorder.wait()
    for at in range(len(files)):
        module = next(line.split()[0] for line in desktop.run("pactl", "list", "short", "modules").splitlines() if f"sink_name=clip{at} " in line)
        desktop.run("pactl", "unload-module", module)
    told = desktop.run(undertone, "transcribe", "--format", "json", "--beam", "1", "--language", "en", *map(str, files))
    texts = {line["file"]: line["text"] for line in map(json.loads, told.splitlines())}
    # Silence around them is whatever the recorder waited for.
    return [Clip(path, trimmed(raw.read_bytes()), texts[str(path)], *files[path]) for path, _, raw in recordings]


def trimmed(samples):
    """Without zeros before and behind; a tenth of a second of them is left behind."""
    samples = samples[: len(samples) // 2 * 2]
    first = next((i for i in range(0, len(samples), 2) if samples[i : i + 2] != b"\0\0"), 0)
    last = next((i for i in range(len(samples), 0, -2) if samples[i - 2 : i] != b"\0\0"), len(samples))
    return samples[first:last] + bytes(RATE // 10 * 2)


class Window:
    """A text field; what it holds is in a file."""

    def __init__(self, desktop, title):
        self.desktop, self.title, self.file = desktop, title, desktop.home / f"{title}.txt"
        script = str(ROOT / "app/tests/desktop/text_field.py")
        self.process = desktop.spawn(["/usr/bin/python3", script, title, str(self.file)])
        self.id = wait_for(title, lambda: desktop.run("xdotool", "search", "--name", f"^{title}$", check=False)).split()[-1]
        wait_for("its file", self.file.exists)
        self.known = ""

    def focus(self):
        self.desktop.run("xdotool", "windowactivate", "--sync", self.id)
        self.desktop.run("xdotool", "windowfocus", "--sync", self.id)

    def new_text(self):
        """What it has received and was not taken."""
        text = self.file.read_text()
        if not text.startswith(self.known):
            raise Wrong(f"{self.title} held {self.known!r} and holds {text!r}")
        return text[len(self.known) :]

    def take(self):
        """The same, once nothing follows any more."""
        text, before = self.new_text(), None
        while text != before:
            time.sleep(0.2)
            text, before = self.new_text(), text
        self.known += text
        return text

    def close(self):
        self.process.kill()
        self.process.wait()


class Program:
    """The resident program."""

    def __init__(self, desktop, undertone):
        self.desktop, self.begun = desktop, 0
        self.ends, self.errors, ready = queue.Queue(), collections.deque(maxlen=200), threading.Event()
        self.process = desktop.spawn(
            [undertone, "run", "--verbose"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

        def read_lines():
            for line in self.process.stdout:
                if line.startswith("{"):
                    self.ends.put(json.loads(line))
                elif "ready after" in line:
                    ready.set()

        def read_errors():
            for line in self.process.stderr:
                self.errors.append(line.rstrip())

        for read in (read_lines, read_errors):
            threading.Thread(target=read, daemon=True).start()
        if not ready.wait(PATIENCE_S):
            raise Wrong(f"the program does not start: {list(self.errors)}")

    def ctl(self, command, **arguments):
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(PATIENCE_S)
            line.connect(str(self.desktop.home / "run/undertone.sock"))
            line.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            answer = json.loads(line.makefile().readline())
        if not answer["ok"]:
            raise Wrong(f"{command}: {answer['error']}")
        return answer["state"]

    def phase(self):
        return self.ctl("status")["status"]["phase"]

    def wait_phase(self, *phases):
        try:
            wait_for(" or ".join(phases), lambda: self.phase() in phases)
        except Wrong as wrong:
            raise Wrong(f"{wrong}: {self.ctl('status')}, {list(self.errors)[-5:]}") from None

    def end(self):
        """How the dictation ended."""
        try:
            return self.ends.get(timeout=PATIENCE_S)["end"]
        except queue.Empty:
            raise Wrong(f"a dictation does not end: {self.ctl('status')}, {list(self.errors)}") from None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def figures(self):
        """Bytes resident and its share of them, threads, open files."""
        folder = Path(f"/proc/{self.process.pid}")
        rollup = dict(line.split(":", 1) for line in (folder / "smaps_rollup").read_text().splitlines()[1:])
        kib = {name: int(rollup[name].split()[0]) for name in ("Rss", "Pss", "Anonymous")}
        counts = {"threads": len(list((folder / "task").iterdir())), "files": len(list((folder / "fd").iterdir()))}
        return {f"{name.lower()}_kib": value for name, value in kib.items()} | counts
