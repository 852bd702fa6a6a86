"""`dpotui cluster check`: whether the hosts of a file can work together."""

from __future__ import annotations

import json
from pathlib import Path

import click

from core.config import RUN_CONFIGS, RunConfig, load_config
from core.config.files import kind_of_file
from core.errors import UserError
from core.experiments.cluster_check import Check, check
from core.experiments.hosts import read_hosts
from core.text import one_line, printable
from core.workspace import Workspace, open_workspace


@click.group("cluster")
def command() -> None:
    """Several machines that work together."""


@command.command("check")
@click.option("--hosts", "hosts_path", type=click.Path(path_type=Path), required=True, help="The hosts file (JSON).")
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="Whose model and data must be the same on all."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("-w", "--workspace", "folder", type=click.Path(path_type=Path), default=Path(), help="Default: here.")
def check_command(hosts_path: Path, config_path: Path | None, as_json: bool, folder: Path) -> None:
    """Reach each host, compare it with this machine, and measure what lies between them.

    Hosts are reached by ssh without a password; entries that mean this machine, without ssh. Nothing is changed there.
    Each line says PASS, WARN or FAIL and what mends it.

    Exit status: 0 they can work together, 1 a check failed.
    """
    hosts = read_hosts(hosts_path)
    inside = config_path.absolute().parent if config_path is not None and folder == Path() else folder
    workspace = open_workspace(inside)
    config = _config(workspace, config_path)
    if not as_json:
        named = f", with the files of {one_line(str(config_path), 60)}" if config_path else ""
        click.echo(f"{len(hosts)} hosts of {one_line(str(hosts_path), 60)}{named}")
    width = max(len(name) for name in (*hosts.names, "all"))

    def tell(found: Check) -> None:
        if not as_json:
            click.echo(f"{found.verdict}  {one_line(found.host, 40):<{min(width, 40)}}  {found.name:<9}  {found.text}")
            if found.mend:
                click.echo(f"      → {printable(found.mend)}")

    report = check(hosts, workspace, config, tell)
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2, ensure_ascii=True))
    else:
        failed = sum(found.verdict == "FAIL" for found in report.checks)
        warned = sum(found.verdict == "WARN" for found in report.checks)
        words = {"PASS": "they can work together", "WARN": f"they can work together; {warned} to look at"}
        click.echo(words.get(report.verdict, f"{failed} failed"))
    raise SystemExit(1 if report.verdict == "FAIL" else 0)


def _config(workspace: Workspace, path: Path | None) -> RunConfig | None:
    if path is None:
        return None
    where = path.absolute() if path.exists() else workspace.path(path)
    kind = kind_of_file(where)
    if kind is None or kind not in RUN_CONFIGS:
        raise UserError(f"{path}: whose configuration it is cannot be told: name a file such as dpo_config.yaml")
    return load_config(where, RUN_CONFIGS[kind], ())
