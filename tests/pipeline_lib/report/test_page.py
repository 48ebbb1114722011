import base64
import hashlib
import json
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from pipeline_lib.report.page import render_page
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
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
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
                assert (value or "").startswith(("data:", "#")), (tag, name, value)


def test_equal_inputs_give_equal_bytes():
    assert render_page(**make_inputs()) == render_page(**make_inputs())


def test_every_verdict_is_said_in_words_and_drawn(plain):
    for words in ("helped", "no clear difference", "hurt: negative transfer", "not measurable"):
        assert words in plain.text
    assert "not measurable without labels" not in plain.text
    assert sum("forest" in (attrs.get("class") or "").split() for tag, attrs in plain.tags if tag == "svg") == 4


def test_target_without_labels():
    page = Page(render_page(**make_inputs(labelled=False)))
    assert page.text.count("not measurable without labels") == 4
    assert "Not measurable: the target has no labels." in page.text
    data = json.loads(page.scripts[0])
    assert set(data["truth"]) == {-1}
    assert data["classes"] == ["cat", "dog"]  # as predicted
    values = [attrs["value"] for tag, attrs in page.tags if tag == "input" and attrs["name"] == "map-colour"]
    assert values == ["predicted"]


@pytest.mark.parametrize("gone", ["projections", "predictions", "curves", "metrics", "clusterings", "audit"])
def test_missing_parts_leave_a_page(gone):
    inputs = make_inputs()
    if gone in ("projections", "predictions"):
        inputs[gone] = inputs[gone].iloc[:0]
    elif gone in ("curves", "metrics"):
        inputs[gone] = {}
    elif gone == "clusterings":
        empty = {key: [] for key in ("clusterings", "probes", "projections", "adaptation", "heads", "shift")}
        inputs["transfer"] = {**inputs["transfer"], **empty}
    else:
        inputs["audit"]["findings"] = []
        inputs["audit"]["duplicates_across"] = {"count": 0, "examples": []}
        inputs["audit"]["shift"] = {}
        for role in ("source", "target"):
            inputs["audit"]["sets"][role]["label_errors"] = {}
            inputs[role].card["quarantined"].clear()
    page = Page(render_page(**inputs))
    assert page.count("section") == 6
    assert (page.count("canvas") == 0) == (gone == "projections")


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
    assert {attrs["href"][1:] for tag, attrs in plain.tags if tag == "a"} <= set(ids)
