from copy import deepcopy

import pytest

from pipeline_lib.report.audit_page import headline, render_audit
from tests.pipeline_lib.report.inputs import make_audit, make_role
from tests.pipeline_lib.report.test_page import HOSTILE, Page


def roles_of(classes=("cat", "dog"), datasets=("photos",), path="folder/*.png", text="plain", channels=1):
    return {
        "source": make_role("source", classes, 12, 8, channels, True, ("drawings",), path, text),
        "target": make_role("target", classes, 12, 8, channels, True, datasets, path, text),
    }


def rendered(text="plain", change=lambda audit: None, **how):
    roles = roles_of(text=text, **how)
    audit = make_audit(roles, text)
    change(audit)
    return render_audit(audit, roles["source"], roles["target"])


@pytest.fixture(scope="module")
def plain():
    return Page(rendered())


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_markup(plain, text):
    page = Page(rendered(text, classes=(text, "dog"), path=f"{text}*"))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert page.policy() == plain.policy()
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert " ".join(text.split()) in page.text


def test_no_script_may_run_and_nothing_is_loaded(plain):
    assert "script-src 'none'" in plain.policy() and not plain.scripts
    for tag, attributes in plain.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:", "#")), (tag, attributes)


def test_the_table_of_contents_and_the_findings_lead_to_sections(plain):
    places = {attributes["id"] for _, attributes in plain.tags if "id" in attributes}
    links = {attributes["href"][1:] for tag, attributes in plain.tags if tag == "a"}
    assert links <= places and {"shift", "labels", "errors", "copies", "quality", "sampling"} <= links


def test_findings_say_what_they_do_and_what_helps(plain):
    assert "Blocking Plain. Effect Plain. What to do Plain. See shift" in plain.text
    nothing = Page(rendered(change=lambda audit: [one.update(advice="nothing") for one in audit["findings"]]))
    assert "What to do" not in nothing.text


def test_pictures_are_shown_of_all_that_has_any(plain):
    shown = [attributes["alt"] for tag, attributes in plain.tags if tag == "img"]
    for alt in ("mean of the source", "image that gives the target away", "in both sets", "near duplicate", "dark"):
        assert alt in shown
    assert shown.count("folder/1.png") == 2  # a suspected label of either set


def test_each_set_and_its_datasets_are_counted():
    text = Page(rendered(datasets=("first", "second"))).text
    nothing = "\N{EN DASH}"
    assert "source 12 6 6 3 1 0 0 0 target 12 6 6 3 1 0 0 0" in text
    assert f"first 6 6 0 {nothing} 1 0 {nothing} {nothing} second 6 0 6 {nothing}" in text
    assert "2 share a group or the very bytes with images of the source" in text


def test_the_share_of_false_alarms_stands_beside_them(plain):
    assert "kind of the source 10 3 1 25% 8.0% 5% 90%" in plain.text
    assert "plain 60% ± 1%, b 40% ± 2%" in plain.text


def test_what_label_errors_were_judged_by_is_said(plain):
    assert "ten images most like theirs by the features of plain." in plain.text
    assert "By the features of plain: domain AUC 0.9000, proxy A-distance 1.200, MMD² 0.100 (p = 0.010)" in plain.text
    by_pixels = Page(rendered(change=lambda audit: audit.update(features={"name": "pixels", "shift": None}))).text
    assert "ten images most like theirs by their pixels." in by_pixels and "By the features" not in by_pixels


@pytest.mark.parametrize("reason", ["shift", "condition"])
def test_why_no_frequencies_are_claimed_is_said(reason):
    told = {"reason": reason, "target": None, "deviation": None, "condition": 80.0 if reason == "condition" else None}
    text = Page(rendered(change=lambda audit: audit["priors"]["kind"].update(told))).text
    assert {"shift": "differ in more than frequencies", "condition": "(condition number 80)"}[reason] in text


@pytest.mark.parametrize("channels", [1, 3])
def test_sets_with_nothing_to_show_leave_a_page(channels):
    def emptied(audit):
        audit["findings"] = []
        audit["duplicates_across"] = {"count": 0, "examples": []}
        audit["shift"] = {}
        audit["telling"] = {role: {"own": [], "other": []} for role in audit["sets"]}
        audit["label_pairs"], audit["priors"] = [], {}
        for described in audit["sets"].values():
            described["label_errors"], described["labels_by_dataset"] = {}, {}
            described["quality"]["poor"] = {}

    page = Page(rendered(change=emptied, channels=channels))
    assert page.count("section") == 7
    assert "Nothing was found." in page.text and "None was found." in page.text


def test_the_headline_counts_what_was_found():
    audit = make_audit(roles_of())
    assert headline(audit) == "1 finding that stops the pipeline, 1 warning and 1 note on the data."
    several = deepcopy(audit)
    several["findings"] = [{"level": "info"}] * 2
    assert headline(several) == "2 notes on the data."


def test_equal_inputs_give_equal_bytes():
    assert rendered() == rendered()
