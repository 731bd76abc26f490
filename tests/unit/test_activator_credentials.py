"""Credentials of backends that change while namespaces do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from prism_proxy.contracts.driver import Declaration, Health, HealthReport
from prism_proxy.errors import PrismError
from prism_proxy.models.keyvalue.contract import ALL
from prism_proxy.namespaces import activator as activator_module
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import NamespaceConfig, SlotConfig
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.secrets.options import AuthOptions, SecretsOptions
from prism_proxy.secrets.providers.env import EnvOptions
from prism_proxy.steps.resources import StepResources

AUTH = AuthOptions("team", "orders/login")


@dataclass(frozen=True)
class Config:
    name: str
    broken: bool = False
    password: str = field(default="", repr=False)

    def with_credentials(self, username: str, password: str) -> Config:
        return replace(self, password=password)


class Driver:
    declaration = Declaration("fake", ALL, "shared", "volatile")

    def __init__(self, config: Config) -> None:
        self.config = config

    async def open(self) -> None:
        if self.config.broken:
            raise OSError("it is broken")

    async def drain(self, deadline_s: float) -> None:
        """It has no calls."""

    async def close(self) -> None:
        """Nothing is open."""

    def health(self) -> HealthReport:
        return HealthReport(Health.HEALTHY)

    def classify(self, error: Exception) -> PrismError | None:
        return None


class World:
    """`environment` has the password of today."""

    def __init__(self) -> None:
        self.environment = {"PRISM_KEY_ORDERS_LOGIN": "one"}
        self.resources = StepResources(SecretsOptions({"team": EnvOptions()}), self.environment)
        self.namespaces = Namespaces()
        self.broken = False
        self.activator = Activator(self.namespaces, self.make, resources=self.resources)

    def make(self, backend: str, config: Config) -> Driver:
        return Driver(replace(config, broken=config.broken or self.broken))

    async def renew(self, password: str) -> None:
        """The provider has another password, and the store of credentials found out."""
        self.environment["PRISM_KEY_ORDERS_LOGIN"] = password
        await self.resources.credentials.close()
        self.resources.on_new_credentials()

    def served(self) -> dict[str, Any]:
        return {name: driver.config for name, route in self.namespaces.current.routes.items()
                for driver in route.drivers}

    async def until_served(self, wanted: dict[str, Any]) -> None:
        async with asyncio.timeout(5):
            while self.served() != wanted:
                await asyncio.sleep(0)


def configs(*slots: Config, auth: AuthOptions | None = AUTH) -> list[NamespaceConfig]:
    return [NamespaceConfig(slot.name, "primitives", {"store": SlotConfig("fake", slot, auth=auth)}) for slot in slots]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.activator.apply([])
    await made.activator.close()
    await made.resources.close()


async def test_new_credentials_during_a_change_do_not_bring_the_old_configuration_back(world: World) -> None:
    await world.activator.apply(configs(Config("old")))
    change = await world.activator.prepare(configs(Config("new")))
    await world.renew("two")
    await asyncio.sleep(0)  # the renewal waits for its turn
    await change.commit()
    await world.until_served({"new": Config("new", password="two")})


async def test_a_refused_change_keeps_the_credentials_of_what_is_served(world: World) -> None:
    await world.activator.apply(configs(Config("a")))
    with pytest.raises(PrismError, match="broken"):
        await world.activator.apply(configs(Config("b", broken=True), auth=None))
    assert world.resources.credentials.held() == {("team", "orders/login")}
    await world.activator.apply(configs(Config("b"), auth=None))
    assert world.resources.credentials.held() == set()


async def test_credentials_that_could_not_be_used_are_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activator_module, "RENEW_RETRY_SECONDS", 0.01)
    await world.activator.apply(configs(Config("a")))
    world.broken = True
    await world.renew("two")
    await asyncio.sleep(0.05)
    assert world.served() == {"a": Config("a", password="one")}
    world.broken = False
    await world.until_served({"a": Config("a", password="two")})
