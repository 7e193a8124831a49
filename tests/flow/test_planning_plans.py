"""Planning, the rules: groups, parents, deletes, transforms, and when a revision is a new one."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from syncd.config import ColumnConfig, Deletes, Limits, Merge, Need
from syncd.errors import ConfigError, DriftError
from syncd.flow.model import Kind, OnConflict, Ownership, Parent
from syncd.planning import complete, deletes_of, load_transform, map_columns, parents_of, small_hash
from tests.flow.plan_world import PINNED, config_of, entity_of, planned, shape

# -- the plan ----------------------------------------------------------------------------------


def test_a_plan_has_its_ids_and_plain_defaults() -> None:
    """Nothing is grouped, waited for, told or kept unless the configuration says so."""
    plan = planned()
    assert (plan.name, plan.entity_id, plan.shape) == ("people", 7, 3)
    assert (plan.groups, plan.parents, plan.event, plan.soft_delete) == ((), (), "", "")
    assert (plan.on_conflict, plan.timestamps) == (OnConflict.TARGET_WINS, None)


def test_groups_name_columns_of_either_side() -> None:
    """They hold places of the target's columns; the source's name is looked for first."""
    plan = planned(
        columns={"born": ColumnConfig(into="z_born"), "debt": ColumnConfig(into="name2")},
        groups=(("born", "name2"), ("id", "name")),
    )
    assert [column.into for column in plan.drafted] == ["id", "name", "name2", "z_born"]
    assert plan.groups == (frozenset({3, 2}), frozenset({0, 1}))


def test_the_timestamps_are_one_column_of_each_side() -> None:
    """The source's place among the source's columns, the target's among the drafted ones."""
    merge = Merge(policy="timestamps", source_updated="born", target_updated="changed")
    plan = planned(columns={"debt": ColumnConfig(into="changed")}, merge=merge)
    assert [column.into for column in plan.drafted] == ["born", "changed", "id", "name"]
    assert plan.timestamps == (0, 1)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"groups": (("id", "zip"),)}, "the target has no mapped column zip for groups"),
        (
            {"needs": {"teams": Need(columns=("team",))}},
            "the source has no mapped column team for needs.teams",
        ),
        (
            {"merge": Merge(policy="timestamps", source_updated="at", target_updated="born")},
            "the source has no mapped column at for merge",
        ),
        (
            {"merge": Merge(policy="timestamps", source_updated="born", target_updated="at")},
            "the target has no mapped column at for merge",
        ),
    ],
)
def test_a_rule_about_a_column_that_is_not_mapped_is_drift(
    fields: Mapping[str, Any], told: str
) -> None:
    """It is found before the run, told with its place, and stops that entity alone."""
    with pytest.raises(DriftError, match=told):
        planned(**fields)


def test_needs_have_a_short_form_and_a_long_one() -> None:
    """Names alone order the waves; columns make children wait, and may be NULL for a while."""
    assert parents_of(entity_of(needs=("teams", "towns"))) == (Parent("teams"), Parent("towns"))
    long = {"teams": Need(columns=("team",), nullable=True), "towns": Need()}
    assert parents_of(entity_of(needs=long)) == (
        Parent("teams", ("team",), nullable=True),
        Parent("towns"),
    )
    assert parents_of(entity_of()) == ()
    assert planned(needs={"teams": Need(columns=("name",))}).parents == (
        Parent("teams", ("name",)),
    )


def test_an_entitys_own_rule_for_deletes_replaces_the_pipelines() -> None:
    """The whole rule, not its fields one by one."""
    own, common = Deletes(policy="soft", column="gone_at"), Deletes(policy="report")
    config = config_of(entity_of(deletes=own), deletes=common)
    assert deletes_of(config, config.entities["people"]) is own
    config = config_of(entity_of(), deletes=common)
    assert deletes_of(config, config.entities["people"]) is common


@pytest.mark.parametrize(("policy", "column"), [("soft", "gone_at"), ("apply", ""), ("report", "")])
def test_only_soft_deletes_have_a_column(policy: str, column: str) -> None:
    """The name of the column stands in the configuration whatever the policy is."""
    deletes: Any = {"policy": policy, "column": "gone_at"}
    assert planned(deletes=Deletes(**deletes)).soft_delete == column


def test_event_and_conflict_policy_are_handed_on() -> None:
    """As they were configured."""
    merge = Merge(on_conflict=OnConflict.QUARANTINE)
    plan = planned(event="person.changed", merge=merge)
    assert (plan.event, plan.on_conflict) == ("person.changed", OnConflict.QUARANTINE)


# -- transforms --------------------------------------------------------------------------------


@pytest.fixture
def make_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Writes the text of a module, which is imported anew; its name comes back."""
    name = "transform_of_a_test"
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def make(text: str) -> str:
        sys.modules.pop(name, None)
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield make
    sys.modules.pop(name, None)


TRANSFORMS: Final = "def f(record):\n    return record\n\n\ndef g(record):\n    return {}\n"


def test_without_a_transform_there_is_none_to_load() -> None:
    """The draft is the row."""
    assert load_transform("people", entity_of()) is None


def test_a_transform_is_the_function_that_is_named(make_module: Callable[[str], str]) -> None:
    """Module and function, with a colon between."""
    module = make_module(TRANSFORMS)
    function = load_transform("people", entity_of(transform=f"{module}:g"))
    assert function is not None
    assert function({"id": 1}) == {}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError"),
        ("from os import no_such_name", "ImportError"),
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise ValueError('943 476 5919')", "ValueError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_an_error_of_the_configuration(
    make_module: Callable[[str], str], text: str, kind: str
) -> None:
    """Whatever its code raises, the entity and the type are told, and no message of others."""
    module = make_module(text)
    with pytest.raises(ConfigError) as info:
        load_transform("people", entity_of(transform=f"{module}:f"))
    assert info.value.message == (
        f"entities.people.transform: module {module} cannot be imported ({kind})"
    )
    assert "PYTHONPATH" in info.value.hint


def test_a_module_that_is_not_there_is_an_error_of_the_configuration() -> None:
    """The name is told as it was written."""
    with pytest.raises(ConfigError, match=r"module no_such_package\.people cannot be imported"):
        load_transform("people", entity_of(transform="no_such_package.people:f"))


@pytest.mark.parametrize("name", ["h", "f.g", ""])
def test_a_module_without_that_function_is_an_error_of_the_configuration(
    make_module: Callable[[str], str], name: str
) -> None:
    """Nothing is looked for elsewhere."""
    module = make_module(TRANSFORMS)
    with pytest.raises(ConfigError, match=f"module {module} has no function {name}"):
        load_transform("people", entity_of(transform=f"{module}:{name}"))


def test_what_cannot_be_called_is_no_transform(make_module: Callable[[str], str]) -> None:
    """A constant of that name is as good as none."""
    module = make_module("f = 5\n")
    with pytest.raises(ConfigError, match="has no function f"):
        load_transform("people", entity_of(transform=f"{module}:f"))


# -- the revision ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"columns": {"debt": "float"}},
        {"columns": {"debt": ColumnConfig(type="numeric(9,2)", into="owed")}},
        {"columns": {"name": ColumnConfig(strip=True)}},
        {"columns": {"name": ColumnConfig(null_values=("n/a",))}},
        {"ownership": {"name": Ownership.SOURCE}},
        {"groups": (("name", "born"),)},
        {"needs": ("teams",)},
        {"needs": {"teams": Need(columns=("name",))}},
        {"merge": Merge(on_conflict=OnConflict.QUARANTINE)},
        {"merge": Merge(policy="timestamps", source_updated="born", target_updated="born")},
    ],
)
def test_a_revision_changes_with_whatever_may_change_a_row(fields: Mapping[str, Any]) -> None:
    """Such a change has every record looked at once more."""
    assert planned(**fields).revision != planned().revision


def test_columns_pinned_anew_are_a_new_revision() -> None:
    """A column more, and a column of another type."""
    config = config_of(entity_of())
    revisions = {
        complete(
            config, "people", map_columns(config, "people", pinned, {}), entity_id=7, shape=3
        ).revision
        for pinned in (PINNED, {**PINNED, "zip": "text"}, {**PINNED, "born": "timestamp"})
    }
    assert len(revisions) == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"deletes": Deletes(policy="soft")},
        {"event": "person.changed"},
        {"from_": "old_people"},
        {"columns": {"id": "integer"}},  # as it was pinned
        {"ownership": {"name": Ownership.MERGE}},
    ],
)
def test_a_revision_changes_with_nothing_else(fields: Mapping[str, Any]) -> None:
    """What does not change a row costs no night of looking at all of them."""
    assert planned(**fields).revision == planned().revision


def test_a_spelling_that_means_the_same_changes_no_revision() -> None:
    """The long form of needs, another order of groups, a consent that nothing asks for."""
    groups: Any = (("name", "born"), ("debt", "id"))
    before = planned(needs=("a", "b"), groups=groups).revision
    assert planned(needs={"b": Need(), "a": Need()}, groups=groups).revision == before
    assert planned(needs=("b", "a"), groups=groups).revision == before
    turned: Any = (("id", "debt"), ("born", "name"))
    assert planned(needs=("a", "b"), groups=turned).revision == before
    consent = Merge(i_accept_overwrite=True)
    assert planned(needs=("a", "b"), groups=groups, merge=consent).revision == before


def test_limits_and_ids_are_nothing_to_the_revision() -> None:
    """A restored ledger or a smaller batch has nobody looked at again."""
    config = config_of(entity_of(), limits=Limits(batch_rows=1))
    made = map_columns(config, "people", PINNED, {})
    plan = complete(config, "people", made, entity_id=99, shape=98)
    assert plan.revision == planned().revision


def test_a_revision_changes_with_the_transform_and_its_module(
    make_module: Callable[[str], str],
) -> None:
    """Another function, another text of its module, none at all; the same text is the same."""
    target = shape(id=Kind.INTEGER, name=Kind.TEXT)

    def revision(function: str, text: str) -> int:
        config = config_of(entity_of(transform=f"{make_module(text)}:{function}"))
        made = map_columns(config, "people", PINNED, target)
        return complete(config, "people", made, entity_id=7, shape=3).revision

    first = revision("f", TRANSFORMS)
    assert revision("f", TRANSFORMS) == first
    others = [
        revision("g", TRANSFORMS),
        revision("f", TRANSFORMS + "# a table that f looks into\n"),
        revision("h", TRANSFORMS + "from functools import partial\nh = partial(f)\n"),
        revision("h", TRANSFORMS + "from functools import partial\nh = partial(g)\n# and\n"),
    ]
    assert len({first, *others}) == 5


def test_a_transform_without_a_text_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled module has no source to read, and is no reason to stop."""
    module: Any = type(sys)("made_at_run_time")
    module.f = dict
    module.g = dict
    monkeypatch.setitem(sys.modules, "made_at_run_time", module)
    target = shape(id=Kind.INTEGER)
    revisions = set()
    for name in ("f", "g", "f"):
        config = config_of(entity_of(transform=f"made_at_run_time:{name}"))
        made = map_columns(config, "people", PINNED, target)
        revisions.add(complete(config, "people", made, entity_id=7, shape=3).revision)
    assert len(revisions) == 2


def test_a_small_hash_is_a_positive_31_bit_number_for_ever() -> None:
    """Epochs and revisions of a ledger are compared with those of a later version."""
    assert small_hash(b"") == 309448485
    assert all(0 <= small_hash(b"%d" % n) < 2**31 for n in range(1000))
    assert len({small_hash(b"%d" % n) for n in range(1000)}) == 1000
