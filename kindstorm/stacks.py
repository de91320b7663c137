"""The documented stacks by name, and any other manifest by its path."""

from __future__ import annotations

from pathlib import Path

from chaos.stack import STACKS, Stack


class Stacks:
    """What the fixture ``stacks`` gives."""

    def nginx(self) -> Stack:
        """S2: a Deployment of two nginx pods behind a Service."""
        return Stack.load(STACKS / "nginx.yaml")

    def web(self, storage: str = "local") -> Stack:
        """A StatefulSet of three, each pod with a name in DNS and a volume of its own on ``local`` or ``shared``."""
        return Stack.load(STACKS / "web.yaml").stored_on(storage)

    def keys(self) -> Stack:
        """A Deployment of two nginx pods that keep keys (PUT and GET of ``/keys/...``) in one shared folder."""
        return Stack.load(STACKS / "keys.yaml")

    def mongo(self, storage: str = "local") -> Stack:
        """S3: mongod with its documents on a volume, and mongo-express as its visitors' way in."""
        return Stack.load(STACKS / "mongo.yaml").stored_on(storage)

    def load(self, path: str | Path) -> Stack:
        """Any manifest; its first NodePort is where the clients come in."""
        return Stack.load(Path(path))
