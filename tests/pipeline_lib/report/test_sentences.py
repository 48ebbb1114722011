import itertools
import json
import re

import pytest

from pipeline_lib.evaluate.declared import DECLARED_CLUSTERING as DECLARED
from pipeline_lib.evaluate.probes import AS_CLASSES as TIMES
from pipeline_lib.report.phrases import AS_CLASSES, DECLARED_CLUSTERING
from pipeline_lib.report.sentences import KINDS, entries, lines, verdict_summary
from tests.pipeline_lib.report.evaluations import (
    BASELINES,
    METRICS,
    OUTCOMES,
    REASONS,
    make_comparison,
    make_evaluation,
    make_score,
    make_task,
    make_worth,
)

HELPED, HARMED, UNCLEAR = r"\bhelped\b", r"\bdid harm\b", r"\bno clear difference\b"
# Any word that says that something is good or has become better.
PRAISE = r"\b(helped|gain\w*|improv\w*|success\w*|works?|well|good|best)\b|(?<!no )(?<!not clearly )\bbetter than\b"


def one_of_each(outcome, label_kind="multiclass", seeds=1, **changed):
    """Return an evaluation with one comparison of each kind of transfer, all with one outcome."""
    constant = 1.3 if label_kind == "regression" else 0.1
    kinds = [kind for kind in KINDS if label_kind != "regression" or kind != "unsupervised"]
    rows = [
        make_comparison(kind, "digit", outcome, label_kind, seeds=seeds, constant=constant, **changed) for kind in kinds
    ]
    return make_evaluation(rows, [make_task("digit", label_kind)], seeds=seeds)


def all_text(evaluation):
    return [*lines(evaluation), *(entry["sentence"] for entry in entries(evaluation))]


BATTERY = {
    **{
        f"{outcome} {kind} {seeds}": one_of_each(outcome, kind, seeds)
        for outcome, kind, seeds in itertools.product(OUTCOMES, METRICS, (1, 3))
    },
    **{
        f"{outcome} {cell}": make_evaluation(
            [make_comparison(kind, outcome=outcome) for kind in KINDS],
            [make_task(learn_from=learn_from, tested=tested)],
        )
        for outcome in OUTCOMES
        for cell, learn_from, tested in (
            ("transductive", "source", 200),
            ("inductive", "target", 200),
            ("both", "both", 200),
            ("unlabelled", "source", 0),
            ("nothing", "nothing", 0),
        )
    },
    **{
        f"{number} labels {outcomes}": make_evaluation(
            [
                make_comparison(kind, f"l{index}", outcomes[index % len(outcomes)], left_out_classes=index)
                for kind in ("multi-task", "transductive")
                for index in range(number)
            ],
            [make_task(f"l{index}") for index in range(number)],
            "l0",
            delta_m={"value": -0.012, "low": None, "high": None},
        )
        for number in (2, 3, 6, 20)
        for outcomes in (("helped",), ("unclear",), ("harmed", "helped"), OUTCOMES, ("not_measurable",))
    },
    **{
        f"because of {reason}": make_evaluation(
            [make_comparison(kind, outcome="not_measurable", reason=reason) for kind in KINDS], scores=[]
        )
        for reason in REASONS
    },
    "no primary": make_evaluation(
        [make_comparison(kind, None, "not_measurable", reason="no_primary") for kind in KINDS], primary=None
    ),
    "no label": make_evaluation(
        [make_comparison(kind, None, "not_measurable", reason="no_primary") for kind in KINDS], [], None, scored=False
    ),
    "nothing compared": make_evaluation([], scores=[]),
    "no interval": make_evaluation(
        [
            {**row, "baselines": [{**one, "low": None, "high": None, "p": None} for one in row["baselines"]]}
            for row in one_of_each("unclear")["comparisons"]
        ]
    ),
}


@pytest.mark.parametrize("name", BATTERY)
def test_what_is_claimed_is_what_came_out(name):
    """Each outcome has words of its own, and they stand only where a comparison has come to it."""
    evaluation = BATTERY[name]
    _, *told = (line for line in lines(evaluation) if not line.startswith("Worth it:"))
    assert len(told) == len({row["kind"] for row in evaluation["comparisons"]})
    for line in told:
        kind = line.split(":")[0].lower()
        outcomes = {row["outcome"] for row in evaluation["comparisons"] if row["kind"] == kind}
        for outcome, words in (("helped", HELPED), ("harmed", HARMED), ("unclear", UNCLEAR)):
            assert bool(re.search(words, line)) == (outcome in outcomes), line
    for entry in entries(evaluation):
        for outcome, words in (("helped", HELPED), ("harmed", HARMED), ("unclear", UNCLEAR)):
            assert bool(re.search(words, entry["sentence"])) == (outcome == entry["outcome"])


@pytest.mark.parametrize("name", BATTERY)
def test_sentences_are_whole_and_agree_in_number(name):
    for text in all_text(BATTERY[name]):
        assert text.endswith(".")
        assert not re.search(r"None|nan\b|\{|\}|  |\.\.|,,| ,|\(\)|_task\b|not known", text), text
        assert not re.search(
            r"\b1 (labels|classes|images|seeds)\b|\b([02-9]|\d\d+) (label|class|image|seed)\b", text
        ), text
        assert text.count("(") == text.count(")")
        assert text.count("'") % 2 == len(re.findall(r"'s\b", text)) % 2, text


@pytest.mark.parametrize("name", BATTERY)
def test_what_is_not_measured_says_which_labels_would_make_it_so(name):
    for entry in entries(BATTERY[name]):
        if entry["outcome"] == "not_measurable":
            assert re.search(r"label|class|adapter", entry["sentence"])
            assert entry["gain"] is entry["value"] is entry["baseline"] is None


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("label_kind", METRICS)
def test_where_a_constant_answer_does_as_well_nothing_is_praised(label_kind, seeds):
    """Such as where 95% of images have one class: a model that always answers it has learnt nothing."""
    level = 0.101 if label_kind != "regression" else 1.299
    constant = 0.1 if label_kind != "regression" else 1.3
    rows = [
        make_comparison(
            kind, "digit", "unclear", label_kind, level=level, constant=constant, seeds=seeds,
            not_beaten=BASELINES[kind][1],
        )
        for kind in KINDS
    ]  # fmt: skip
    label = make_worth("digit", "unclear", label_kind)
    for row in label["rows"]:
        row["claim"] = None
    evaluation = make_evaluation(rows, [make_task("digit", label_kind)], seeds=seeds, worth=[label])
    headline, *told = lines(evaluation)
    assert headline.startswith("Nothing here is clearly better than a constant answer")
    for text in (*told, headline.removeprefix("Nothing here is clearly better than a constant answer")):
        assert not re.search(PRAISE, text), text
    for text in told:
        assert re.search(r"(a constant answer|one single cluster) \(", text)


@pytest.mark.parametrize("seeds", [1, 3, 10])
def test_how_many_trainings_are_behind_a_sentence_is_said(seeds):
    words = "in this one run" if seeds == 1 else f"over {seeds} seeds"
    assert all(words in line for line in lines(one_of_each("helped", seeds=seeds)))


@pytest.mark.parametrize("baseline", ["pixels", "start", "constant"])
def test_what_does_as_well_is_named_with_its_score(baseline):
    row = make_comparison("self-taught", outcome="unclear", not_beaten=(baseline,))
    said = {"pixels": "raw pixels", "start": "the encoder before pretraining", "constant": "a constant answer"}
    [entry] = entries(make_evaluation([row]))
    assert f"not clearly better than {said[baseline]} (79.9%; +0.1 points" in entry["sentence"]
    row["baselines"] = [{**one, "value": 0.82, "gain": -0.02} for one in row["baselines"]]
    [entry] = entries(make_evaluation([row]))
    assert f"no better than {said[baseline]} (82.0%; " in entry["sentence"]


def test_an_interval_that_misses_zero_without_a_claim_is_explained():
    row = make_comparison("self-taught", outcome="unclear")
    row["baselines"][0] |= {"gain": 0.03, "low": 0.001, "high": 0.06}
    [entry] = entries(make_evaluation([row]))
    assert "which is not enough among all comparisons of the run" in entry["sentence"]


def test_scores_are_said_by_their_metric_beside_the_constant_answer():
    told = {kind: lines(one_of_each("helped", kind))[1] for kind in METRICS}
    assert "a balanced accuracy of 80.0%, where a constant answer has 10.0%" in told["binary"]
    assert "a weighted kappa of 0.80, where a constant answer has 0.10" in told["ordinal"]
    assert "a mean error of 0.8 in the label's unit, where a constant answer has 1.3" in told["regression"]
    assert "(0.9; −0.1, 95% interval −0.14 to −0.06)" in told["regression"]  # noqa: RUF001


def test_the_headline_gives_each_situation_its_declared_method_and_constant():
    evaluation = one_of_each("unclear")
    evaluation["scores"].append(make_score("target", "mcc", "digit", "multiclass", 0.99))
    for row in evaluation["clusterings"]:
        row["ari"] = 0.99
    headline = lines(evaluation)[0]
    for part in ("labels of the source alone, shot_im", "5 labels a class", "no labels at all, k-means in UMAP space"):
        assert part in headline
    assert len(re.findall("a constant answer|one single cluster", headline)) == 3
    assert "99" not in headline
    assert "mcc" not in headline


def test_an_oracle_is_named_as_one_and_not_first():
    evaluation = one_of_each("helped")
    evaluation["scores"].append(make_score("target", "mcc", "digit", "multiclass", 0.99))
    line = lines(evaluation)[3]
    assert line.endswith("Best in hindsight, chosen by the labels that score it, is mcc (99.0%).")
    evaluation["comparisons"] = one_of_each("unclear", not_beaten=("constant",))["comparisons"]
    assert "hindsight" not in " ".join(lines(evaluation)), "of what is no better than a constant answer none is best"


def test_labels_are_counted_and_at_most_four_are_named():
    evaluation = BATTERY["20 labels ('helped',)"]
    told = lines(evaluation)[1]
    assert "helped 20 of 20 labels: 'l0', 'l1', 'l2', 'l3' and 16 more" in told
    assert "'l4'" not in told.split(".")[0]
    told = lines(BATTERY["3 labels ('harmed', 'helped')"])[1]
    assert "helped 1 of 3 labels: 'l1' (balanced accuracy 80.0%, 70.0% with a model of its own, 10.0% with a" in told
    assert "did harm to 2 of 3 labels: 'l0' (" in told
    assert told.index("helped") < told.index("did harm")


def test_delta_m_stands_beside_the_outcomes_and_is_none():
    evaluation = BATTERY["3 labels ('unclear',)"] | {"delta_m": {"value": 0.5, "low": 0.4, "high": 0.6}}
    told = lines(evaluation)[1]
    assert "made no clear difference" in told
    assert "Delta-m on errors is +50.0% (95% interval +40.0% to +60.0%; above zero is less error)." in told
    assert "Delta-m" not in lines(evaluation)[2]


def test_caveats_are_said():
    row = make_comparison(short=True, left_out_classes=1)
    line = lines(make_evaluation([row], num_images={"source": 9, "target": 9}, same_files=9))
    assert (
        "A class of 'digit' has fewer than 5 labelled training images in the target and gives what it has." in line[1]
    )
    assert "1 class of 'digit' with fewer than 5 test images is left out." in line[1]
    assert line[0].endswith("Beware: 9 of the 9 target images are in the source too, so this is hardly another domain.")
    line = lines(make_evaluation([{**row, "left_out_classes": 2}], shared=12))
    assert "2 classes of 'digit' with fewer than 5 test images are left out." in line[1]
    # Images of one group are kept out of training, so they flatter nothing.
    assert "Beware" not in line[0]
    row = make_comparison("transductive", details={"unknown": {"ten": 3, "eleven": 1}})
    assert "that the source does not have counts as wrong: 4 test images ('ten' and 'eleven')." in " ".join(
        lines(make_evaluation([row]))
    )


def test_what_is_held_out_in_the_source_is_missing_there():
    row = make_comparison("multi-task", outcome="not_measurable")
    assert "no test image of the source has the label 'digit'" in lines(make_evaluation([row]))[1]
    row = make_comparison("transductive", outcome="not_measurable", details={"changed": 0.123})
    told = lines(make_evaluation([row]))[1]
    assert "no test image of the target has the label 'digit'" in told
    assert told.endswith("Shot_im changed the answer for 12.3% of the images.")


def test_a_model_that_is_not_compared_still_has_its_score_in_the_headline():
    row = make_comparison("transductive", None, "not_measurable", reason="not_adapted")
    headline = lines(make_evaluation([row]))[0]
    assert "with labels of the source alone, the model as trained on the source has a balanced accuracy of" in headline
    scores = [make_score("target", "multi_task", "digit", "multiclass", 0.12)]
    evaluation = make_evaluation([], [make_task(learn_from="target")], scores=scores)
    assert lines(evaluation)[0].startswith("Nothing here is clearly better than a constant answer"), (
        "its interval has it"
    )


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "x" * 300, "it's", "{0}%s", "\u202ertl"])
def test_names_are_data(name):
    tasks = [make_task(name), make_task("other")]
    rows = [make_comparison(kind, name) for kind in KINDS] + [make_comparison("multi-task", "other", "harmed")]
    for text in all_text(make_evaluation(rows, tasks, name)):
        assert text.isprintable()
        assert "x" * 100 not in text


def test_the_summary_is_json_with_the_promised_keys():
    summary = json.loads(json.dumps(verdict_summary(one_of_each("harmed")), allow_nan=False))
    assert len(summary["lines"]) == 6 and [set(one) for one in summary["worth"]] == [{"label", "answer", "sentence"}]
    keys = {"kind", "label", "outcome", "sentence", "gain", "low", "high", "value", "baseline", "baseline_value"}
    assert all(set(entry) == keys | {"metric", "method"} for entry in summary["entries"])
    first = summary["entries"][0]
    assert (first["baseline"], first["gain"], first["outcome"]) == ("pixels", -0.1, "harmed")


def test_the_words_agree_with_the_evaluation():
    assert DECLARED_CLUSTERING == DECLARED
    assert AS_CLASSES == TIMES


@pytest.mark.parametrize("second", ["target", "source", "both"])
def test_labels_that_are_learnt_in_different_domains_are_said_to_be_learnt_across_them(second):
    rows = [make_comparison("multi-task", label) for label in ("digit", "light")]
    tasks = [make_task("digit", learn_from="source"), make_task("light", learn_from=second)]
    for row in entries(make_evaluation(rows, tasks)):
        across = "across the domains (1 from the source alone, 1 from the target alone)"
        assert (across in row["sentence"]) == (second == "target")
        assert "earning 2 labels together" in row["sentence"]
