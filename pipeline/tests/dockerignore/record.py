#!/usr/bin/env python3
"""Records which files the real Docker client sends, for every row of cases.json.

    record.py                       run the client on every row and write what it sent into the table
    record.py --check               run the client on every row and fail if the table says otherwise
    record.py --client PATH         the client to run (default: /usr/bin/docker, Debian's docker.io 20.10)
    record.py --newer PATH          also a client of a newer generation (28): what it does otherwise goes to `newer`

The classic client (DOCKER_BUILDKIT=0) POSTs the context as a tar to /build of the engine that DOCKER_HOST names. Here
that engine is a recorder on a unix socket, so that no engine is needed and the choice is the client's alone.

A row has `name`; `tree`, marked as `ls -F` does (`a/` folder, `a -> b` link, `a|` named pipe, `a=` socket, else a file,
with `0600 a` for a mode that is not 0644 or 0755; `%FF` is the byte 0xFF); `ignore`, the text of `.dockerignore`, if
any; `dockerfile`, the argument of `--file`, if any. A Dockerfile is always there. Recorded are `sent`, in the order of
the stream and marked in the same way, or `refused`: the client's complaint. `newer` is the same of the newer client,
where it differs.
"""

import argparse
import http.server
import io
import json
import os
import pathlib
import socket
import socketserver
import subprocess
import sys
import tarfile
import tempfile
import threading

TABLE = pathlib.Path(__file__).with_name("cases.json")
OUTPUTS = ("sent", "refused", "newer")
DEADLINE_S = 60


class Recorder(http.server.BaseHTTPRequestHandler):
    """As much of an engine as the client needs to send a context."""

    protocol_version = "HTTP/1.1"
    context = None

    def answer(self, body):
        self.send_response(200)
        self.send_header("Api-Version", "1.41")
        self.send_header("Ostype", "linux")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.answer(b"OK")

    def do_GET(self):
        self.answer(b"OK" if self.path.endswith("/_ping") else b"{}")

    def do_POST(self):
        body = io.BytesIO()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body.write(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        if "/build" in self.path:
            Recorder.context = body.getvalue()
        self.answer(b'{"stream":"recorded"}\n')

    def log_message(self, *_):
        pass

    def address_string(self):
        return "client"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def raw(name):
    return name.encode().replace(b"%FF", b"\xff")


def shown(name):
    return os.fsencode(name).replace(b"\xff", b"%FF").decode()


def write(path, data, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)


def build(folder, case):
    """Makes the tree of a row."""
    folder = os.fsencode(folder)
    modes = []
    for entry in case["tree"]:
        mode = None
        if entry[:4].isdigit() and entry[4:5] == " ":
            mode, entry = int(entry[:4], 8), entry[5:]
        name, _, target = entry.partition(" -> ")
        path = os.path.join(folder, raw(name.rstrip("/|=")))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if target:
            os.symlink(raw(target), path)
        elif name.endswith("/"):
            os.makedirs(path, exist_ok=True)
        elif name.endswith("|"):
            os.mkfifo(path)
            os.chmod(path, 0o644)
        elif name.endswith("="):
            socket.socket(socket.AF_UNIX).bind(path)
        else:
            write(path, raw(name))
        if mode is not None:
            modes.append((path, mode))
    if case.get("ignore") is not None:
        write(os.path.join(folder, b".dockerignore"), case["ignore"].encode())
    dockerfile = os.path.join(folder, raw(case.get("dockerfile", "Dockerfile")))
    if not os.path.lexists(dockerfile):
        write(dockerfile, b"FROM scratch\n")
    for path, mode in modes:
        os.chmod(path, mode)


def listed(context):
    """The entries of a tar, marked as in the table."""
    names = []
    for entry in tarfile.open(fileobj=io.BytesIO(context), encoding="utf-8", errors="surrogateescape"):
        name = shown(entry.name)
        usual = 0o644
        if entry.isdir():
            name, usual = name + "/", 0o755
        elif entry.issym():
            name, usual = f"{name} -> {shown(entry.linkname)}", 0o777
        elif entry.isfifo():
            name += "|"
        mode = entry.mode & 0o7777
        names.append(name if mode == usual else f"{mode:04o} {name}")
    return names


def run(client, host, case):
    """What the client does with a row: `sent` or `refused`."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        build(folder, case)
        Recorder.context = None
        command = [client, "build", "--quiet"]
        if "dockerfile" in case:
            command += ["--file", os.path.join(folder, case["dockerfile"])]
        environment = {"DOCKER_HOST": host, "DOCKER_BUILDKIT": "0", "HOME": folder + ".home", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command + [folder], env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
        if done.returncode == 0 and Recorder.context is not None:
            return {"sent": listed(Recorder.context)}
        complaint = [line for line in done.stderr.splitlines() if line.strip() and "DEPRECATED" not in line]
        return {"refused": complaint[-1].replace(folder, ".") if complaint else f"exit {done.returncode}"}


def render(cases):
    """One row a case: a line for what goes in, a line for what comes out."""
    rows = []
    for case in cases:
        inputs = {key: value for key, value in case.items() if key not in OUTPUTS}
        outputs = {key: case[key] for key in OUTPUTS if key in case}
        texts = [json.dumps(part, ensure_ascii=False)[1:-1] for part in (inputs, outputs)]
        rows.append("  {" + ",\n   ".join(texts) + "}")
    return "[\n" + ",\n".join(rows) + "\n]\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--client", default="/usr/bin/docker")
    parser.add_argument("--newer")
    arguments = parser.parse_args()
    os.umask(0o022)
    cases = json.loads(TABLE.read_text())
    with tempfile.TemporaryDirectory() as folder:
        address = folder + "/engine.sock"
        with Server(address, Recorder) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            for case in cases:
                old = {key: case.pop(key, None) for key in OUTPUTS}
                result = run(arguments.client, "unix://" + address, case)
                case.update(result)
                if arguments.newer:
                    newer = run(arguments.newer, "unix://" + address, case)
                    if newer.keys() != result.keys() or newer.get("sent") != result.get("sent"):
                        case["newer"] = newer
                elif old["newer"] is not None:
                    case["newer"] = old["newer"]
                case["was"] = {key: value for key, value in old.items() if value is not None}
            server.shutdown()
    differing = []
    for case in cases:
        was = case.pop("was")
        now = {key: case[key] for key in OUTPUTS if key in case}
        if was != now:
            differing.append(case["name"])
            if arguments.check:
                print(f"{case['name']}: the table says {was}, but the client {now}", file=sys.stderr)
    print(f"{len(cases)} cases, {len(differing)} differ from the table")
    if not arguments.check:
        TABLE.write_text(render(cases))
    elif differing:
        sys.exit(1)


if __name__ == "__main__":
    main()
