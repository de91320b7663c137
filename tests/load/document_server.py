"""A document store for the load's tests: enough of the wire protocol to store documents, and to fail as told.

The protocol: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/ (OP_MSG, and OP_QUERY for the first
greeting).
"""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any

import bson

_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
_WAIT_S = 20.0


class DocumentServer:
    """Listens on 127.0.0.1. ``on`` maps a command's name, or ``connect``, to what is done instead of answering it.

    ``close``: the connection, once the command was carried out; ``hang``: nothing; a dict: this is the answer.
    """

    def __init__(self) -> None:
        self.on: dict[str, str | dict[str, Any]] = {}
        self.documents: dict[Any, dict[str, Any]] = {}
        self.commands: list[dict[str, Any]] = []
        self.connections = 0
        self._arrived = threading.Condition()
        self.released = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def target(self) -> str:
        """What the load is pointed at."""
        return f"mongodb://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Refuse whoever connects from now on, and let go of who hangs."""
        if not self.released.is_set():
            self.released.set()
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def named(self, command: str) -> list[dict[str, Any]]:
        """The commands of one name that arrived."""
        return [given for given in self.commands if next(iter(given)) == command]

    def await_command(self, command: str) -> None:
        """Wait until one of this name has arrived."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: self.named(command), _WAIT_S)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            if self._fails("connect"):
                return
            while header := stream.read(16):
                length, request, _, opcode = struct.unpack("<iiii", header)
                command = _command(opcode, stream.read(length - 16))
                with self._arrived:
                    self.commands.append(command)
                    self._arrived.notify_all()
                answer = self._answer(command)
                if self._fails(next(iter(command))):
                    return
                try:
                    connection.sendall(_message(opcode, request, answer))
                except OSError:
                    return

    def _fails(self, what: str) -> bool:
        """Whether the connection ends here; where it is to hang, only once the server stops."""
        if self.on.get(what) == "hang":
            self.released.wait(_WAIT_S)
        return self.on.get(what) in ("close", "hang")

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        name = next(iter(command))
        told = self.on.get(name)
        if isinstance(told, dict):
            return told
        if name == "insert":
            for document in command["documents"]:
                self.documents[document["_id"]] = document
            return {"n": len(command["documents"]), "ok": 1.0}
        if name == "find":
            wanted = command["filter"].get("_id")
            found = [{"_id": name} for name in list(self.documents) if wanted in (None, name)]
            return {"cursor": {"id": bson.Int64(0), "ns": f"{command['$db']}.writes", "firstBatch": found}, "ok": 1.0}
        greeting = {"ismaster": True, "isWritablePrimary": True, "helloOk": True, "maxBsonObjectSize": 16_777_216}
        return greeting | {"maxMessageSizeBytes": 48_000_000, "maxWireVersion": 21, "minWireVersion": 0, "ok": 1.0}


def _command(opcode: int, body: bytes) -> dict[str, Any]:
    """The command of a message; what stands in a sequence of documents is put into it."""
    if opcode == _OP_QUERY:
        start = body.index(b"\0", 4) + 9
        return dict(bson.decode_all(body[start:])[0])
    command: dict[str, Any] = {}
    place = 4
    while place < len(body):
        kind, place = body[place], place + 1
        (size,) = struct.unpack_from("<i", body, place)
        if kind == 0:
            command = dict(bson.decode(body[place : place + size])) | command
        else:
            end = body.index(b"\0", place + 4)
            command[body[place + 4 : end].decode()] = bson.decode_all(body[end + 1 : place + size])
        place += size
    return command


def _message(opcode: int, request: int, answer: dict[str, Any]) -> bytes:
    document = bson.encode(answer)
    if opcode == _OP_QUERY:
        body, reply = struct.pack("<iqii", 8, 0, 0, 1) + document, _OP_REPLY
    else:
        body, reply = struct.pack("<ib", 0, 0) + document, _OP_MSG
    return struct.pack("<iiii", 16 + len(body), 0, request, reply) + body
