"""Whole projects from their datasets to the report, for every way in which labels can be there or not."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline_lib.core.files import read_json, write_json, write_npy
from tests.tasks.project import (
    PARAMS,
    bytes_of,
    change_label,
    copied,
    drop_labels,
    enter,
    ingested,
    pictures,
    run,
    shuffled,
    spec,
    write_params,
    write_pictures,
)

REPRESENTATIONS = ["pixels", "start", "pretrained", "supervised", "adapted"]
BOTH = ("place", "light")
NOTHING_SOURCE = {("transductive", None): "not_learnt_from_source"}
UNSCORED = dict.fromkeys([("self-taught", "place"), ("unsupervised", "place")], "no_target_test_labels")
SCORED = dict.fromkeys([("self-taught", "place"), ("unsupervised", "place")])
TOGETHER = dict.fromkeys([("multi-task", "place"), ("multi-task", "light")])
# By what is labelled: which labels each role lacks, what is learnt where and what applies, why what is not measured
# (None: it is), and the roles whose test images score a model.
CELLS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], dict[str, tuple[str, str]], dict[Any, Any], set[str]]] = {
    "both": (
        (),
        (),
        dict.fromkeys(BOTH, ("source", "multi-task and transductive")),
        SCORED | TOGETHER | {("transductive", "place"): None, ("transductive", "light"): None},
        {"source", "target"},
    ),
    "source": (
        (),
        BOTH,
        dict.fromkeys(BOTH, ("source", "transductive")),
        UNSCORED | TOGETHER | dict.fromkeys([("transductive", name) for name in BOTH], "no_target_test_labels"),
        {"source"},
    ),
    "target": (BOTH, (), dict.fromkeys(BOTH, ("target", "inductive")), SCORED | TOGETHER | NOTHING_SOURCE, {"target"}),
    "neither": (
        BOTH,
        BOTH,
        dict.fromkeys(BOTH, ("nothing", "unsupervised")),
        UNSCORED | {("multi-task", None): "not_learnt"} | NOTHING_SOURCE,
        set(),
    ),
    "different": (
        ("light",),
        ("place",),
        {"place": ("source", "transductive"), "light": ("target", "inductive")},
        UNSCORED | TOGETHER | {("transductive", "place"): "no_target_test_labels"},
        {"source", "target"},
    ),
}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose encoder is pretrained, which no label has a part in."""
    with pytest.MonkeyPatch.context() as patch:
        folder = ingested(tmp_path_factory.mktemp("pretrained"), patch)
        run("select", "pretrain", "compare")
        return folder


@pytest.fixture(scope="module")
def make_cell(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Run the project with the labels of a cell from audit to report, once."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            with pytest.MonkeyPatch.context() as patch:
                copied(pretrained, made[name], patch)
                for dataset, without in zip(PARAMS["datasets"], CELLS[name], strict=False):
                    drop_labels(dataset, *without)
                run("audit", "heads", "adapt", "embed", "evaluate", "report")
        return made[name]

    return make


def evaluation() -> dict[str, Any]:
    return read_json(Path("reports/evaluation.json"))


def reasons(found: Mapping[str, Any]) -> dict[tuple[str, str | None], str | None]:
    """Return why each comparison was not made; those that were have all that a reader needs."""
    for row in found["comparisons"]:
        measured = row["outcome"] != "not_measurable"
        assert measured == (row["reason"] is None)
        assert (row["value"] is None) == (not measured)
        assert bool(row["baselines"]) == measured
        assert row["outcome"] in ("helped", "harmed", "unclear", "not_measurable")
        if measured:
            assert row["baselines"][-1]["name"] == "constant" and row["num_images"] > 0 < row["num_groups"]
            assert set(row["not_beaten"]) <= {one["name"] for one in row["baselines"]}
    return {(row["kind"], row["label"]): row["reason"] for row in found["comparisons"]}


def check_report() -> None:
    """Check that the verdict is whole sentences, and that there is a page."""
    assert Path("reports/report.html").read_text().startswith("<!doctype html>")
    verdict = read_json(Path("reports/verdict.json"))
    found = evaluation()
    answered = sum(one["label"] == found["primary"] and one["answer"] is not None for one in found["worth"])
    assert len(verdict["lines"]) == 5 + answered and len(verdict["entries"]) == len(evaluation()["comparisons"])
    for line in verdict["lines"]:
        assert line.endswith(".") and "None" not in line and "nan" not in line
    assert all(value is None or np.isfinite(value) for value in read_json(Path("metrics/evaluate.json")).values())


@pytest.mark.parametrize("name", CELLS)
def test_every_stage_runs_in_every_cell_and_says_what_does_not_apply(
    name: str, make_cell: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_cell(name))
    _, _, tasks, expected, domains = CELLS[name]
    found = evaluation()
    assert {task["name"]: (task["learn_from"], task["cell"]) for task in found["tasks"]} == tasks
    assert reasons(found) == expected
    assert {row["domain"] for row in found["scores"]} == domains
    assert {row["representation"] for row in found["clusterings"]} == set(REPRESENTATIONS)
    only_probed = [] if name == "neither" else ["scratch"]
    assert [row["name"] for row in found["representations"]] == [*REPRESENTATIONS, *only_probed]
    assert [one["label"] for one in found["worth"]] == list(BOTH)
    for label in found["worth"]:
        assert (label["answer"] is None) == (label["reason"] is not None) == (not label["rows"])
        rows = {row["name"]: row["role"] for row in label["rows"]}
        assert list(rows) == ([*REPRESENTATIONS, *only_probed, "constant"] if rows else [])
        learnt_there = tasks[label["label"]][0] == "target"
        assert not rows or (rows["scratch"] == "told") == (rows["adapted"] == "told") == learnt_there
    scored = ("unsupervised", "place") in expected and expected["unsupervised", "place"] is None
    assert all((row["ari"] is not None) == scored for row in found["clusterings"])
    assert all(row["silhouette"] is not None and row["restarts"] == 1 for row in found["clusterings"])
    assert any(row["label"] == "place" for row in found["probes"]) == scored
    assert found["num_images"] == {"source": 60, "target": 60} and found["shared"] == 0
    assert found["classes"] == ([] if name == "neither" else ["at 0", "at 1", "at 2"])
    layouts = pd.read_parquet("reports/projection.parquet")
    assert list(layouts) == ["id", "representation", "method", "x", "y"]
    assert len(layouts) == 60 * len(REPRESENTATIONS) * 2
    check_report()


def test_what_does_not_score_says_how_much_it_changed(
    make_cell: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_cell("source"))
    row = next(row for row in evaluation()["comparisons"] if row["kind"] == "transductive" and row["label"] == "place")
    table = pd.read_parquet("predictions/adapt/0.parquet").query("label == 'place' and id.str.startswith('printed/')")
    one, other = (
        table[table["model"] == model].set_index("id")["predicted_class"] for model in ("shot_im", "source_only")
    )
    assert row["details"]["changed"] == pytest.approx((one != other).mean())


def test_scores_are_what_anyone_computes_from_the_predictions(
    make_cell: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_cell("both"))
    table = pd.read_parquet("datasets/printed/table.parquet").assign(id=lambda rows: "printed/" + rows["id"])
    table = table[table["split"] == "test"].set_index("id")
    answers = pd.read_parquet("predictions/adapt/0.parquet").query("model == 'shot_im'").set_index(["label", "id"])
    right = answers.loc["place"]["predicted_class"].reindex(table.index) == table["label.place"]
    error = (answers.loc["light"]["predicted_value"].reindex(table.index) - table["label.light"]).abs()
    found = {(row["domain"], row["model"], row["label"], row["metric"]): row["value"] for row in evaluation()["scores"]}
    assert found["target", "shot_im", "place", "accuracy"] == pytest.approx(right.mean())
    balanced = right.groupby(table["label.place"]).mean().mean()
    assert found["target", "shot_im", "place", "balanced_accuracy"] == pytest.approx(balanced)
    assert found["target", "shot_im", "light", "mae"] == pytest.approx(error.mean())
    classes = next(
        one["classes"] for one in read_json(Path("models/adapted/0/config.json"))["labels"] if one["name"] == "place"
    )
    probabilities = answers.loc["place"]["probabilities"].reindex(table.index)
    truth = [classes.index(name) for name in table["label.place"]]
    # Float32 probabilities add up to 1 less exactly than scikit-learn wants.
    exact = np.stack(list(probabilities)).astype(np.float64)
    area = roc_auc_score(truth, exact / exact.sum(axis=1, keepdims=True), multi_class="ovr")
    assert found["target", "shot_im", "place", "auroc"] == pytest.approx(area)
    np.testing.assert_array_equal(
        answers.loc["place"]["confidence"].reindex(table.index), np.stack(list(probabilities)).max(axis=1)
    )
    diagrams = {one["model"]: one for one in evaluation()["reliability"]}
    assert set(diagrams) == {"source_only", "shot_im"} and diagrams["shot_im"]["accuracy"] == pytest.approx(
        right.mean()
    )
    for model, one in diagrams.items():
        assert one["calibration_error"] == found["target", model, "place", "calibration_error"]
    rows = {(row["kind"], row["label"]): row for row in evaluation()["comparisons"]}
    assert rows["transductive", "place"]["value"] == pytest.approx(balanced)


def without_scores(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is known without any label of the target's test split."""
    unsupervised = ("representation", "space", "clusterer", "silhouette", "num_clusters", "noise")
    known = ("tasks", "representations", "num_images", "projections", "shift", "classes", "seeds", "datasets")
    return {
        "clusterings": [{key: row[key] for key in unsupervised} for row in found["clusterings"]],
        "compared": [(row["kind"], row["label"], row["method"]) for row in found["comparisons"]],
        **{key: found[key] for key in known},
    }


@pytest.mark.parametrize(("name", "splits"), [("both", ["train", "test"]), ("target", ["test"])])
def test_labels_of_the_target_change_nothing_but_scores(
    name: str,
    splits: list[str],
    make_cell: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of what is learnt from the source no label of the target matters, else none of its test split."""
    copied(make_cell(name), tmp_path, monkeypatch)
    learnt = ("models", "features", "predictions", "plots/heads", "plots/adapt", "metrics/heads", "metrics/adapt")
    before, found = bytes_of(*learnt, "reports/projection.parquet", "metrics/audit.json"), evaluation()
    for split in splits:
        for label in BOTH:
            change_label("printed", label, split, shuffled)
    run("audit", "select", "heads", "adapt", "embed", "evaluate")
    after = bytes_of(*learnt, "reports/projection.parquet", "metrics/audit.json")
    assert [name for name in before if after[name] != before[name]] == []
    assert without_scores(evaluation()) == without_scores(found)
    assert evaluation()["comparisons"] != found["comparisons"]
    for rows in ("probes", "clusterings", "scores"):
        assert evaluation()[rows] != found[rows]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets in each role, two trainings, a rare class that the source does not have, and budgets too large."""
    with pytest.MonkeyPatch.context() as patch:
        enter(tmp_path_factory.mktemp("wide"), patch)
        datasets = {}
        for seed, name in enumerate(("drawn", "sketched", "printed", "scanned")):
            images, labels = pictures(45, seed)
            write_pictures(name, images if seed < 2 else 255 - images, labels if name != "sketched" else None)
            datasets[name] = spec(name, test_fraction=0.5)
        write_params(
            datasets=datasets,
            source=["drawn", "sketched"],
            target=["printed", "scanned"],
            seeds=[0, 5],
            evaluate={**PARAMS["evaluate"], "labels_per_class": [14, 20], "restarts": 2},
        )
        run("ingest", "audit", "select", "pretrain", "compare")
        change_label("printed", "place", "test", lambda values: ["rare"] * 3 + values.to_list()[3:])
        run("heads", "adapt", "embed", "evaluate", "report")
        return Path.cwd()


def test_datasets_of_a_role_are_scored_together_and_each_for_itself(
    wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(wide)
    found = evaluation()
    assert found["datasets"] == {"source": ["drawn", "sketched"], "target": ["printed", "scanned"]}
    assert found["num_images"] == {"source": 90, "target": 90}
    assert {row["domain"] for row in found["scores"]} == {"source", "target", "printed", "scanned"}
    values = {
        row["domain"]: row["value"]
        for row in found["scores"]
        if (row["model"], row["label"], row["metric"]) == ("shot_im", "light", "mae")
    }
    num = {
        name: (pd.read_parquet(f"datasets/{name}/table.parquet")["split"] == "test").sum()
        for name in ("printed", "scanned")
    }
    weighted = sum(values[name] * num[name] for name in num) / sum(num.values())
    assert values["target"] == pytest.approx(weighted)
    check_report()


def test_trainings_are_joined(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(wide)
    found = evaluation()
    assert found["seeds"] == [0, 5]
    measured = [row for row in found["comparisons"] if row["outcome"] != "not_measurable"]
    assert {row["num_seeds"] for row in measured} == {2}
    draws = {row["kind"]: row["num_draws"] for row in measured}
    assert draws == {"self-taught": 2, "multi-task": 1, "transductive": 1, "unsupervised": 2}
    tables = [pd.read_parquet(f"predictions/adapt/{seed}.parquet") for seed in (0, 5)]
    truth = pd.read_parquet("datasets/scanned/table.parquet").query("split == 'test'")
    errors = []
    for table in tables:
        answers = table.query("model == 'shot_im' and label == 'light'").set_index("id")["predicted_value"]
        errors.append((answers.reindex("scanned/" + truth["id"]).to_numpy() - truth["label.light"]).abs().mean())
    assert errors[0] != errors[1]
    (row,) = [
        row
        for row in found["scores"]
        if (row["domain"], row["model"], row["label"], row["metric"]) == ("scanned", "shot_im", "light", "mae")
    ]
    assert row["value"] == pytest.approx(np.mean(errors))


def test_a_class_that_is_rare_or_new_is_left_out_and_counted(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(wide)
    rows = {(row["kind"], row["label"]): row for row in evaluation()["comparisons"]}
    assert rows["transductive", "place"]["details"]["unknown"] == {"rare": 3}
    assert rows["transductive", "place"]["left_out_classes"] == 1
    assert rows["self-taught", "place"]["left_out_classes"] == 1
    assert rows["transductive", "light"]["left_out_classes"] == 0
    assert evaluation()["classes"] == ["at 0", "at 1", "at 2", "rare"]


def test_a_budget_that_a_class_cannot_fill_takes_what_there_is(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(wide)
    short = {row["labels_per_class"]: row["short"] for row in evaluation()["probes"] if row["label"] == "place"}
    assert short == {14: False, 20: True}
    (row,) = [row for row in evaluation()["comparisons"] if row["kind"] == "self-taught"]
    assert (row["labels_per_class"], row["short"]) == (14, False)


def test_encoders_that_are_compared_with_are_probed_and_on_no_map(
    make_cell: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(make_cell("both"), tmp_path, monkeypatch)
    places = evaluation()["worth"][0]
    truth = pd.read_parquet("datasets/printed/table.parquet")["label.place"]
    # It knows the answer, so nothing is better.
    write_npy(Path("features/compared/target/told.npy"), pd.get_dummies(truth).to_numpy(np.float32))
    card = {"probed": [{"name": "told", "dim": 3, "what": "the truth"}]}
    write_json(Path("features/compared/card.json"), card)
    run("evaluate", "report")
    found = evaluation()
    assert found["representations"][-1]["name"] == "told"
    assert "told" not in {row["representation"] for row in (*found["clusterings"], *found["shift"])}
    (row,) = [row for row in found["worth"][0]["rows"] if row["name"] == "told"]
    assert row["role"] == "alternative" and {one["value"] for one in row["scores"]} == {1.0}
    # What does not change is what it was, but for the claims, which are one family with it.
    before, after = (
        [{**row, "claim": None} for row in each["rows"] if row["name"] != "told"]
        for each in (places, found["worth"][0])
    )
    assert after == before
    check_report()


def test_one_training_more_changes_nothing_of_the_others(
    wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(wide, tmp_path, monkeypatch)
    before = bytes_of("reports/projection.parquet")
    params = Path("params.yaml").read_text()
    assert "- 5\n" in params
    Path("params.yaml").write_text(params.replace("- 5\n", ""))
    run("evaluate", "report")
    assert evaluation()["seeds"] == [0]
    assert bytes_of("reports/projection.parquet") == before
    page = Path("reports/report.html").read_text()
    assert "pretrain/0" in page and "pretrain/5" not in page


def run_target(images: np.ndarray, known: Mapping[str, Any], **changes: Any) -> dict[Any, str | None]:
    """Run everything on a target of these images and their labels, and return why what was not measured."""
    write_pictures("own", images, known)
    own = spec("own", test_fraction=0.5)
    write_params(datasets={"drawn": PARAMS["datasets"]["drawn"], "printed": own}, **changes)
    run("ingest", "audit", "heads", "adapt", "embed", "evaluate", "report")
    check_report()
    return reasons(evaluation())


@pytest.fixture
def project(pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(pretrained, tmp_path, monkeypatch)


@pytest.mark.parametrize("num", [1, 2])
def test_a_target_of_one_or_two_images(project: None, num: int) -> None:
    found = run_target(*pictures(num))
    assert found["self-taught", "place"] == "one_class"
    # A single image has no statistics to adapt to; of two, few are left to score by.
    assert found["transductive", "light"] == ("not_adapted" if num == 1 else "too_few_images")
    assert found["multi-task", "light"] is None  # the source's own test images
    assert pd.read_parquet("reports/projection.parquet").empty
    assert evaluation()["clusterings"] == []


def test_a_target_of_one_class(project: None) -> None:
    found = run_target(*pictures(40, places=[1] * 40))
    expected = {("self-taught", "place"), ("transductive", "place"), ("unsupervised", "place")}
    assert {key for key, reason in found.items() if reason == "one_class"} == expected
    assert found["transductive", "light"] is None


@pytest.mark.parametrize("shades", [1, 40], ids=["equal", "blank"])
def test_blank_images(project: None, shades: int) -> None:
    """Equal images are of one group, which is test as a whole; blank ones of different shades have no structure."""
    images = np.stack([np.full((12, 12), row % shades * 5, np.uint8) for row in range(40)])
    found = run_target(images, {"place": [f"at {row % 3}" for row in range(40)]}, labels={"place": "multiclass"})
    assert found["multi-task", "place"] == "one_label"
    assert found["unsupervised", "place"] is None
    assert found["self-taught", "place"] == ("no_target_train_labels" if shades == 1 else None)
    for row in evaluation()["comparisons"]:
        assert row["outcome"] != "helped"
    layouts = pd.read_parquet("reports/projection.parquet")
    assert np.isfinite(layouts[["x", "y"]].to_numpy()).all()


def test_other_kinds_of_labels_run_through(project: None) -> None:
    images, labels = pictures(60, seed=3)
    drawn, drawn_labels = pictures(60)
    kinds = {"tags": "multilabel", "size": "ordinal"}
    for name, (shown, known) in {"kinds": (drawn, drawn_labels), "target": (images, labels)}.items():
        tags = [
            "" if row % 5 == 0 else f"{place};{'odd' if row % 2 else ''}" for row, place in enumerate(known["place"])
        ]
        size = pd.Series(known["place"]).map({"at 0": "S", "at 1": "M", "at 2": "L"})
        write_pictures(name, shown, {"tags": [tag or ";" for tag in tags], "size": size})
    write_params(
        datasets={"drawn": spec("kinds", test_fraction=0.5), "printed": spec("target", test_fraction=0.5)},
        labels={
            name: {"kind": kind, **({"order": ["S", "M", "L"]} if name == "size" else {})}
            for name, kind in kinds.items()
        },
        primary="tags",
    )
    run("ingest", "audit", "heads", "adapt", "embed", "evaluate", "report")
    check_report()
    found = reasons(evaluation())
    assert {key for key, reason in found.items() if reason} == {("unsupervised", "tags")}
    assert found["unsupervised", "tags"] == "not_classes"
    metrics = {row["label"]: row["metric"] for row in evaluation()["comparisons"] if row["kind"] == "multi-task"}
    assert metrics == {"tags": "balanced_accuracy", "size": "quadratic_kappa"}
    order = {row["name"]: row.get("order") for row in read_json(Path("models/heads/0/config.json"))["labels"]}
    assert order == {"tags": None, "size": ["S", "M", "L"]}
    metrics = {(row["label"], row["metric"]) for row in evaluation()["scores"] if row["domain"] == "target"}
    assert {("tags", "auroc"), ("tags", "mean_average_precision"), ("size", "auroc")} <= metrics
    assert ("size", "mean_average_precision") not in metrics and evaluation()["reliability"] == []


def test_without_a_label_at_all(project: None) -> None:
    write_params(labels={}, primary=None)
    run("audit", "heads", "adapt", "embed", "evaluate", "report")
    assert reasons(evaluation()) == {
        ("self-taught", None): "no_primary",
        ("multi-task", None): "not_learnt",
        ("transductive", None): "not_learnt_from_source",
        ("unsupervised", None): "no_primary",
    }
    check_report()
