"""What an editor shows of a suite, asked of the real yaml-language-server over its own protocol.

    python tests/schemas/editors.py [--server COMMAND...]

Opens the suites and backends of this checkout, and what a person would type. Without the server it says so in
one line and ends with 0, unless --must is there: ``npm install yaml-language-server`` brings it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from queue import Empty, Queue
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT / "suites" / "quick" / "tdmpc2_quick.yaml"
FILES = sorted((*ROOT.glob("suites/**/*.yaml"), *ROOT.glob("backends/**/backend.yaml")))
WAIT_SEC = 60


class Server:
    """A language server that is spoken to over its pipes."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            [*command, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._messages: Queue[dict[str, Any]] = Queue()
        self._number = 0
        threading.Thread(target=self._read, daemon=True).start()
        self.ask("initialize", {"processId": os.getpid(), "rootUri": ROOT.as_uri(), "capabilities": {}})
        self.tell("initialized", {})

    def close(self) -> None:
        """End it, and wait until it has ended."""
        self._process.kill()
        self._process.wait()

    def tell(self, method: str, parameters: Any) -> None:
        """Send what has no answer."""
        self._send({"method": method, "params": parameters})

    def ask(self, method: str, parameters: Any) -> Any:
        """Send a request; what it answers."""
        self._number += 1
        self._send({"id": self._number, "method": method, "params": parameters})
        while True:
            message = self.receive()
            if message.get("id") == self._number and "method" not in message:
                assert "error" not in message, message["error"]
                return message["result"]

    def open(self, path: Path, text: str) -> tuple[str, list[dict[str, Any]]]:
        """Open a text as if it stood at a path; its address, and what the editor underlines."""
        uri = path.as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": document})
        while True:
            message = self.receive()
            if message.get("method") == "textDocument/publishDiagnostics" and message["params"]["uri"] == uri:
                return uri, message["params"]["diagnostics"]

    def receive(self) -> dict[str, Any]:
        """The next message; the server's own questions are answered with its defaults."""
        try:
            message = self._messages.get(timeout=WAIT_SEC)
        except Empty:
            raise SystemExit(f"yaml-language-server said nothing for {WAIT_SEC} s") from None
        if "method" in message and "id" in message:
            settings = {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False}}
            items = message.get("params", {}).get("items", [])
            found = [settings if item.get("section") == "yaml" else {} for item in items]
            self._send({"id": message["id"], "result": found if items else None})
        return message

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _read(self) -> None:
        pipe = self._process.stdout
        assert pipe
        while header := pipe.readline():
            length = int(header.rpartition(b":")[2])
            while pipe.readline().strip():
                pass
            self._messages.put(json.loads(pipe.read(length)))


def place(text: str, mark: str) -> dict[str, int]:
    """The position right after the first ``mark`` of a text."""
    before = text[: text.index(mark) + len(mark)]
    return {"line": before.count("\n"), "character": len(before.rpartition("\n")[2])}


def completed(server: Server, uri: str, position: dict[str, int]) -> set[str]:
    """The words that the editor offers at a position."""
    found = server.ask("textDocument/completion", {"textDocument": {"uri": uri}, "position": position})
    items = found["items"] if isinstance(found, dict) else found
    return {item["label"] for item in items}


def check_suites(server: Server) -> None:
    """Suites and backends as they are have no mistake; a wrong key is underlined."""
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        _, found = server.open(path, text)
        assert not found, f"{path}: {found}"
    wrong = SUITE.read_text(encoding="utf-8").replace("\nsuite_id:", "\nsuiteid:", 1)
    _, found = server.open(SUITE.with_name("wrong_key.yaml"), wrong)
    assert any("suiteid" in d["message"] for d in found), found
    named = SUITE.read_text(encoding="utf-8").replace("rule: equivalence", "rule: equivalent", 1)
    _, found = server.open(SUITE.with_name("wrong_word.yaml"), named)
    assert any("calibrated" in d["message"] for d in found), found


def check_words(server: Server) -> None:
    """Keys and words are completed, and hovering over a key gives its sentence."""
    head = f"{SUITE.read_text(encoding='utf-8').partition(chr(10))[0]}\nsuite_id: typed\n"
    text = f"{head}on"
    uri, _ = server.open(SUITE.with_name("typed_key.yaml"), text)
    keys = completed(server, uri, place(text, "\non"))
    assert {"on_inconclusive", "official", "seeds"} <= keys, keys
    text = f"{head}metrics:\n  - margin: 0.05\n    rule: "
    uri, _ = server.open(SUITE.with_name("typed_word.yaml"), text)
    rules = completed(server, uri, place(text, "rule: "))
    assert {"drop_ratio", "calibrated", "equivalence"} <= rules, rules
    shown = server.ask(
        "textDocument/hover", {"textDocument": {"uri": uri}, "position": place(text, "  - mar")}
    )
    assert "The largest difference that still counts as none" in json.dumps(shown), shown


def find_server(given: list[str] | None) -> list[str] | None:
    """The command that starts it; None where there is none."""
    if given:
        return given
    for name in ("yaml-language-server", "node_modules/.bin/yaml-language-server"):
        if found := shutil.which(name):
            return [found]
    return None


def main() -> int:
    """Check, and say what was checked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--server", nargs="+", help="the command that starts it (default: as npm installs it)"
    )
    parser.add_argument("--must", action="store_true", help="fail where there is no server")
    options = parser.parse_args()
    command = find_server(options.server)
    if command is None:
        print("editors: skipped, no yaml-language-server here (npm install yaml-language-server)")
        return int(options.must)
    server = Server(command)
    try:
        check_suites(server)
        check_words(server)
    finally:
        server.close()
    print(f"editors: {len(FILES)} files without a mistake, wrong keys are told, keys and words are completed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
