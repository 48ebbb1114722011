import re
from typing import Any

import pytest

from pipeline_lib.report.sentences import lines, verdict_summary
from pipeline_lib.report.worth import worth_section, worth_sentence
from tests.pipeline_lib.report.evaluations import make_evaluation, make_task, make_worth

EVALUATION = make_evaluation()


def said(answer: str | None, **changed: Any) -> str:
    return worth_sentence(make_worth(answer=answer, **changed), EVALUATION)


def test_worth_it_names_the_nearest_alternative_and_the_labels_that_it_takes() -> None:
    assert said("worth") == (
        "Pretraining on the source was worth it for 'digit' in this one run: on average over 10 to 50 labels of the "
        "target, a probe on the pretrained encoder is better than all that needs no pretraining, of which raw pixels "
        "(behind by 10.0 points, 95% interval +8.0 to +12.0) is nearest. For the balanced accuracy of 70.0% that "
        "pretraining reaches with 10 labels, where a constant answer has 10.0%, raw pixels takes about 31 (95% "
        "interval 10 to more than 50)."
    )


def test_not_worth_it_names_what_is_better_by_how_much() -> None:
    text = said("not_worth", declared=50)
    assert "was not worth it for 'digit'" in text
    assert "worse than raw pixels (ahead by 10.0 points, 95% interval +8.0 to +12.0)." in text
    assert text.endswith("raw pixels takes more than the 50 tried (95% interval 10 to more than 50).")


def test_what_cannot_be_told_names_what_is_not_beaten_and_nothing_else() -> None:
    text = said("unclear")
    assert text.startswith("Whether pretraining on the source was worth it for 'digit' cannot be told in this one run")
    assert "not clearly better than raw pixels (behind by 1.0 points" in text and "constant" not in text
    label = make_worth(answer="unclear")
    label["rows"][0] |= {"gain": -0.08, "low": -0.15, "high": -0.01}
    assert (
        "better than raw pixels (ahead by 8.0 points, 95% interval +1.0 to +15.0, which is not enough among all labels "
        "and alternatives)." in worth_sentence(label, EVALUATION)
    )


def test_what_is_not_measured_says_why() -> None:
    assert said(None) == "Whether pretraining was worth it for 'digit' cannot be measured: no labelled test image."


def test_self_taught_learning_has_its_name() -> None:
    text = said("worth", self_taught=True)
    assert (
        "for 'digit', which the source has no label of, so that this is self-taught learning, in this one run" in text
    )


def test_an_error_is_said_in_its_unit() -> None:
    text = said("worth", label_kind="regression")
    assert (
        "(behind by 0.1, 95% interval" in text
        and "points" not in text
        and "mean error of 0.5 that" in text
        and "a constant answer has 1.1" in text
    )


def test_without_intervals_none_is_said() -> None:
    label = make_worth()
    for row in label["rows"]:
        row |= {"low": None, "high": None}
        row["needed"] = [{**one, "interval": None} for one in row["needed"]]
    text = worth_sentence(label, EVALUATION)
    assert "interval" not in text and "(behind by 10.0 points)" in text
    (shown,) = worth_section({**EVALUATION, "worth": [label]}, {})["labels"]
    assert all(row["interval"] == row["needed_interval"] == "" for part in shown["parts"] for row in part["rows"])


def test_one_budget_is_no_average() -> None:
    label = make_worth()
    label |= {"labels": [10], "amounts": [1], "short": [False]}
    for row in label["rows"]:
        row |= {"scores": row["scores"][:1], "needed": row["needed"][:1]}
    text = worth_sentence(label, EVALUATION)
    assert "with 10 labels of the target, a probe" in text and "average" not in text


def test_the_verdict_has_a_line_of_the_primary_label_and_counts_the_others() -> None:
    answers = {"digit": "worth", "loop": "not_worth", "size": "not_worth", "hue": None}
    labels = [make_worth(name, answer) for name, answer in answers.items()]
    evaluation = make_evaluation(tasks=[make_task(name) for name in answers], worth=labels)
    line = lines(evaluation)[-1]
    assert line.startswith("Worth it: Pretraining on the source was worth it for 'digit'")
    assert line.endswith(" Of the other labels: it was not worth it for 'loop' and 'size'.")
    summary = verdict_summary(evaluation)["worth"]
    assert {one["label"]: one["answer"] for one in summary} == answers
    assert all(one["sentence"].endswith(".") for one in summary)
    assert not any(line.startswith("Worth it") for line in lines({**evaluation, "worth": labels[3:]}))


def test_a_table_has_its_parts_in_order_and_marks_what_is_claimed() -> None:
    metrics = {"pretrain/0": {"images": 800, "epochs": 20}}
    section = worth_section(EVALUATION, metrics)
    (label,) = section["labels"]
    assert section["seen"] == {"images": 800, "epochs": 20}
    assert (label["outcome"], label["said"]) == ("helped", "worth it") and label["by_class"] and label["short"]
    assert [[row["name"] for row in part["rows"]] for part in label["parts"]] == [
        ["pretrained"],
        ["pixels", "start", "constant"],
        ["supervised"],
    ]
    pixels = label["parts"][1]["rows"][0]
    assert (pixels["gain"], pixels["outcome"], pixels["needed"]) == ("+10.0 points", "helped", "31")
    assert pixels["needed_interval"] == "10 to more than 50" and pixels["scores"][0]["value"] == "60.0%"
    assert label["parts"][0]["rows"][0]["gain"] == ""
    assert len(re.findall("<polyline", label["drawing"])) == 5


@pytest.mark.parametrize("seen", [{}, {"pretrain/0": {"loss": 1.0}}])
def test_what_pretraining_saw_is_left_out_where_it_is_not_known(seen: Any) -> None:
    assert worth_section(EVALUATION, seen)["seen"] is None
