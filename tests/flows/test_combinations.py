import pytest

from flows.combinations import label, product, read_values, share, with_values
from flows.plan import read_plan
from pipeline_lib.core.errors import UserError
from tests.flows.conftest import PARAMS


def test_values_are_read_as_params_yaml_is():
    assert read_values(["a.b=simclr,vicreg", "seed=0,1", "lr=1e-3,0.5", "on=true,null"]) == {
        "a.b": ["simclr", "vicreg"],
        "seed": [0, 1],
        "lr": [0.001, 0.5],
        "on": [True, None],
    }
    assert read_values(["levels=[0, 255],[64, 224]"]) == {"levels": [[0, 255], [64, 224]]}
    assert read_values(["seed=1,1,2"]) == {"seed": [1, 2]}


@pytest.mark.parametrize("setting", ["seed", "seed=", "=1", "seed=[1"])
def test_what_is_no_setting_is_refused(setting):
    with pytest.raises(UserError, match="is not a key and its values"):
        read_values([setting])


def test_a_key_that_is_set_twice_is_refused():
    with pytest.raises(UserError, match="'seed' is set twice"):
        read_values(["seed=0", "seed=1"])


def test_every_combination_comes_once_and_has_a_name_of_its_own():
    found = product({"a": [1, 2], "b": ["x", "y", "z"]})
    assert len(found) == 6
    assert len({label(one) for one in found}) == 6
    assert all(set(label({"k": value})) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") for value in ("../é", "a b/c"))
    assert label({"k": "a/b"}) != label({"k": "a b"})


def test_values_are_put_into_params_yaml_and_comments_stay():
    text = with_values("seed: 0  # every choice\nheads: {epochs: 1}\n", {"seed": 3, "pretrain.method": "vicreg"})
    assert "seed: 3  # every choice" in text
    assert "method: vicreg" in text


@pytest.mark.parametrize(
    ("combination", "sentence"),
    [
        ({"pretrain.metod": "x"}, "unknown key 'pretrain.metod'.*method"),
        ({"seed": "x"}, "seed"),
        ({"seed.x": 1}, "no key 'seed.x'"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_as_by_a_stage(combination, sentence):
    with pytest.raises(UserError, match=sentence):
        with_values(PARAMS, combination)


def stages(nodes):
    return [(node.stage, node.combinations) for node in nodes]


def test_a_stage_is_shared_by_what_agrees_in_all_that_it_depends_on(finished):
    combinations = product({"heads.epochs": [1, 2], "report.title": ["a", "b"]})
    nodes = share(read_plan(), combinations)
    found = stages(nodes)
    assert ("start", (0, 1, 2, 3)) in found
    assert ("alone", (0, 1, 2, 3)) in found
    assert ("right", (0, 1, 2, 3)) in found
    assert [combination for stage, combination in found if stage == "left"] == [(0, 1), (2, 3)]
    assert [combination for stage, combination in found if stage == "join"] == [(0,), (1,), (2,), (3,)]
    for node in nodes:
        for number in node.upstream:
            assert set(node.combinations) <= set(nodes[number].combinations), "it has all that it needs"


def test_a_block_and_its_keys_are_the_same_to_a_stage(finished):
    assert len(share(read_plan(), product({"heads": [{"epochs": 1}, {"epochs": 2}]}))) == 5 + 2


def test_what_comes_first_in_the_graph_reaches_everything_behind_it(finished):
    nodes = share(read_plan(), product({"seed": [0, 1]}))
    assert [node.stage for node in nodes].count("join") == 2
    assert [node.stage for node in nodes].count("alone") == 1
