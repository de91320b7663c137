"""The catalogue leads nowhere wrong: modules, recipes and manifests agree with it, and keys follow what builds use."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chaos import storage
from chaos.errors import ImageError
from images import catalogue as catalogues
from images.catalogue import RECIPES, Catalogue, Image, Program, full_reference, short_reference

MANIFESTS = Path(__file__).parents[2] / "manifests"
SHIPPED = catalogues.load()
IMAGES = pytest.mark.parametrize("image", SHIPPED.images, ids=lambda image: image.name)
PROGRAMS = pytest.mark.parametrize("program", SHIPPED.programs.values(), ids=lambda program: program.name)
LINES = pytest.mark.parametrize("name", sorted(SHIPPED.lines))


def images_in(text: str) -> list[str]:
    """Every image that a manifest's text names."""
    return re.findall(r"""^[\s-]*image:\s*["']?([^\s"'#]+)""", text, re.MULTILINE)


def required(module_file: Path, module: str) -> list[str]:
    """The versions that a go.mod requires of a module."""
    return re.findall(rf"^(?:require|\s)\s*{re.escape(module)} (v\S+)", module_file.read_text(), re.MULTILINE)


def catalogue_of(entries: list[dict[str, Any]]) -> Catalogue:
    """A catalogue of these images and nothing else."""
    head = {"kubernetes": "1", "probe": "", "engine": {}, "toolchain": {}, "line": {}, "program": {}}
    return Catalogue({**head, "image": entries})


# ---- names lead somewhere ------------------------------------------------------------------------------------------


@LINES
def test_every_line_can_be_built(name: str) -> None:
    """All images of a line resolve down to programs and bases, and its node is one of them."""
    line = SHIPPED.line(name)
    needed = SHIPPED.needed(line)
    order = SHIPPED.build_order(needed)
    assert needed[0].name == line.node
    assert SHIPPED.image(SHIPPED.probe) in needed
    assert {program for image in order for program in image.programs} <= set(SHIPPED.programs)
    assert line.version in {SHIPPED.programs[program].version for program in needed[0].programs}


@IMAGES
def test_every_recipe_is_there(image: Image) -> None:
    """An image has a Dockerfile, or is the Debian root that debootstrap makes."""
    if image.recipe == "debian":
        assert image.suite
        return
    dockerfile = (RECIPES / image.recipe / "Dockerfile").read_text()
    assert ("FROM ${BASE}" in dockerfile) == (image.base is not None)
    assert set(image.args) == set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE)) - {"BASE"}


@IMAGES
def test_references_are_spelled_out(image: Image) -> None:
    """The catalogue names the registry of every reference, as nodes do, and a tag that is not `latest`."""
    for reference in (*image.references, *image.upstream, *image.contains, *([image.base] if image.base else [])):
        assert full_reference(reference) == reference
        assert not reference.endswith(":latest")
        assert ":" in reference.rpartition("/")[2]


def test_no_reference_belongs_to_two_images() -> None:
    """What a reference means is unambiguous."""
    references = [r for image in SHIPPED.images for r in {*image.references, *image.upstream}]
    assert sorted(references) == sorted(set(references))


@PROGRAMS
def test_module_files_require_the_catalogues_version(program: Program) -> None:
    """The pinned version is the one that is compiled, and nothing replaces it."""
    file = program.path / (program.modfile if program.source is None else "go.mod")
    assert required(file, program.module) == [program.version]
    assert not re.search(rf"^(?:replace|\s)\s*{re.escape(program.module)} (?:v\S+ )?=>", file.read_text(), re.MULTILINE)
    sums = file.with_suffix(".sum").read_text()
    assert f"{program.module} {program.version} h1:" in sums


@pytest.mark.parametrize("program", [p for p in SHIPPED.programs.values() if p.folder == "kubernetes"])
def test_kubernetes_parts_are_of_one_release(program: Program) -> None:
    """Kubernetes' own staging modules are replaced by the release that the program is."""
    replaced = re.findall(
        r"^\s*(?:replace )?(k8s\.io/\S+) => \S+ (v\S+)", (program.path / program.modfile).read_text(), re.M
    )
    assert len(replaced) > 30
    assert {version for _, version in replaced} == {program.version.replace("v1.", "v0.", 1)}


@LINES
def test_tags_say_what_is_compiled(name: str) -> None:
    """Tags, build arguments and the version stamped into the binaries are the programs' own versions."""
    line = SHIPPED.line(name)
    node = SHIPPED.image(line.node)
    assert line.node.endswith(f":{line.version}")
    assert node.args["KUBERNETES"] == line.version
    contained = {image.recipe: image for image in map(SHIPPED.image, node.contains)}
    programs = {recipe: SHIPPED.programs[image.programs[0]] for recipe, image in contained.items() if image.programs}
    assert {r.rpartition(":")[2] for r in contained["kubernetes"].references} == {programs["kubernetes"].version}
    assert programs["kubernetes"].version == line.version
    assert f"gitMinor={line.name.partition('.')[2]} " in programs["kubernetes"].ldflags.replace("\n", " ")
    assert contained["etcd"].version.startswith(f"{programs['etcd'].version[1:]}-")
    assert contained["coredns"].version == programs["coredns"].version
    assert contained["local-path-provisioner"].version == programs["local-path-provisioner"].version
    assert f"-DVERSION=v{contained['pause'].version}" in programs["pause"].cflags


@LINES
def test_a_node_contains_what_its_manifests_and_runtime_name(name: str) -> None:
    """Nodes never pull: what stands in the node's own files is among its contents."""
    node = SHIPPED.image(SHIPPED.line(name).node)
    inside = [reference for content in node.contains for reference in SHIPPED.image(content).references]
    root = RECIPES / node.recipe / "root"
    text = "".join(path.read_text() for path in (root / "kind/manifests").glob("*.yaml"))
    holes = set(re.findall(r"\b([A-Z]+)_IMAGE\b", text))
    assert holes == {"NETD", "HELPER", "PROVISIONER"}
    assert {full_reference(node.args[hole]) for hole in holes} <= set(inside)
    sandbox = re.findall(r'"(registry\.k8s\.io/pause:[^"]+)"', (root / "etc/containerd/config.toml").read_text())
    assert sandbox
    assert set(sandbox) <= set(inside)


@IMAGES
def test_a_stand_in_never_carries_an_upstream_name(image: Image) -> None:
    """What is not upstream's program and version has a name of our own; what has, is asked of no registry."""
    ours = [reference for reference in image.references if reference.startswith("docker.io/kindstorm/")]
    if image.stand_in:
        assert ours == list(image.references)
        assert not [reference for reference in image.upstream if "/kindstorm/" in reference]
        assert image.workload
    else:
        assert len(ours) < len(image.references)


def test_ferretdbs_tag_is_what_is_compiled() -> None:
    """The tag, and the words for it, name the version of the program."""
    image = next(image for image in SHIPPED.images if image.recipe == "ferretdb")
    assert image.version == SHIPPED.programs["ferretdb"].version
    assert image.version.removeprefix("v") in str(image.stand_in)


def test_mongo_express_is_pinned_whole() -> None:
    """The version is the tag's, every package is pinned by its digest, and the lock file names no host."""
    folder = RECIPES / "mongo-express"
    image = next(image for image in SHIPPED.images if image.recipe == "mongo-express")
    wanted = json.loads((folder / "package.json").read_text())
    locked = json.loads((folder / "package-lock.json").read_text())["packages"]
    assert wanted["dependencies"] == {"mongo-express": image.version}
    assert image.version in str(image.stand_in)
    assert {**wanted["dependencies"], **wanted["devDependencies"], **wanted["overrides"]}.items() <= {
        name.removeprefix("node_modules/"): entry["version"] for name, entry in locked.items() if name
    }.items()
    packages = [entry for name, entry in locked.items() if name]
    assert len(packages) > 200
    assert all(entry["integrity"].startswith("sha512-") for entry in packages)
    assert not [entry for entry in packages if "resolved" in entry]


def test_images_are_found_in_a_manifest() -> None:
    """The search sees quoted, listed and commented images."""
    text = "spec:\n  image: nginx:1\n  - image: 'a/b:2'  # why\n  image: \"c.d/e:3\"\n  imagePullPolicy: Never\n"
    assert images_in(text) == ["nginx:1", "a/b:2", "c.d/e:3"]


def test_every_image_of_the_manifests_is_in_the_catalogue() -> None:
    """Stacks run only what set-up can provide."""
    files = sorted(MANIFESTS.rglob("*.yaml"))
    assert files
    unknown = {
        str(file.relative_to(MANIFESTS)): image
        for file in files
        for image in images_in(file.read_text())
        if not SHIPPED.has(image)
    }
    assert unknown == {}


def test_the_shared_storages_images_are_set_up() -> None:
    """They run in every cluster, beside a pulled node too: set-up provides them in the engine."""
    assert storage.images()
    for line in SHIPPED.lines.values():
        needed = [reference for image in SHIPPED.needed(line) for reference in image.references]
        assert {full_reference(image) for image in storage.images()} <= set(needed)


def test_scripts_in_the_recipes_are_whole() -> None:
    """Every shell script that goes into an image parses."""
    scripts = [
        path for path in RECIPES.rglob("*") if path.is_file() and re.match(rb"#!/bin/(ba)?sh", path.read_bytes()[:16])
    ]
    assert {path.name for path in scripts} >= {"node-entrypoint", "node-kubelet-cgroup"}
    for path in scripts:
        done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert path.stat().st_mode & 0o111, f"{path} is not executable"


# ---- one clear sentence --------------------------------------------------------------------------------------------


def test_an_unknown_line_names_the_known_ones(catalogue: Catalogue) -> None:
    """Whoever asks for another Kubernetes is told which there are."""
    with pytest.raises(ImageError, match=r"^Kubernetes 1\.2 is not in the catalogue; choose one of 1\.\d+(, 1\.\d+)*$"):
        catalogue.line("1.2")


def test_a_line_may_be_written_with_a_v(catalogue: Catalogue) -> None:
    """v1.37 is 1.37, and no name at all is the default line."""
    assert catalogue.line(f"v{catalogue.default_line}") == catalogue.line()


def test_an_unknown_image_says_where_to_add_it(catalogue: Catalogue) -> None:
    """An image that nothing provides is one sentence."""
    assert not catalogue.has("nosuch:1")
    with pytest.raises(ImageError, match=r"^no image nosuch:1 in the catalogue; add it there with its recipe$"):
        catalogue.image("nosuch:1")


def test_short_and_full_references_are_the_same_image(catalogue: Catalogue) -> None:
    """Manifests may write nginx:1.22.1, with or without its registry."""
    assert catalogue.image("docker.io/nginx:1.22.1") is catalogue.image("nginx:1.22.1")
    assert catalogue.image("nginx:1.22.1") is catalogue.image("docker.io/library/nginx:1.22.1")


@pytest.mark.parametrize("field", ["stand_in", "stands_in_for"])
def test_half_a_stand_in_is_refused(field: str) -> None:
    """An image that says what it is must say for what, and the other way round."""
    entry = {"references": ["x.io/a:1"], "recipe": "none", field: "x.io/b:1"}
    with pytest.raises(ImageError, match=r"x\.io/a:1 must say what it is and what it stands in for"):
        catalogue_of([entry])


@pytest.mark.parametrize("text", ["kubernetes = ", "kubernetes = '1'\n", "[[image]]\nno = 1\n"])
def test_what_is_no_catalogue_is_named(tmp_path: Path, text: str) -> None:
    """A broken file is reported with its path."""
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(ImageError, match=r"broken\.toml is not a catalogue of images"):
        catalogues.load(path)


# ---- references ----------------------------------------------------------------------------------------------------

PART = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,8}[a-z0-9])?", fullmatch=True)
REGISTRY = st.sampled_from(
    ["registry.k8s.io/", "localhost/", "127.0.0.1:5000/", "docker.io/", "docker.io/library/", ""]
)


@example("docker.io/library/", ["a", "b"], "1")
@example("docker.io/", ["library", "a"], "1")
@example("docker.io/", ["a"], "1")
@given(REGISTRY, st.lists(PART, min_size=1, max_size=2), PART)
def test_references_round_trip(registry: str, path: list[str], tag: str) -> None:
    """Shortening loses nothing: the full form comes back, and both forms are fixed points."""
    reference = f"{registry}{'/'.join(path)}:{tag}"
    full = full_reference(reference)
    first = full.partition("/")[0]
    assert "." in first or ":" in first or first == "localhost"
    assert full_reference(full) == full
    if path[0] != "localhost":
        assert full_reference(short_reference(full)) == full
        assert short_reference(short_reference(full)) == short_reference(full)


# ---- the order of building -----------------------------------------------------------------------------------------


@st.composite
def catalogues_of_images(draw: st.DrawFn) -> Catalogue:
    """Any catalogue without circles, its images in any order."""
    count = draw(st.integers(1, 8))
    entries: list[dict[str, Any]] = []
    for index in range(count):
        earlier = [f"x.io/i{n}:1" for n in range(index)]
        entry: dict[str, Any] = {"references": [f"x.io/i{index}:1"], "recipe": "none"}
        if earlier:
            base = draw(st.sampled_from(["", *earlier]))
            entry |= {"base": base} if base else {}
            entry["contains"] = draw(st.lists(st.sampled_from(earlier), unique=True))
        entries.append(entry)
    return catalogue_of(draw(st.permutations(entries)))


@given(catalogues_of_images(), st.data())
def test_builds_come_after_what_they_need(catalogue: Catalogue, data: st.DataObject) -> None:
    """The order holds what was asked for and all its needs, each once and after its own."""
    asked = data.draw(st.lists(st.sampled_from(catalogue.images)))
    order = catalogue.build_order(asked)
    names = [image.name for image in order]
    assert len(names) == len(set(names))
    assert {image.name for image in asked} <= set(names)
    wanted = {image.name for image in asked}
    for position, image in enumerate(order):
        needs = {*image.contains, *([image.base] if image.base else [])}
        assert needs <= set(names[:position])
        wanted |= needs
    assert set(names) == wanted


# ---- keys ----------------------------------------------------------------------------------------------------------


class Copy:
    """A copy of catalogue and recipes that a test may change, and the keys it gives."""

    def __init__(self, folder: Path) -> None:
        self.recipes = folder / "recipes"
        self.file = folder / "catalogue.toml"
        shutil.copytree(RECIPES, self.recipes)
        shutil.copy(catalogues.HERE / "catalogue.toml", self.file)

    def keys(self) -> dict[str, str]:
        """Every program's and every image's key, by name."""
        loaded = catalogues.load(self.file)
        keys = {name: program.key for name, program in loaded.programs.items()}
        return keys | {image.name: loaded.key(image) for image in loaded.images}

    def append(self, path: str) -> None:
        """Change one file of the recipes."""
        with (self.recipes / path).open("a") as file:
            file.write("\n")


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    """Recipes and catalogue of this test's own."""
    made = Copy(tmp_path)
    monkeypatch.setattr(catalogues, "RECIPES", made.recipes)
    return made


def dependents(recipe: str = "", programs: set[str] = frozenset(), image: str = "") -> set[str]:  # type: ignore[assignment]
    """The names whose keys a change of a recipe, of programs or of an image must change: these and all above them."""
    changed = {
        each.name
        for each in SHIPPED.images
        if each.recipe == recipe or programs & set(each.programs) or each.name == image
    }
    for each in SHIPPED.build_order(SHIPPED.images):
        needs = {*each.contains, *([each.base] if each.base else [])}
        if {SHIPPED.image(need).name for need in needs} & changed:
            changed.add(each.name)
    return changed | programs


KUBERNETES = {name for name, program in SHIPPED.programs.items() if program.folder == "kubernetes"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("nginx/default.conf", dependents(recipe="nginx")),
        ("node/root/usr/local/bin/node-entrypoint", dependents(recipe="node")),
        ("etcd/Dockerfile", dependents(recipe="etcd")),
        ("etcd/main.go", dependents(programs={"etcd-1.36", "etcd-1.37"})),
        ("coredns/go.sum", dependents(programs={"coredns-1.37"})),
        ("coredns/1.36.mod", dependents(programs={"coredns-1.36"})),
        ("kubernetes/netd/main.go", dependents(programs=KUBERNETES - {"pause"})),
        ("kind/go.mod", {"kind"}),
    ],
)
def test_a_changed_recipe_changes_the_keys_it_must(copy: Copy, path: str, expected: set[str]) -> None:
    """A changed file of a recipe or a program changes the keys of all that is made with it, and no other."""
    before = copy.keys()
    copy.append(path)
    after = copy.keys()
    assert {name for name in before if before[name] != after[name]} == expected
    assert expected


def test_a_changed_base_changes_all_that_stands_on_it(copy: Copy) -> None:
    """Another Debian suite gives new keys to what has Debian below it or inside, and to nothing else."""
    before = copy.keys()
    text = copy.file.read_text()
    assert text.count('suite = "bookworm"') == 1
    copy.file.write_text(text.replace('suite = "bookworm"', 'suite = "trixie"'))
    after = copy.keys()
    expected = dependents(image="docker.io/library/debian:bookworm-slim")
    assert {name for name in before if before[name] != after[name]} == expected
    assert "registry.k8s.io/pause:3.10.2" not in expected


def test_keys_are_the_same_for_the_same_files(copy: Copy) -> None:
    """Another folder, another time and another catalogue object give the same keys."""
    shipped = {name: program.key for name, program in SHIPPED.programs.items()}
    shipped |= {image.name: SHIPPED.key(image) for image in SHIPPED.images}
    assert copy.keys() == shipped
    assert len(set(shipped.values())) == len(shipped)
