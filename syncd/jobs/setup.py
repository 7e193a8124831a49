"""``init`` and ``validate``: make what is missing, and check everything before anything runs."""

from collections.abc import Sequence

from syncd.config import FilesSource
from syncd.errors import ConfigError, SyncdError
from syncd.failpoints import failpoint
from syncd.flow.fingerprint import Hasher
from syncd.flow.model import Ownership, Plan, Shape
from syncd.flow.ports import Source
from syncd.jobs.relay import Relay
from syncd.ledger.migrations import migrate, pending
from syncd.ledger.runs import Pinned
from syncd.pg.errors import translate
from syncd.planning import (
    complete,
    deletes_of,
    describe_found,
    drift,
    load_transform,
    map_columns,
)
from syncd.reports import Check, InitReport
from syncd.site import Site
from syncd.targets.layout import layout_of
from syncd.targets.link_index import unindexed_links

_PROBE_KEY = bytes(32)  # describing a source hashes nothing


class Setup:
    """Sets up and checks one site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def init(self, accept_schema: Sequence[str]) -> InitReport:
        """Bring the ledger up to date, pin schemas, create the tables of mirrors.

        May be repeated: what stands is left as it is, except the schemas of ``accept_schema``,
        which are pinned anew; columns new at the source are then added to the target's table,
        columns gone from it are kept there and not written any more.
        """
        site = self._site
        unknown = sorted(set(accept_schema) - set(site.config.entities))
        if unknown:
            raise ConfigError(
                f"--accept-schema: no entity {', '.join(unknown)}; "
                f"expected one of {', '.join(site.config.entities)}"
            )
        done = await self._migrate()
        await failpoint("init.migrated")
        await site.make_hash_key()
        source = site.source(Hasher(_PROBE_KEY), sequence=0)
        try:
            pinned = await site.runs.pinned()
            for wave in site.waves():
                for name in wave:
                    accept = name not in pinned or name in accept_schema
                    done += await self._init_entity(source, name, accept=accept)
        finally:
            await source.close()
        return InitReport(tuple(done))

    async def _migrate(self) -> list[str]:
        with translate("making the ledger"):
            async with self._site.connections.acquire() as connection:
                applied = await migrate(connection, self._site.config.ledger.schema)
        if not applied:
            return ["the ledger is up to date"]
        return [f"ledger: applied {name}" for name in applied]

    async def _init_entity(self, source: Source, name: str, *, accept: bool) -> list[str]:
        site, done = self._site, []
        entity = site.config.entities[name]
        if accept:
            found = describe_found(name, entity, await source.describe(name))
            before = (await site.runs.pinned()).get(name)
            await site.runs.pin(name, entity.into, found)
            done.append(f"{name}: pinned {len(found)} columns")
            await failpoint("init.pinned")
            if before is not None and before.target != entity.into:
                await site.runs.forget(before.entity_id)
                done.append(f"{name}: {entity.into} begins a new baseline")
        await self._assert_whole(name)
        done += [f"{name}: {sentence}" for sentence in await self._slow(name)]
        plan, order = await self._mapped(name)
        if entity.transform is None and await site.target.create(plan, order):
            done.append(f"{name}: created {entity.into} with {len(plan.drafted)} columns")
        elif entity.transform is None and accept:
            added = await site.target.widen(plan)
            if added:
                done.append(f"{name}: added {', '.join(added)} to {entity.into}")
        if plan.soft_delete and await site.target.add_soft_delete(plan):
            done.append(f"{name}: added {plan.soft_delete} to {entity.into}")
        await failpoint("init.created")
        return done

    async def _assert_whole(self, name: str) -> None:
        """Raise ConfigError when the target's application has not made what an aggregate needs."""
        lacking = await self._site.target.lacking(name)
        if lacking:
            raise ConfigError(
                f"entity {name}: {'; '.join(lacking)}",
                hint="the tables of an aggregate belong to the target's application; syncd makes "
                "none of them",
            )

    async def _slow(self, name: str) -> tuple[str, ...]:
        """Sentences about what is right and will be slow."""
        config = self._site.config
        entity = config.entities[name]
        if entity.aggregate is None:
            return ()
        layout = layout_of(config.entities, name, deletes_of(config, entity))
        return await unindexed_links(self._site.connections, layout)

    async def _mapped(self, name: str) -> tuple[Plan, Sequence[str]]:
        """The plan as far as it can be made before the table exists; the columns in order."""
        site = self._site
        pinned = (await site.runs.pinned())[name]
        target = await site.target.describe(name)
        mapped = map_columns(site.config, name, pinned.columns, target)
        plan = complete(site.config, name, mapped, entity_id=pinned.entity_id, shape=0)
        return plan, list(pinned.columns)

    async def validate(self) -> list[Check]:
        """Look at everything that a run needs, and write nothing."""
        checks = [Check("ok", "configuration", "read and understood")]
        checks += await self._check_ledger()
        source = self._site.source(Hasher(_PROBE_KEY), sequence=0)
        try:
            for name in self._site.config.entities:
                checks += await self._check_entity(source, name)
        finally:
            await source.close()
        return checks + await self._check_events()

    async def _check_events(self) -> list[Check]:
        config = self._site.config
        if config.events is not None:
            return await Relay(self._site, config.events).check()
        if any(entity.event for entity in config.entities.values()):
            return [Check("warning", "events", "they stay in the outbox: events.to names no place")]
        return []

    async def _check_ledger(self) -> list[Check]:
        site = self._site
        try:
            with translate("looking at the ledger"):
                async with site.connections.acquire() as connection:
                    missing = await pending(connection, site.config.ledger.schema)
        except SyncdError as error:
            return [Check("error", "target", str(error))]
        checks = [Check("ok", "target", "connected")]
        if missing:
            text = f"lacks {len(missing)} migrations; run syncd init"
            return [*checks, Check("warning", "ledger", text)]
        return [*checks, Check("ok", "ledger", "up to date")]

    async def _check_entity(self, source: Source, name: str) -> list[Check]:
        try:
            found = await source.describe(name)
            described = describe_found(name, self._site.config.entities[name], found)
            target = await self._site.target.describe(name)
        except SyncdError as error:
            return [Check("error", name, str(error))]
        checks = [Check("ok", name, f"{len(described)} columns at the source")]
        try:
            checks += await self._check_mapping(name, described, found, target)
        except SyncdError as error:
            checks.append(Check("error", name, str(error)))
        return checks

    async def _check_mapping(
        self, name: str, described: dict[str, str], found: Shape, target: Shape
    ) -> list[Check]:
        """Columns, types, ownership and drift of one entity."""
        config, checks = self._site.config, list[Check]()
        entity = config.entities[name]
        load_transform(name, entity)
        lacks = await self._site.target.lacking(name)
        if lacks:
            return [Check("error", name, sentence) for sentence in lacks]
        checks += [Check("warning", name, sentence) for sentence in await self._slow(name)]
        if not target:
            if entity.transform is not None:
                return [Check("error", name, f"the target has no table {entity.into}")]
            return [Check("warning", name, f"{entity.into} is not there; syncd init creates it")]
        pinned = await self._pinned(name)
        columns = described if pinned is None else pinned.columns
        mapped = map_columns(config, name, columns, target)
        plan = complete(config, name, mapped, entity_id=0, shape=0)
        written = [c.into for c in plan.drafted if c.ownership is not Ownership.COMPUTED]
        lacking = [into for into in written if into not in target]
        if lacking:
            checks.append(Check("error", name, f"{entity.into} has no column {', '.join(lacking)}"))
        generated = [i for i in written if i in target and not target[i].writable]
        if generated:
            text = f"{', '.join(generated)} is generated by the target; own it as computed"
            checks.append(Check("error", name, text))
        checks += _type_checks(name, plan, target)
        soft = deletes_of(config, entity).column if plan.soft_delete else ""
        if soft and soft not in target:
            text = f"{entity.into} has no column {soft}; syncd init adds it"
            checks.append(Check("warning", name, text))
        if pinned is not None:
            note = drift(name, pinned.columns, entity, found)
            if note:
                checks.append(Check("warning", name, note))
        if isinstance(config.source, FilesSource) and not entity.columns and not target:
            checks.append(Check("warning", name, "no types are given: every column is text"))
        return checks

    async def _pinned(self, name: str) -> Pinned | None:
        """What was pinned; None before ``init``, which has been told then."""
        try:
            return (await self._site.runs.pinned()).get(name)
        except SyncdError:
            return None


def _type_checks(name: str, plan: Plan, target: Shape) -> list[Check]:
    """A warning for each column whose kind differs between the sides."""
    return [
        Check(
            "warning",
            name,
            f"{column.name} is {column.type.kind.value}, {column.into} is "
            f"{target[column.into].native}: each value is converted on the write",
        )
        for column in plan.drafted
        if column.into in target and column.type.kind is not target[column.into].type.kind
    ]
