"""Records: snapshots that never change, thinning, what varies in number, saving and loading."""

import errno
import json

import jax.numpy as jnp
import numpy as np
import pytest

from labkit.columns import all_finite, objects, one_row, plain
from labkit.method import Latest, Padded
from labkit.record import Event, Record, load
from labkit.recorder import Recorder


def filled(rows, **columns):
    """A recorder with `rows` rows of x = step, and of what else is given."""
    recorder = Recorder()
    for step in range(rows):
        recorder.add(np.array([step]), {"x": np.array([float(step)]), **columns})
    return recorder


def of(steps, **columns):
    return Record(np.asarray(steps), {name: np.asarray(c) for name, c in columns.items()})


# ------------------------------------------------------------------ growing


def test_a_snapshot_does_not_change_while_the_record_grows():
    recorder, snapshots = Recorder(), []
    for step in range(70):  # past the buffers of 16, 32 and 64 rows
        recorder.add(np.array([step]), {"x": np.array([step * 1.0])})
        snapshots.append(recorder.record())
    for rows, snapshot in enumerate(snapshots, 1):
        np.testing.assert_array_equal(snapshot.steps, np.arange(rows))
        np.testing.assert_array_equal(snapshot["x"], np.arange(rows))


def test_a_snapshot_does_not_change_when_the_record_thins_itself():
    recorder = filled(9)
    before = recorder.record()
    recorder.thin()
    recorder.add(np.array([10]), {"x": np.array([-1.0])})
    np.testing.assert_array_equal(before["x"], np.arange(9))
    np.testing.assert_array_equal(recorder.record()["x"], [0, 2, 4, 6, 8, -1])


def test_snapshots_share_their_rows_until_the_buffer_is_full():
    recorder = filled(17)  # of a buffer of 32
    before = recorder.record()
    recorder.add(np.array([17]), {"x": np.array([17.0])})
    assert np.shares_memory(before["x"], recorder.record()["x"])


def test_growing_copies_a_number_of_rows_proportional_to_the_length():
    recorder, buffers = Recorder(), []
    for step in range(1000):
        recorder.add(np.array([step]), {"x": np.array([0.0])})
        values = recorder.record()["x"]
        if not buffers or not np.shares_memory(buffers[-1], values):
            buffers.append(values)
    assert len(buffers) == 7  # 16, 32, ... 1024


def test_whole_numbers_followed_by_fractions_are_not_cut_off():
    recorder = Recorder()
    recorder.add(np.arange(2), {"x": np.array([1, 2])})
    early = recorder.record()
    recorder.add(np.array([2]), {"x": np.array([2.5])})
    recorder.add(np.array([3]), {"x": np.array([True])})
    np.testing.assert_array_equal(recorder.record()["x"], [1, 2, 2.5, 1])
    assert early["x"].dtype.kind == "i"


def test_single_precision_followed_by_double_keeps_every_digit():
    recorder = Recorder()
    recorder.add(np.array([0]), {"x": np.float32([0.5])})
    recorder.add(np.array([1]), {"x": np.array([0.1])})
    assert recorder.record()["x"].tolist() == [0.5, 0.1]


def test_names_that_change_from_step_to_step_are_refused():
    recorder = Recorder()
    recorder.add(np.array([0]), {"x": np.zeros(1), "y": np.zeros(1)})
    sentence = "columns = 'x' is refused; accepted: at every step the same: x, y"
    with pytest.raises(ValueError, match=sentence):
        recorder.add(np.array([1]), {"x": np.zeros(1)})
    assert len(recorder.record()) == 1


def test_nothing_seen_is_an_empty_record():
    record = Recorder().record()
    assert len(record) == 0
    assert list(record) == []
    assert record.steps.shape == (0,)


# ------------------------------------------------------------------ what varies in number


def test_padding_becomes_nan_and_the_count_a_column():
    seen = {"v": Padded(np.arange(6.0).reshape(2, 3), np.array([1, 3]))}
    columns = plain(seen)
    np.testing.assert_array_equal(columns["v"], [[0, np.nan, np.nan], [3, 4, 5]])
    np.testing.assert_array_equal(columns["v.count"], [1, 3])


def test_padded_whole_numbers_become_floats_and_the_given_array_is_left_alone():
    given = np.arange(6).reshape(1, 3, 2)
    values = plain({"v": Padded(given, np.array([2]))})["v"]
    np.testing.assert_array_equal(values, [[[0, 1], [2, 3], [np.nan, np.nan]]])
    assert given[0, 2].tolist() == [4, 5]


def test_a_count_of_zero_is_all_padding():
    assert np.isnan(plain({"v": Padded(np.ones((1, 4)), np.array([0]))})["v"]).all()


def test_of_the_latest_one_row_is_kept():
    recorder = Recorder()
    for step in range(20):
        picture = np.full((1, 2, 2), float(step))
        recorder.add(np.array([step]), {"p": Latest(picture), "x": np.zeros(1)})
    record = recorder.record()
    assert record["p"].shape == (1, 2, 2)
    assert (record.last("p") == 19).all()
    recorder.thin()
    assert recorder.record()["p"].shape == (1, 2, 2)
    assert len(record.until(3)["p"]) == 1


def test_rows_of_different_lengths_are_kept_as_they_are():
    recorder = Recorder()
    rows = [np.zeros(2), np.ones(2), np.arange(3.0), np.arange(0.0), np.ones(2)]
    for step, row in enumerate(rows):
        recorder.add(np.array([step]), one_row({"r": row}))
    column = recorder.record()["r"]
    assert column.dtype == object
    for got, given in zip(column, rows, strict=True):
        np.testing.assert_array_equal(got, given)


def test_texts_and_lists_are_one_entry_a_row():
    recorder = Recorder()
    for step, (said, where) in enumerate([("a", [1]), ("longer", [1, 2]), ("", [])]):
        recorder.add(np.array([step]), one_row({"said": said, "where": where}))
    record = recorder.record()
    assert record["said"].tolist() == ["a", "longer", ""]
    assert record["where"].tolist() == [[1], [1, 2], []]


def test_equal_lists_are_entries_too_and_no_table():
    assert objects([[1, 2], [3, 4]]).shape == (2,)
    assert objects([np.zeros((2, 2))] * 3).shape == (3,)


@pytest.mark.parametrize(
    "value", [np.nan, np.inf, [0.0, -np.inf], np.complex64(complex(0, np.nan))]
)
def test_what_is_not_finite_is_noticed(value):
    value = np.asarray(value)
    assert not all_finite(value)
    assert not all_finite(Latest(value))


@pytest.mark.parametrize("value", [1, 2.5, True, "text", [np.nan], (), np.arange(3), object()])
def test_numbers_texts_and_lists_count_as_finite(value):
    assert all_finite(value)


def test_only_what_counts_has_to_be_finite():
    values = np.array([[1.0, 1.0], [np.nan, 1.0], [np.inf, np.inf]])
    assert all_finite(Padded(values, 1))
    assert not all_finite(Padded(values, 2))
    assert all_finite(Padded(values, 0))


# ------------------------------------------------------------------ thinning


@pytest.mark.parametrize("limit", [2, 3, 7, 16])
def test_ten_thousand_steps_stay_within_the_limit(limit):
    recorder, every = Recorder(limit), 1
    for step in range(10_000):
        if step % every:
            continue
        if not recorder.room:
            recorder.thin()
            every *= 2
            if step % every:
                continue
        recorder.add(np.array([step]), {"x": np.array([float(step)])})
        assert len(recorder.record()) <= limit
    record = recorder.record()
    np.testing.assert_array_equal(record.steps, np.arange(0, 10_000, every)[: len(record)])
    np.testing.assert_array_equal(record["x"], record.steps)
    # Half full at least: thinning an odd number of rows keeps the larger half.
    assert len(record) >= limit / 2


@pytest.mark.parametrize("limit", [1, 0, -3, 2.5, "10"])
def test_a_limit_below_two_rows_is_refused(limit):
    with pytest.raises(ValueError, match=f"limit = {limit!r} is refused; accepted: 2 rows or more"):
        Recorder(limit)


# ------------------------------------------------------------------ reading


def test_a_missing_column_is_answered_with_those_there_are():
    record = of([0], loss=[1.0], width=[2.0])
    with pytest.raises(KeyError, match=r"there is no column 'los'; there are: loss, width\. Did"):
        record["los"]
    assert "loss" in record
    assert "los" not in record


def test_last_is_the_newest_entry():
    assert of([0, 5], x=[1.0, 3.0]).last("x") == 3.0


def test_until_is_the_record_as_it_was():
    events = (Event(3, "early"), Event(4, "late"))
    record = Record(np.arange(0, 10, 2), {"x": np.arange(5.0)}, events, {}, "state")
    for step, rows in [(0, 1), (1, 1), (2, 2), (3, 2), (8, 5), (99, 5), (-1, 1)]:
        before = record.until(step)
        np.testing.assert_array_equal(before["x"], np.arange(rows))
        np.testing.assert_array_equal(before.steps, 2 * np.arange(rows))
    assert [event.sentence for event in record.until(3).events] == ["early"]


def test_the_state_of_the_end_is_not_that_of_an_earlier_row():
    record = Record(np.arange(3), {"x": np.zeros(3)}, state="end")
    assert record.until(2).state == "end"
    assert record.until(1).state is None
    assert record.beside(short=of([0, 1], x=[0, 0])).state is None


def test_beside_adds_the_columns_of_others_under_their_names():
    one = Record(np.arange(3), {"x": np.zeros(3)}, (Event(1, "a"),))
    other = Record(np.arange(3), {"x": np.ones(3), "y": np.zeros(3)}, (Event(2, "b"),))
    both = one.beside(other=other)
    assert list(both) == ["x", "other.x", "other.y"]
    assert both.last("other.x") == 1.0
    assert both.events == ((1, "a"), (2, "other: b"))
    assert list(one) == ["x"]


def test_beside_ends_with_the_shorter_record_and_refuses_other_steps():
    long, short = of([0, 2, 4], x=[1, 2, 3]), of([0, 2], x=[4, 5])
    for both in (long.beside(o=short), short.beside(o=long)):
        assert [len(both), len(both["x"]), len(both["o.x"])] == [2, 2, 2]
    with pytest.raises(ValueError, match="o = "):
        long.beside(o=of([0, 1, 2], x=[0, 0, 0]))


# ------------------------------------------------------------------ saving


def rich():
    """A record with a column of each kind."""
    recorder = Recorder(None, {"method": "Größe", "fields": {"lr": 0.1, "shape": [1, 2]}})
    words = ["", "Grüße, 世界\n", '"quoted" \\ 🙂']
    for step, word in enumerate(words):
        seen = {
            "float": np.float32(step / 3),
            "count": step,
            "flag": step == 1,
            "lost": np.nan if step == 2 else 0.0,
            "matrix": np.full((2, 3), 0.1 * step),
            "complex": complex(step, 1.0),
            "text": word,
            "ragged": np.arange(step) * 0.1,
            "a/b c.d": step,
            "picture": Latest(np.eye(2) * step),
            "padded": Padded(np.arange(3.0), step),
        }
        recorder.add(np.array([10 * step]), one_row(seen), "a state")
    recorder.note(20, "ended, naïvely")
    return recorder.record()


def test_a_record_is_the_same_after_saving_and_loading(tmp_path):
    record = rich()
    back = load(record.save(tmp_path / "run.npz"))
    assert list(back) == list(record)
    np.testing.assert_array_equal(back.steps, record.steps)
    for name, values in record.columns.items():
        assert back[name].dtype == values.dtype, name
        for row, twin in zip(values, back[name], strict=True):
            np.testing.assert_array_equal(row, twin, err_msg=name)
    assert back.events == record.events
    assert isinstance(back.events[0], Event)
    assert back.meta == record.meta
    assert back.state is None


def test_an_empty_record_can_be_saved(tmp_path):
    back = load(Recorder().record().save(tmp_path / "empty"))
    assert (len(back), list(back), back.events) == (0, [], ())


def test_a_saved_record_needs_no_pickle(tmp_path):
    with np.load(rich().save(tmp_path / "run"), allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)


@pytest.mark.parametrize(
    "name, written", [("a", "a.npz"), ("a.npz", "a.npz"), ("a.v2", "a.v2.npz")]
)
def test_save_returns_the_path_it_wrote(tmp_path, name, written):
    assert of([0], x=[1.0]).save(str(tmp_path / name)) == tmp_path / written
    assert (tmp_path / written).exists()


def test_numbers_that_numpy_does_not_know_are_kept_as_single_precision(tmp_path):
    recorder = Recorder()
    recorder.add(np.array([0]), {"x": np.asarray(jnp.array([0.5], jnp.bfloat16))})
    assert load(recorder.record().save(tmp_path / "half"))["x"].tolist() == [0.5]


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused_in_a_sentence(tmp_path, part):
    path = rich().save(tmp_path / "run")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ValueError, match=r"run\.npz is no whole record: "):
        load(path)


def test_a_file_with_wrong_bytes_inside_is_refused_in_a_sentence(tmp_path):
    path = of(np.arange(999), x=np.random.default_rng(0).normal(size=999)).save(tmp_path / "run")
    whole = bytearray(path.read_bytes())
    for place in range(len(whole) // 4, 3 * len(whole) // 4):
        whole[place] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="is no whole record"):
        load(path)


@pytest.mark.parametrize(
    "write", [np.save, np.savez, lambda path, a: path.write_text("x,y\n1,2\n")]
)
def test_a_file_that_holds_something_else_is_refused_in_a_sentence(tmp_path, write):
    path = tmp_path / ("other.npz" if write is np.savez else "other.npy")
    write(path, np.arange(3))
    with pytest.raises(ValueError, match=r"record: it (is not an npz|holds something)"):
        load(path)


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (lambda held, about: held.pop("column:x"), "column 'x' is missing; there are 4 steps"),
        (lambda held, about: held.update({"column:x": np.zeros(3)}), "column 'x' has 3 rows"),
        (lambda held, about: held.update(steps=np.zeros(4)), r"its steps are float64 \[4\], not"),
        (lambda held, about: held.update(steps=np.array(4)), r"its steps are int64 \[\], not"),
        (lambda held, about: about.update(format=2), "its format is 2, and this labkit reads 1"),
        (lambda held, about: about.clear(), "'ragged'"),
    ],
)
def test_a_record_with_a_wrong_part_is_refused_in_a_sentence(tmp_path, damage, sentence):
    path = of(np.arange(4), x=np.zeros(4)).save(tmp_path / "run")
    with np.load(path) as file:
        held = dict(file)
    about = json.loads(str(held["about"]))
    damage(held, about)
    np.savez(path, **held | {"about": np.array(json.dumps(about))})
    with pytest.raises(ValueError, match=rf"run\.npz is no whole record: {sentence}"):
        load(path)


def test_a_file_without_a_format_is_an_earlier_one_and_is_read(tmp_path):
    path = of([0], x=[1.0]).save(tmp_path / "run")
    with np.load(path) as file:
        held = dict(file)
    about = json.loads(str(held["about"]))
    del about["format"]
    np.savez(path, **held | {"about": np.array(json.dumps(about))})
    assert load(path)["x"].tolist() == [1.0]


def test_a_disk_that_fills_up_is_said_and_the_former_record_is_as_it_was(tmp_path, monkeypatch):
    path = of([0], x=[1.0]).save(tmp_path / "run")

    def fill(file, **_):
        file.write(b"a part of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fill)
    with pytest.raises(OSError, match=r"the record was not saved: No space left .*run\.npz"):
        of([0], x=[2.0]).save(path)
    assert load(path)["x"].tolist() == [1.0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"was not saved: .*'.*nowhere.run\.npz'"):
        of([0], x=[1.0]).save(tmp_path / "nowhere" / "run")
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz"):
        load(tmp_path / "nothing.npz")


def test_a_record_saved_through_a_link_is_saved_where_it_leads(tmp_path):
    (tmp_path / "link.npz").symlink_to(tmp_path / "run.npz")
    of([0], x=[1.0]).save(tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink()
    assert load(tmp_path / "run.npz")["x"].tolist() == [1.0]


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.npz")


def test_a_table_has_a_column_for_each_number(tmp_path):
    pytest.importorskip("pandas")
    table = rich().to_pandas()
    assert table.index.name == "step"
    assert table.index.tolist() == [0, 10, 20]
    assert table["matrix[1,2]"].tolist() == [0.0, 0.1, 0.2]
    assert table["padded.count"].tolist() == [0, 1, 2]
    assert table["text"][10] == "Grüße, 世界\n"
    assert table["padded[2]"].isna().all()
    assert not [name for name in table if name.startswith("picture")]  # one row only
