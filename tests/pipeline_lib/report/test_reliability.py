import xml.etree.ElementTree as ET

from pipeline_lib.report.page import render_page
from pipeline_lib.report.reliability import reliability, reliability_sentence
from tests.pipeline_lib.report.evaluations import make_evaluation, make_reliability
from tests.pipeline_lib.report.inputs import make_inputs


def test_an_error_within_chance_is_nothing_against_the_confidence() -> None:
    assert reliability_sentence(make_reliability("source_only")) == (
        "Nothing speaks against its confidence in this one run, on 1,400 images: on average it is 94.2% sure and right "
        "in 94.8%; the calibration error is 2.0%, and chance alone shows 1.0%, and in 95 of 100 draws no more than "
        "3.0%, of a confidence that is exact."
    )


def test_an_error_beyond_chance_is_one() -> None:
    text = reliability_sentence(make_reliability("source_only", error=0.12, trainings=2))
    assert text.startswith("Its confidence cannot be believed over 2 seeds, on 700 images: on average it is 94.2% sure")
    assert "the calibration error is 12.0%, while chance alone shows 1.0%" in text


def test_the_drawing_has_a_bar_a_range_and_a_number_for_each_bin_with_answers() -> None:
    before, _ = reliability(make_evaluation())
    drawing = ET.fromstring(before["drawing"])
    bars = [part for part in drawing.iter("rect") if part.get("class") == "right"]
    assert [(bar.get("x"), bar.get("y"), bar.get("height")) for bar in bars] == [
        ("41.0%", "60.0%", "40.0%"),
        ("91.0%", "1.0%", "99.0%"),
    ]
    assert [bar.findtext("title") for bar in bars] == [
        "40% to 50% sure: 40.0% of 100 right, by chance 35.0% to 55.0%",
        "90% to 100% sure: 99.0% of 1,300 right, by chance 97.0% to 99.0%",
    ]
    chance = [part for part in drawing.iter("line") if part.get("class") == "chance"]
    assert [(line.get("x1"), line.get("y1"), line.get("y2")) for line in chance] == [
        ("45.0%", "45.0%", "65.0%"),
        ("95.0%", "1.0%", "3.0%"),
    ]
    assert {"100", "1,300"} <= {text.text for text in drawing.iter("text")}
    assert "90% to 100% sure, 99.0% of 1,300 right" in (drawing.get("aria-label") or "")


def test_the_page_asks_only_where_there_is_an_answer() -> None:
    question = "Can the confidence be believed?"
    page = render_page(**make_inputs())
    assert question in page and "Nothing speaks against its confidence" in page
    inputs = make_inputs()
    assert question not in render_page(**{**inputs, "evaluation": {**inputs["evaluation"], "reliability": []}})
