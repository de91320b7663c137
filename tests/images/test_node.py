"""What is given to nodes: an archive for each set of names and contents."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import cache, engine, node


def test_an_archive_is_kept_for_its_names_and_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive carries the name: the same image under another one has its own, and so has a rebuilt image."""
    ids = {"nginx:1": "sha256:a", "shop/web:dev": "sha256:a"}
    saved: list[tuple[str, ...]] = []

    def docker(*args: str, timeout_s: float) -> str:
        assert timeout_s > 0
        saved.append(args[3:])
        Path(args[2]).write_text("")
        return ""

    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    monkeypatch.setattr(engine, "inspect_image", lambda name: {"Id": ids[name]})
    monkeypatch.setattr(node, "docker", docker)
    first = node.save(["nginx:1"])
    assert node.save(["nginx:1"]) == first
    assert node.save(["shop/web:dev"]) != first
    ids["nginx:1"] = "sha256:b"
    assert node.save(["nginx:1"]) != first
    assert saved == [("nginx:1",), ("shop/web:dev",), ("nginx:1",)]
