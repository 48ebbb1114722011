from pipeline_lib.core.errors import nearest, reason, shown


def test_nearest_names_a_close_word_only() -> None:
    assert nearest("simcrl", ["byol", "simclr"]) == "; did you mean 'simclr'?"
    assert nearest("xyz", ["byol", "simclr"]) == ""
    assert nearest("a", []) == ""


def test_a_value_is_shown_on_one_line_and_cut_in_the_middle() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert shown(0.25) == "0.25"
    assert shown("x" * 10**7 + "end", most=20) == "'xxxxxxxxx...xxxxxxend'"
    assert shown(10**5000) == "a value too long to show"


def test_an_error_gives_its_first_line_or_its_kind_as_a_reason() -> None:
    assert reason(OSError("Name or service not known.\nmore of it")) == "Name or service not known"
    assert reason(AssertionError()) == reason(AssertionError("\n")) == "AssertionError"
