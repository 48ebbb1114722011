from pipeline_lib.core.errors import nearest


def test_nearest_names_a_close_word_only() -> None:
    assert nearest("simcrl", ["byol", "simclr"]) == "; did you mean 'simclr'?"
    assert nearest("xyz", ["byol", "simclr"]) == ""
    assert nearest("a", []) == ""
