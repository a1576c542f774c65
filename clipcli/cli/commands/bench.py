"""`clip bench`: how fast a model runs on this machine, and where the time goes."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcli.cli.options.inputs import InputOptions
from clipcli.cli.options.model import ModelOptions
from clipcli.cli.output.destination import print_text
from clipcli.cli.shell.expand import expand_options
from clipcli.cli.shell.terminal import printable
from clipcli.files import dump

if TYPE_CHECKING:
    from clipcli.api.benchmark import Benchmark
    from clipcli.api.model import Model
    from clipcli.results import Classification


@expand_options
def bench(
    inputs: InputOptions,
    model: ModelOptions,
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Number of images to encode.")] = 64,
    megapixels: Annotated[
        float,
        typer.Option(
            metavar="N", min=0.01, max=100, help="Size of the synthetic images that are used when no IMAGE is given."
        ),
    ] = 12,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure how fast a model runs on this machine.

    The result is images and prompts per second, without cached features.

    \b
    clip bench
    clip bench --dtype int8 --megapixels 0.3
    clip bench ~/photos --count 500 --json
    """  # noqa: D301 - \b keeps lines apart
    from itertools import islice

    from clipcli.api.benchmark import run_benchmark, synthetic_images
    from clipcli.images.find import images_of

    if inputs.images or inputs.from_file is not None:
        sources = list(islice(images_of(inputs.sources()), count))
    else:
        height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
        sources = list(synthetic_images(count, (height * 4 // 3, height)))
    engine = replace(model, no_cache=True).open(inputs, quiet=True)
    report = _describe(engine, run_benchmark(engine, sources, _write_nowhere))
    print_text(dump(report, indent=1) + "\n" if json else _table(report))


def _write_nowhere(batch: "list[Classification]") -> None:
    for record in batch:
        dump(record.to_dict())


def _describe(engine: "Model", measured: "Benchmark") -> dict[str, Any]:
    from clipcli import __version__
    from clipcli.features.pipeline import available_cores

    return {
        "schema": "clipcli.bench/2",
        "version": __version__,
        "model": engine.checkpoint.files.id,
        "device": engine.encoders.placement.device,
        "dtype": engine.encoders.placement.dtype,
        "cores": available_cores(),
        **{name: round(value, 4) for name, value in asdict(measured).items()},
        "model_ms": round(measured.model_ms, 4),
    }


def _table(report: dict[str, Any]) -> str:
    rows = [
        ("model", f"{report['model']}, {report['dtype']} on {report['device']}, {report['cores']} cores"),
        ("images", f"{report['images_per_s']:.1f} a second, from {report['images']} files to results"),
        ("", f"{report['model_images_per_s']:.1f} a second in the image tower, batches of {report['batch_size']}"),
        ("prompts", f"{report['prompts_per_s']:.1f} a second, {report['prompts']} at once"),
        ("first answer", f"{report['load_s']:.2f} s until the model is ready"),
        ("an image", f"{report['decode_ms']:.2f} ms decoding, on one core"),
        ("", f"{report['preprocess_ms']:.2f} ms scaling and cropping, on one core"),
        ("", f"{report['model_ms']:.2f} ms in the model"),
        ("", f"{report['write_ms']:.2f} ms writing the result"),
    ]
    return "".join(f"{name:14}{printable(text)}\n" for name, text in rows)
