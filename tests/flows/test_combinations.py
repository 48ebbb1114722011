import re

import pytest
from ruamel.yaml import YAML

from flows.sweep import grid
from flows.sweep.form import key_pattern
from flows.sweep.grid import labelled, product, read_values, share, text_with_values, with_values
from pipeline_lib.core.errors import UserError
from tasks.declaration import read_dvc_file, resolve
from tasks.yaml_files import PARAMS_FILE, read_yaml
from tests.flows.conftest import PARAMS, ROOT, depend, edit, track_images


def test_values_are_read_as_params_yaml_is():
    assert read_values(["a.b=simclr,vicreg", "seed=0,1", "lr=1e-3,0.5", "on=true,null"]) == {
        "a.b": ["simclr", "vicreg"],
        "seed": [0, 1],
        "lr": [0.001, 0.5],
        "on": [True, None],
    }
    assert read_values(["levels=[0, 255],[64, 224]"]) == {"levels": [[0, 255], [64, 224]]}
    assert product({"seed": [1, 1, 2]}) == [{"seed": 1}, {"seed": 2}]


@pytest.mark.parametrize("setting", ["seed", "seed=", "=1", "seed=[1"])
def test_what_is_no_setting_is_refused(setting):
    with pytest.raises(UserError, match="is not a key and its values"):
        read_values([setting])


def test_a_key_that_is_set_twice_is_refused():
    with pytest.raises(UserError, match="'seed' is set twice"):
        read_values(["seed=0", "seed=1"])


def test_keys_that_change_together_are_no_product_of_each_other():
    found = product(read_values(["source,target=[[a, b], [c]],[[c], [a]]", "seed=0,1"]))
    assert found == [
        {"source": ["a", "b"], "target": ["c"], "seed": 0},
        {"source": ["a", "b"], "target": ["c"], "seed": 1},
        {"source": ["c"], "target": ["a"], "seed": 0},
        {"source": ["c"], "target": ["a"], "seed": 1},
    ]
    with pytest.raises(UserError, match="sets 2 keys together: give a list of 2 values each time"):
        product(read_values(["source,target=[a],[b]"]))
    for settings in (["source,source=[[a], [b]]"], ["source,target=[[a], [b]]", "target=[a]"]):
        with pytest.raises(UserError, match="is set twice"):
            product(read_values(settings))


def test_every_combination_comes_once_and_has_a_name_of_its_own():
    found = product({"a": [1, 2], "b": ["x", "y", "z"]})
    assert len(found) == 6
    assert list(labelled(found).values()) == found
    odd = labelled([{"k": value} for value in ("../é", "a b/c", "a/b", "a b", 1, 1.0, "1", True)])
    assert len(odd) == 8
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyzT0123456789-_") for name in odd)


def test_no_combination_of_very_many_with_long_names_is_lost():
    long = "x" * 60
    found = product({f"pretrain.{long}": [f"{long}{number}" for number in range(3000)]})
    assert len(labelled(found)) == 3000


def test_a_name_grows_until_it_tells_all_apart(monkeypatch):
    monkeypatch.setattr(grid, "DIGITS", 1)  # of 16 values, so that some of 40 combinations have the same
    names = labelled([{"seed": number} for number in range(40)])
    assert len(names) == 40
    assert len({len(name.rpartition("-")[2]) for name in names}) == 1


def test_the_name_of_a_combination_does_not_depend_on_the_others():
    assert set(labelled([{"seed": 1}])) <= set(labelled([{"seed": number} for number in range(9)]))


def test_values_are_put_into_params_yaml_and_comments_stay():
    text = PARAMS.replace("seed: 0", "seed: 0  # every choice")
    changed = text_with_values(text, {"seed": 3, "pretrain.method": "vicreg"})
    assert "seed: 3  # every choice" in changed
    assert "method: vicreg" in changed


VALUES = [{"seed": 3}, {"heads": {"epochs": 4}}, {"heads.epochs": 2, "report.title": "x: y"}, {"pretrain.lr": 0.5}]


@pytest.mark.parametrize("combination", VALUES)
def test_the_text_says_what_was_planned_with(combination):
    params = YAML(typ="safe", pure=True).load(PARAMS)
    before = repr(params)
    planned = with_values(params, combination)
    assert YAML(typ="safe", pure=True).load(text_with_values(PARAMS, combination)) == planned
    assert repr(params) == before, "other combinations start from it"


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
        with_values(YAML(typ="safe", pure=True).load(PARAMS), combination)


def keys(block, before=""):
    for name, value in block.items():
        yield before + name
        if isinstance(value, dict):
            yield from keys(value, f"{before}{name}.")


def test_the_form_takes_every_key_of_params_yaml_and_no_other():
    pattern = re.compile(f"^{key_pattern()}$")
    found = list(keys(read_yaml(ROOT / PARAMS_FILE)))
    assert {"seed", "pretrain.views.flip", "datasets.mnist.content", "audit.refuse.label_errors"} <= set(found)
    for key in found:
        assert pattern.match(key), key
        if key not in ("datasets.mnist", "datasets.digits") and not key.startswith("labels."):  # names of one's own
            assert not pattern.match(f"{key}x"), key
    assert pattern.match("pretrain.options.temperature")
    assert pattern.match("labels.size.learn_from")
    assert not pattern.match("labels.size.learn")


def shared(values):
    """What is to run for all combinations of ``values``, in the project in the working directory."""
    params = read_yaml(PARAMS_FILE)
    return share(read_dvc_file(), [with_values(params, combination) for combination in product(values)])


def stages(nodes):
    return [(node.stage, node.combinations) for node in nodes]


def test_a_stage_is_shared_by_what_agrees_in_all_that_it_depends_on(finished):
    nodes = shared({"heads.epochs": [1, 2], "report.title": ["a", "b"]})
    found = stages(nodes)
    assert ("start", (0, 1, 2, 3)) in found
    assert ("alone", (0, 1, 2, 3)) in found
    assert ("right", (0, 1, 2, 3)) in found
    assert [combination for stage, combination in found if stage == "left"] == [(0, 1), (2, 3)]
    assert [combination for stage, combination in found if stage == "join"] == [(0,), (1,), (2,), (3,)]
    for number, node in enumerate(nodes):
        for above in node.upstream:
            assert above < number
            assert set(node.combinations) <= set(nodes[above].combinations), "it has all that it needs"


def test_a_block_and_its_keys_are_the_same_to_a_stage(finished):
    assert len(shared({"heads": [{"epochs": 1}, {"epochs": 2}]})) == 5 + 2


def test_what_comes_first_in_the_graph_reaches_everything_behind_it(finished):
    nodes = shared({"seed": [0, 1]})
    assert [node.stage for node in nodes].count("join") == 2
    assert [node.stage for node in nodes].count("alone") == 1


def test_only_the_stages_of_a_dataset_or_seed_that_changes_are_run_anew(grouped):
    found = stages(shared({"datasets.digits.content": [16, 12]}))
    assert [stage for stage, combination in found if combination == (0, 1)] == ["ingest@mnist", "train@0", "train@1"]
    found = stages(shared({"seeds": [[0], [1, 2], [0, 1]]}))
    assert ("train@0", (0, 2)) in found
    assert ("train@1", (1, 2)) in found
    assert ("train@2", (1,)) in found
    assert [combination for stage, combination in found if stage == "judge"] == [(0,), (1,), (2,)]


def test_a_stage_that_reads_the_whole_file_is_run_for_every_combination(finished):
    edit(finished, "deps: [toy.py, out/left.txt", "deps: [params.yaml, toy.py, out/left.txt", "dvc.yaml")
    assert [node.stage for node in shared({"evaluate.repeats": [2, 3]})].count("join") == 2


@pytest.mark.parametrize("tracked_by", ["add", "import-url"])
def test_data_that_dvc_tracks_is_no_stage_to_run(tracked_by, finished, tmp_path):
    track_images(finished, tmp_path / "elsewhere", tracked_by)
    depend(finished, "images")
    assert {node.stage for node in shared({"seed": [0, 1]})} == {"start", "left", "right", "join", "alone"}


def test_stages_in_a_circle_are_told(finished):
    depend(finished, "out/join.txt")
    with pytest.raises(UserError, match=r"need each other in a circle: .*join"):
        shared({"seed": [0, 1]})


def test_data_that_dvc_tracks_is_no_stage_to_run_beside_matrix_stages(grouped, tmp_path):
    track_images(grouped, tmp_path / "elsewhere", "add")
    edit(grouped, "deps: [groups.py, out/mnist.txt]", "deps: [groups.py, images, out/mnist.txt]", "dvc.yaml")
    found = {node.stage for node in shared({"heads.epochs": [1, 2]})}
    assert found == {"ingest@mnist", "ingest@digits", "train@0", "train@1", "judge"}


def test_combinations_that_dvc_yaml_resolves_alike_are_resolved_once(grouped, monkeypatch):
    resolved = []

    def counted(raw, params):
        resolved.append(params)
        return resolve(raw, params)

    monkeypatch.setattr(grid, "resolve", counted)
    shared({"heads.epochs": list(range(1, 51)), "seeds": [[0], [0, 1]]})
    assert len(resolved) == 2, "one graph for each list of seeds"
