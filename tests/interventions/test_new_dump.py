"""The daemon notices a new dump of IM by its identity, whichever way it reads it."""

import pytest
from msgspec.structs import replace

from syncd.config import PostgresSource
from syncd.errors import SyncdError
from syncd.site import Site
from tests.interventions.world import Interventions, referral
from tests.odbc.world import PSQLODBC, config_of


async def seen(world: Interventions) -> str:
    """What the inbox of dumps sees now."""
    site = Site(world.config)
    try:
        return await site.see_dump()
    finally:
        await site.close()


async def test_another_dump_is_seen_and_the_same_one_is_not(interventions: Interventions) -> None:
    await interventions.begin(referral(1))
    first = await seen(interventions)
    again = await seen(interventions)
    await interventions.im(referral(2))

    assert "" != first == again
    assert await seen(interventions) not in ("", first)


async def test_it_is_seen_through_odbc_too(interventions: Interventions) -> None:
    if not PSQLODBC:
        pytest.skip("no psqlODBC: the Debian package odbc-postgresql brings it")
    await interventions.begin(referral(1))
    source = interventions.config.source
    assert isinstance(source, PostgresSource)
    odbc = Interventions(replace(interventions.config, source=config_of(source.dsn.value)))
    first = await seen(odbc)
    await interventions.im(referral(2))

    assert first
    assert await seen(odbc) not in ("", first)


async def test_a_source_that_is_away_is_told_at_once(interventions: Interventions) -> None:
    """The look of a daemon has no patience: it comes again."""
    source = interventions.config.source
    assert isinstance(source, PostgresSource)
    gone = replace(source, dsn=replace(source.dsn, value=source.dsn.value + "_gone"))
    site = Site(replace(interventions.config, source=gone))
    try:
        with pytest.raises(SyncdError):
            await site.see_source()
    finally:
        await site.close()
