"""The running stack during a drill, and what faults may do to it. Each change is written down before it is made."""

import contextlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from tools.base import otlp
from tools.drill import restore, shortened
from tools.drill.refuser import Refuser
from tools.drill.system import System
from tools.stack.ports import HOST

Edit = Callable[[dict[str, Any]], None]
"""Changes a parsed configuration."""

EVALUATION = "1s"
SCRAPE = f"{shortened.SCRAPE_SECONDS}s"


@dataclass
class Scene:
    """What a drill works with."""

    stack: System
    left: restore.Left
    prometheus: list[Edit] = field(default_factory=list)
    alertmanager: list[Edit] = field(default_factory=list)
    settings: dict[str, dict[str, str]] = field(default_factory=dict)
    """Environment of the components that are started anew, by name."""
    collector: list[str] = field(default_factory=list)
    """Settings laid over the Collector's YAML."""
    _refuser: Refuser | None = None

    def begin(self) -> None:
        """Remember that a fault begins now."""
        restore.write(self.stack, self.left)
        self.stack.execute(
            f"create schema if not exists {restore.SCHEMA}",
            f"create table if not exists {restore.SCHEMA}.begun as select now() as at",
        )

    def sql(self, *statements: str) -> None:
        """Run SQL; what it makes belongs into the schema `drill`, which is dropped at the end."""
        self.stack.execute(*statements)

    def pause(self, name: str) -> None:
        """Stop a component where it stands."""
        self.stack.pause(name)

    def change(self, name: str, environment: Mapping[str, str]) -> None:
        """Have a component started anew with this environment by `start_changed`."""
        self.settings.setdefault(name, {}).update(environment)

    def lay_over_collector(self, *settings: str) -> None:
        """Have the Collector started anew with these settings, for instance `a::b: 1`."""
        self.settings.setdefault("otel-collector", {})
        self.collector += settings

    def start_changed(self) -> None:
        """Start anew what `change` and `lay_over_collector` asked for."""
        self.left.changed = sorted(self.settings)
        restore.write(self.stack, self.left)
        overlay = [word for setting in self.collector for word in ("--config", f"yaml:{setting}")]
        for name, environment in self.settings.items():
            self.stack.stop(name)
            self.stack.start(name, environment, arguments=overlay if name == "otel-collector" else ())

    def play(self, **faults: Mapping[str, float | bool] | None) -> None:
        """Let what the simulator plays fail, as its PUT /faults has it."""
        httpx.put(f"{self.stack.url('simulator')}/faults", json=faults, trust_env=False).raise_for_status()

    @property
    def refuser(self) -> str:
        """host:port of something that refuses spans."""
        self._refuser = self._refuser or Refuser(self.collector_grpc, self.stack.listens, self.stack.reached_as)
        return self._refuser.endpoint

    @property
    def collector_grpc(self) -> str:
        """host:port where the Collector takes spans."""
        return f"{HOST}:{self.stack.ports.collector_grpc}"

    def send_spans(self, specs: list[otlp.Spec], resource: Mapping[str, str] = otlp.SERVICE) -> None:
        """Send spans to the Collector as a service does."""
        otlp.send(self.collector_grpc, otlp.traces(specs, resource))

    def configure(self) -> None:
        """Put the shortened rules and waits in place, with the edits of the faults."""
        restore.write(self.stack, self.left)
        restore.render(self.stack)
        rules = shortened.write_rules(restore.folder(self.stack) / "rules")
        self._edit("prometheus", [lambda config: _hasten(config, rules), *self.prometheus])
        self._edit("alertmanager", [shortened.notify_quickly, *self.alertmanager])
        for name in restore.CONFIGURED:
            self.stack.reload(name)

    def _edit(self, name: str, edits: list[Edit]) -> None:
        file = restore.configuration(self.stack, name)
        config = yaml.safe_load(file.read_text("utf-8"))
        for edit in edits:
            edit(config)
        file.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")

    def break_configuration(self, name: str) -> None:
        """Let Prometheus or Alertmanager load a configuration that is none."""
        restore.configuration(self.stack, name).write_text("a drill: [broke this file\n", "utf-8")
        with contextlib.suppress(httpx.HTTPStatusError):
            self.stack.reload(name)
            raise RuntimeError(f"{name} took a broken configuration")

    def rule_file(self, text: str) -> Path:
        """A further rule file, for an edit to name."""
        file = restore.folder(self.stack) / f"{secrets.token_hex(4)}.yaml"
        file.write_text(text, "utf-8")
        return file

    def end(self) -> None:
        """Undo the faults; the shortened rules stay."""
        restore.undo_faults(self.stack)
        self.left.changed = []
        self.close()
        self.settings, self.collector = {}, []
        self.prometheus, self.alertmanager = [], []
        self.configure()

    def close(self) -> None:
        """Listen for no more spans."""
        if self._refuser:
            self._refuser.close()
            self._refuser = None


def _hasten(config: dict[str, Any], rules: list[str]) -> None:
    config["global"] |= {"scrape_interval": SCRAPE, "evaluation_interval": EVALUATION}
    config["rule_files"] = rules
