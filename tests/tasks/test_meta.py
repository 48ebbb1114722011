import json
from pathlib import Path

import pytest

from pipeline_lib.core.errors import UserError
from tasks.meta import parse_meta, refuse_unmet_before, unmet

DVC = """
stages:
  first:
    cmd: "true"
    outs: [models/first]
    metrics: [scores.json]
    meta: {checks: {scores.json: {accuracy: {min: 0.8}, loss: {max: 1}}}}
  second:
    cmd: "true"
    deps: [models/first/weights]
  third:
    cmd: "true"
    deps: [models/other]
  train:
    matrix: {seed: "${seeds}"}
    cmd: "true"
    metrics: ["metrics/${item.seed}.json"]
    meta: {checks: {"metrics/${item.seed}.json": {loss: {max: "${most}"}}}}
  use:
    matrix: {seed: "${seeds}"}
    cmd: "true"
    deps: ["metrics/${item.seed}.json"]
"""


@pytest.fixture
def scores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(DVC)
    Path("params.yaml").write_text("seeds: [0, 1]\nmost: 2\n")
    return lambda **values: Path("scores.json").write_text(json.dumps(values))


def checks():
    return parse_meta("first", {"checks": {"scores.json": {"accuracy": {"min": 0.8}, "loss": {"max": 1}}}})


def test_checks_that_hold_say_nothing(scores):
    scores(accuracy=0.8, loss=1)
    assert unmet("first", checks()) == []
    refuse_unmet_before("second")


@pytest.mark.parametrize(
    ("accuracy", "loss", "said"),
    [
        (0.7, 0, "accuracy in scores.json is 0.7, below the least of 0.8"),
        (0.9, 2, "loss in scores.json is 2, above the most of 1"),
        (None, 0, "accuracy in scores.json is null, below"),
        (float("nan"), 0, "accuracy in scores.json is nan, below"),
        ("high", 0, "accuracy in scores.json is nan, below"),
    ],
)
def test_a_check_that_fails_is_named_and_stops_what_depends_on_it(scores, accuracy, loss, said):
    scores(accuracy=accuracy, loss=loss)
    (sentence,) = unmet("first", checks())
    assert said in sentence
    with pytest.raises(UserError, match=r"^first is blocked"):
        refuse_unmet_before("second")
    refuse_unmet_before("third")
    refuse_unmet_before("first")


def test_a_check_of_one_seed_stops_what_comes_after_that_seed(scores):
    Path("metrics").mkdir()
    Path("metrics/0.json").write_text(json.dumps({"loss": 1}))
    Path("metrics/1.json").write_text(json.dumps({"loss": 3}))
    refuse_unmet_before("use@0")
    with pytest.raises(UserError, match=r"^train@1 is blocked: loss in metrics/1\.json is 3, above the most of 2"):
        refuse_unmet_before("use@1")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("scores.yaml", "test: {accuracy: 0.5}\n"),
        ("scores.toml", "[test]\naccuracy = 0.5\n"),
        ("scores.json", '{"test": {"accuracy": 0.5}}'),
    ],
)
def test_checks_read_every_format_of_metrics_with_dots_for_what_is_nested(scores, name, text):
    Path(name).write_text(text)
    meta = parse_meta("first", {"checks": {name: {"test.accuracy": {"min": 0.8}}}})
    (sentence,) = unmet("first", meta)
    assert f"test.accuracy in {name} is 0.5, below the least of 0.8" in sentence
    assert unmet("first", parse_meta("first", {"checks": {name: {"test.accuracy": {"max": 0.8}}}})) == []


def test_a_check_of_a_file_of_metrics_that_is_none_is_one_sentence(scores):
    Path("scores.toml").write_text("accuracy = ")
    with pytest.raises(UserError, match=r"^scores\.toml: not valid TOML"):
        unmet("first", parse_meta("first", {"checks": {"scores.toml": {"accuracy": {"min": 0.8}}}}))


def test_a_check_of_what_is_not_there_is_refused(scores):
    scores(acuracy=1, loss=0)
    with pytest.raises(UserError, match=r"accuracy, which is not in scores\.json.*acuracy"):
        unmet("first", checks())
    Path("scores.json").unlink()
    with pytest.raises(UserError, match=r"names scores\.json, which it does not leave"):
        unmet("first", checks())


@pytest.mark.parametrize(
    "meta",
    [{"retries": -1}, {"timeout": "soon"}, {"timeout": 0}, {"gpu": "yes"}, {"checks": {"a.json": {"b": {}}}},
     {"checks": {"a.json": {"b": {"least": 1}}}}],
)  # fmt: skip
def test_a_setting_that_is_not_allowed_is_named(meta):
    with pytest.raises(UserError, match=f"^dvc.yaml: meta.{next(iter(meta))}.* of the stage 'first' is "):
        parse_meta("first", meta)


def test_settings_of_the_user_are_left_alone():
    assert parse_meta("first", {"owner": "me", "timeout": 7200}).timeout == 7200
    assert parse_meta("first", None).retries == 0
