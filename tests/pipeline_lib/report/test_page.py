import base64
import hashlib
import json
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from pipeline_lib.report.atlas import MOST_COLOURS
from pipeline_lib.report.page import render_page
from tests.pipeline_lib.report.evaluations import make_comparison, make_evaluation, make_score, make_task
from tests.pipeline_lib.report.inputs import make_inputs

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "<!--<script>",
    "]]></svg><svg onload=alert(1)>",
    "</title></style><svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "\u2028alert(1)//",
)


class Page(HTMLParser):
    """What a browser would find in the page: its tags with attributes, its text, and its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        elif self.cdata_elem != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)

    def policy(self):
        return next(attrs["content"] for tag, attrs in self.tags if tag == "meta" and "http-equiv" in attrs)


@pytest.fixture(scope="module")
def plain():
    return Page(render_page(**make_inputs()))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_markup(plain, text):
    inputs = make_inputs(classes=(text, "dog"), path=f"{text}*", text=text)
    page = Page(render_page(**inputs))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert page.policy() == plain.policy()
    assert page.scripts[1:] == plain.scripts[1:]  # the first is the map's data
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src"):
            assert (attributes.get(name) or "#").startswith(("#", "data:", "audit.html"))
    assert " ".join(text.split()) in page.text  # shown as it is, not dropped


@pytest.mark.parametrize("text", HOSTILE)
def test_map_data_survives_and_holds_nothing_that_html_acts_on(text):
    page = Page(render_page(**make_inputs(classes=(text, "dog"))))
    assert not set("<>&\u2028\u2029") & set(page.scripts[0])
    assert json.loads(page.scripts[0])["classes"] == [text, "dog"]


def test_policy_allows_just_the_scripts_of_the_page(plain):
    policy = plain.policy()
    assert policy.startswith("default-src 'none'; img-src data:;")
    runnable = [
        script
        for script, (_, attrs) in zip(plain.scripts, (t for t in plain.tags if t[0] == "script"), strict=True)
        if attrs.get("type") != "application/json"
    ]
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in runnable}
    allowed = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert set(allowed.split()[1:]) == hashes


def test_nothing_is_loaded(plain):
    for tag, attributes in plain.tags:
        assert tag not in {"iframe", "object", "embed", "base", "audio", "video"}
        for name, value in attributes.items():
            if name in {"src", "href", "srcset", "action", "data", "poster"}:
                assert (value or "").startswith(("data:", "#", "audit.html")), (tag, name, value)


def test_equal_inputs_give_equal_bytes():
    assert render_page(**make_inputs()) == render_page(**make_inputs())


def test_every_verdict_is_said_in_words_and_drawn(plain):
    for words in ("helped", "no clear difference", "did harm: negative transfer", "not measurable"):
        assert words in plain.text
    drawn = [attrs for tag, attrs in plain.tags if tag == "svg" and "forest" in (attrs.get("class") or "").split()]
    assert len(drawn) == 6  # each baseline of four comparisons, but a constant answer that is beaten


def test_target_without_labels():
    page = Page(render_page(**make_inputs(labelled=False)))
    assert page.text.count("not measurable") == 4
    assert "no test image of the target has the label 'kind'" in page.text
    data = json.loads(page.scripts[0])
    assert set(data["truth"]) == {-1}
    assert data["classes"] == ["cat", "dog"]  # as predicted
    assert colours_of(page) == ["predicted"]


def test_without_any_label_the_page_says_what_a_label_would_bring():
    kinds = ("self-taught", "multi-task", "transductive", "unsupervised")
    rows = [make_comparison(kind, None, "not_measurable", reason="no_primary") for kind in kinds]
    inputs = make_inputs(evaluation=make_evaluation(rows, [], None, classes=(), scored=False))
    page = Page(render_page(**inputs))
    assert "No label is named, so only structure applies" in page.text
    assert colours_of(page) == ["truth"]
    assert set(json.loads(page.scripts[0])["truth"]) == {-1}
    assert sum("forest" in (attrs.get("class") or "") for tag, attrs in page.tags if tag == "svg") == 0


@pytest.mark.parametrize(
    ("shift", "reason", "said"),
    [
        ({"found": "shift", "p_value": 0.01, "p_value_equal_priors": 0.02}, "preferred", "of 0.020 where the classes"),
        ({"found": "none", "p_value": 0.4, "p_value_equal_priors": 0.4}, "no_shift", "cannot be told apart"),
        ({"found": "shift", "p_value": None, "p_value_equal_priors": None}, "preferred", "too few images, held out"),
    ],
)
@pytest.mark.parametrize("scored", [True, False])
def test_how_an_adapter_was_chosen_is_said(shift, reason, said, scored):
    names = ("source_only", "mcc")
    known = {"value": 0.8, "difference": 0.1, "worst_class": -0.05, "recovered": 0.5} if scored else {}
    nothing = dict.fromkeys(("value", "difference", "worst_class", "recovered", "on_source"))
    candidates = [{**nothing, **known, "model": name, "rank": 1.5, "chosen": 0} for name in names]
    choice = {
        "chosen": "mcc", "reason": reason, "shift": shift, "ranks": dict.fromkeys(names, 1.5),
        "forgot": ["shot_im"] if scored else [],
        "scores": {name: {"dev": None, "infomax": 1.25} for name in names},
        "oracle": "mcc" if scored else None, "regret": 0.125 if scored else None,
    }  # fmt: skip
    metric = {"metric": "balanced_accuracy", "higher_is_better": True} if scored else {"metric": None}
    bound = {"value": 0.9, "labels_per_class": 50} if scored else None
    adaptation = {"label": "kind", **metric, "bound": bound, "candidates": candidates, "choices": [choice]}
    evaluation = {**make_inputs()["evaluation"], "use": "auto", "adaptation": adaptation}
    html = render_page(**make_inputs(evaluation=evaluation))
    assert said in html and "ranked by dev, infomax" in html and "dev cannot tell here, and is left out" in html
    assert ("shot_im forgot the source" in html) is scored
    assert ("the choice lost 12.5 points" in html) is scored and ("None" not in html)
    assert ("given 50 labels a class of the target, which reaches 90.0%" in html) is scored


def test_what_applies_is_a_row_a_label(plain):
    assert "What applies" in plain.text
    assert "kind primary multiclass 800 + 200 200 + 200 source Multi-task and transductive." in plain.text


def test_the_audits_findings_are_summed_up_and_lead_to_its_page(plain):
    links = [attrs["href"] for tag, attrs in plain.tags if tag == "a" and attrs["href"].startswith("audit.html")]
    assert links == ["audit.html", *["audit.html#shift"] * 3]
    assert "Blocking Plain." in plain.text and "1 note" in plain.text


def test_each_dataset_of_the_target_has_a_table_and_a_card():
    inputs = make_inputs(datasets=("first", "second"))
    inputs["evaluation"]["scores"] += [
        make_score(name, "shot_im", "kind", "multiclass") for name in ("first", "second")
    ]
    text = Page(render_page(**inputs)).text
    for name in ("first", "second"):
        assert f"On {name} alone" in text
        assert f"{name} target 8 × 8 × 1" in text  # noqa: RUF001
    assert text.index("On the target") < text.index("On first alone") < text.index("On held-out images of the source")


def test_every_main_score_has_the_constant_answer_beside_it(plain):
    rows = [row for row in make_inputs()["evaluation"]["scores"] if row["main"]]
    assert plain.text.count("constant answer") >= len({row["domain"] for row in rows})
    assert plain.text.count("0.100 0.800 0.750 to 0.850") == 2  # of one label on two domains


def test_short_budgets_and_shared_images_are_said():
    inputs = make_inputs()
    inputs["evaluation"]["shared"] = 7
    text = Page(render_page(**inputs)).text
    assert "hollow marks are short" in text
    assert "50 labels*" in text
    assert "Of the target's test images, 7 have their group, or the very file, in the source too" in text


def test_many_classes_and_labels_stay_small():
    names = ["kind", *(f"label {index}" for index in range(19))]
    tasks = [make_task(name) for name in names]
    rows = [make_comparison(kind, name) for kind in ("multi-task", "transductive") for name in names]
    classes = tuple(f"class {index}" for index in range(1000))
    inputs = make_inputs(classes=classes, num=1000, evaluation=make_evaluation(rows, tasks, "kind", classes=classes))
    html = render_page(**inputs)
    assert len(html) < 1_000_000
    page = Page(html)
    legend = [attrs for tag, attrs in page.tags if tag == "button" and "aria-pressed" in attrs]
    assert len(legend) == MOST_COLOURS
    assert "and 960 rarer classes, in grey" in page.text
    assert page.text.count("14 more labels") == 2


@pytest.mark.parametrize(
    "gone", ["projections", "predictions", "curves", "metrics", "comparisons", "tables", "findings"]
)
def test_missing_parts_leave_a_page(gone):
    inputs = make_inputs()
    if gone in ("projections", "predictions"):
        inputs[gone] = inputs[gone].iloc[:0]
    elif gone in ("curves", "metrics"):
        inputs[gone] = {}
    elif gone == "comparisons":
        inputs["evaluation"]["comparisons"] = []
    elif gone == "tables":
        empty = {key: [] for key in ("clusterings", "probes", "projections", "scores", "shift", "worth")}
        inputs["evaluation"] = {**inputs["evaluation"], **empty}
    else:
        inputs["findings"] = []
    page = Page(render_page(**inputs))
    assert page.count("section") == 8
    assert (page.count("canvas") == 0) == (gone == "projections")


def colours_of(page):
    return [attrs["value"] for tag, attrs in page.tags if tag == "input" and attrs["name"] == "map-colour"]


def test_headings_go_down_one_level_at_a_time_and_pictures_have_texts(plain):
    levels = [int(tag[1]) for tag, _ in plain.tags if tag in {"h1", "h2", "h3", "h4"}]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all("alt" in attrs for tag, attrs in plain.tags if tag == "img")
    assert all("aria-label" in attrs or "aria-hidden" in attrs for tag, attrs in plain.tags if tag == "canvas")


def test_ids_are_unique_and_links_lead_somewhere(plain):
    ids = [attrs["id"] for _, attrs in plain.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {attrs["href"] for tag, attrs in plain.tags if tag == "a"}
    assert {link[1:] for link in links if not link.startswith("audit.html")} <= set(ids)
