"""Rules of a plan's workers, without a broker."""

from pathlib import Path

from streamflow.deploy.acls import acls_of
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import into_run
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology


def test_a_run_may_decide_about_its_own_letters_and_about_publishes_to_the_sources(root: Path) -> None:
    """Whatever the guarantee: both are transactions also where tasks have none."""
    for name in ("readings", "readings_at_least_once"):
        plan = make_plan(load_topology(root / "topologies" / name))
        for each, more in ((plan, []), (into_run(plan, "r"), [f"sf.streamflow.{plan.topology}.publish-keys."])):
            ids = [acl.name for acl in acls_of(each, load_settings()) if acl.kind == "transactional-id"]
            assert ids == [f"sf.streamflow.{each.identity}.", *more]


def test_who_judges_alerts_may_join_its_group_and_fence_others(root: Path) -> None:
    plan = make_plan(load_topology(root / "topologies" / "readings"))
    without, found = set(acls_of(plan, load_settings())), set(acls_of(plan, load_settings(alerts=True)))
    more = {(acl.kind, acl.name, acl.prefixed) for acl in found - without}
    assert more == {
        ("topic", "streamflow.metrics", False),
        ("group", "streamflow.alerts", False),
        ("transactional-id", "sf.streamflow.alerts", False),
    }
