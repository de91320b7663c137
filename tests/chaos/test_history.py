"""The history: what is written is what is read, and what is missing shows."""

from __future__ import annotations

import tempfile
from pathlib import Path

import orjson
import pytest
from histories import Story, killed_pod, ns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaos.checkers import Outcome, Verdict, judge
from chaos.errors import HistoryError
from chaos.history import (
    SCHEMA,
    History,
    HistoryWriter,
    Json,
    Record,
    Segments,
    read_records,
    seal,
    without_generated_suffix,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
WRITES = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["probe", "note"]), st.integers(0, 2**62), VALUES))


def written(directory: Path, writes: list[tuple[str, str, int, object]]) -> list[Path]:
    """Write each source's records into a segment of its own and close it."""
    segments = [directory / f"{source}.jsonl" for source in "ab"]
    with HistoryWriter(segments[0], "a") as a, HistoryWriter(segments[1], "b") as b:
        for source, kind, at, value in writes:
            (a if source == "a" else b).write(kind, time_ns=at, value=value)
    return segments


@given(WRITES)
def test_what_is_written_is_what_is_loaded(writes: list[tuple[str, str, int, object]]) -> None:
    """Write, seal, load: the same records in time order, and the history counts as whole."""
    with tempfile.TemporaryDirectory() as name:
        sealed = seal(written(Path(name), writes), Path(name) / "history.jsonl")
        loaded = History.load(Path(name) / "history.jsonl")
    told = [(r.source, r.kind, r.time_ns, r["value"]) for r in loaded.records if "value" in r.data]
    assert sorted(told, key=repr) == sorted(writes, key=repr)
    times = [record.time_ns for record in loaded.records]
    assert times == sorted(times)
    assert loaded.records == sealed.records
    assert loaded.cut_off() == []


@given(st.integers(1, 10_000))
def test_a_torn_last_line_is_left_out_and_shows(torn: int) -> None:
    """A writer killed in the middle of its last line: what stood before is kept, the source counts as cut off."""
    with tempfile.TemporaryDirectory() as name:
        segment = Path(name) / "load.jsonl"
        whole = [Record(at, "load", "note", {"text": f"line {at}"}).to_json() for at in range(3)]
        segment.write_bytes(b"".join(whole) + whole[0][: 1 + torn % (len(whole[0]) - 2)])
        history = seal([segment], Path(name) / "history.jsonl")
    assert [record.time_ns for record in history.of("note")] == [0, 1, 2]
    assert history.cut_off() == ["load has no closing record"]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    """Who reads a broken file hears which line of which file is broken."""
    path = tmp_path / "load.jsonl"
    path.write_bytes(Record(1, "load", "note").to_json() + b"not a record\n")
    with pytest.raises(HistoryError, match=r"load\.jsonl, line 2"):
        list(read_records(path))


@pytest.mark.parametrize("lines", [slice(0, -1), slice(0, 0), slice(1, None), slice(0, -2)])
def test_a_file_that_lost_lines_is_refused(tmp_path: Path, lines: slice) -> None:
    """Neither a history without its seal nor one with fewer lines than its seal says is loaded."""
    path = tmp_path / "history.jsonl"
    seal(written(tmp_path, [("a", "note", 1, None), ("b", "note", 2, None)]), path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[lines]))
    with pytest.raises(HistoryError, match="seal"):
        History.load(path)


def test_a_file_cut_within_a_line_is_refused(tmp_path: Path) -> None:
    """A history cut short in the middle of a line is not read."""
    path = tmp_path / "history.jsonl"
    seal(written(tmp_path, [("a", "note", 1, None)]), path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(HistoryError, match=r"last line: this is no line of a history"):
        History.load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A directory that holds no run is told from a broken run."""
    with pytest.raises(HistoryError, match="no history at"):
        History.load(tmp_path / "history.jsonl")


def test_another_schema_is_refused(tmp_path: Path) -> None:
    """A history written by another version of the format is not guessed at."""
    path = tmp_path / "history.jsonl"
    path.write_bytes(Record(1, "harness", "seal", {"schema": 99, "records": 0, "sources": []}).to_json())
    with pytest.raises(HistoryError, match="schema 99"):
        History.load(path)


def test_a_newer_schema_says_so(tmp_path: Path) -> None:
    """Also where its other lines are none that this kindstorm could read."""
    path = tmp_path / "history.jsonl"
    mark = Record(1, "harness", "seal", {"schema": SCHEMA + 1, "records": 1, "sources": []})
    path.write_bytes(b"a line of another shape\n" + mark.to_json())
    with pytest.raises(HistoryError, match=rf"schema {SCHEMA + 1}, .* a newer kindstorm wrote it"):
        History.load(path)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed history of three sources."""
    directory = tmp_path_factory.mktemp("sealed")
    path = directory / "history.jsonl"
    segments = []
    for source in ("harness", "api", "load"):
        segments.append(directory / f"{source}.jsonl")
        with HistoryWriter(segments[-1], source) as writer:
            for number in range(5):
                writer.write("note", text=f"{source} {number}")
    seal(segments, path)
    assert History.load(path).cut_off() == []
    return path


def test_each_source_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Under a name that any file system takes; sealed, its source is whole again, also where its disk took nothing."""
    with Segments(tmp_path) as writers:
        assert writers["api:Pod"] is writers["api:Pod"]
        writers["api:Pod"].write("note", text="a")
        writers["load"].flush()
    assert sorted(path.name for path in writers.paths) == ["api+Pod.jsonl", "load.jsonl"]
    (tmp_path / "load.jsonl").unlink()
    (tmp_path / "api+Node.jsonl").touch()
    history = seal(sorted(tmp_path.glob("*.jsonl")), tmp_path / "history.jsonl")
    assert [r["text"] for r in history.of("note") if r.source == "api:Pod"] == ["a"]
    assert history.cut_off() == ["api:Node has no closing record"]


def refused(data: bytes) -> str:
    """The sentence for a history of these bytes; a history that loads is a failure."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "history.jsonl"
        path.write_bytes(data)
        with pytest.raises(HistoryError) as failed:
            History.load(path)
    said = str(failed.value)
    assert "history.jsonl" in said
    assert "\n" not in said
    return said


def test_cut_at_any_record_a_history_is_refused(sealed: Path) -> None:
    """Every number of whole lines short of all of them lacks the seal, and is told so."""
    lines = sealed.read_bytes().splitlines(keepends=True)
    for kept in range(len(lines)):
        assert "does not end with its seal" in refused(b"".join(lines[:kept]))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_cut_at_any_byte_a_history_is_refused(sealed: Path, data: st.DataObject) -> None:
    """Within a line the line is named."""
    whole = sealed.read_bytes()
    refused(whole[: data.draw(st.integers(0, len(whole) - 1))])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_changed_byte_is_passed_over(sealed: Path, data: st.DataObject) -> None:
    """Wherever it is, in the records or in the seal, and also where every line is still a record."""
    whole = bytearray(sealed.read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    refused(bytes(whole))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_rearranged_lines_are_refused(sealed: Path, data: st.DataObject) -> None:
    """Lines doubled, dropped or in another order: not the history that was sealed."""
    lines = sealed.read_bytes().splitlines(keepends=True)
    changed = data.draw(st.lists(st.sampled_from(lines), max_size=len(lines) + 2).filter(lambda got: got != lines))
    refused(b"".join(changed))


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.lists(VALUES, max_size=4).map(lambda v: b"\n".join(map(orjson.dumps, v)))))
def test_what_is_no_history_is_refused(data: bytes) -> None:
    """Any bytes, any JSON: one sentence and never a traceback of the reader's."""
    refused(data)


def test_an_altered_record_that_still_reads_is_told(sealed: Path) -> None:
    """What an editor might change: the digest tells."""
    assert "was changed after it was sealed" in refused(sealed.read_bytes().replace(b"api 3", b"api 4"))


class Content:
    """A checker that finds nothing wrong with anything."""

    name = "content"

    def check(self, _: History) -> Verdict:
        """See Checker."""
        return Verdict(self.name, Outcome.VALID, "fine")


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 11), min_size=1))
def test_what_was_lost_before_the_sealing_is_never_valid(lost: set[int]) -> None:
    """Records, or a source's last word, missing from a well-formed history: UNKNOWN by the most content checker."""
    with tempfile.TemporaryDirectory() as name:
        segments = written(Path(name), [(source, "note", at, None) for at in range(5) for source in "ab"])
        lines = [segment.read_bytes().splitlines(keepends=True) for segment in segments]
        kept = [[line for n, line in enumerate(each) if 6 * s + n not in lost] for s, each in enumerate(lines)]
        for segment, some in zip(segments, kept, strict=True):
            segment.write_bytes(b"".join(some))
        if not all(kept):  # of a source that left nothing nobody knows; an experiment counts its sources by hand
            return
        seal(segments, Path(name) / "history.jsonl")
        history = History.load(Path(name) / "history.jsonl")
    (verdict,) = judge(history, [Content()])
    assert verdict.outcome is Outcome.UNKNOWN


def test_a_closed_writer_refuses_more(tmp_path: Path) -> None:
    """A record that comes after the closing record is an error, never dropped; closing twice is none."""
    writer = HistoryWriter(tmp_path / "load.jsonl", "load")
    writer.write("note", text="only")
    writer.close()
    writer.close()
    with pytest.raises(HistoryError, match="closed"):
        writer.write("note", text="late")
    assert [record.kind for record in read_records(writer.path)] == ["note", "closing"]


def test_a_lost_record_shows() -> None:
    """A source whose closing record counts more than is there was cut off."""
    lost = killed_pod().history().of("op")[5]
    history = History(record for record in killed_pod().history().records if record != lost)
    assert len(history.cut_off()) == 1
    assert history.cut_off()[0].startswith("load closed with")


@pytest.mark.parametrize("value", [None, False])
def test_an_aborted_experiment_shows(value: bool | None) -> None:
    """An experiment closes and seals its records also where it was aborted; only a true ``completed`` says it ended."""
    story = killed_pod().without(lambda record: record.get("name") == "completed")
    if value is not None:
        story.fact("completed", value)
    assert story.history().cut_off() == ["the experiment did not come to its end"]
    assert killed_pod().history().cut_off() == []


def test_without_a_seal_a_history_is_not_whole() -> None:
    """The seal is what says that a history is whole."""
    assert History(killed_pod().history().records[:-1]).cut_off() == ["the history has no seal"]


def test_a_fault_window_tells_its_edges() -> None:
    """Edges, details and the target are found by name; an edge that was not reached is None."""
    (fault,) = Story().fault(inject_s=3, heal_s=5).history().faults()
    assert (fault.name, fault.target["name"], fault.at("inject"), fault.at("heal")) == (
        "kill_pod",
        "web-1",
        ns(3),
        ns(5),
    )
    assert fault.detail("effect") == {"uid_before": "web-1-a", "gone": True}
    assert fault.at("no_effect") is None
    assert fault.detail("no_effect") == {}
    assert fault.took_effect


def test_a_phase_needs_both_edges() -> None:
    """A phase that never ended has no span."""
    story = Story().phases()
    assert story.history().phase("fault") == (ns(20), ns(25))
    story.without(lambda record: (record["name"], record["edge"]) == ("fault", "end"))
    assert story.history().phase("fault") is None


def test_the_last_fact_counts() -> None:
    """A fact told twice has its later value; an unknown one the default."""
    history = Story().fact("seed", 1).fact("seed", 2).history()
    assert (history.fact("seed"), history.fact("other", 7)) == (2, 7)


def test_objects_probes_and_clocks_are_found_by_name() -> None:
    """What is asked for one name or source holds nothing of another."""
    history = killed_pod().history()
    assert {record["name"] for record in history.objects("Pod", "web-1")} == {"web-1"}
    assert len(history.objects("Pod", "web-1")) < len(history.objects("Pod"))
    assert {record["target"] for record in history.probes("dns", "web-0.web.run-1.svc")} == {"web-0.web.run-1.svc"}
    assert history.clock_pairs("api:Pod")[:2] == [(ns(0.5), ns(0)), (ns(1.5), ns(1))]
    assert history.clock_pairs("load") == []


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("kube-system/coredns-7db6d8ff4d-x2bcd", "kube-system/coredns"),
        ("kube-system/kindnet-x2bcd", "kube-system/kindnet"),
        ("kube-system/etcd-control-plane", "kube-system/etcd-control-plane"),
        ("kube-system/web-0", "kube-system/web-0"),
        ("kube-system/kube-proxy", "kube-system/kube-proxy"),
    ],
)
def test_generated_ends_of_names_are_dropped(name: str, kept: str) -> None:
    """What a controller drew at random goes; what somebody chose stays."""
    assert without_generated_suffix(name) == kept


FULL = Path("/dev/full")
"""Every write to it fails as on a full disk (full(4))."""


def test_a_full_disk_does_not_stop_who_writes(tmp_path: Path) -> None:
    """A record that is refused raises at the next flush and at the close, and nothing is written after it."""
    path = tmp_path / "a.jsonl"
    path.symlink_to(FULL)
    writer = HistoryWriter(path, "a")
    writer.write("note", text="x" * (1 << 17))
    path.unlink()
    for _ in range(2):
        writer.write("note", text="later")
        with pytest.raises(HistoryError, match=r"a\.jsonl cannot be written: no space left on device; make room there"):
            writer.flush()
    with pytest.raises(HistoryError, match="make room there"):
        writer.close()
    writer.close()


def test_a_disk_that_is_full_at_the_end_shows(tmp_path: Path) -> None:
    """What was only buffered until then is missed at the close."""
    (tmp_path / "a.jsonl").symlink_to(FULL)
    writer = HistoryWriter(tmp_path / "a.jsonl", "a")
    writer.write("note", text="x")
    with pytest.raises(HistoryError, match="make room there"):
        writer.close()


def test_a_history_that_cannot_be_sealed_keeps_its_segments(tmp_path: Path) -> None:
    """No half-made history stays, and what there is stays in the segments."""
    with HistoryWriter(tmp_path / "a.jsonl", "a") as writer:
        writer.write("note", text="x")
    (tmp_path / "history.partial").symlink_to(FULL)
    with pytest.raises(HistoryError, match="make room there"):
        seal([tmp_path / "a.jsonl"], tmp_path / "history.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def hush(value: Json) -> Json:
    """Take the word out of every string, keys too."""
    if isinstance(value, dict):
        return {hush(key): hush(item) for key, item in value.items()}
    return value.replace("secret", "(-)") if isinstance(value, str) else value


def test_texts_are_redacted_as_they_are_written_and_as_they_are_sealed(tmp_path: Path) -> None:
    """A writer that knows no secret is put right by the seal; the history returned is the one on disk."""
    with HistoryWriter(tmp_path / "a.jsonl", "harness", redact=hush) as writer:
        writer.write("note", text="a secret", detail={"secret": "secret"})
    assert "secret" not in (tmp_path / "a.jsonl").read_text()
    with HistoryWriter(tmp_path / "b.jsonl", "load") as writer:
        for step, error in (("invoke", None), ("fail", "said secret")):
            writer.write("op", type=step, process=0, op=1, f="get", value=None, error=error)
    history = seal([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "history.jsonl", hush)
    assert "secret" not in (tmp_path / "history.jsonl").read_text()
    assert history.records == History.load(tmp_path / "history.jsonl").records
    assert history.of("op")[1]["error"] == "said (-)"
    assert history.of("note")[0]["detail"] == {"(-)": "(-)"}
    assert history.cut_off() == []


def test_the_words_of_the_format_are_never_redacted(tmp_path: Path) -> None:
    """Whatever a Secret holds, facts and phases keep their names, and operations and faults their steps."""
    with HistoryWriter(tmp_path / "a.jsonl", "secret", redact=hush) as writer:
        writer.write("fact", name="secret", value="secret")
        writer.write("phase", name="secret", edge="secret")
        writer.write("op", type="secret", process="secret", op="secret", f="secret", value="secret")
        writer.write("fault", fault="secret", id="secret", edge="secret", target={"name": "secret"}, detail={})
    fact, phase, op, fault, _ = read_records(tmp_path / "a.jsonl")
    assert fact.data == {"name": "secret", "value": "(-)"}
    assert phase.data == {"name": "secret", "edge": "secret"}
    assert op.data == {"type": "secret", "process": "secret", "op": "secret", "f": "secret", "value": "(-)"}
    assert (fault["fault"], fault["id"], fault["edge"], fault["target"]) == (
        "secret",
        "secret",
        "secret",
        {"name": "(-)"},
    )
