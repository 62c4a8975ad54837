"""The contract is told to people and to other tools, whole."""

from pathlib import Path

import pytest
import yaml

from tools.base.files import Sources
from tools.check import metrics_page
from tools.cli import run
from tools.model.consumers import consumers
from tools.model.contract import load


def test_the_page_tells_everything_that_the_contract_says_and_who_needs_it(watched: Sources) -> None:
    page = metrics_page.page(load(watched), consumers(watched))
    for metric in load(watched).metrics:
        [entry] = [part for part in page.split("## ") if part.startswith(f"`{metric.name}`\n")]
        assert metric.help in entry
        assert f"- {metric.type}, unit `{metric.unit}`" in entry
        for label, values in metric.labels.items():
            assert f"- `{label}`: {', '.join(f'`{value}`' for value in values)}\n" in entry
    assert "- used by alert NoPrices, panel Lanes\n" in page
    assert "- target: P95 below 500 ms\n- alerts at 2, 5\n" in page


def test_the_registry_holds_every_metric_with_its_labels_and_their_values(
    shipped: Sources, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["docs", "--registry", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"21 metrics in {tmp_path}\n"
    files = {file.name: yaml.safe_load(file.read_text()) for file in tmp_path.iterdir()}
    assert set(files) == {"manifest.yaml", "attributes.yaml", "metrics.yaml"}
    [attributes] = files["attributes.yaml"]["groups"]
    values = {item["id"]: {member["value"] for member in item["type"]["members"]} for item in attributes["attributes"]}
    contract = load(shipped)
    for metric, group in zip(contract.metrics, files["metrics.yaml"]["groups"], strict=True):
        assert (group["metric_name"], group["instrument"], group["unit"]) == (metric.name, metric.type, metric.unit)
        assert group["brief"] == metric.help
        named = [item["ref"] for item in group["attributes"]]
        assert named == [f"healthcare.{label}" for label in metric.labels]
        assert all(values[f"healthcare.{label}"] == contract.closed_set(label) for label in metric.labels)
    ids = [member["id"] for item in attributes["attributes"] for member in item["type"]["members"]]
    assert all(name.replace("_", "").isalnum() for name in ids)
