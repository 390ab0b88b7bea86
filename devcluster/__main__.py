"""The launcher: `python -m devcluster up|down|status|load-image|load-images|logs|build|tools`."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from devcluster.binaries import Binaries
from devcluster.commands import DevclusterError
from devcluster.images import Build
from devcluster.paths import cache_root
from devcluster.progress import Progress
from devcluster.providers import Status, open_provider
from devcluster.sharing import why_no_cluster

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The local cluster of the demo and the tests."
)


class Shape(Enum):
    """What of a cluster is wanted."""

    FULL = "full"
    CONTROL_PLANE = "control-plane"


ShapeOption = Annotated[Shape, typer.Option(help="The whole cluster, or its API alone.")]


@app.command()
def up(
    shape: ShapeOption = Shape.FULL,
    image: Annotated[
        list[str] | None,
        typer.Option(help="TAG=CONTAINERFILE of an image to build while compiling; repeatable."),
    ] = None,
) -> None:
    """Make the cluster, or repair it, or find that nothing is to do."""
    with _clear_errors():
        meanwhile = [_build_of(each) for each in image or ()]
        _print_status(open_provider(shape.value, Progress()).up(meanwhile))


@app.command()
def down(
    shape: ShapeOption = Shape.FULL,
    purge_images: Annotated[
        bool, typer.Option(help="Also forget the images that were loaded.")
    ] = False,
) -> None:
    """Remove the cluster: processes, mounts, interfaces, rules, state. Caches stay."""
    with _clear_errors():
        open_provider(shape.value, Progress()).down(purge_images=purge_images)


@app.command()
def status(
    shape: ShapeOption = Shape.FULL,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Print what runs and where to reach it; exit code 1 if it does not all run."""
    with _clear_errors():
        found = open_provider(shape.value, Progress()).status()
        if json:
            typer.echo(found.as_json())
        else:
            _print_status(found)
    if not found.running:
        raise typer.Exit(1)


@app.command()
def load_image(
    tag: Annotated[str, typer.Argument(help="Name of the image, e.g. localhost/millstream:dev.")],
    file: Annotated[Path, typer.Option(help="The Containerfile.", exists=True, dir_okay=False)],
    context: Annotated[Path, typer.Option(help="Folder of its COPY lines.", exists=True)] = Path(),
    build_arg: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for an ARG line; repeatable.")
    ] = None,
) -> None:
    """Build an image and give it to the cluster; layers that did not change cost nothing."""
    with _clear_errors():
        pairs = [argument.partition("=") for argument in build_arg or ()]
        build = Build(tag, file.resolve(), context.resolve(), {key: v for key, _, v in pairs})
        [sentence] = open_provider(Shape.FULL.value, Progress()).load_images([build])
        typer.echo(sentence)


@app.command()
def load_images(
    images: Annotated[list[str], typer.Argument(help="TAG=CONTAINERFILE of each.")],
) -> None:
    """Build images of this folder and give them to the cluster, one beside the other."""
    with _clear_errors():
        builds = [_build_of(each) for each in images]
        for sentence in open_provider(Shape.FULL.value, Progress()).load_images(builds):
            typer.echo(sentence)


@app.command()
def logs(
    component: Annotated[str, typer.Argument(help="kubelet, kube-apiserver, containerd, …")],
    shape: ShapeOption = Shape.FULL,
) -> None:
    """Print the log of a component since its last start."""
    with _clear_errors():
        log = open_provider(shape.value, Progress()).log(component)
        with log.open(errors="replace") as lines:
            for line in lines:
                typer.echo(line, nl=False)


@app.command()
def build(
    shape: Annotated[Shape | None, typer.Option(help="By default what can run here.")] = None,
) -> None:
    """Install, compile and build all that `up` needs, without starting anything."""
    with _clear_errors():
        shapes = list(Shape) if shape is None else [shape]
        if shape is None and (reason := why_no_cluster()):
            typer.echo(f"devcluster: only the control plane is built: {reason}", err=True)
            shapes.remove(Shape.FULL)
        for each in shapes:
            open_provider(each.value, Progress()).build()


@app.command()
def tools() -> None:
    """Fetch kubectl and helm and print the folder they are in, for PATH."""
    with _clear_errors():
        typer.echo(Binaries(cache_root(), Progress()).clients())


def _build_of(image: str) -> Build:
    tag, _, file = image.partition("=")
    return Build(tag, Path(file).resolve(), Path.cwd())


@contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except (DevclusterError, PermissionError) as error:
        typer.echo(f"devcluster: {error}", err=True)
        raise typer.Exit(1) from error


def _print_status(found: Status) -> None:
    state = "runs" if found.running else "does not run"
    typer.echo(f"{found.provider} cluster ({found.shape}) {state}")
    for name, pid in (found.components or {}).items():
        typer.echo(f"  {name:24} {pid if pid is not None else 'does not answer'}")
    for name in ("kubeconfig", "server", "s3", "prometheus"):
        if value := getattr(found, name):
            typer.echo(f"  {name:24} {value}")


if __name__ == "__main__":
    app(prog_name="python -m devcluster")
