"""What the outbox holds goes out: at least once, in order for each record, at its pace."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import anyio
import asyncpg
import msgspec
import pytest

from syncd.config import Event, Events, Notify, SnsTopic
from syncd.errors import ConfigError, FencedError
from syncd.jobs.relay import pause_s
from syncd.publish.envelope import schema
from syncd.schemas_path import schema_text
from tests.cloud import Cloud
from tests.publish.world import QUICK, TYPE, detailed, queue, referrals, topic

MakeDatabase: TypeAlias = Callable[[str], str]


async def test_every_applied_change_arrives_once_with_its_type_and_an_id_of_its_own(
    make_database: MakeDatabase, cloud: Cloud
) -> None:
    world = await referrals(make_database)
    place, inbox = await topic(cloud)
    world.at(place)
    await world.add("a", "b")
    await world.change()
    report = await world.relay()
    received = await inbox.received()
    assert (report.sent, report.left.depth) == (4, 0)
    assert [r.type for r in received] == [TYPE] * 4
    assert len({r.event_id for r in received}) == 4
    assert sorted(r.key for r in received) == ["a", "a", "b", "b"]
    assert (await world.relay()).sent == 0


async def test_a_queue_is_told_what_a_topic_would_have_told_it(
    make_database: MakeDatabase, cloud: Cloud
) -> None:
    world = await referrals(make_database)
    inbox = await queue(cloud)
    world.at(inbox.place)
    await world.add("a")
    await world.relay()
    (received,) = await inbox.received()
    assert (received.type, received.event["eventType"], received.key) == (TYPE, TYPE, "a")
    (ledger_id,) = (await world.rows("SELECT event_id::text FROM syncd.syncd_outbox"))[0]
    assert received.event_id == ledger_id


async def test_a_queue_may_be_told_the_bare_event(
    make_database: MakeDatabase, cloud: Cloud
) -> None:
    world = await referrals(make_database)
    inbox = await queue(cloud)
    world.at(msgspec.structs.replace(inbox.place, notification=False))
    await world.add("a")
    await world.relay()
    async with cloud.client("sqs") as sqs:
        answer = await sqs.receive_message(QueueUrl=inbox.url, MessageAttributeNames=["All"])
    (message,) = answer["Messages"]
    assert msgspec.json.decode(message["Body"])["eventType"] == TYPE
    assert set(message["MessageAttributes"]) == {"eventId", "eventType"}


async def test_a_listener_of_the_target_hears_events_in_the_order_of_each_record(
    make_database: MakeDatabase,
) -> None:
    world = await referrals(make_database, events=msgspec.structs.replace(QUICK, to=Notify()))
    heard: list[str] = []
    listener = await asyncpg.connect(world.config.target.dsn.value)
    await listener.add_listener("syncd_events", lambda *said: heard.append(str(said[-1])))
    await world.add("a")
    await world.change()
    await world.relay()
    await listener.execute("SELECT 1")  # its answer comes after all that was notified before
    await listener.close()
    ids = [msgspec.json.decode(payload)["eventId"] for payload in heard]
    told = await world.rows("SELECT event_id::text FROM syncd.syncd_outbox ORDER BY outbox_id")
    assert [(event_id,) for event_id in ids] == told


async def test_an_event_says_what_its_query_finds_at_the_time_of_sending(
    make_database: MakeDatabase, cloud: Cloud, tmp_path: Path
) -> None:
    url = "https://m-and-d/referral/{REFERRAL_ID}"
    event = detailed(tmp_path, detail_url=url, description="imported")
    world = await referrals(make_database, event)
    inbox = await queue(cloud)
    world.at(inbox.place)
    await world.add("a/b", crn="OLD")
    await world.staff("UPDATE referral SET crn = 'X320741'")  # hydration came first
    await world.relay()
    (received,) = await inbox.received()
    occurred_at = received.event.pop("occurredAt")
    assert received.event == {
        "eventType": TYPE,
        "version": 1,
        "detailUrl": "https://m-and-d/referral/id-a%2Fb",
        "description": "imported",
        "additionalInformation": {"REFERRAL_ID": "id-a/b"},
        "personReference": {"identifiers": [{"type": "CRN", "value": "X320741"}]},
    }
    assert occurred_at.endswith("+00:00")


async def test_an_event_without_a_crn_holds_back_its_own_record_only_and_says_why(
    make_database: MakeDatabase, cloud: Cloud, tmp_path: Path
) -> None:
    world = await referrals(make_database, detailed(tmp_path))
    inbox = await queue(cloud)
    world.at(inbox.place)
    await world.add("a", "b", "c")
    await world.change()
    await world.staff(
        "UPDATE referral SET crn = NULL WHERE ref = 'b'", "DELETE FROM referral WHERE ref = 'c'"
    )
    report = await world.relay()
    assert (report.sent, report.left.depth) == (2, 4)
    assert await world.reasons() == {
        "b": "its details have no CRN",
        "c": "the query of its details has no row for the record",
    }
    await world.staff("UPDATE referral SET crn = 'X1' WHERE ref = 'b'")
    await world.let_retry()
    assert (await world.relay()).sent == 2
    assert [r.event["additionalInformation"]["REFERRAL_ID"] for r in await inbox.received()] == [
        "id-a", "id-a", "id-b", "id-b",
    ]  # fmt: skip


async def test_a_query_that_cannot_be_asked_holds_back_its_entity_and_says_why(
    make_database: MakeDatabase, cloud: Cloud, tmp_path: Path
) -> None:
    event = detailed(tmp_path)
    world = await referrals(make_database, event)
    world.at((await queue(cloud)).place)
    await world.add("a")
    (tmp_path / "details.sql").write_text("SELECT x FROM nowhere WHERE y = ANY($1::text[])")
    assert (await world.relay()).sent == 0
    assert "42P01 undefined_table" in (await world.reasons())["a"]
    (tmp_path / "details.sql").write_text("SELECT ref AS k FROM referral WHERE ref = ANY($1)")
    await world.let_retry()
    await world.relay()
    assert "expected a column key in the answer" in (await world.reasons())["a"]


async def test_only_chosen_outcomes_tell_an_event(
    make_database: MakeDatabase, cloud: Cloud
) -> None:
    world = await referrals(make_database, Event(type=TYPE, on=("updated",)))
    world.at((await queue(cloud)).place)
    await world.add("a")
    assert await world.unsent() == 0
    await world.change()
    assert (await world.relay()).sent == 1


async def test_a_deleted_record_tells_its_key_where_the_query_knows_it_no_more(
    make_database: MakeDatabase, cloud: Cloud, tmp_path: Path
) -> None:
    event = detailed(tmp_path, detail_url="https://m/{REFERRAL_ID}", on=("deleted",))
    world = await referrals(make_database, event)
    inbox = await queue(cloud)
    world.at(inbox.place)
    await world.add("a", "b")
    await world.legacy("DELETE FROM referral WHERE ref = 'a'")
    await world.night()
    await world.relay()
    (received,) = await inbox.received()
    assert received.key == "a"
    assert set(received.event) == {"eventType", "version", "occurredAt", "additionalInformation"}


async def test_events_of_an_entity_that_left_the_configuration_wait_for_it(
    make_database: MakeDatabase, cloud: Cloud
) -> None:
    world = await referrals(make_database)
    world.at((await queue(cloud)).place)
    await world.add("a")
    before = world.config
    others = {"others": before.entities["referrals"]}
    world.config = msgspec.structs.replace(before, entities=others)
    await world.init()
    assert (await world.relay()).sent == 0
    assert "not in the configuration" in (await world.reasons())["a"]
    world.config = before
    await world.let_retry()
    assert (await world.relay()).sent == 1


async def test_nothing_is_sent_once_another_instance_leads(
    make_database: MakeDatabase, cloud: Cloud
) -> None:
    world = await referrals(make_database)
    inbox = await queue(cloud)
    world.at(inbox.place)
    await world.add("a")
    async with world.leading(ttl_s=0.01) as (zombie, old), world.leading() as (relay, lease):
        with pytest.raises(FencedError):
            await zombie.drain(old)
        assert await inbox.received() == []
        await relay.drain(lease)
    assert len(await inbox.received()) == 1


async def test_a_topic_that_is_not_there_is_an_error_and_nothing_is_lost(
    make_database: MakeDatabase, cloud: Cloud
) -> None:
    world = await referrals(make_database)
    arn = "arn:aws:sns:eu-west-2:000000000000:none"
    world.at(SnsTopic(topic_arn=arn, endpoint_url=cloud.url))
    await world.add("a")
    with pytest.raises(ConfigError, match="check its name, the account and the region"):
        await world.relay()
    assert await world.unsent() == 1


async def test_the_rate_is_kept(make_database: MakeDatabase, cloud: Cloud) -> None:
    events = Events(to=(await queue(cloud)).place, rate_per_s=40.0, batch=10)
    world = await referrals(make_database, events=events)
    await world.add(*(f"r{n}" for n in range(80)))
    begun_s = anyio.current_time()
    assert (await world.relay()).sent == 80
    # The last second's worth is not waited for.
    assert 1.0 <= anyio.current_time() - begun_s < 10.0


async def test_validate_looks_at_the_place_and_at_the_queries(
    make_database: MakeDatabase, cloud: Cloud, tmp_path: Path
) -> None:
    world = await referrals(make_database, detailed(tmp_path))
    place, _ = await topic(cloud)

    async def told() -> list[tuple[str, str]]:
        async with world.app() as app:
            checks = await app.validate()
        return [(c.level, c.message) for c in checks if c.level == "error" or c.subject == "events"]

    world.at(place)
    # There is no table yet: init makes it in the world above, so the query can be asked.
    assert await told() == [("ok", "there is somewhere to send them")]
    (tmp_path / "details.sql").write_text("SELECT 1 AS key, $1::text[], $2::text[]")
    assert "expected 1 parameters" in (await told())[-1][1]
    world.at(msgspec.structs.replace(place, topic_arn=f"{place.topic_arn}x"))
    assert "looking at the topic: AWS said NotFound" in (await told())[-1][1]


def test_an_event_that_may_succeed_later_rests_twice_as_long_each_time_up_to_a_quarter_hour() -> (
    None
):
    rests_s = [pause_s(n, transient=True) for n in (1, 2, 3, 9, 10, 11, 400)]
    assert rests_s == [1.0, 2.0, 4.0, 256.0, 512.0, 900.0, 900.0]
    assert pause_s(1, transient=False) == 900.0


def test_the_schema_of_events_is_that_of_the_code() -> None:
    assert schema_text("events/domain-event.schema.json") == schema()
